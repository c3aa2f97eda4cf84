"""Directions in other tools' files: round trips, the layouts that are about, damage, and files of other generators."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.errors import ConfigError, FileFormatError, InputError, ShapeError
from lineament.records.found_directions import FoundDirections
from lineament.store.directions import read_directions
from lineament.store.directions_export import DUMP, write_ganspace, write_interfacegan, write_tensor

LAYERS, WIDTH = 6, 5


def directions(k: int = 1, *, plus: bool = False) -> np.ndarray:
    """Steps k l d, of w or of w+."""
    rows = np.random.default_rng(k).normal(size=(k, LAYERS if plus else 1, WIDTH)) * 3
    return np.array(np.broadcast_to(rows, (k, LAYERS, WIDTH)))


def read(path: Path) -> FoundDirections:
    return read_directions(path, LAYERS, WIDTH)


# ---- round trips ----


def test_interfacegan_keeps_the_direction_and_gives_it_unit_length(tmp_path: Path) -> None:
    step = directions()[0]
    path = tmp_path / "smile.npy"
    write_interfacegan(path, "smile", step)
    theirs = np.load(path, allow_pickle=False)
    assert theirs.shape == (1, WIDTH)
    assert np.linalg.norm(theirs) == pytest.approx(1)
    found = read(path)
    np.testing.assert_allclose(found.steps[0], step / np.linalg.norm(step[0]), rtol=1e-12)
    assert (found.names, found.units, found.labels_used) == (("smile",), ("",), 0)


@pytest.mark.parametrize("plus", [False, True])
def test_tensors_come_back_as_they_were(tmp_path: Path, plus: bool) -> None:
    step = directions(plus=plus)[0]
    write_tensor(tmp_path / "age.pt", step)
    theirs = torch.load(tmp_path / "age.pt", weights_only=True)
    assert theirs.shape == ((1, LAYERS, WIDTH) if plus else (1, WIDTH))
    np.testing.assert_allclose(read(tmp_path / "age.pt").steps[0], step, rtol=1e-6)


def test_steps_of_some_layers_come_back(tmp_path: Path) -> None:
    step = directions()[0]
    step[2:] = 0
    write_tensor(tmp_path / "age.pt", step)
    np.testing.assert_allclose(read(tmp_path / "age.pt").steps[0], step, rtol=1e-6)


def test_ganspace_comes_back_with_lengths_and_order(tmp_path: Path) -> None:
    steps, rng = directions(3), np.random.default_rng(9)
    root = rng.normal(size=(WIDTH, WIDTH))
    cov, mean = root @ root.T, rng.normal(size=WIDTH)
    path = tmp_path / "components.npz"
    write_ganspace(path, ("a", "b", "c"), steps, mean, cov)
    with np.load(path, allow_pickle=False) as dump:
        assert set(dump) == set(DUMP)
        shapes = {name: dump[name].shape for name in dump}
        assert all(dump[name].dtype == np.float32 for name in dump)
        # What that tool does: lat_comp * lat_stdev * amount is added to w.
        np.testing.assert_allclose(dump["lat_comp"][:, 0] * dump["lat_stdev"][:, None], steps[:, 0], rtol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(dump["lat_comp"], axis=2), 1, rtol=1e-6)
        np.testing.assert_allclose(dump["lat_mean"], mean[None], rtol=1e-6)
        unit = dump["act_comp"][1, 0].astype(float)
        assert dump["act_stdev"][1] == pytest.approx(np.sqrt(unit @ cov @ unit), rel=1e-5)
        assert dump["var_ratio"][1] == pytest.approx(unit @ cov @ unit / np.trace(cov), rel=1e-5)
        np.testing.assert_allclose(dump["random_stdevs"] ** 2, np.trace(cov) / WIDTH, rtol=1e-5)
    assert shapes["lat_comp"] == shapes["act_comp"] == (3, 1, WIDTH)
    assert shapes["lat_stdev"] == shapes["var_ratio"] == shapes["random_stdevs"] == (3,)
    found = read(path)
    np.testing.assert_allclose(found.steps, steps, rtol=1e-6)
    assert found.names == ("components 0", "components 1", "components 2")


def test_tools_of_w_cannot_hold_other_directions(tmp_path: Path) -> None:
    steps = directions(2, plus=True)
    with pytest.raises(ShapeError, match=r"mouth moves layers differently, which a .npy of InterFaceGAN cannot hold"):
        write_interfacegan(tmp_path / "a.npy", "mouth", steps[0])
    mixed = np.stack([directions()[0], steps[0]])
    with pytest.raises(ShapeError, match=r"b moves layers differently, which a .npz of GANSpace cannot hold"):
        write_ganspace(tmp_path / "a.npz", ("a", "b"), mixed, np.zeros(WIDTH), np.eye(WIDTH))
    assert not list(tmp_path.iterdir())


# ---- layouts that other people's files have ----


@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (1, 1, WIDTH), (LAYERS, WIDTH), (1, LAYERS, WIDTH)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_shapes_of_one_direction(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    torch.save(torch.from_numpy(array), tmp_path / "x.pt")
    expected = np.broadcast_to(array.reshape(-1, WIDTH).astype(float), (LAYERS, WIDTH))
    for name in ("x.npy", "x.pt"):
        found = read(tmp_path / name)
        assert found.names == ("x",)
        np.testing.assert_array_equal(found.steps[0], expected)


@pytest.mark.parametrize("rows", [1, LAYERS])
def test_stacks(tmp_path: Path, rows: int) -> None:
    array = np.random.default_rng(0).normal(size=(4, rows, WIDTH))
    array[2] = 0  # does nothing, and is left out
    np.save(tmp_path / "s.npy", array)
    found = read(tmp_path / "s.npy")
    assert found.names == ("s 0", "s 1", "s 3")
    np.testing.assert_array_equal(found.steps, np.broadcast_to(array[[0, 1, 3]], (3, LAYERS, WIDTH)))


@pytest.mark.parametrize("old", [False, True])
def test_components_as_e4e_has_them(tmp_path: Path, old: bool) -> None:
    components = torch.randn(4, 1, WIDTH)
    value = {"mean": torch.randn(1, WIDTH), "comp": components, "std": torch.tensor([4.0, 3.0, 2.0, 1.0])}
    torch.save(value, tmp_path / "ffhq_pca.pt", _use_new_zipfile_serialization=not old)
    found = read(tmp_path / "ffhq_pca.pt")
    assert found.names == tuple(f"ffhq_pca {i}" for i in range(4))
    expected = components.double().numpy() * np.array([4.0, 3.0, 2.0, 1.0])[:, None, None]
    np.testing.assert_allclose(found.steps, np.broadcast_to(expected, (4, LAYERS, WIDTH)))


def named_component(**changes: object) -> dict[str, object]:
    rng = np.random.default_rng(0)
    component = rng.normal(size=(1, WIDTH)).astype(np.float32)
    return {
        "name": "light",
        "lat_comp": component,
        "act_comp": component,
        "latent_space": "W",
        "lat_stdev": 2.5,
        "edit_start": 2,
        "edit_end": 4,
        "decomposition": {"layer": "style", "components": 80},
    } | changes


def test_named_components_of_ganspace_edit_their_layers(tmp_path: Path) -> None:
    value = named_component()
    (tmp_path / "light.pkl").write_bytes(pickle.dumps(value))
    found = read(tmp_path / "light.pkl")
    expected = np.zeros((LAYERS, WIDTH))
    expected[2:4] = 2.5 * np.asarray(value["lat_comp"], np.float64)
    np.testing.assert_allclose(found.steps[0], expected)
    (tmp_path / "beyond.pkl").write_bytes(pickle.dumps(named_component(edit_end=9)))
    with pytest.raises(ShapeError, match="edits layers 2 to 8, but the generator has 0 to 5"):
        read(tmp_path / "beyond.pkl")
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(named_component(latent_space="Z")))
    with pytest.raises(FileFormatError, match="space 'Z', expected w"):
        read(tmp_path / "z.pkl")


# ---- what is refused ----


@pytest.mark.parametrize("name", ["x.npy", "x.pt", "x.npz"])
def test_wrong_width(tmp_path: Path, name: str) -> None:
    step = np.ones((LAYERS, 512))
    path = tmp_path / name
    if name == "x.npy":
        write_interfacegan(path, "x", step)
    elif name == "x.pt":
        write_tensor(path, step)
    else:
        write_ganspace(path, ("x",), step[None], np.zeros(512), np.eye(512))
    with pytest.raises(ShapeError, match="width 512, but the generator's w has 5; they belong to another generator"):
        read(path)


def test_wrong_number_of_layers(tmp_path: Path) -> None:
    for shape in ((18, WIDTH), (1, 18, WIDTH)):
        np.save(tmp_path / "x.npy", np.ones(shape))
        with pytest.raises(ShapeError, match="18 rows each, expected 1 for w or 6"):
            read(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.ones((1, 1, 1, WIDTH)))
    with pytest.raises(ShapeError, match=r"shape \(1, 1, 1, 5\), expected \(1, 5\) or \(1, 6, 5\)"):
        read(tmp_path / "x.npy")
    torch.save({"comp": torch.ones(3, 1, WIDTH), "std": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(ShapeError, match="2 standard deviations for 3 components"):
        read(tmp_path / "x.pt")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("value", [1e9, -1e300])
def test_steps_beyond_all_measure_are_refused(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", np.full((1, 8), value))
    with pytest.raises(FileFormatError, match=r"numbers above 1e\+06"):
        read_directions(tmp_path / "a.npy", 4, 8)


def test_steps_that_are_nearly_zero_count_as_zero(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((1, 8), 1e-300))
    with pytest.raises(FileFormatError, match="zeros alone"):
        read_directions(tmp_path / "a.npy", 4, 8)


def test_one_file_holds_a_limited_number_of_directions(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1001, 1, 8)))
    with pytest.raises(ShapeError, match="holds 1,001 directions, expected at most 1,000"):
        read_directions(tmp_path / "a.npy", 4, 8)


def test_an_array_that_claims_more_than_its_file_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(1).expand(10**9), tmp_path / "a.pt")
    with pytest.raises(FileFormatError, match="beyond its storage"):
        read_directions(tmp_path / "a.pt", 4, 8)


def test_nothing_is_run(tmp_path: Path) -> None:
    for name, write in (("x.pt", torch.save), ("x.pkl", lambda v, p: p.write_bytes(pickle.dumps(v)))):
        write(Bomb(), tmp_path / name)
        with pytest.raises(FileFormatError):
            read(tmp_path / name)
    np.save(tmp_path / "x.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="not a readable array of NumPy"):
        read(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", lat_comp=np.array([Bomb()], dtype=object), lat_stdev=np.ones(1), allow_pickle=True)
    with pytest.raises(FileFormatError, match="not a readable array of NumPy"):
        read(tmp_path / "x.npz")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(InputError, match=r"does not exist; expected a .npy of InterFaceGAN"):
        read(path)
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(2)}}, path)
    with pytest.raises(FileFormatError, match=r"holds no arrays; expected a .npy"):
        read(path)
    torch.save({"a": torch.ones(2), "b": torch.ones(2)}, path)
    with pytest.raises(FileFormatError, match="holds a, b; expected"):
        read(path)
    torch.save([1, 2], path)
    with pytest.raises(FileFormatError, match="neither a tensor nor components"):
        read(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(FileFormatError, match="PNG"):
        read(path)
    np.savez(tmp_path / "y.npz", a=np.ones(3))
    with pytest.raises(FileFormatError, match="lacks lat_comp, lat_stdev, expected a dump of GANSpace"):
        read(tmp_path / "y.npz")
    for array, message in (
        (np.zeros((1, WIDTH)), "zeros alone"),
        (np.full((1, WIDTH), np.nan), "NaN"),
        (np.full((1, WIDTH), "a"), "type <U1, expected real numbers"),
        (np.float64(3), r"shape \(\)"),
        (np.ones((0, WIDTH)), r"shape \(0, 5\)"),
    ):
        np.save(tmp_path / "z.npy", array)
        with pytest.raises((FileFormatError, ShapeError), match=message):
            read(tmp_path / "z.npy")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt", "x.pkl"])
def test_truncated_and_damaged_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "x.npy":
        write_interfacegan(path, "x", directions()[0])
    elif name == "x.npz":
        write_ganspace(path, ("x",), directions(), np.zeros(WIDTH), np.eye(WIDTH))
    elif name == "x.pt":
        write_tensor(path, directions()[0])
    else:
        path.write_bytes(pickle.dumps(named_component()))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 15):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            read(path)
    for _ in range(80):  # whatever one changed byte makes of it: directions, or an error of ours
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(spoilt))
        try:
            found = read(path)
        except (FileFormatError, ShapeError):
            continue
        assert np.isfinite(found.steps).all()


def test_a_dump_that_unpacks_to_absurd_sizes_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, lat_comp=np.zeros((1_000_000, 1, WIDTH)), lat_stdev=np.zeros(40))
    (tmp_path / "x.npz").write_bytes(buffer.getvalue())
    with pytest.raises(FileFormatError, match="unpacks to far more than its own size"):
        read(tmp_path / "x.npz")
    monkeypatch.setattr("lineament.store.directions.MOST_BYTES", 10_000)
    (tmp_path / "x.npz").write_bytes(bytes(10_001))
    with pytest.raises(FileFormatError, match="10,001 bytes, more than directions take"):
        read(tmp_path / "x.npz")


# ---- the record's own checks ----


def make(**changes: object) -> FoundDirections:
    values = {
        "method": "SeFa",
        "names": ("a", "b"),
        "steps": directions(2),
        "units": ("", ""),
        "labels_used": 0,
        "samples_used": 0,
        "seconds": 0.1,
        "generator_fingerprint": "",
    }
    return FoundDirections(**(values | changes))  # pyright: ignore[reportArgumentType]


def test_the_record_checks_itself() -> None:
    assert (make().num_layers, make().w_dim) == (LAYERS, WIDTH)
    with pytest.raises(ShapeError, match="1 names and 2 units for 2 steps"):
        make(names=("a",))
    with pytest.raises(ConfigError, match=r"\['a'\] occur twice"):
        make(names=("a", "a"))
    with pytest.raises(ShapeError, match="NaN"):
        make(steps=directions(2) * np.nan)
    with pytest.raises(ConfigError, match=r"\['a', 'b'\] do not move w"):
        make(steps=directions(2) * 0)
    with pytest.raises(ShapeError, match="expected"):
        make(steps=np.zeros((0, LAYERS, WIDTH)), names=(), units=())
