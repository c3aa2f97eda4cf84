"""Pictures of decompositions, and where the shipped networks are."""

import importlib
import math
import tomllib
from pathlib import Path
from typing import get_args

import lineament_faces
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import lineament
from lineament.checkpoints import shipped
from lineament.checkpoints.growth import atlas_for, check_encoder_matches
from lineament.checkpoints.ours import load_decomposer, load_encoder, load_generator, network_fingerprint
from lineament.errors import InputError
from lineament.ops.render import render
from lineament.ops.resample import shrink, upsample_fir
from lineament.ops.shapes import distance_in_oval, ellipsoid_depth
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.reports.figures import (
    MOVE_BACK,
    ROW_NAMES,
    decomposition_pictures,
    decomposition_rows,
    grey,
    in_oval,
    labelled_rows,
    light_of_upright,
    relief,
    relit,
    seen,
    turned,
)
from lineament.store.atlas import load_atlas
from tests import tiny


def smooth_face(yaw_deg: float = 0.0) -> Decomposition:
    """An ellipsoid with soft stripes, turned and lit from the left."""
    stripes = torch.sin(torch.linspace(0, 12, 64))
    albedo = torch.stack([0.3 * stripes.expand(64, 64), 0.3 * stripes[:, None].expand(64, 64), torch.zeros(64, 64)])
    view = torch.tensor([[0.0, math.radians(yaw_deg), 0.0, 0.0, 0.0, 0.0]])
    light = torch.tensor([[0.5, 0.4, 0.5, 0.0]])
    return Decomposition(ellipsoid_depth(64, near=0.95, far=1.0)[None], albedo[None], view, light)


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
    assert upright[:, [0, 2, 3, 4]].abs().max() < 1e-6
    assert upright[:, 5].tolist() == pytest.approx([MOVE_BACK] * 2)


def test_light_of_the_upright_face_is_what_the_decomposer_would_measure() -> None:
    network = tiny.decomposer()
    network.tilt.fill_(0.3)
    light = torch.tensor([[0.4, 0.5, 0.7, -0.2], [0.6, 0.3, -1.0, 0.5]])
    canonical = light_of_upright(light, network)
    assert (canonical[:, 3] - light[:, 3]).abs().min() > 0.1
    assert torch.allclose(network.upright(torch.zeros(2, 6), canonical)[1], light, atol=1e-6)


def test_relit_faces_are_bright_on_the_side_of_the_light() -> None:
    parts = smooth_face()
    for light_x, sign in ((1.0, 1), (-1.0, -1)):
        changed = relit(parts, light_x, tiny.decomposer())
        picture = seen(changed, Camera(), 64)[0, 2]
        assert sign * float(picture[20:44, 12:24].mean() - picture[20:44, 40:52].mean()) > 0.2
        assert changed.view is parts.view


def test_relief_is_lit_from_above_left() -> None:
    depth = ellipsoid_depth(64, near=0.95, far=1.0)[None]
    cast = relief(depth, tiny.decomposer())[0, 0]
    assert cast[20, 20] > cast[44, 44]
    assert cast[20, 20] > cast[20, 44] > cast[44, 44]


def test_shipped_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no faces64/nothing\.safetensors; install lineament-faces again"):
        shipped.shipped_path("nothing.safetensors", "faces128")
    with pytest.raises(InputError, match=r"has no renders64/nothing\.safetensors; install lineament again"):
        shipped.shipped_path("nothing.safetensors", "renders64")
    file = tmp_path / "weights" / shipped.PAIR / "generator.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert shipped.shipped_path("generator.safetensors") == file


def test_the_package_alone_holds_what_is_free_and_names_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {path.name for path in shipped.shipped_path("MODEL_CARD.md", "renders64").parents[1].iterdir()}
    assert own - {"mean_head.safetensors"} == set(shipped.OWN_PAIRS)
    assert shipped.PAIR == "faces64"  # as lineament-faces is installed here
    root = Path(__file__).parents[2]
    ours, theirs = (
        tomllib.loads((root / f / "pyproject.toml").read_text())["project"] for f in (".", "lineament-faces")
    )
    assert ours["license"] == "Apache-2.0"
    assert theirs["license"].startswith("LicenseRef-")
    assert "non-commercial research only" in (root / "lineament-faces" / theirs["license-files"][0]).read_text()
    assert lineament_faces.__version__ == lineament.__version__
    assert (Path(str(lineament_faces.weights())) / "faces64" / "MODEL_CARD.md").is_file()
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"faces128 .*pip install lineament-faces, or choose --pair renders64"):
        shipped.shipped_path("generator.safetensors", "faces128")
    assert shipped.shipped_path("generator.safetensors", "renders64").is_file()
    try:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert importlib.reload(shipped).PAIR == "renders64"
    finally:
        monkeypatch.undo()
        importlib.reload(shipped)


@pytest.mark.parametrize("pair", get_args(shipped.Pair))
def test_a_shipped_pair_belongs_together(pair: shipped.Pair) -> None:
    generator = load_generator(shipped.shipped_path("generator.safetensors", pair))
    atlas = atlas_for(load_atlas(shipped.shipped_path("atlas.safetensors", pair)), generator)
    assert generator.config.resolution == int(pair.removeprefix("faces").removeprefix("renders"))
    encoder = load_encoder(shipped.shipped_path("encoder.safetensors", pair))
    check_encoder_matches(encoder, generator)
    decomposer = load_decomposer(shipped.shipped_path("decomposer.safetensors", pair))
    assert atlas.generator_fingerprint == network_fingerprint(generator)
    assert atlas.decomposer_fingerprint == network_fingerprint(decomposer)
    assert atlas.names == SEMANTIC_NAMES
    assert atlas.local is not None
    assert sum(part.stable for part in atlas.local.parts) >= 10
    names = ("generator", "discriminator", "features", "decomposer")
    folder = shipped.shipped_path("MODEL_CARD.md", pair).parent
    files = [path for name in names if (path := folder / f"{name}.safetensors").exists()]
    assert sum(path.stat().st_size for path in files) < 10e6


def test_the_finer_pair_draws_the_same_faces() -> None:
    small, large = (load_generator(shipped.shipped_path("generator.safetensors", p)) for p in ("faces64", "faces128"))
    z = torch.randn(16, small.config.z_dim, generator=torch.Generator().manual_seed(0))
    coarse, fine = small(z, 0.8), large(z, 0.8)
    assert fine.shape == (16, 3, 128, 128)
    assert float((shrink(fine, 64) - coarse).abs().mean()) < 0.03

    def finest(images: torch.Tensor) -> float:
        """Power of the waves of less than 8 / 3 pixels, which interpolation cannot make."""
        frequency = torch.fft.fftfreq(128).abs()
        waves = torch.maximum(frequency[:, None], frequency[:65]) >= 3 / 8
        return float(torch.fft.rfft2(images).abs().square()[..., waves].sum())

    assert finest(fine) > 2 * finest(upsample_fir(coarse))


def test_viewpoints_are_named_by_the_side_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # A face's own left cheek is on the image's right; here it is red and the other blue.
    albedo = torch.full((1, 3, 64, 64), -1.0)
    albedo[:, 0, :, 32:] = 1.0
    albedo[:, 2, :, :32] = 1.0
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    parts = Decomposition(ellipsoid_depth(64, near=0.93, far=1.0)[None], albedo, torch.zeros(1, 6), light)
    decomposer = tiny.decomposer()
    monkeypatch.setattr(decomposer, "forward", lambda images: parts)
    pictures = dict(zip(ROW_NAMES, decomposition_pictures(decomposer, torch.zeros(1, 3, 64, 64)), strict=True))

    def red_share(name: str) -> float:
        red, blue = pictures[name][0, 0] > 0, pictures[name][0, 2] > 0
        return float((red & ~blue).sum() / (red ^ blue).sum())

    assert red_share("from its left") > 0.55 > 0.45 > red_share("from its right")


def test_seen_shows_what_render_does_and_white_outside_of_the_oval() -> None:
    parts, camera = smooth_face(yaw_deg=12), Camera()
    reference = render(parts, camera)
    picture = seen(parts, camera, 64)
    distance = distance_in_oval(reference.grid)
    inside = torch.logical_and(reference.recon_mask, distance < 0.9)
    assert inside.float().mean() > 0.4
    difference = (picture - reference.recon_image).abs().amax(dim=1)
    assert difference[inside].max() < 0.05
    assert (picture[:, :, (0, 0, -1, -1), (0, -1, 0, -1)] == 1).all()


def test_seen_is_the_same_picture_at_any_size() -> None:
    parts, camera = smooth_face(yaw_deg=-20), Camera()
    halved = F.avg_pool2d(seen(parts, camera, 128), 2)
    assert (halved - seen(parts, camera, 64)).abs().mean() < 0.01


def test_walls_beside_the_face_hide_nothing() -> None:
    camera, plain = Camera(), smooth_face(yaw_deg=40)
    depth = plain.canon_depth.clone()
    depth[:, :, :3] = depth[:, :, -3:] = 0.8
    walled = Decomposition(depth, plain.canon_albedo, plain.view, plain.light)
    assert not torch.allclose(render(walled, camera).recon_image, render(plain, camera).recon_image, atol=0.05)
    assert torch.allclose(seen(walled, camera, 64), seen(plain, camera, 64), atol=1e-5)


def test_in_oval_cuts_the_corners_and_the_border() -> None:
    cut = in_oval(torch.full((2, 3, 64, 64), -1.0), 96)
    assert cut.shape == (2, 3, 96, 96)
    assert cut[:, :, 30:66, 30:66].max() < -0.999
    assert (cut[:, :, :, :6] == 1).all()
    assert (cut[:, :, :12, :12] == 1).all()
    assert torch.allclose(cut, cut.flip(3), atol=1e-5)


def test_labelled_rows_put_names_beside_and_above() -> None:
    colours = np.arange(1, 7, dtype=np.uint8) * 40
    pictures = np.broadcast_to(colours[:, None, None, None], (6, 64, 64, 3)).copy()
    picture = labelled_rows(pictures, ["a", "bb", "c"], ["x", "y"])
    assert (picture[-2:] == 255).all()
    # From the right, the pictures lie where `tile` puts them, behind a margin of two gaps of 3 px.
    top = picture.shape[0] - 6 - 3 * 67 + 3
    left = picture.shape[1] - 6 - 2 * 67 + 3
    for i, colour in enumerate(colours):
        y, x = top + (i // 2) * 67, left + (i % 2) * 67
        assert (picture[y : y + 64, x : x + 64] == colour).all()
    names, headings = picture[top:, :left], picture[:top, left:]
    assert [bool((names[67 * i : 67 * i + 64] < 128).any()) for i in range(3)] == [True] * 3
    assert [bool((headings[:, 67 * i : 67 * i + 64] < 200).any()) for i in range(2)] == [True] * 2


def test_labels_widen_the_picture_at_the_left_and_are_cut_above() -> None:
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    short = labelled_rows(pictures, ["a"], ["x", ""])
    assert labelled_rows(pictures, ["a long name"], ["x", ""]).shape[1] > short.shape[1]
    crowded = labelled_rows(pictures, ["a"], ["a very long name of a file.png", ""])
    assert crowded.shape == short.shape
    assert (crowded[:16, -6 - 64 :] == 255).all()
