"""Our directions to other tools and back, theirs to us: the edits are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.directions.exchange import found_of_atlas
from lineament.directions.steps import calibrated_step, linear_step
from lineament.errors import ConfigError, InputError, ShapeError, StorageError
from lineament.recipes.export_directions import run as write
from lineament.recipes.import_directions import run as read
from lineament.records.atlas import Atlas
from lineament.settings.export_directions import ExportDirectionsConfig
from lineament.settings.import_directions import ImportDirectionsConfig
from lineament.store.atlas import load_atlas, save_atlas
from tests.made_up import with_parts


def take(tiny_files: Path, out: Path, *paths: Path) -> Atlas:
    """The atlas of what is read."""
    config = ImportDirectionsConfig(paths, out, tiny_files / "generator.safetensors", samples=50)
    return load_atlas(read(config).path)


def give(tiny_files: Path, out: Path, **settings: object) -> tuple[Path, ...]:
    config = ExportDirectionsConfig(out=out, atlas=tiny_files / "atlas.safetensors", **settings)  # pyright: ignore
    return write(config).paths


def test_an_exported_step_is_the_edit_of_one_standard_deviation(
    tmp_path: Path, tiny_files: Path, tiny_atlas: Atlas
) -> None:
    std = tiny_atlas.direction("yaw").std
    (path,) = give(tiny_files, tmp_path / "t", to="e4e", names=("yaw",), amount=std)
    assert path.name == "yaw.pt"
    theirs = torch.load(path, weights_only=True)
    np.testing.assert_allclose(theirs.numpy(), calibrated_step(tiny_atlas, {"yaw": std}), rtol=1e-5)


@pytest.mark.parametrize("tool", ["e4e", "ganspace"])
def test_what_leaves_comes_back(tmp_path: Path, tiny_files: Path, tiny_atlas: Atlas, tool: str) -> None:
    paths = give(tiny_files, tmp_path / "t", to=tool, amount=2.0)
    atlas = take(tiny_files, tmp_path / "a.safetensors", *paths)
    ours = found_of_atlas(tiny_atlas)
    names = ours.names if tool == "e4e" else tuple(f"components {i}" for i in range(len(ours.names)))
    assert atlas.names == names
    for name, step in zip(names, ours.steps, strict=True):
        np.testing.assert_allclose(linear_step(atlas, {name: 0.5})[0], step[0], rtol=1e-5)


def test_normals_leave_and_come_back_without_their_length(tmp_path: Path, tiny_files: Path, tiny_atlas: Atlas) -> None:
    result = write(
        ExportDirectionsConfig("interfacegan", tmp_path / "t", tiny_files / "atlas.safetensors", names=("yaw", "pitch"))
    )
    assert [path.name for path in result.paths] == ["yaw_w_boundary.npy", "pitch_w_boundary.npy"]
    atlas = take(tiny_files, tmp_path / "a.safetensors", *result.paths)
    length = np.linalg.norm(result.found.steps[0, 0])
    plain = linear_step(atlas, {"yaw_w_boundary": float(length)})
    np.testing.assert_allclose(plain[0], found_of_atlas(tiny_atlas, ["yaw"]).steps[0, 0], rtol=1e-5)
    assert any("yaw" in str(cell) for cell in result.renderables()[0].columns[0].cells)  # pyright: ignore


def test_parts_go_to_tools_of_w_plus_alone(
    tmp_path: Path, tiny_files: Path, tiny_atlas: Atlas, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas = with_parts(tiny_atlas)
    save_atlas(tmp_path / "parts.safetensors", atlas)

    def give_parts(**settings: object) -> tuple[Path, ...]:
        return write(ExportDirectionsConfig(atlas=tmp_path / "parts.safetensors", **settings)).paths  # pyright: ignore

    part = next(p.direction for p in atlas.local.parts if p.direction.layers is not None)  # pyright: ignore
    (path,) = give_parts(to="e4e", out=tmp_path / "e", names=(part.name,))
    theirs = torch.load(path, weights_only=True)[0].numpy()
    assert theirs.shape == (atlas.num_layers, atlas.w_dim)
    assert tuple(np.flatnonzero(theirs.any(axis=1))) == part.layers
    back = take(tiny_files, tmp_path / "b.safetensors", path)
    assert back.direction(part.name.replace(" ", "_")).layers == part.layers
    np.testing.assert_allclose(linear_step(back, {back.names[0]: 1.0}), theirs, rtol=1e-5)
    paths = give_parts(to="interfacegan", out=tmp_path / "i")
    assert len(paths) == len(atlas.names)
    assert "and are left out" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(ShapeError, match="moves layers differently"):
        give_parts(to="interfacegan", out=tmp_path / "i", names=(part.name,))


def test_directions_of_w_plus_come_in(tmp_path: Path, tiny_files: Path) -> None:
    theirs = np.random.default_rng(0).normal(size=(1, 10, 16)).astype(np.float32)
    torch.save(torch.from_numpy(theirs), tmp_path / "age.pt")
    atlas = take(tiny_files, tmp_path / "a.safetensors", tmp_path / "age.pt")
    np.testing.assert_array_equal(linear_step(atlas, {"age": 1.0}), theirs[0])


def test_bad_input(tmp_path: Path, tiny_files: Path) -> None:
    np.save(tmp_path / "smile.npy", np.ones((1, 512)))
    with pytest.raises(ShapeError, match="width 512, but the generator's w has 16"):
        take(tiny_files, tmp_path / "a.safetensors", tmp_path / "smile.npy")
    (tmp_path / "more").mkdir()
    for folder in (tmp_path, tmp_path / "more"):
        np.save(folder / "age.npy", np.ones((1, 16)))
    with pytest.raises(ConfigError, match="two files give the direction 'age'"):
        take(tiny_files, tmp_path / "a.safetensors", tmp_path / "age.npy", tmp_path / "more" / "age.npy")
    with pytest.raises(ConfigError, match="no file of directions"):
        ImportDirectionsConfig((), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="create it or choose another"):
        ImportDirectionsConfig((tmp_path / "age.npy",), tmp_path / "none" / "a.safetensors")
    with pytest.raises(ConfigError, match=r"no direction 'yaws'.*did you mean 'yaw'"):
        give(tiny_files, tmp_path / "t", to="e4e", names=("yaws",))
    with pytest.raises(ConfigError, match="amount is 0"):
        ExportDirectionsConfig("e4e", tmp_path, amount=0.0)
    with pytest.raises(StorageError, match=r"age\.npy"):
        give(tiny_files, tmp_path / "age.npy", to="e4e")
