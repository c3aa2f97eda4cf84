"""Pictures of decompositions, and where the shipped networks are."""

import math
from pathlib import Path

import pytest
import torch

from lineament.errors import InputError
from lineament.ops.shapes import ellipsoid_depth
from lineament.recipes import shipped
from lineament.recipes.figures import (
    BORDER_PX,
    ROW_NAMES,
    decomposition_pictures,
    decomposition_rows,
    grey,
    is_stretched,
    relief,
    turned,
    without_border,
)
from lineament.records.decomposition import Decomposition
from tests import tiny


def test_one_batch_of_pictures_per_row() -> None:
    decomposer, images = tiny.decomposer(), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = decomposition_pictures(decomposer, images)
    assert len(pictures) == len(ROW_NAMES)
    assert all(p.shape == images.shape and torch.isfinite(p).all() for p in pictures)
    assert pictures[0] is images
    rows = decomposition_rows(decomposer, images)
    assert rows.shape == (len(ROW_NAMES) * 66 - 2, 2 * 66 - 2, 3)


def test_grey() -> None:
    shown = grey(torch.tensor([[[0.0, 0.5, 1.0, 3.0]]]))
    assert shown[0, :, 0].tolist() == [[-1.0, 0.0, 1.0, 1.0]] * 3


def test_turned_faces_have_that_yaw_alone() -> None:
    network = tiny.decomposer(gain=20.0)
    network.tilt.fill_(0.2)
    parts = network(torch.zeros(2, 3, 64, 64))
    view = turned(parts, 25.0, network).view
    upright, _ = network.upright(view, parts.light)
    assert upright[:, 1].tolist() == pytest.approx([math.radians(25)] * 2)
    assert upright[:, [0, 2, 3, 4, 5]].abs().max() < 1e-6


def test_relief_is_lit_from_above_left() -> None:
    depth = ellipsoid_depth(64, near=0.95, far=1.0)[None]
    cast = relief(depth, tiny.decomposer())[0, 0]
    assert cast[20, 20] > cast[44, 44]
    assert cast[20, 20] > cast[20, 44] > cast[44, 44]


def test_shipped_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no faces64/nothing\.safetensors; install lineament again"):
        shipped.shipped_path("nothing.safetensors")
    file = tmp_path / "weights" / shipped.PAIR / "generator.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert shipped.shipped_path("generator.safetensors") == file


def test_viewpoints_are_named_by_the_side_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # A face's own left cheek is on the image's right; here it is white and the rest black.
    albedo = torch.full((1, 3, 64, 64), -1.0)
    albedo[..., 32:] = 1.0
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    parts = Decomposition(ellipsoid_depth(64, near=0.93, far=1.0)[None], albedo, torch.zeros(1, 6), light)
    decomposer = tiny.decomposer()
    monkeypatch.setattr(decomposer, "forward", lambda images: parts)
    pictures = dict(zip(ROW_NAMES, decomposition_pictures(decomposer, torch.zeros(1, 3, 64, 64)), strict=True))
    share = {name: float((pictures[name][..., 8:-8, 16:-16] > 0).float().mean()) for name in ROW_NAMES[-2:]}
    assert share["from its left"] > 0.55 > 0.45 > share["from its right"]


def test_stretched_is_little_texture_over_many_pixels() -> None:
    axis = torch.linspace(-1, 1, 33)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    plain = torch.stack([x, y], dim=-1)[None]
    assert not is_stretched(plain)[:, 2:-2, 2:-2].any()
    squeezed = torch.stack([0.1 * x, y], dim=-1)[None]  # ten pixels a texel
    assert is_stretched(squeezed).all()
    smeared = torch.stack([0.5 * (x + y), 0.55 * (x + y)], dim=-1)[None]  # moves, but along one line
    assert is_stretched(smeared).all()


def test_without_border_keeps_the_size_and_loses_the_frame() -> None:
    framed = torch.full((1, 3, 64, 64), -1.0)
    framed[:, :, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = 0.5
    assert torch.allclose(without_border(framed), torch.full((1, 3, 64, 64), 0.5), atol=1e-5)
