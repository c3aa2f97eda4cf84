"""The container: round trips, and every way a file can be wrong."""

import errno
import hashlib
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineament import __version__
from lineament.errors import (
    ConfigError,
    FileFormatError,
    InputError,
    NonFiniteError,
    ShapeError,
    StorageError,
    VersionError,
)
from lineament.store import atomic
from lineament.store.atomic import TEMPORARY_SUFFIX, write_bytes_atomic
from lineament.store.tensors import HEADER_KEY, fingerprint, load_tensors, read_header, save_tensors, short_fingerprint

HEADER = {"config": {"w_dim": 4}, "list": [1, 2.5, None, "ä"]}


def some_tensors() -> dict[str, np.ndarray | torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "layer.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "half": torch.from_numpy(rng.normal(size=5)).half(),
        "count": np.array(7),
        "empty": np.zeros((0, 3)),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "g.safetensors"
    save_tensors(path, some_tensors(), kind="generator", schema_version=1, header=HEADER)
    return path


numbers = st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_, ">f4", ">i2"])
arrays = numbers.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None,
    )
)
names = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors=st.dictionaries(names, arrays, max_size=4), header=st.dictionaries(st.text(), json_values, max_size=3))
def test_round_trip(tmp_path: Path, tensors: dict[str, np.ndarray], header: dict) -> None:
    path = tmp_path / "f"
    save_tensors(path, tensors, kind="latents", schema_version=3, header=header)
    loaded, loaded_header = load_tensors(path, kind="latents", schema_version=3)
    assert loaded_header == header
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[name], value)
    assert fingerprint(loaded) == fingerprint(tensors)
    in_torch, _ = load_tensors(path, kind="latents", framework="pt", schema_version=3)
    assert fingerprint(in_torch) == fingerprint(tensors)


def test_header_is_read_without_tensors(file: Path) -> None:
    header = read_header(file)
    assert (header.kind, header.schema_version, header.written_by) == ("generator", 1, __version__)
    assert header.header == HEADER
    assert header.tensors["layer.weight"] == ("F32", (3, 4))
    assert header.num_parameters == 12 + 5 + 1
    assert header.num_bytes == file.stat().st_size


@pytest.mark.parametrize("layout", ["transposed", "strided", "channels_last", "expanded"])
def test_memory_layouts_do_not_matter(tmp_path: Path, layout: str) -> None:
    base = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    tensor = {
        "transposed": base.transpose(0, 3),
        "strided": base[:, ::2, 1:],
        "channels_last": base.to(memory_format=torch.channels_last),
        "expanded": base[:1].expand(5, -1, -1, -1),
    }[layout]
    save_tensors(tmp_path / "f", {"t": tensor, "n": tensor.numpy()}, kind="k", schema_version=1, header={})
    loaded, _ = load_tensors(tmp_path / "f", kind="k", framework="pt")
    assert torch.equal(loaded["t"], tensor)
    assert torch.equal(loaded["n"], tensor)
    assert fingerprint({"t": tensor}) == fingerprint({"t": tensor.clone(memory_format=torch.contiguous_format)})


def test_tied_weights_are_saved_twice(tmp_path: Path) -> None:
    weight = torch.ones(3)
    save_tensors(tmp_path / "f", {"a": weight, "b": weight, "c": weight[1:]}, kind="k", schema_version=1, header={})
    loaded, _ = load_tensors(tmp_path / "f", kind="k", framework="pt")
    assert torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["c"], weight[1:])
    loaded["a"] += 1  # what is loaded may be written to and is independent
    assert torch.equal(loaded["b"], weight)


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_loaded_tensors_survive_the_replacement_of_their_file(file: Path, framework) -> None:
    loaded, _ = load_tensors(file, kind="generator", framework=framework)
    before = fingerprint(loaded)
    file.write_bytes(b"x" * file.stat().st_size)
    assert fingerprint(loaded) == before
    loaded["half"][0] = 1.0


def test_fingerprint_of_half_precision_survives_the_round_trip(tmp_path: Path) -> None:
    weights = {"b": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), "a": torch.tensor(1.0 / 3)}
    halves = {name: weight.half() for name, weight in weights.items()}
    save_tensors(tmp_path / "f", halves, kind="k", schema_version=1, header={})
    loaded, _ = load_tensors(tmp_path / "f", kind="k", framework="pt")
    again = {name: loaded[name].float().half() for name in sorted(loaded)}
    assert fingerprint(again) == fingerprint(halves)
    assert short_fingerprint(fingerprint(halves)) == fingerprint(halves)[:16]


def test_fingerprint_sees_names_dtypes_shapes_and_values() -> None:
    base = {"a": np.zeros(4, np.float32), "b": np.zeros(4, np.float32)}
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": np.zeros(4, np.int32)},
        {"a": base["a"], "b": np.zeros((2, 2), np.float32)},
        {"a": base["a"], "b": np.array([0, 0, 0, 1], np.float32)},
        {"a": base["a"]},
        {"a": np.zeros(8, np.float32)},
    ]
    assert len({fingerprint(tensors) for tensors in [base, *others]}) == 7


def test_fingerprint_by_hand() -> None:
    # Fingerprints are stored in files: what is hashed must not change between releases.
    values = np.arange(3, dtype="<f2")
    by_hand = hashlib.sha256(b'["w", "float16", [3]]\n' + values.tobytes()).hexdigest()
    assert fingerprint({"w": values}) == by_hand == fingerprint({"w": torch.arange(3).half()})
    assert fingerprint({"w": torch.zeros(1).expand(1)}) == fingerprint(
        {"w": torch.as_strided(torch.zeros(1), (1,), (0,))}
    )


def test_truncation_at_many_offsets(file: Path) -> None:
    whole = file.read_bytes()
    for length in [*range(16), *range(16, len(whole), 7), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"truncated|empty|safetensors"):
            load_tensors(file, kind="generator")


def test_flipped_bytes_never_give_another_error(file: Path) -> None:
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    for position in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[position] = rng.integers(256)
        file.write_bytes(damaged)
        with suppress(FileFormatError):
            load_tensors(file, kind="generator")


def framed(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def ours(**changes: object) -> bytes:
    text = {"kind": "generator", "schema_version": 1, "written_by": "0.1.0", "header": {}} | changes
    return framed(json.dumps({"__metadata__": {"lineament": json.dumps(text)}}).encode())


BAD_FILES = {
    "empty": (b"", "is empty"),
    "short": (b"abc", "not a safetensors file"),
    "random": (np.random.default_rng(0).bytes(4096), "not a safetensors file"),
    "text": (b"just some text, longer than eight bytes", "not a safetensors file"),
    "pickle": (pickle.dumps({"a": 1}), "pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "pickle"),
    "absurd header": ((2**62).to_bytes(8, "little") + b"{}", "not a safetensors file"),
    "header is a list": (framed(b"[1, 2]"), "not a safetensors file"),
    "header is deep": (framed(b"[" * 100_000), "not a safetensors file"),
    "header is no utf-8": (framed(b'{"\xff": 1}'), "not a safetensors file"),
    "tensor entry broken": (framed(b'{"a": {"dtype": "F32", "shape": [1]}}'), "entry of tensor 'a'"),
    "tensor entry negative": (
        framed(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4)),
        "entry of tensor 'a'",
    ),
    "foreign": (safetensors.numpy.save({"a": np.ones(2)}), "another program"),
    "foreign with metadata": (safetensors.numpy.save({"a": np.ones(2)}, {"format": "pt"}), "another program"),
    "metadata is a list": (framed(b'{"__metadata__": [1]}'), "another program"),
    "json broken": (framed(b'{"__metadata__": {"lineament": "{oops"}}'), "Lineament header is damaged"),
    "json without kind": (framed(b'{"__metadata__": {"lineament": "{}"}}'), "Lineament header is damaged"),
    "json is a number": (framed(b'{"__metadata__": {"lineament": "3"}}'), "Lineament header is damaged"),
    "version is text": (ours(schema_version="1"), "Lineament header is damaged"),
    "version is zero": (ours(schema_version=0), "Lineament header is damaged"),
    "header is no table": (ours(header=[]), "Lineament header is damaged"),
    "another kind": (ours(kind="decomposer"), "kind 'decomposer', expected 'generator'"),
    "trailing bytes": (ours() + b"x", "foreign bytes"),
    "shape does not fit the bytes": (
        framed(
            json.dumps(
                {
                    **json.loads(ours()[8:]),
                    "a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]},
                }
            ).encode(),
            bytes(4),
        ),
        "is damaged",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_get_one_clear_line(tmp_path: Path, case: str) -> None:
    data, message = BAD_FILES[case]
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_tensors(path, kind="generator")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    (tmp_path / "trap").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileFormatError, match="never opened"):
        load_tensors(tmp_path / "trap", kind="generator")
    assert not (tmp_path / "run").exists()


def test_future_version_names_the_release_that_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(ours(schema_version=2, written_by="9.9.9"))
    with pytest.raises(VersionError, match=r"Lineament 9\.9\.9 with generator schema 2.*up to 1: upgrade"):
        load_tensors(tmp_path / "file", kind="generator")
    load_tensors(tmp_path / "file", kind="generator", schema_version=2)


def test_missing_files_suggest_the_closest(file: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean .*g\.safetensors\?"):
        load_tensors(file.with_name("g.safetensor"), kind="generator")
    with pytest.raises(InputError, match="check the path"):
        load_tensors(file.with_name("quite another"), kind="generator")
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        load_tensors(file.parent / "no" / "file", kind="generator")
    with pytest.raises(InputError, match="is a folder"):
        load_tensors(file.parent, kind="generator")
    with pytest.raises(InputError, match="does not exist"):
        load_tensors(file / "below a file", kind="generator")


def test_a_half_written_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / f".x{TEMPORARY_SUFFIX}"
    path.write_bytes(b"half")
    with pytest.raises(FileFormatError, match="half-written"):
        load_tensors(path, kind="generator")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_non_finite_values(tmp_path: Path, dtype: type, value: float, framework) -> None:
    path = tmp_path / "f"
    bad = {"fine": np.ones(2), "bad": np.array([1, value], dtype)}
    with pytest.raises(NonFiniteError, match="'bad'"):
        save_tensors(path, bad, kind="k", schema_version=1, header={})
    assert not path.exists()
    save_tensors(path, bad, kind="k", schema_version=1, header={}, check_finite=False)
    with pytest.raises(FileFormatError, match="'bad' holds NaN or infinity"):
        load_tensors(path, kind="k", framework=framework)
    load_tensors(path, kind="k", framework=framework, check_finite=False)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for header in ({"a": np.float32(1)}, {"a": float("nan")}, {"a": object()}):
        with pytest.raises(ConfigError, match="not JSON"):
            save_tensors(path, {}, kind="k", schema_version=1, header=header)
    for name in ("", "__metadata__"):
        with pytest.raises(ConfigError, match="may not be called"):
            save_tensors(path, {name: np.ones(1)}, kind="k", schema_version=1, header={})
    with pytest.raises(ShapeError, match="'words' has dtype"):
        save_tensors(path, {"words": np.array(["a"])}, kind="k", schema_version=1, header={})
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_needs_torch(tmp_path: Path) -> None:
    save_tensors(tmp_path / "f", {"a": torch.ones(2, dtype=torch.bfloat16)}, kind="k", schema_version=1, header={})
    assert load_tensors(tmp_path / "f", kind="k", framework="pt")[0]["a"].dtype == torch.bfloat16
    with pytest.raises(FileFormatError, match="load it with torch"):
        load_tensors(tmp_path / "f", kind="k")


def test_a_full_disk_keeps_the_previous_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        save_tensors(file, {"other": np.ones(3)}, kind="generator", schema_version=1, header={})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_kill_during_a_save_keeps_the_previous_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(file, {"other": np.ones(3)}, kind="generator", schema_version=1, header={})
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    write_bytes_atomic(file, before)


def test_a_refused_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*permission denied"):
        read_header(file)


def test_a_file_is_what_the_library_would_write_and_follows_the_umask(tmp_path: Path) -> None:
    tensors = {
        "b": torch.randn(3, 5).half(),
        "a": torch.arange(6).reshape(2, 3),
        "flags": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(2.5, dtype=torch.float64),
        "b16": torch.randn(7).bfloat16(),
        "strided": torch.randn(4, 6)[:, ::2],
    }
    path = tmp_path / "x.safetensors"
    old = os.umask(0o027)
    try:
        save_tensors(path, tensors, "k", 1, {"n": 1})
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    metadata = {HEADER_KEY: read_metadata(path)}
    expected = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}, metadata=metadata)
    found = safetensors.torch.load(path.read_bytes())
    assert found.keys() == safetensors.torch.load(expected).keys()
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)
    assert len(path.read_bytes()) == len(expected)
    with pytest.raises(ShapeError, match="complex64"):
        save_tensors(path, {"c": torch.zeros(2, dtype=torch.complex64)}, "k", 1, {})


def read_metadata(path: Path) -> str:
    with safetensors.safe_open(path, "pt") as opened:
        return opened.metadata()[HEADER_KEY]


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_more_dimensions_than_the_libraries_have_are_refused_in_one_line(tmp_path: Path, framework: str) -> None:
    path = tmp_path / "file.safetensors"
    text = json.dumps({"kind": "atlas", "schema_version": 1, "written_by": "x", "header": {}})
    for count, said in ((64, None), (65, "the entry of tensor 'a' is damaged"), (2000, "the entry of tensor 'a'")):
        entry = {"dtype": "F32", "shape": [1] * count, "data_offsets": [0, 4]}
        header = json.dumps({"__metadata__": {HEADER_KEY: text}, "a": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        if said is None:
            assert load_tensors(path, "atlas", framework)[0]["a"].shape == (1,) * 64
        else:
            with pytest.raises(FileFormatError, match=said):
                load_tensors(path, "atlas", framework)
