"""A mean head is found where it is, in images of many crops, and nowhere in images of something else."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lineament.checkpoints.mean_head import load_mean_head, save_mean_head
from lineament.errors import FileFormatError, InputError
from lineament.ops.mean_head import LEAST_LIKENESS, MAX_UNIT, MeanHead, Placement, find_head, head_at
from lineament.records.camera import Camera


@pytest.fixture(scope="module")
def head() -> MeanHead:
    return load_mean_head()


def shown(head: MeanHead, zoom: float, height: float, size: int = 64, stretch: float = 1.0) -> torch.Tensor:
    """The head in another crop, darker, coloured, lit from the side, before something else."""
    tall = zoom * stretch
    theta = torch.tensor([[[1 / zoom, 0, 0], [0, 1 / tall, -height / tall]]])
    grid = F.affine_grid(theta, [1, 1, size, size], align_corners=True)
    face = F.grid_sample(head.image[None, None], grid, align_corners=True)[0]
    slope = torch.linspace(0.7, 1.3, size)
    rng = torch.Generator().manual_seed(3)
    noise = F.interpolate(torch.randn(1, 3, 8, 8, generator=rng), (size, size), mode="bicubic")[0]
    return 0.6 * face * slope * torch.tensor([1.0, 0.8, 0.6])[:, None, None] - 0.5 + 0.02 * noise


@pytest.mark.parametrize(
    ("zoom", "height", "size", "stretch"),
    [
        (1.0, 0.0, 64, 1.0),
        (1.26, -0.22, 64, 1.0),
        (0.7, 0.2, 64, 1.0),
        (1.5, -0.05, 128, 1.0),
        (0.8, -0.3, 96, 1.0),
        (1.3, -0.2, 64, 0.85),
        (0.9, 0.1, 64, 1.12),
    ],
)
def test_a_head_is_found_where_it_is(head: MeanHead, zoom: float, height: float, size: int, stretch: float) -> None:
    found = find_head(head, shown(head, zoom, height, size, stretch))
    assert found.stretch == pytest.approx(stretch, abs=0.04)
    assert found.zoom == pytest.approx(zoom, abs=0.03)
    assert found.height == pytest.approx(height, abs=0.03)
    assert found.likeness > 0.8


def test_light_from_one_side_does_not_matter(head: MeanHead) -> None:
    image = shown(head, 1.1, -0.1)
    assert find_head(head, image) == find_head(head, image.flip(2))


@pytest.mark.parametrize("seed", range(3))
def test_no_head_is_found_in_noise_or_nothing(head: MeanHead, seed: int) -> None:
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed))
    assert find_head(head, noise).likeness < LEAST_LIKENESS
    assert find_head(head, torch.full((3, 64, 64), 0.1 * seed)).likeness < LEAST_LIKENESS


@pytest.mark.parametrize(("zoom", "size"), [(1.0, 128), (1.3, 64), (0.6, 64), (2.0, 64)])
def test_its_depth_is_as_deep_as_it_is_wide(head: MeanHead, zoom: float, size: int) -> None:
    camera = Camera()
    depth = head_at(head, Placement(zoom, 1.0, 0.0, 1.0), size, camera)
    unit = (depth - 1) / 0.1
    # The decomposer centres raw values and squashes them: this shape it gives as it is.
    raw = torch.atanh(unit)
    torch.testing.assert_close(torch.tanh(raw - raw.mean()), unit, atol=1e-4, rtol=0)
    assert float(unit.abs().max()) <= MAX_UNIT + 1e-5
    torch.testing.assert_close(depth, depth.flip(1), atol=1e-4, rtol=0)
    # Between the nose and the point half-way to the ear, measured in the head's own size.
    step = round(0.25 * zoom * (size - 1) / 2)
    row = round((size - 1) / 2 * (1 + 0.2 * zoom))
    own, there = (len(head.depth) - 1) / 2, (size - 1) / 2
    expected = head.depth[round(own * 1.2), round(own * 1.25)] - head.depth[round(own * 1.2), round(own)]
    found = depth[row, round(there) + step] - depth[row, round(there)]
    assert float(found) == pytest.approx(zoom * float(expected), rel=0.1)
    assert float(found) > 0.01 * zoom


def test_a_head_is_written_and_read(head: MeanHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_mean_head(tmp_path / "head", head, {"heads": 3})
    again = load_mean_head(tmp_path / "head")
    torch.testing.assert_close(again.depth, head.depth)
    torch.testing.assert_close(again.albedo, head.albedo)
    (tmp_path / "bad").write_bytes(b"nothing")
    with pytest.raises(FileFormatError):
        load_mean_head(tmp_path / "bad")
    monkeypatch.setattr("lineament.checkpoints.mean_head.mean_head_path", lambda: tmp_path / "gone")
    with pytest.raises(InputError, match="install lineament again"):
        load_mean_head()
