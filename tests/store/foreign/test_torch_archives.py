"""Files of torch.save: the tensors that torch's own loading gives, on the file's own bytes and within its bounds."""

import io
import struct
import sys
import zipfile
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lineament.errors import FileFormatError, VersionError
from lineament.store.foreign.torch_archives import load_torch_legacy, load_torch_zip
from lineament.store.foreign.torch_tensors import StoredTensor
from lineament.store.foreign.values import Ledger, Opaque
from lineament.store.foreign.zip_entries import read_entries
from tests.foreign_checkpoints import dict_of, saved, storage, tensor, zipped

KINDS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def ledger_for(data: bytes | memoryview) -> Ledger:
    return Ledger.for_file("file.pt", len(data))


def load(data: bytes) -> Any:
    reader = load_torch_zip if data.startswith(b"PK") else load_torch_legacy
    return reader(memoryview(bytearray(data)), ledger_for(data))


def tensors(data: bytes) -> dict[str, Tensor]:
    return {key: value.tensor(ledger_for(data)) for key, value in load(data).items()}


def views() -> dict[str, Tensor]:
    base = torch.arange(48.0).view(2, 3, 2, 4)
    return {
        "base": base,
        "transposed": base.transpose(0, 3),
        "strided": base[:, ::2, 1:],
        "channels_last": base.clone().to(memory_format=torch.channels_last),
        "offset": base.flatten()[7:],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "one of many": base[1, 2, 1, 3],
        "wide": torch.ones(1, 5)[:, :1],
    }


@KINDS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_views(legacy: bool, protocol: int) -> None:
    data = saved(views(), legacy=legacy, protocol=protocol)
    found = tensors(data)
    expected = torch.load(io.BytesIO(data), weights_only=True) if protocol == 2 else views()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype
        if min(value.shape, default=0) > 1:
            assert found[key].stride() == value.stride(), key


@KINDS
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
    ],
    ids=str,
)  # fmt: skip
def test_dtypes(legacy: bool, dtype: torch.dtype) -> None:
    value = torch.tensor([0, 1, 2, 3]).to(dtype)
    found = tensors(saved({"w": value}, legacy=legacy))["w"]
    assert found.dtype == dtype
    assert torch.equal(found, value)


@KINDS
def test_tensors_lie_on_the_bytes_of_the_file(legacy: bool) -> None:
    data = memoryview(bytearray(saved({"w": torch.full((64,), 1.5)}, legacy=legacy)))
    reader = load_torch_legacy if legacy else load_torch_zip
    found = reader(data, ledger_for(data))["w"].tensor(ledger_for(data))
    at = data.tobytes().index(struct.pack("<2f", 1.5, 1.5))
    data[at : at + 4] = struct.pack("<f", 7.0)
    assert found[0] == 7
    assert found[1] == 1.5


@KINDS
def test_parameters_attributes_and_modules(legacy: bool) -> None:
    parameter = nn.Parameter(torch.ones(3))
    tagged = torch.arange(3.0)
    tagged.note = "kept by no one"  # type: ignore[attr-defined]
    parameter_with_state = nn.Parameter(torch.zeros(2))
    parameter_with_state.note = "nor this"  # type: ignore[attr-defined]
    found = tensors(saved({"p": parameter, "t": tagged, "s": parameter_with_state}, legacy=legacy))
    assert torch.equal(found["p"], torch.ones(3))
    assert torch.equal(found["t"], tagged)
    assert torch.equal(found["s"], torch.zeros(2))
    module = load(saved(nn.Linear(2, 3), legacy=legacy))
    assert type(module) is Opaque
    assert type(module.state["_parameters"]["weight"]) is StoredTensor


@KINDS
def test_sizes_devices_and_dtypes_among_the_values(legacy: bool) -> None:
    found = load(
        saved({"size": torch.Size([2, 3]), "device": torch.device("cuda", 1), "on": torch.device("cpu")}, legacy=legacy)
    )
    assert found == {"size": (2, 3), "device": "cuda:1", "on": "cpu"}


@KINDS
def test_other_kinds_of_tensors_stay_inert(legacy: bool) -> None:
    found = (
        load(saved({"sparse": torch.eye(2).to_sparse(), "complex": torch.ones(2, dtype=torch.complex64)}))
        if not legacy
        else {}
    )
    for key, value in found.items():
        assert type(value) is (Opaque if key == "sparse" else StoredTensor)
    if found:
        with pytest.raises(ValueError, match="numbers of the kind ComplexFloat, which is not read"):
            found["complex"].tensor(Ledger.for_file("f", 1))


@KINDS
def test_a_negated_view_is_not_read_wrongly(legacy: bool) -> None:
    negated = torch._neg_view(torch.ones(3))
    with pytest.raises(FileFormatError, match="sign or conjugation"):
        load(saved({"w": negated}, legacy=legacy))


def test_packed_archives_are_unpacked_within_bounds() -> None:
    numbers = torch.arange(4.0).numpy().tobytes()
    data = zipped(dict_of(w=tensor()), {"0": numbers}, method=zipfile.ZIP_DEFLATED)
    assert torch.equal(tensors(data)["w"], torch.arange(4.0))
    bomb = zipped(dict_of(w=tensor((2**23,), numbers=storage(2**23))), {"0": bytes(2**25)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    with pytest.raises(FileFormatError, match="unpacks to far more"):
        load(bomb)


def test_large_archives_with_64_bit_directories() -> None:
    stream = io.BytesIO()
    plain = zipped(dict_of(w=tensor()))
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(stream, "w") as target:
        for info in source.infolist():
            with target.open(info.filename, "w", force_zip64=True) as entry:
                entry.write(source.read(info))
    assert torch.equal(tensors(stream.getvalue())["w"], torch.arange(4.0))
    # The directory itself in 64 bits, as torch's own writer has it for large files.
    end = plain.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<H2L", plain[end + 10 : end + 20])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    narrow = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert torch.equal(tensors(plain[:end] + wide + locator + narrow)["w"], torch.arange(4.0))
    astray = locator.replace(struct.pack("<Q", end), struct.pack("<Q", end - 8))
    with pytest.raises(FileFormatError, match="64-bit end is not where it says"):
        load(plain[:end] + wide + astray + narrow)


def test_entries_lie_where_the_zip_module_finds_them() -> None:
    data = saved(views())
    entries = read_entries(memoryview(data), ledger_for(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert set(entries) == set(archive.namelist())
        for key, entry in entries.items():
            assert data[entry.start : entry.start + entry.packed] == archive.read(key)


@KINDS
def test_big_endian_files_are_refused(legacy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    data = saved({"w": torch.ones(2)}, legacy=legacy)
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="big-endian"):
        load(data)


def test_old_files_of_another_layout() -> None:
    data = saved({"w": torch.ones(2)}, legacy=True)
    with pytest.raises(VersionError, match="unknown layout"):
        load(data.replace(b"M\xe9\x03.", b"M\xea\x03."))
    with pytest.raises(FileFormatError, match="does not begin as files of PyTorch do"):
        load(data.replace(b"\x6c\xfc\x9c", b"\x6c\xfc\x9d", 1))


@KINDS
def test_truncation_anywhere_says_so(legacy: bool) -> None:
    data = saved({"w": torch.ones(20), "v": torch.ones(3)}, legacy=legacy)
    for length in range(4, len(data), 9):
        with pytest.raises(FileFormatError, match="ends in the middle"):
            load(data[:length] if legacy or length > 4 else data[:4])


WRONG = {
    "negative offset": (tensor(offset=-1), "strides are negative"),
    "offset beyond": (tensor(offset=1), r"go beyond its storage of 4"),
    "stride of zero that expands": (tensor((5,), (0,)), r"shape \(5,\) and strides \(0,\) go beyond"),
    "a terabyte of one byte": (tensor((2**38,), (0,)), "go beyond"),
    "stride beyond": (tensor((2, 2), (3, 1)), "go beyond"),
    "negative stride": (tensor((2,), (-1,)), "strides are negative"),
    "a stride too few": (tensor((2, 2), (1,)), "strides do not fit"),
    "absurd size": (tensor((2**60,), (1,)), "absurd sizes"),
    "negative size": (tensor((-1,), (1,)), "absurd sizes"),
    "absurd nothing": (tensor((0, 2**39, 2**39), (1, 1, 1)), "absurd sizes"),
    "many axes": (tensor((1,) * 40, (1,) * 40), "not a valid shape"),
}


@pytest.mark.parametrize("case", WRONG)
def test_views_that_do_not_lie_in_their_storage(case: str) -> None:
    body, message = WRONG[case]
    found = load(zipped(dict_of(w=body)))["w"]
    with pytest.raises(ValueError, match=message):
        found.tensor(Ledger.for_file("f", 1))


def test_bytes_that_are_no_booleans_become_true() -> None:
    data = zipped(dict_of(w=tensor(numbers=storage(4, kind="BoolStorage"))), {"0": b"\x00\x01\x02\xff"})
    assert tensors(data)["w"].tolist() == [False, True, True, True]
