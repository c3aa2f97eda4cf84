"""How many images at a time: from the largest tensor and the free memory."""

import pytest
import torch

from lineament.faces import batch_size
from lineament.networks.stylegan.generator import Generator
from tests import tiny


def test_the_estimate_is_the_largest_feature_map() -> None:
    # The last block has 2 channels of 32 x 32 floats in and out; its image has 3.
    assert batch_size.bytes_per_image(tiny.generator()) == batch_size.ALIVE * 3 * 32 * 32 * 4


def test_a_power_of_two_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny.generator()
    per_image = batch_size.bytes_per_image(generator)
    for free, expected in ((1e12, 64), (per_image * 4 * 9, 8), (per_image * 4 * 7.9, 4), (10.0, 1)):
        monkeypatch.setattr(batch_size, "free_bytes", lambda device, free=free: free)
        assert batch_size.images_at_a_time(generator) == expected


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator: Generator = tiny.generator()
    batch_size.bytes_per_image(generator)

    def never(*args: object) -> torch.Tensor:
        raise AssertionError("drawn again")

    monkeypatch.setattr(generator, "synthesize", never)
    assert batch_size.bytes_per_image(generator) > 0
    assert not any(module._forward_hooks for module in generator.modules())
