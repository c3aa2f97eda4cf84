"""The residual comes back whole where nothing changed, and not at all where all did."""

import pytest
import torch

from lineament.ops.paste_back import TOLERANCE, paste_back


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.rand((2, 3, 32, 48), generator=rng) * 1.6 - 0.8 for _ in range(2))  # pyright: ignore


def test_nothing_edited_gives_the_photograph(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    unedited, photograph = images
    torch.testing.assert_close(paste_back(unedited, unedited, photograph), photograph)


def test_half_at_the_tolerance(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    unedited, photograph = (image * 0.5 for image in images)
    edited = unedited + TOLERANCE
    expected = edited + (photograph - unedited) / 2
    torch.testing.assert_close(paste_back(edited, unedited, photograph), expected)


def test_only_where_the_edit_acts(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    unedited, photograph = images
    edited = unedited.clone()
    edited[..., :16] = -unedited[..., :16].sign()
    made = paste_back(edited, unedited, photograph, tolerance=0.01)
    torch.testing.assert_close(made[..., 18:], photograph[..., 18:])
    assert float((made - edited)[..., :14].abs().max()) < 1e-3
    assert float(made.abs().max()) <= 1
