"""The atlas file: round trip, damage, other generators, and the record's own checks."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.errors import ConfigError, FileFormatError, InputError, MismatchError, ShapeError, VersionError, harmless
from lineament.records.atlas import SCHEMA_VERSION, Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.parts import Localization, MapShape, Part
from lineament.store.atlas import KIND, atlas_fingerprint, check_atlas_matches, load_atlas, save_atlas
from lineament.store.tensors import load_tensors, read_header, save_tensors

finite = st.floats(-1e6, 1e6, allow_nan=False)
shown_text = st.text(max_size=6).filter(lambda text: harmless(text) == text)


def make_direction(name: str, d: int = 4, seed: int = 0, **changes) -> Direction:
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=d)
    values = {
        "name": name,
        "unit": "deg",
        "sign": "the nose turns",
        "description": "rotation",
        "gradient": gradient,
        "step": gradient / (gradient @ gradient),
        "standard_error": np.full(d, 0.01),
        "r2": 0.93,
        "residual_std": 1.5,
        "mean": -0.2,
        "std": 8.0,
        "range_seen": SeenRange(-30.0, -20.0, 0.0, 20.0, 31.0),
    }
    return Direction(**(values | changes))


def make_atlas(d: int = 4, **changes) -> Atlas:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(d, d))
    values = {
        "directions": (
            make_direction("yaw", d, calibration=((-9.0, -8.0), (0.0, 0.0), (10.0, 7.5))),
            make_direction("light_x", d, seed=1, unit="slope", layers=(4, 5, 6)),
        ),
        "w_mean": rng.normal(size=d),
        "w_cov": root @ root.T,
        "num_samples": 6000,
        "num_held_out": 2000,
        "seed": 3,
        "truncation": 0.8,
        "generator_fingerprint": "a" * 64,
        "decomposer_fingerprint": "b" * 64,
        "generator": {"resolution": 64, "w_dim": d, "num_layers": 10},
        "lineament_version": "0.1.0",
        "created": "2025-01-31",
        "provenance": {"note": "ä", "nested": [1, 2.5, None]},
    }
    return Atlas(**(values | changes))


def assert_same(left: object, right: object) -> None:
    for f in fields(left):  # pyright: ignore[reportArgumentType]
        a, b = getattr(left, f.name), getattr(right, f.name)
        if f.name == "directions":
            for one, other in zip(a, b, strict=True):
                assert_same(one, other)
        elif f.name == "local" and a is not None and b is not None:
            assert_same(a, b)
        elif f.name == "parts":
            for one, other in zip(a, b, strict=True):
                assert_same(one, other)
        elif f.name == "direction":
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, strict=True)
        else:
            assert a == b
            assert type(a) is type(b)


def make_local(d: int = 4, side: int = 6, **changes) -> Localization:
    rng = np.random.default_rng(5)

    def halves(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float16).astype(np.float32)

    parts = tuple(
        Part(
            direction=make_direction(name, d, seed=i + 2, unit="sd", r2=0.5, layers=((0, 1), (2,))[i]),
            place=name,
            explained=0.5 / (i + 1),
            contrast=3.0 + i,
            stability=0.9 - 0.2 * i,
            shape=MapShape(0.25, 0.0, -0.5, 0.125, 1.0, 0.0),
        )
        for i, name in enumerate(("mouth", "left_eye"))
    )
    values = {
        "parts": parts,
        "layer_groups": ((0, 1), (2,)),
        "scalar_gradients": rng.normal(size=(2, 2, d)),
        "maps": halves(2, 4, side, side),
        "scalar_maps": halves(2, 4, side, side),
        "mean": halves(4, side, side),
        "mask": np.eye(side, dtype=bool),
        "scales": {"depth": 0.01, "albedo": 0.5},
        "num_samples": 6000,
    }
    return Localization(**(values | changes))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_atlas(tmp_path / "a.safetensors", make_atlas(local=make_local()))
    return tmp_path / "a.safetensors"


def test_round_trip(file: Path) -> None:
    assert_same(load_atlas(file), make_atlas(local=make_local()))
    header = read_header(file)
    assert (header.kind, header.schema_version) == (KIND, SCHEMA_VERSION) == ("atlas", 4)
    assert header.header["directions"][0]["name"] == "yaw"


def test_steps_of_layers_round_trip(tmp_path: Path) -> None:
    plain = make_atlas()
    ours, theirs = plain.directions
    steps = np.random.default_rng(0).normal(size=(10, plain.w_dim))
    made = replace(plain, directions=(ours, replace(theirs, layer_steps=steps)))
    save_atlas(tmp_path / "a.safetensors", made)
    read = load_atlas(tmp_path / "a.safetensors")
    assert_same(read, made)
    assert atlas_fingerprint(read) == atlas_fingerprint(made) != atlas_fingerprint(plain)
    with pytest.raises(ShapeError, match="expected a row of width"):
        replace(theirs, layer_steps=np.zeros((10, plain.w_dim)))
    with pytest.raises(ShapeError, match="moves 10 layers, but the generator has 4"):
        replace(made, generator={"num_layers": 4})


def test_an_atlas_without_parts_round_trips(tmp_path: Path) -> None:
    save_atlas(tmp_path / "a", make_atlas())
    assert load_atlas(tmp_path / "a").local is None
    assert load_atlas(tmp_path / "a").part_names == ()


def test_parts_are_directions_too(file: Path) -> None:
    atlas = load_atlas(file)
    assert (atlas.names, atlas.part_names) == (("yaw", "light_x"), ("mouth", "left_eye"))
    assert atlas.local is not None
    assert [part.stable for part in atlas.local.parts] == [True, False]
    np.testing.assert_array_equal(atlas.gradients(("left_eye",))[0], atlas.local.parts[1].direction.gradient)
    assert atlas.gradients().shape == (2, 4)
    with pytest.raises(ConfigError, match=r"which has yaw, light_x, mouth, left_eye; did you mean 'mouth'"):
        atlas.direction("mouht")
    with pytest.raises(ConfigError, match="occur twice"):
        make_atlas(local=make_local(), directions=(make_direction("mouth"),))
    with pytest.raises(ShapeError, match="expected 4 as w_mean"):
        make_atlas(local=make_local(d=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": np.zeros((1, 4, 6, 6))}, "maps of the parts has shape"),
        ({"mean": np.full((4, 6, 6), np.nan)}, "mean of the parts: NaN"),
        ({"mask": np.zeros((6, 6), bool)}, "mask of the parts is empty"),
        ({"scales": {"depth": 0.0, "albedo": 1.0}}, "positive ones"),
        ({"scales": {"depth": 1.0}}, "positive ones"),
    ],
)
def test_the_record_of_parts_checks_itself(changes: dict, message: str) -> None:
    with pytest.raises((ConfigError, ShapeError), match=message):
        make_local(**changes)


def test_an_atlas_without_directions_round_trips(tmp_path: Path) -> None:
    save_atlas(tmp_path / "a", make_atlas(directions=()))
    assert load_atlas(tmp_path / "a").names == ()
    assert load_atlas(tmp_path / "a").gradients().shape == (0, 4)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(shown_text.filter(bool), unique=True, max_size=3),
    d=st.integers(1, 5),
    numbers=st.tuples(st.floats(-1e6, 1), st.floats(0, 1e6), finite, st.floats(1e-9, 1e6)),
    layers=st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(tuple),
    seen=st.lists(finite, min_size=5, max_size=5).map(sorted),
    text=shown_text,
)
def test_round_trip_of_any_values(tmp_path: Path, names, d, numbers, layers, seen, text) -> None:
    r2, residual_std, mean, std = numbers
    directions = tuple(
        make_direction(
            name,
            d,
            seed=i,
            sign=text,
            r2=r2,
            residual_std=residual_std,
            mean=mean,
            std=std,
            layers=layers,
            range_seen=SeenRange(*seen),
        )
        for i, name in enumerate(names)
    )
    atlas = make_atlas(d, directions=directions, provenance={text: text})
    save_atlas(tmp_path / "a", atlas)
    assert_same(load_atlas(tmp_path / "a"), atlas)


def test_look_up_by_name_suggests_the_closest() -> None:
    atlas = make_atlas()
    assert atlas.direction("light_x").unit == "slope"
    with pytest.raises(ConfigError, match=r"no direction 'Yaww'.*yaw, light_x; did you mean 'yaw'\?"):
        atlas.direction("Yaww")
    with pytest.raises(ConfigError, match=r"has yaw, light_x$"):
        atlas.direction("smile")
    rows = atlas.gradients(("light_x", "yaw"))
    np.testing.assert_array_equal(rows[1], atlas.direction("yaw").gradient)


def test_another_generator_is_refused_by_name() -> None:
    check_atlas_matches(make_atlas(), "a" * 64, "mine")
    with pytest.raises(MismatchError, match=r"generator a{16}, but other\.safetensors is c{16}; .*run discover"):
        check_atlas_matches(make_atlas(), "c" * 64, "other.safetensors")


def test_truncated_missing_future_and_foreign(file: Path) -> None:
    whole = file.read_bytes()
    for length in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            load_atlas(file)
    with pytest.raises(InputError, match="did you mean"):
        load_atlas(file.with_name("a.safetensor"))
    save_tensors(file, {}, kind=KIND, schema_version=SCHEMA_VERSION + 1, header={})
    with pytest.raises(VersionError, match="upgrade"):
        load_atlas(file)
    save_tensors(file, {}, kind="generator", schema_version=1, header={})
    with pytest.raises(FileFormatError, match="kind 'generator', expected 'atlas'"):
        load_atlas(file)


def _drop_seed(tensors: dict, header: dict) -> None:
    del header["seed"]


def _text_seed(tensors: dict, header: dict) -> None:
    header["seed"] = "3"


def _bool_samples(tensors: dict, header: dict) -> None:
    header["num_samples"] = True


def _drop_covariance(tensors: dict, header: dict) -> None:
    del tensors["w_cov"]


def _one_direction_less(tensors: dict, header: dict) -> None:
    header["directions"].pop()


def _directions_are_names(tensors: dict, header: dict) -> None:
    header["directions"] = ["yaw", "pitch"]


def _no_unit(tensors: dict, header: dict) -> None:
    del header["directions"][0]["unit"]


def _falling_range(tensors: dict, header: dict) -> None:
    header["directions"][0]["range_seen"]["p99"] = -1000.0


def _odd_knots(tensors: dict, header: dict) -> None:
    header["directions"][0]["calibration"] = [[1, 2, 3]]


def _odd_layers(tensors: dict, header: dict) -> None:
    header["directions"][0]["layers"] = "all"


def _single_precision(tensors: dict, header: dict) -> None:
    tensors["w_mean"] = tensors["w_mean"].astype(np.float32)


def _steps_twice_as_long(tensors: dict, header: dict) -> None:
    tensors["steps"] = tensors["steps"] * 2


def _wrong_width(tensors: dict, header: dict) -> None:
    tensors["steps"] = tensors["steps"][:, :-1]


def _not_symmetric(tensors: dict, header: dict) -> None:
    tensors["w_cov"][0, 1] += 1


def _repeated(tensors: dict, header: dict) -> None:
    header["directions"][1]["name"] = "yaw"


def _no_date(tensors: dict, header: dict) -> None:
    header["created"] = "yesterday"


def _no_maps(tensors: dict, header: dict) -> None:
    del tensors["parts.maps"]


def _one_part_less(tensors: dict, header: dict) -> None:
    header["local"]["parts"].pop()


def _no_place(tensors: dict, header: dict) -> None:
    del header["local"]["parts"][0]["place"]


def _text_scale(tensors: dict, header: dict) -> None:
    header["local"]["scales"]["depth"] = "1"


def _changed(*path: str | int, value: Any) -> Callable[[dict, dict], None]:
    """A damage that sets an entry of the header."""

    def damage(tensors: dict, header: dict) -> None:
        for step in path[:-1]:
            header = header[step]
        header[path[-1]] = value

    damage.__name__ = f"{path[-1]} {value!s:.20}"
    return damage


def _scaled(name: str, factor: float) -> Callable[[dict, dict], None]:
    """A damage that multiplies a tensor."""

    def damage(tensors: dict, header: dict) -> None:
        tensors[name] = tensors[name] * factor

    damage.__name__ = f"{name} times {factor}"
    return damage


def _other_width_of_parts(tensors: dict, header: dict) -> None:
    tensors["parts.scalar_gradients"] = tensors["parts.scalar_gradients"][:, :, :-1]


def _negative_variance(tensors: dict, header: dict) -> None:
    tensors["w_cov"][0, 0] *= -1


DAMAGES = {
    _changed("truncation", value=1e9): "truncation is 1000000000.0",
    _changed("truncation", value=-1): "truncation is -1",
    _changed("truncation", value=0): "truncation is 0",
    _changed("seed", value=-1): "seed is -1",
    _changed("seed", value=2**64): "seed is 18446744073709551616",
    _changed("num_samples", value=-5): "num_samples is -5",
    _changed("generator", value={"num_layers": 10**9}): "num_layers is 1000000000",
    _changed("generator", value={"num_layers": 5, "w_dim": 4}): r"layers are \(4, 5, 6\), expected .* 0 to 4",
    _changed("generator", value={"num_layers": 10, "w_dim": 5}): "w_dim is 5, expected .* 4 to 4",
    _changed("generator", value={"num_layers": 10, "face_box": [0, 0, 2, 2]}): "face box",
    _changed("directions", 1, "layers", value=[99_999]): r"light_x: layers are \(99999,\)",
    _changed("directions", 1, "layers", value=[-1]): "light_x: layers are",
    _changed("directions", 1, "layers", value=[4, 4]): "light_x: layers are",
    _changed("directions", 0, "std", value=0): "yaw: std is 0",
    _changed("directions", 0, "std", value=-8): "yaw: std is -8",
    _changed("directions", 0, "residual_std", value=-1): "yaw: residual_std is -1",
    _changed("directions", 0, "r2", value=1.5): "yaw: r2 is 1.5",
    _changed("directions", 0, "name", value=""): "name of a direction is empty",
    _changed("directions", 0, "name", value="y\x1b[31m"): r"name is 'y\\\\x1b",
    _changed("directions", 0, "name", value="a\u202eb"): "name is",
    _changed("directions", 0, "unit", value="d" * 1000): "unit is",
    _changed("directions", 0, "calibration", value=[[0, 0], [1, 1], [2, 0.5]]): "yaw: calibration knots must rise",
    _changed("directions", 0, "calibration", value=[[1, 1], [2, 2]]): "yaw: calibration knots must contain",
    _changed("local", "layer_groups", value=[[0, 1], [2, 99_999]]): "no group",
    _changed("local", "num_samples", value=-1): "num_samples of the parts is -1",
    _changed("local", "parts", 0, "stability", value=7.5): "mouth: stability is 7.5",
    _changed("local", "parts", 0, "shape", "extent", value=-2): "mouth: extent is -2",
    _scaled("w_cov", -1): "w_cov has eigenvalues",
    _scaled("w_cov", 0): "w_cov has eigenvalues",
    _scaled("standard_errors", -1): "standard_error is negative",
    _negative_variance: "w_cov has eigenvalues",
    _other_width_of_parts: "scalar_gradients has shape",
    _no_maps: "maps is missing",
    _one_part_less: "has shape",
    _no_place: "place is missing",
    _text_scale: "depth is '1', expected float",
    _drop_seed: "seed is missing",
    _text_seed: "seed is '3', expected int",
    _bool_samples: "num_samples is True, expected int",
    _drop_covariance: "w_cov is missing",
    _one_direction_less: "has shape",
    _directions_are_names: "not a table",
    _no_unit: "unit is missing",
    _falling_range: "must be finite and rise",
    _odd_knots: "unpack",
    _odd_layers: "layers",
    _single_precision: "double precision",
    _steps_twice_as_long: "changes the semantic by 2",
    _wrong_width: "has shape",
    _not_symmetric: "not symmetric",
    _repeated: "occur twice",
    _no_date: "ISO 8601",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_damaged_contents_get_one_clear_line(file: Path, damage) -> None:
    tensors, header = load_tensors(file, kind=KIND, schema_version=SCHEMA_VERSION)
    damage(tensors, header)
    save_tensors(file, tensors, kind=KIND, schema_version=1, header=json.loads(json.dumps(header)))
    with pytest.raises(FileFormatError, match=DAMAGES[damage]) as caught:
        load_atlas(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_covariance_that_rounding_made_slightly_negative_passes(tmp_path: Path) -> None:
    flat = np.diag([1.0, 0.5, 0.0, -1e-9])
    save_atlas(tmp_path / "a", make_atlas(w_cov=flat))
    np.testing.assert_array_equal(load_atlas(tmp_path / "a").w_cov, flat)


@pytest.mark.parametrize("pair", ["faces64", "renders64"])
def test_the_shipped_atlases_are_possible(pair: Pair) -> None:
    assert len(load_atlas(shipped_path("atlas.safetensors", pair)))


def test_provenance_must_be_json(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="not JSON"):
        save_atlas(file, make_atlas(provenance={"path": Path("x")}))
    assert file.read_bytes() == before


def test_the_record_refuses_non_finite_numbers() -> None:
    with pytest.raises(ShapeError, match="yaw: NaN or infinity"):
        make_direction("yaw", standard_error=np.full(4, np.inf))
    with pytest.raises(ShapeError, match="yaw: NaN"):
        make_direction("yaw", r2=float("nan"))
    with pytest.raises(ShapeError, match="statistics of w"):
        make_atlas(w_mean=np.full(4, np.nan))
    with pytest.raises(ConfigError, match="layers"):
        replace(make_direction("yaw"), layers=())
    with pytest.raises(ShapeError, match="expected 4 as w_mean"):
        make_atlas(directions=(make_direction("yaw", d=5),))
