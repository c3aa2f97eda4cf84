"""Whether a decomposer contradicts itself: decomposers that are known to, or not to."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.directions.steps import calibrated_step
from lineament.errors import ConfigError, ImageError, MismatchError
from lineament.networks.decomposer import Decomposer
from lineament.ops.pixels import to_tensor
from lineament.recipes.evaluate import consistency as module
from lineament.recipes.evaluate.consistency import (
    ConsistencyRow,
    between_faces,
    change,
    draw_photographs,
    edit_scores,
    look_at,
    mirror_scores,
    relative_change,
    rendered_at,
    rendered_scores,
    run,
)
from lineament.records.decomposition import Decomposition
from lineament.settings.evaluate_consistency import EvaluateConsistencyConfig
from lineament.store.atlas import load_atlas, save_atlas
from tests import tiny


class Told(Decomposer):
    """A decomposer of which some parts are made by plain functions of the image."""

    def __init__(self, **parts: Callable[[Tensor], Tensor]) -> None:
        super().__init__(tiny.DECOMPOSER)
        self.eval().requires_grad_(False)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, image: Tensor) -> Decomposition:
        return Decomposition(self.depth(image), self.albedo(image), self.view(image), self.light(image))


def same(image: Tensor) -> Tensor:
    return image


def without_brightness(image: Tensor) -> Tensor:
    return image - image.mean(dim=(1, 2, 3), keepdim=True)


def as_depth(image: Tensor) -> Tensor:
    return 1 + image.mean(dim=1) / 20


def blobs(num: int) -> Tensor:
    return to_tensor(tiny.images(num, 64)) / 2


def measured(rows: list[ConsistencyRow], *words: str) -> float:
    (row,) = (row for row in rows if all(word in row.what for word in words))
    assert row.measured is not None
    return row.measured.value


# ---- relighting and turning ----


@pytest.fixture
def edited_blobs(tiny_atlas, tiny_networks, monkeypatch: pytest.MonkeyPatch):
    """A world in which relighting makes the whole image brighter, and turning makes a face its pair's other one."""
    images, asked, coming = blobs(6), [], []

    def step_of(atlas, changes):
        coming.extend(changes.items())
        return calibrated_step(atlas, changes)

    def synthesize(generator, w, step, shown_to) -> Tensor:
        name, amount = coming.pop(0)
        asked.append((name, step))
        return images.roll(3, dims=0) if name == "yaw" else images + 0.2 * math.copysign(1, amount)

    monkeypatch.setattr(module, "synthesize_edited", synthesize)
    monkeypatch.setattr(module, "calibrated_step", step_of)

    def score(decomposer: Decomposer) -> list[ConsistencyRow]:
        return edit_scores(tiny_atlas, tiny_networks[0], decomposer, torch.zeros(6, 16), look_at(decomposer, images))

    return score, asked


def test_an_albedo_that_is_the_image_follows_all_of_the_light(edited_blobs) -> None:
    rows = edited_blobs[0](Told(albedo=same))
    assert measured(rows, "light_x") == pytest.approx(1)
    assert measured(rows, "light_y") == pytest.approx(1)
    assert measured(rows, "two different faces:") == pytest.approx(1)
    assert [row.at_most for row in rows if "light" in row.what] == [pytest.approx(1 / 3)] * 2


def test_an_albedo_that_ignores_the_light_stays(edited_blobs) -> None:
    rows = edited_blobs[0](Told(albedo=without_brightness))
    assert measured(rows, "light_x") == pytest.approx(0, abs=1e-5)
    assert measured(rows, "two different faces:") > 0.3


def test_an_albedo_that_takes_a_quarter_of_the_light(edited_blobs) -> None:
    rows = edited_blobs[0](Told(albedo=lambda image: image / 4))
    assert measured(rows, "light_y") == pytest.approx(0.25, rel=1e-4)


def test_a_face_that_turns_into_another_has_changed_by_one(edited_blobs) -> None:
    rows = edited_blobs[0](Told(albedo=same, depth=as_depth))
    for name in ("depth", "albedo"):
        assert measured(rows, "yaw edit ±15°", name) == pytest.approx(1)
    steady = edited_blobs[0](Told(albedo=same, depth=lambda image: as_depth(image).sort(dim=0).values))
    assert measured(steady, "yaw edit ±15°", "depth") == pytest.approx(0, abs=1e-6)


def test_what_is_asked_of_the_atlas(edited_blobs, tiny_atlas) -> None:
    score, asked = edited_blobs
    score(Told(albedo=same))
    wanted = [(name, s * 1.5 * tiny_atlas.direction(name).std) for name in ("light_x", "light_y") for s in (-1, 1)]
    wanted += [("yaw", -15.0), ("yaw", 15.0)]
    assert [name for name, _ in asked] == [name for name, _ in wanted]
    for (_, step), (name, size) in zip(asked, wanted, strict=True):
        np.testing.assert_allclose(step, calibrated_step(tiny_atlas, {name: size}))


def test_an_atlas_without_light_or_yaw_leaves_rows_out(tiny_atlas, tiny_networks) -> None:
    poor = replace(tiny_atlas, directions=(tiny_atlas.direction("pitch"),))
    faces = look_at(tiny_networks[1], blobs(4))
    rows = edit_scores(poor, *tiny_networks, torch.zeros(4, 16), faces)
    assert [row.what for row in rows] == ["two different faces: difference of albedo / difference of image"]


# ---- comparing with other faces ----


def test_pairs_share_no_face_and_give_value_and_error() -> None:
    maps = torch.tensor([0.0, 0.0, 0.0, 2.0, 4.0, 6.0])[:, None].expand(6, 5)
    np.testing.assert_allclose(between_faces(maps), [2, 4, 6])
    found = relative_change(torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0, 5.0], dtype=torch.float64), maps)
    # Means of the pairs 1, 2, 3 over 2, 4, 6: exactly half in every pair, so without error.
    assert found.value == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    found = relative_change(torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 9.0], dtype=torch.float64), maps)
    # Means 1, 2, 6 over 2, 4, 6: 0.75, rest (-0.5, -1, 1.5) / 4, std sqrt(1.75) / 4, over sqrt(3).
    assert found.value == pytest.approx(0.75)
    assert found.standard_error == pytest.approx(math.sqrt(1.75) / 4 / math.sqrt(3))


def test_an_odd_face_is_in_no_pair() -> None:
    maps = torch.tensor([0.0, 0.0, 1.0, 3.0, 99.0])[:, None]
    np.testing.assert_allclose(between_faces(maps), [1, 3])
    changes = torch.tensor([1.0, 1.0, 1.0, 1.0, 99.0], dtype=torch.float64)
    assert relative_change(changes, maps).value == pytest.approx(0.5)


def test_change_is_by_face_and_the_border_of_the_depth_is_left_out(tiny_networks) -> None:
    faces = look_at(tiny_networks[1], blobs(5))
    assert faces.depth.shape == (5, 64, 60)
    np.testing.assert_allclose(change(faces.images, faces.images + torch.arange(5)[:, None, None, None]), range(5))


# ---- mirroring ----


def test_an_equivariant_network_is_mirrored_exactly() -> None:
    rows = mirror_scores(tiny.decomposer(gain=20), look_at(tiny.decomposer(gain=20), blobs(8)))
    for name in ("yaw", "roll", "light_x"):
        assert measured(rows, "correlation", f" {name} ") == pytest.approx(-1, abs=1e-5)
    assert {row.at_most for row in rows} == {-0.98, None}


def test_a_network_that_does_not_see_the_mirroring_is_caught() -> None:
    def view(image: Tensor) -> Tensor:
        left, right = image[:, 0, :, :32].mean(dim=(1, 2)), image[:, 0, :, 32:].mean(dim=(1, 2))
        zero = torch.zeros_like(left)
        return torch.stack([zero, left + right, left - right, zero, zero, zero], dim=1)

    decomposer = Told(view=view)
    rows = mirror_scores(decomposer, look_at(decomposer, blobs(8)))
    assert measured(rows, "correlation of yaw") == pytest.approx(1)
    assert measured(rows, "correlation of roll") == pytest.approx(-1)
    fixed = Told(view=lambda image: torch.zeros(len(image), 6))
    assert mirror_scores(fixed, look_at(fixed, blobs(8)))[0].measured is None


def test_the_mirrored_face_is_the_face_mirrored() -> None:
    ramp = torch.linspace(-0.1, 0.1, 64)
    honest, leaning = Told(albedo=same, depth=as_depth), Told(albedo=lambda image: image + ramp, depth=as_depth)
    rows = mirror_scores(honest, look_at(honest, blobs(8)))
    assert measured(rows, "albedo") == pytest.approx(0, abs=1e-6)
    assert measured(rows, "depth") == pytest.approx(0, abs=1e-6)
    images = blobs(8)
    found = measured(mirror_scores(leaning, look_at(leaning, images)), "albedo")
    assert found == pytest.approx(float(2 * ramp.abs().mean() / between_faces(images).mean()), rel=1e-4)


# ---- rendering again ----

HALF_DEPTH = 0.05
"""How far the plane with the spot stands before the centre of rotation."""


def spots(strengths: Tensor) -> Tensor:
    """A disk in the middle of the image, of these strengths."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    return (x**2 + y**2 < 36).float() * (strengths[:, None, None, None] + 1).expand(-1, 3, 1, 1) - 1


def spot_yaw(image: Tensor) -> Tensor:
    """The yaw from where the spot is seen: at x' = -0.05 sin(yaw), z' = 1 - 0.05 cos(yaw) (docs/conventions.md)."""
    bright = image[:, 0] > (image[:, 0].amax(dim=(1, 2), keepdim=True) - 1) / 2
    weight = bright.float().sum(dim=1)
    seen = (weight * (torch.arange(64) - 31.5)).sum(dim=1) / weight.sum(dim=1)
    angles = torch.linspace(-60, 60, 2401).deg2rad()
    focal = 31.5 / math.tan(math.radians(5))
    places = -focal * HALF_DEPTH * angles.sin() / (1 - HALF_DEPTH * angles.cos())
    return angles[(seen[:, None] - places).abs().argmin(dim=1)]


def spot_decomposer(sign: float = 1.0, albedo: Callable[[Tensor], Tensor] | None = None) -> Told:
    def view(image: Tensor) -> Tensor:
        return torch.nn.functional.pad(sign * spot_yaw(image)[:, None], (1, 4))

    return Told(
        depth=lambda image: torch.full((len(image), 64, 64), 1 - HALF_DEPTH),
        albedo=albedo or (lambda image: spots(image.amax(dim=(1, 2, 3)))),
        view=view,
        light=lambda image: torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(len(image), 4),
    )


def test_a_face_rendered_again_is_turned_as_asked_and_stays() -> None:
    images = spots(torch.linspace(-0.5, 0.9, 6))
    decomposer = spot_decomposer()
    rows = rendered_scores(decomposer, look_at(decomposer, images))
    assert measured(rows, "error of the yaw") < 1.5
    assert measured(rows, "albedo") < 0.02


def test_a_face_taken_for_one_that_turns_the_other_way_is_caught() -> None:
    decomposer = spot_decomposer(-1.0)
    rows = rendered_scores(decomposer, look_at(decomposer, spots(torch.linspace(-0.5, 0.9, 6))))
    assert measured(rows, "error of the yaw") == pytest.approx(60, abs=1.5)


def test_an_albedo_that_turns_with_the_view_is_not_the_same_face() -> None:
    decomposer = spot_decomposer(albedo=same)
    rows = rendered_scores(decomposer, look_at(decomposer, spots(torch.linspace(-0.5, 0.9, 6))))
    assert measured(rows, "albedo") > 1


def test_where_there_is_no_surface_nothing_of_the_face_is_repeated() -> None:
    decomposer = spot_decomposer()
    image = rendered_at(decomposer, look_at(decomposer, spots(torch.tensor([0.9]))).parts, 30.0)
    bright = (image[0, 0] > 0).any(dim=0).nonzero().squeeze(1)
    assert bright.min() >= 15  # one spot, about 9 px left of the middle, and no second one at the right border
    assert bright.max() <= 30
    assert -1 < float(image[0, 0, 0, -1]) < -0.9  # the mean colour of a black plane with a small bright spot


# ---- photographs, and all together ----


def test_photographs_are_drawn_at_random_and_unusable_ones_replaced(tmp_path: Path, capsys) -> None:
    folder = tiny.image_folder(tmp_path / "photographs", 12)
    (folder / "000.png").write_bytes(b"no image")
    everything = draw_photographs(folder, 32, 100, 0)
    assert everything.shape == (11, 3, 32, 32)
    assert "000.png" in capsys.readouterr().err
    some = draw_photographs(folder, 32, 5, 0)
    torch.testing.assert_close(some, everything[:5])
    assert not torch.equal(some, draw_photographs(folder, 32, 5, 1))
    assert len({image.numpy().tobytes() for image in everything}) == 11


def test_too_few_photographs(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="3 usable image"):
        draw_photographs(tiny.image_folder(tmp_path / "few", 3), 32, 10, 0)


def test_generated_faces_end_to_end(tiny_files: Path, tmp_path: Path) -> None:
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    report = run(EvaluateConsistencyConfig(**files, out=tmp_path / "scores.json", faces=5, seed=99))
    assert (report.edited, report.faces, len(report.rows)) == (5, 5, 12)
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert written["rows"][0]["measured"]["value"] == pytest.approx(report.rows[0].measured.value)
    assert written["rows"][0]["measured"]["standard_error"] > 0
    table, line = report.renderables()
    assert table.row_count == 12
    assert "5 generated faces" in line


def test_photographs_alone_need_no_generator(tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.image_folder(tmp_path / "photographs", 6)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(module, "open_generator", None)
        report = run(EvaluateConsistencyConfig(decomposer=tiny_files / "decomposer.safetensors", images=folder))
    assert (report.edited, report.faces, report.source, len(report.rows)) == (0, 6, "photographs", 7)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before  # nothing is written beside them
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    both = run(EvaluateConsistencyConfig(**files, images=folder, faces=4, seed=99))
    assert (both.edited, both.faces, len(both.rows)) == (4, 4, 12)


def test_wrong_inputs(tiny_files: Path, tiny_atlas, tmp_path: Path) -> None:
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    with pytest.raises(ConfigError, match="made the atlas; choose another"):
        run(EvaluateConsistencyConfig(**files, seed=load_atlas(files["atlas"]).seed))
    save_atlas(tmp_path / "other.safetensors", replace(tiny_atlas, generator_fingerprint="0" * 64))
    with pytest.raises(MismatchError):
        run(EvaluateConsistencyConfig(**{**files, "atlas": tmp_path / "other.safetensors"}, seed=99))
    with pytest.raises(ConfigError, match="faces is 3, expected at least 4"):
        EvaluateConsistencyConfig(faces=3)
    with pytest.raises(ConfigError, match="add its --atlas"):
        EvaluateConsistencyConfig(generator=Path("g"), images=Path("i"))


def test_the_table_marks_what_has_no_number() -> None:
    report = module.ConsistencyReport(0, 4, "x", (ConsistencyRow("nothing", None),))
    assert list(report.renderables()[0].columns[1].cells) == ["–"]
