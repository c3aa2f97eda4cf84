"""The Python front door, on tiny networks: files that belong together, edits, photographs, discovery, balance."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lineament as ln
from lineament.api.tables import Values
from lineament.checkpoints.ours import save_network
from lineament.errors import ConfigError, ImageError, InputError, MismatchError
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.part_settings import PartsConfig
from lineament.store.atlas import save_atlas
from lineament.store.pictures import read_png_text
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore::lineament.api.tables.ExtrapolationWarning")


@pytest.fixture(scope="module")
def files(
    tiny_networks: tuple[Generator, Decomposer], tiny_atlas: Atlas, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    found = {"atlas": folder / "atlas.safetensors"}
    save_atlas(found["atlas"], tiny_atlas)
    for name, network in zip(("generator", "decomposer"), tiny_networks, strict=True):
        found[name] = folder / f"{name}.safetensors"
        config: Any = network.config
        save_network(found[name], name, network, config.to_dict(), {})
    return found


@pytest.fixture
def editor(files: dict[str, Path]) -> ln.Editor:
    return ln.open(files["generator"], atlas=files["atlas"], decomposer=files["decomposer"], device="cpu")


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_what_was_opened(editor: ln.Editor) -> None:
    assert repr(editor) == "<Editor: stylegan2, 64 px, 9 semantics, 0 parts>"
    assert isinstance(editor.atlas, ln.Atlas)
    assert editor.decomposer is not None


def test_sampled_faces_are_those_of_the_seeds(editor: ln.Editor) -> None:
    faces = editor.sample([3, 5, 7])
    assert (len(faces), faces.names) == (3, ("3", "5", "7"))
    assert faces.tensor.shape == (3, 3, 64, 64)
    assert [image.size for image in faces.images] == [(64, 64)] * 3
    torch.testing.assert_close(editor.sample([5]).tensor, faces[1].tensor, rtol=1e-4, atol=1e-5)
    assert [one.names for one in faces] == [("3",), ("5",), ("7",)]
    assert faces[1:].names == ("5", "7")
    with pytest.raises(IndexError):
        faces[3]


def test_values_are_measured(editor: ln.Editor) -> None:
    faces = editor.sample(range(4))
    assert editor.decomposer is not None
    expected = editor.decomposer.measure(faces.tensor).double().numpy()
    assert list(faces.values) == list(editor.needed_atlas().names)
    for i, column in enumerate(faces.values.values()):
        np.testing.assert_allclose(column, expected[:, i], rtol=1e-4, atol=1e-4)
    assert "yaw" in repr(faces.values)


def test_changes_targets_and_holding(editor: ln.Editor) -> None:
    faces = editor.sample(range(3))
    turned = faces.edit(yaw=+2)
    assert turned.edits == ("yaw=+2",)
    atlas = editor.needed_atlas()
    moved = (turned.ws - faces.ws)[:, 0].double().numpy() @ atlas.gradients(("yaw", "pitch")).T
    np.testing.assert_allclose(moved[:, 0], moved[0, 0], rtol=1e-3)
    assert np.abs(moved[:, 1]).max() < 0.1 * np.abs(moved[:, 0]).min()
    free = faces.edit(yaw=+2, hold="none")
    assert not torch.allclose(free.ws, turned.ws)
    fixed = faces.edit({"yaw": ln.to(1.0)})
    assert len({round(float(x), 3) for x in (fixed.ws - faces.ws)[:, 0].norm(dim=1)}) == 3
    assert turned.edit(pitch=1).edits == ("yaw=+2", "pitch=+1")
    some = faces.edit(yaw=+2, layers=[0, 1])
    assert torch.equal(some.ws[:, 2:], faces.ws[:, 2:])
    assert not torch.equal(some.ws[:, :2], faces.ws[:, :2])


def test_pose_and_light_are_carried_and_add_up(editor: ln.Editor) -> None:
    faces = editor.sample(range(2))
    carried, linear = faces.edit(yaw=+3), faces.edit(yaw=+3, like="linear")
    assert torch.equal(carried.ws, linear.ws)
    assert torch.equal(linear.tensor, linear.drawn)
    assert not torch.allclose(carried.tensor, carried.drawn, atol=0.02)
    twice = faces.edit(yaw=+1).edit({"yaw": 2, "light_x": 0.1})
    assert {name: column.tolist() for name, column in twice.carried.items()} == {"yaw": [3, 3], "light_x": [0.1, 0.1]}
    assert twice.still_ws is not None
    assert torch.equal(twice.still_ws, faces.ws)
    torch.testing.assert_close(twice[1].tensor, twice.tensor[1:], atol=1e-4, rtol=0)
    assert faces.edit(yaw=+3, plain=True).still_ws is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"yaw": 1, "like": "magic"}, "like is 'magic', expected carried or linear"),
        ({}, "no edit was given"),
        ({"yawn": 1}, "did you mean 'yaw'"),
        ({"yaw": float("nan")}, "yaw is nan, expected a finite number"),
        ({"yaw": 1e308}, "yaw would change by 1e[+]308 deg, expected at most"),
        ({"light_x": ln.to(-1e9)}, "light_x would change by"),
        ({"yaw": True}, "yaw is True, expected a finite number"),
        ({"yaw": 1, "layers": [99]}, "expected some of 0 to 9"),
        ({"yaw": 1, "hold": ["nobody"]}, "no direction 'nobody'"),
    ],
)
def test_edits_that_cannot_be(editor: ln.Editor, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        editor.sample([0]).edit(**changes)


@pytest.mark.filterwarnings("error")
def test_leaving_the_range_warns(editor: ln.Editor) -> None:
    with pytest.warns(ln.ExtrapolationWarning, match="yaw leaves the range seen"):
        editor.sample([0]).edit(yaw=1000)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures(editor: ln.Editor, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"faces.{suffix}"
    editor.sample(range(3)).edit(yaw=1).save(path, columns=2, scale=2)
    with Image.open(path) as picture:
        assert picture.size == (2 * 128 + 2, 2 * 128 + 2)
    if suffix == "png":
        assert read_png_text(path)["lineament:edits"] == "yaw=+1"
    with pytest.raises(ConfigError, match="has no picture's name"):
        editor.sample([0]).save(tmp_path / "faces.txt")
    for change in ({"scale": 0}, {"scale": 10**9}, {"columns": 0}, {"columns": -1}, {"scale": 64, "columns": 1000}):
        with pytest.raises(ConfigError, match="scale"):
            editor.sample(range(50)).save(path, **change)


def test_photographs_return_themselves(editor: ln.Editor, tmp_path: Path) -> None:
    folder = tiny.image_folder(tmp_path / "in", 2, 64)
    files = sorted(folder.iterdir())
    both = editor.invert(folder, steps=2)
    assert both.names == tuple(path.name for path in files)
    one = editor.invert(files[0], steps=2)
    with Image.open(files[0]) as picture:
        pixels = np.array(picture.convert("RGB"))
        again = editor.invert([picture, pixels], steps=2)
    assert again.names == ("0", "1")
    for faces in (both[0], one, again[0], again[1]):
        np.testing.assert_allclose(np.array(faces.images[0]), pixels, atol=1)
    assert not np.array_equal(np.array(one.edit(yaw=2).images[0]), pixels)


def test_pictures_that_cannot_be_inverted(editor: ln.Editor, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"broken\.png"):
        editor.invert(tmp_path / "broken.png")
    with pytest.raises(InputError, match="does not exist"):
        editor.invert(tmp_path / "no.png")
    with pytest.raises(ImageError, match="expected bytes of shape"):
        editor.invert(np.zeros((4, 4)))
    with pytest.raises(ImageError, match="no picture"):
        editor.invert([])


def test_files_that_do_not_belong_together(files: dict[str, Path], tmp_path: Path) -> None:
    other = tiny.generator(tiny.GENERATOR64, seed=5)
    save_network(tmp_path / "g.safetensors", "generator", other, other.config.to_dict(), {})
    with pytest.raises(MismatchError, match="made for generator"):
        ln.open(tmp_path / "g.safetensors", atlas=files["atlas"], device="cpu")
    reader = tiny.decomposer(gain=3.0)
    save_network(tmp_path / "d.safetensors", "decomposer", reader, reader.config.to_dict(), {})
    with pytest.raises(MismatchError, match="decomposer"):
        ln.open(files["generator"], atlas=files["atlas"], decomposer=tmp_path / "d.safetensors", device="cpu")
    with pytest.raises(InputError):
        ln.open(tmp_path / "no.safetensors", device="cpu")


def test_a_generator_without_an_atlas_can_be_sampled(files: dict[str, Path]) -> None:
    editor = ln.open(files["generator"], device="cpu")
    faces = editor.sample([0])
    assert faces.tensor.shape == (1, 3, 64, 64)
    with pytest.raises(ConfigError, match=r"lineament\.discover"):
        faces.edit(yaw=1)
    for seeds, truncation in (([-1], None), ([], None), ([0], 0.0), ([0], 2.0)):
        with pytest.raises(ConfigError):
            editor.sample(seeds, truncation=truncation)


@pytest.mark.parametrize("seeds", [[2**63], [2**64 - 1], range(10**12)])
def test_seeds_that_would_be_other_faces_or_too_many_are_refused(files: dict[str, Path], seeds: Any) -> None:
    editor = ln.open(files["generator"], device="cpu")
    with pytest.raises(ConfigError, match="seed"):
        editor.sample(seeds)
    with pytest.raises(ConfigError, match="run_seed is -1"):
        editor.sample([0], run_seed=-1)


def test_discovery_in_memory(
    files: dict[str, Path],
    tiny_networks: tuple[Generator, Decomposer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports: list[ln.ProgressReport] = []
    wanted = {"samples": 60, "held_out": 20, "calibration_faces": 2, "device": "cpu", "parts": False, "steady": 0.0}
    with caplog.at_level(logging.INFO, logger="lineament"):
        atlas = ln.discover(files["generator"], files["decomposer"], **wanted, on_progress=reports.append)
    assert {report.description for report in reports} == {"sampling faces", "calibrating steps"}
    assert reports[-1].completed == reports[-1].total
    names = [direction.name for direction in atlas]
    assert (len(atlas), names[0]) == (len(names), "yaw")
    assert atlas["yaw"].unit == "deg"
    assert "yaw" in atlas
    assert "yew" not in atlas
    with pytest.raises(KeyError, match="did you mean 'yaw'"):
        atlas["yew"]
    atlas.save(tmp_path / "a.safetensors")
    again = ln.load_atlas(tmp_path / "a.safetensors")
    assert isinstance(again, ln.Atlas)
    np.testing.assert_array_equal(again["yaw"].step, atlas["yaw"].step)
    assert ln.open(tiny_networks[0], atlas=atlas, device="cpu").sample([0]).edit(yaw=0.1).tensor.isfinite().all()
    with pytest.raises(ConfigError, match="belong together"):
        ln.discover(files["generator"])
    with pytest.raises(ConfigError, match="expected more than 17"):
        ln.discover(*tiny_networks, samples=17, device="cpu")
    with pytest.raises(ConfigError, match="do not determine"):
        ln.discover(*tiny_networks, samples=60, parts=PartsConfig(samples=4), device="cpu")


def test_balance_is_planned_with_the_settings_of_the_command(tmp_path: Path) -> None:
    folder = tiny.image_folder(tmp_path / "in", 2, 64)
    with pytest.raises(ConfigError, match="no setting 'cuont'"):
        ln.balance(folder, cuont=3)
    with pytest.raises(ConfigError, match="a range for each"):
        ln.balance(folder, {"yaw": (-1, 1), "pitch": None})
    with pytest.raises(ConfigError, match="range is"):
        ln.balance(folder, {"yaw": (1, -1)})
    plan = ln.balance(folder, {"yaw": (-20, 20), "light_x": (-1, 1)}, bins=3, count=5)
    config = plan.config
    assert (config.semantics, config.range, config.bins, config.count) == ("yaw,light_x", "-20:20,-1:1", "3", 5)


def test_values_are_a_table() -> None:
    table = Values({"yaw": np.array([1.0, -2.0])}, {"yaw": "deg"}, ("0", "1"))
    assert list(table) == ["yaw"]
    assert dict(table)["yaw"].tolist() == [1, -2]
    assert [line.split() for line in repr(table).splitlines()] == [["yaw"], ["[deg]"], ["0", "1.00"], ["1", "−2.00"]]


def test_a_plan_is_shown_and_carried_out(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for face in ln.open(device="cpu").sample(range(12)):
        face.save(folder / f"{face.names[0]}.png")
    options: dict[str, Any] = {"source": "samples", "min_face": 0.0, "max_variation": 0.9, "count": 14}
    plan = ln.balance(folder, {"yaw": (-20, 20)}, bins=2, device="cpu", **options)
    assert "12 originals" in plan.show()
    assert str(plan) == plan.show()
    assert not (tmp_path / "out").exists()
    reports: list[ln.ProgressReport] = []
    summary = plan.run(tmp_path / "out", on_progress=reports.append)
    assert summary is not None
    assert summary.originals == 12
    assert summary.generated <= 2
    assert (tmp_path / "out" / "report.html").exists()
    assert any(report.description == "making images" for report in reports)
