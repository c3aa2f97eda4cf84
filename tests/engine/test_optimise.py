"""Steps of descent against steps by hand; averages and learning rates against their formulas."""

import math

import pytest
import torch
from torch import nn

from lineament.engine.devices import make_fabric
from lineament.engine.optimise import average_weights, descend, falling_rate, half_life_at, warm_and_falling_rate
from lineament.errors import NonFiniteError
from lineament.records.devices import Devices

FABRIC = make_fabric(Devices(accelerator="cpu"))


def two_layers() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(2, 1)


def test_only_the_module_moves_though_the_gradient_passes_through_another() -> None:
    first, second = two_layers()
    before, other = first.weight.detach().clone(), second.weight.detach().clone()
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
    x = torch.ones(4, 3)
    loss = second(first(x)).sum()
    expected = 4 * (second.weight.T @ torch.ones(1, 3)).detach()  # d/dW of sum over x of v W x
    norm = descend(FABRIC, loss, first, optimizer, step=0, rate=0.5)
    torch.testing.assert_close(first.weight, before - 0.5 * expected)
    assert torch.equal(second.weight, other)
    assert second.weight.grad is None
    assert norm == pytest.approx(float(torch.cat([expected.flatten(), 4 * other.flatten()]).norm()), rel=1e-5)


def test_the_optimizers_own_rate_is_kept_where_none_is_given() -> None:
    first, second = two_layers()
    optimizer = torch.optim.SGD(first.parameters(), lr=0.25)
    descend(FABRIC, second(first(torch.ones(1, 3))).sum(), first, optimizer, step=0)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_long_gradients_are_clipped_together_or_apart() -> None:
    for apart, expected in ((False, 1.0), (True, math.sqrt(2))):
        network = nn.Sequential(*two_layers())
        before = [p.detach().clone() for p in network.parameters()]
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        loss = 100 * network(torch.ones(1, 3)).square().sum()
        groups = [list(layer.parameters()) for layer in network] if apart else ()
        norm = descend(FABRIC, loss, network, optimizer, step=0, clip_norm=1.0, clipped_alone=groups)
        moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(network.parameters(), before, strict=True)])
        assert float(moved.norm()) == pytest.approx(expected, rel=1e-4)
        assert norm > 2


def test_frozen_parameters_stay() -> None:
    network = nn.Sequential(*two_layers())
    network[0].requires_grad_(False)
    before = network[0].weight.detach().clone()
    descend(FABRIC, network(torch.ones(1, 3)).sum(), network, torch.optim.SGD(network.parameters(), lr=1.0), step=0)
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize(("factor", "what"), [(math.nan, "loss"), (math.inf, "loss")])
def test_what_is_not_finite_changes_nothing(factor: float, what: str) -> None:
    first, second = two_layers()
    before = first.weight.detach().clone()
    loss = factor * second(first(torch.ones(1, 3))).sum()
    with pytest.raises(NonFiniteError, match=f"the {what} became .* at step 7"):
        descend(FABRIC, loss, first, torch.optim.SGD(first.parameters(), lr=1.0), step=7)
    assert torch.equal(first.weight, before)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    loss = layer(torch.ones(1, 1)).abs().sqrt().sum()  # 0, with an infinite slope
    with pytest.raises(NonFiniteError, match="the gradient became nan at step 2"):
        descend(FABRIC, loss, layer, torch.optim.SGD(layer.parameters(), lr=1.0), step=2)
    assert float(layer.weight.detach()) == 0


def test_after_the_half_life_the_average_is_half_way() -> None:
    average, current = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(average.weight)
    nn.init.ones_(current.weight)
    for _ in range(5):
        average_weights(average, current, 5.0)
    assert float(average.weight.detach()) == pytest.approx(0.5)
    average_weights(average, current, 0.0)
    assert float(average.weight.detach()) == 1


def test_half_lives_begin_short() -> None:
    assert [half_life_at(step, 50.0) for step in (0, 99, 499, 10_000)] == pytest.approx([0.1, 10, 50, 50])


def test_learning_rate_falls_at_the_end() -> None:
    assert [falling_rate(step, 100, 0.5) for step in (0, 49, 75, 99, 120)] == pytest.approx([1, 1, 0.5, 0.05, 0.05])


def test_learning_rate_rises_and_falls() -> None:
    rates = [warm_and_falling_rate(step, 1000, 10, 0.5) for step in (0, 9, 499, 749, 999)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.502, 0.05])
    rates = [warm_and_falling_rate(step, 100, 10, 0.4) for step in (0, 9, 60, 80, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.05])
