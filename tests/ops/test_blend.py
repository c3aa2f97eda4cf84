"""Joining two images: exact where they agree or where one of them alone counts, smooth between."""

import pytest
import torch

from lineament.ops.blend import multi_band


def noise(side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("side", [8, 50, 64, 128])
def test_equal_images_stay_as_they_are(side: int) -> None:
    image = noise(side)
    weight = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(multi_band(image, image, weight), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_image_alone(share: float) -> None:
    first, second = noise(64), noise(64, 1)
    joined = multi_band(first, second, torch.full((2, 1, 64, 64), share))
    torch.testing.assert_close(joined, first if share else second, atol=1e-5, rtol=0)


def test_a_seam_between_two_colours_is_spread() -> None:
    first, second = torch.ones(1, 3, 64, 64), -torch.ones(1, 3, 64, 64)
    weight = torch.zeros(1, 1, 64, 64)
    weight[..., 32:] = 1
    joined = multi_band(first, second, weight)
    steps = (joined[..., 1:] - joined[..., :-1]).abs()
    assert steps.max() < 0.5  # a cut would be 2
    assert joined[..., 0].max() < -0.8
    assert joined[..., -1].min() > 0.8


def test_fine_details_change_sides_at_once() -> None:
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1)[None, None].repeat(1, 3, 1, 1)
    weight = torch.zeros(1, 1, 64, 64)
    weight[..., 32:] = 1
    joined = multi_band(board, torch.zeros_like(board), weight)
    assert joined[..., 36:].abs().min() > 0.8
    assert joined[..., :28].abs().max() < 0.2
