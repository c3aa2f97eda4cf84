"""What ties the shapes of a decomposer to a mean head."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lineament.networks.decomposer import Decomposer
from lineament.networks.decomposer_blocks import TiedShape
from lineament.ops.shapes import MEAN_LEAN_DEG, MEAN_RELIEF, ellipsoid_depth, head_front
from tests import tiny

HEIGHT = torch.linspace(-1, 1, 64)[:, None].expand(64, 64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relief_and_lean(depth: torch.Tensor, width: float) -> tuple[float, float]:
    """Spread of the front's depth about its best plane, as a share of the width, and that plane's lean in degrees."""
    size = len(depth)
    front = head_front(size).numpy()
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j] * width / 2
    z = depth.double().numpy()[front]
    plane = np.stack([x[front], y[front], np.ones(len(z))], axis=1)
    found = np.linalg.lstsq(plane, z, rcond=None)[0]
    return float((z - plane @ found).std() / width), math.degrees(math.atan(found[1]))


def with_mean(raw: torch.Tensor, size: int = 64, *, tied: bool = True) -> Decomposer:
    """An untrained decomposer with this mean shape, whose single faces do not differ."""
    network = Decomposer(replace(tiny.DECOMPOSER, resolution=size, tied_shape=tied)).eval().requires_grad_(False)
    assert network.mean_shape is not None
    network.mean_shape.copy_(raw)
    return network


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0])
def test_any_mean_shape_is_as_deep_and_as_upright_as_the_mean_head(size: int, scale: float) -> None:
    raw = scale * (random(size // 4, size // 4) + torch.linspace(-2, 3, size // 4)[:, None])
    network, image = with_mean(raw, size), random(1, 3, size, size)
    relief, lean = relief_and_lean(network.depth(image)[0], network.image_width)
    assert relief == pytest.approx(MEAN_RELIEF, rel=0.07)  # squashing takes a little of both
    assert lean == pytest.approx(MEAN_LEAN_DEG, abs=0.6)
    free = relief_and_lean(with_mean(raw, size, tied=False).depth(image)[0], network.image_width)
    assert abs(free[0] / MEAN_RELIEF - 1) > 0.1
    assert abs(free[1] - MEAN_LEAN_DEG) > 1


@pytest.mark.parametrize("near", [0.93, 0.97])
def test_a_start_from_any_ellipsoid_is_a_convex_head_that_leans(near: float) -> None:
    network = with_mean(torch.zeros(16, 16))
    network.start_from(ellipsoid_depth(64, near=near, far=1.05))
    depth = network.depth(random(1, 3, 64, 64))[0]
    assert relief_and_lean(depth, network.image_width)[0] == pytest.approx(MEAN_RELIEF, rel=0.07)
    assert float(depth[32, 32]) < float(depth[32, 16]) - 0.01
    assert float(depth[50, 32]) > float(depth[13, 32]) + 0.005  # the chin is farther away than the forehead


def test_the_tie_is_exact_before_squashing() -> None:
    tie = TiedShape(64, half_range=0.1, width=0.175)
    mean, relief = tie.mean(random(64, 64))
    found = relief_and_lean(0.1 * (mean + mean.flip(1)) / 2, 0.175)
    assert found[1] == pytest.approx(MEAN_LEAN_DEG, abs=1e-3)
    assert float(relief[head_front(64)].std(correction=0)) * 0.1 / 0.175 == pytest.approx(MEAN_RELIEF, rel=1e-4)


def faces(network: Decomposer, raw: torch.Tensor) -> torch.Tensor:
    """Depth if the depth network says ``raw``."""
    network.depth_net.forward = lambda front: raw[:, None]  # pyright: ignore[reportAttributeAccessIssue]
    return network.depth(random(len(raw), 3, 64, 64)).detach()


@pytest.mark.parametrize("what", ["lean", "relief", "bump"])
def test_single_faces_differ_from_the_mean_in_all_but_relief_and_lean(what: str) -> None:
    network = with_mean(random(16, 16, seed=1) / 10)
    relief = network._mean_raw()[1]
    bump = torch.exp(-((HEIGHT - 0.2) ** 2 + HEIGHT.T**2) * 20)
    change = {"lean": 0.5 * HEIGHT, "relief": -0.7 * relief, "bump": 0.5 * bump}[what]
    first = 0.1 * random(64, 64, seed=2)
    depth = faces(network, torch.stack([first, first + change]))
    apart = float((depth[0] - depth[1]).abs().max())
    assert apart > 0.01 if what == "bump" else apart < 1e-6
    free = with_mean(random(16, 16, seed=1) / 10, tied=False)
    loose = faces(free, torch.stack([first, first + change]))
    assert float((loose[0] - loose[1]).abs().max()) > 0.01


def test_single_faces_have_the_relief_and_lean_of_the_mean() -> None:
    network = with_mean(torch.zeros(16, 16))
    network.start_from(ellipsoid_depth(64, near=0.95, far=1.05))
    shift = torch.tensor([0.0, 1.0, -1.0])[:, None, None]
    depth = faces(network, 0.05 * random(3, 64, 64, seed=3) + shift * (HEIGHT + 0.2 * HEIGHT.T.abs()))
    mean = network._mean_raw()[1][head_front(64)]
    for face in depth:
        share = (face[head_front(64)] * mean).mean() / mean.square().mean()
        assert float(share) == pytest.approx(0.1, rel=0.1)  # half of the range of depths is 0.1
        assert relief_and_lean(face, network.image_width)[1] == pytest.approx(MEAN_LEAN_DEG, abs=0.6)


def test_the_mean_and_the_faces_learn() -> None:
    network = with_mean(random(16, 16) / 10).requires_grad_()
    network.depth_net.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    (network.depth(random(2, 3, 64, 64)) * random(2, 64, 64, seed=1)).sum().backward()
    assert network.mean_shape is not None
    for parameter in (network.mean_shape, network.depth_net.head.weight):
        assert parameter.grad is not None
        assert 0 < float(parameter.grad.abs().max()) < math.inf


def test_a_flat_mean_shape_is_no_division_by_zero() -> None:
    network = with_mean(torch.zeros(16, 16)).requires_grad_()
    depth = network.depth(random(1, 3, 64, 64))
    depth.square().sum().backward()
    assert network.mean_shape is not None
    assert network.mean_shape.grad is not None
    assert bool(network.mean_shape.grad.isfinite().all())
    assert relief_and_lean(depth[0].detach(), network.image_width)[0] < 1e-3
