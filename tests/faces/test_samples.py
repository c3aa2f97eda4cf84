"""What the sampling takes in: the same moments whatever the batches, view and light computed once."""

from typing import Any

import numpy as np
import pytest
import torch

from lineament.faces import samples
from lineament.faces.samples import MIXED, Discovery, gather, sample_mixed
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator

GROUPS = (tuple(range(5)), tuple(range(5, 10)))


def gathered(networks: tuple[Generator, Decomposer], batch_size: int, mixed: int = 50) -> Discovery:
    found = Discovery.empty(parts=True)
    wanted = {"seed": 0, "truncation": 0.5, "samples": 9, "held_out": 4, "mixed": mixed}
    ends = list(gather(found, *networks, **wanted, layer_groups=GROUPS, batch_size=batch_size))
    assert ends == [False] * (len(ends) - 1) + [True]
    return found


@pytest.mark.parametrize("chunk", [1, 20, 256])
def test_batches_and_chunks_do_not_matter(
    tiny_networks: tuple[Generator, Decomposer], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    expected = gathered(tiny_networks, 64).tensors()
    monkeypatch.setattr(samples, "CHUNK", chunk)
    found = gathered(tiny_networks, 7)
    assert (found.fit.count, found.held_out.count, found.mixed.count) == (9, 4, 50)
    for name, value in found.tensors().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_what_waits_is_sampled_again_after_a_stop(
    tiny_networks: tuple[Generator, Decomposer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "CHUNK", 16)
    wanted: dict[str, Any] = {"seed": 0, "truncation": 0.5, "samples": 9, "held_out": 4, "mixed": 50}
    expected, found = Discovery.empty(parts=True), Discovery.empty(parts=True)
    for _ in gather(expected, *tiny_networks, **wanted, layer_groups=GROUPS, batch_size=4):
        pass
    for count, _ in enumerate(gather(found, *tiny_networks, **wanted, layer_groups=GROUPS, batch_size=4)):
        if count == 10:  # 3 + 1 batches of single w, then 7 mixed ones, of which 4 were taken in
            break
    state = found.tensors()
    again = Discovery.from_tensors(state)
    assert again.mixed.count == 16
    for _ in gather(again, *tiny_networks, **wanted, layer_groups=GROUPS, batch_size=4):
        pass
    for name, value in again.tensors().items():
        assert torch.equal(value, expected.tensors()[name]), name


def test_view_and_light_networks_run_once(
    tiny_networks: tuple[Generator, Decomposer], request: pytest.FixtureRequest
) -> None:
    generator, decomposer = tiny_networks
    calls: list[str] = []
    for name in ("view", "light"):
        hook = getattr(decomposer, f"{name}_net").layers[-1].register_forward_hook(lambda *_, n=name: calls.append(n))
        request.addfinalizer(hook.remove)
    numbers = range(MIXED, MIXED + 3)
    _, y, _ = sample_mixed(generator, decomposer, 0, numbers, 0.5, GROUPS)
    assert sorted(calls) == ["light", "view"]
    assert np.isfinite(y).all()
