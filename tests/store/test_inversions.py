"""The file of inverted photographs: round trip, damage, other generators, and the record's own checks."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lineament.errors import ConfigError, FileFormatError, InputError, MismatchError, ShapeError, VersionError
from lineament.records.inversions import SCHEMA_VERSION, Inversions
from lineament.store.inversions import KIND, check_inversions_match, load_inversions, save_inversions
from lineament.store.tensors import load_tensors, save_tensors


def make_inversions(n: int = 3, layers: int = 4, d: int = 5, size: int = 8, **changes) -> Inversions:
    rng = np.random.default_rng(n)
    values = {
        "names": tuple(f"ä/{i}.png" for i in range(n)),
        "ws": rng.normal(size=(n, layers, d)).astype(np.float32),
        "photographs": rng.integers(0, 256, (n, size, size, 3), np.uint8),
        "ssim": np.linspace(0.5, 0.9, n),
        "rmse": np.full(n, 0.05),
        "distance": np.linspace(1.0, 2.0, n),
        "offset": np.full(n, 0.2),
        "generator_fingerprint": "a" * 64,
        "encoder_fingerprint": "",
        "skipped": {"no.jpg": "not a readable image"},
        "lineament_version": "0.1.0",
        "created": "2025-01-31",
        "provenance": {"settings": {"steps": 100}},
    }
    return Inversions(**(values | changes))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_round_trip(tmp_path: Path, n: int) -> None:
    made = make_inversions(n)
    save_inversions(tmp_path / "i.safetensors", made)
    read = load_inversions(tmp_path / "i.safetensors")
    for f in fields(made):
        a, b = getattr(made, f.name), getattr(read, f.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, strict=True)
        else:
            assert a == b, f.name
    assert len(read) == n


def test_good_looks_at_both_scores() -> None:
    made = make_inversions(
        4, ssim=np.array([0.9, 0.9, 0.2, 0.75]), distance=np.array([1.0, 9.0, 1.0, 1.5]), offset=np.zeros(4)
    )
    np.testing.assert_array_equal(made.good(0.75, 1.5), [True, False, False, True])
    assert not made.good(min_ssim=0.95).any()


def test_other_generators_are_refused() -> None:
    check_inversions_match(make_inversions(), "a" * 64, "g")
    with pytest.raises(MismatchError, match="inverted for generator aaaaaaaaaaaaaaaa, but g is bbbbbbbbbbbbbbbb"):
        check_inversions_match(make_inversions(), "b" * 64, "g")


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"names": ("a", "a", "b")}, ConfigError, "a occurs twice"),
        ({"names": ("a", "b")}, ShapeError, "one entry for each of 2"),
        ({"offset": np.array([0.0, 1.0, np.nan])}, ShapeError, "NaN"),
        ({"created": "yesterday"}, ConfigError, "ISO 8601"),
    ],
)
def test_the_record_checks_itself(changes: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make_inversions(**changes)


def test_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    save_inversions(path, make_inversions())
    tensors, header = load_tensors(path, kind=KIND)

    def damaged(tensors: dict = tensors, **changes) -> None:
        save_tensors(path, tensors, kind=KIND, schema_version=SCHEMA_VERSION, header=header | changes)
        with pytest.raises(FileFormatError, match="damaged file of inversions"):
            load_inversions(path)

    damaged(names="abc")
    damaged(names=["a", 1, "b"])
    damaged(names=["a", "b"])
    damaged(skipped={"a": 1})
    damaged(generator_fingerprint=None)
    damaged({k: v for k, v in tensors.items() if k != "rmse"})
    damaged(tensors | {"ws": tensors["ws"].astype(np.float64)})
    damaged(tensors | {"photographs": tensors["photographs"][:, :, :, :2]})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FileFormatError, match="truncated"):
        load_inversions(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        load_inversions(path)
    save_tensors(path, {"a": np.zeros(1)}, kind="atlas", schema_version=1, header={})
    with pytest.raises(FileFormatError, match="kind 'atlas', expected 'inversions'"):
        load_inversions(path)
    save_tensors(path, {"a": np.zeros(1)}, kind=KIND, schema_version=SCHEMA_VERSION + 1, header={})
    with pytest.raises(VersionError):
        load_inversions(path)


def test_an_old_file_is_kept_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    save_inversions(path, make_inversions())
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not JSON"):
        save_inversions(path, replace(make_inversions(), provenance={"x": float("nan")}))
    assert path.read_bytes() == before
