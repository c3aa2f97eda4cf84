"""Files of ``torch.save``, old and new, as plain data on the mapped file; no code in them is run.

New files are zip archives: data.pkl, and each storage as an entry data/0, data/1, ... Old files are pickles in a row
(a magic number, a version, the sizes of C types, the value, the storages' keys), then each storage as its count and
raw bytes. NVIDIA's pickles hold one small old file for each storage.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from lineament.errors import FileFormatError, VersionError
from lineament.store.foreign.builders import writable
from lineament.store.foreign.machine import load_pickle
from lineament.store.foreign.torch_tensors import TENSOR_BUILDERS, Storage, storage_of
from lineament.store.foreign.values import Builder, Global, Ledger
from lineament.store.foreign.zip_entries import entry_bytes, read_entries

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_NEWEST_VERSION = 10  # of the zip layout


def load_torch_zip(data: memoryview, ledger: Ledger) -> Any:
    """The value in a zip archive of ``torch.save``.

    Raises:
        FileFormatError: not such an archive, damaged, hostile, or a TorchScript program.
        VersionError: of a newer layout.
    """
    entries = read_entries(data, ledger)
    sizes = {name: entry.size for name, entry in entries.items()}
    return load_torch_archive(sizes, lambda name: entry_bytes(data, entries[name], ledger), ledger)


def load_torch_archive(sizes: Mapping[str, int], read: Callable[[str], memoryview], ledger: Ledger) -> Any:
    """The value in an archive of ``torch.save``, packed or unpacked, at any depth of folders.

    Args:
        sizes: number of bytes of each entry.
        read: gives the bytes of an entry.
        ledger: budgets.

    Raises:
        FileFormatError, VersionError: as in `load_torch_zip`.
    """
    roots = [name.removesuffix("data.pkl") for name in sizes if f"/{name}".endswith("/data.pkl")]
    if len(roots) != 1:
        raise FileFormatError(f"{ledger.label} is {_other_zip(list(sizes))}, expected a checkpoint of PyTorch")
    root = roots[0]
    if f"{root}constants.pkl" in sizes or any(name.startswith(f"{root}code/") for name in sizes):
        raise FileFormatError(
            f"{ledger.label} is a TorchScript program, expected weights; load it in PyTorch and save its state_dict()"
        )

    def content(name: str, longest: int) -> bytes:
        size = sizes.get(root + name, 0)
        if size > longest:
            raise ledger.damaged(f"its entry {name} has {size} bytes")
        return bytes(read(root + name)) if size else b""

    if content("byteorder", 16) not in (b"", b"little"):
        raise FileFormatError(f"{ledger.label} has big-endian numbers; load and save it again on a usual machine")
    with contextlib.suppress(ValueError):
        if int(content("version", 16)) > _NEWEST_VERSION:
            raise VersionError(
                f"{ledger.label} has a newer layout of PyTorch's files than is known; save it again with "
                "_use_new_zipfile_serialization=False"
            )
    found: dict[str, memoryview] = {}

    def persistent(identifier: Any) -> Storage:
        tag, kind, key, _, count = identifier
        if tag != "storage" or type(key) is not str:
            raise ValueError("a reference to something that is no storage")
        storage = storage_of(kind, count)
        name = f"{root}data/{key}"
        if key not in found:
            if name not in sizes:
                raise ValueError(f"a reference to the storage {key!r:.40}, which is missing")
            found[key] = read(name)
        storage.data = found[key]
        if storage.dtype and len(storage.data) != storage.num_bytes:
            raise ValueError(f"the storage {key!r:.40} has {len(storage.data)} bytes, expected {storage.num_bytes}")
        return storage

    program = read(f"{root}data.pkl")
    value, end = load_pickle(program, ledger, BUILDERS, persistent)
    if end != len(program):
        raise ledger.damaged(f"bytes follow its pickle's end at {end}")
    return value


def load_torch_legacy(data: memoryview, ledger: Ledger, *, nested: bool = False) -> Any:
    """The value in an old file of ``torch.save``.

    Args:
        data: the bytes, from the magic number on.
        ledger: budgets.
        nested: whether this file lies within another pickle; it then must not contain a further one.

    Raises:
        FileFormatError: not such a file, damaged or hostile.
        VersionError: of another layout.
    """
    builders = _NESTED_BUILDERS if nested else BUILDERS
    storages: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, int]] = []

    def persistent(identifier: Any) -> Any:
        if identifier[0] == "module":
            _, kind, _, source = identifier
            if type(kind) is not Global:
                raise ValueError("a class without a name")
            if type(source) is str:
                ledger.sources[kind] = source
            return kind
        tag, kind, key, _, count, view = identifier
        if tag != "storage" or type(key) is not str:
            raise ValueError("a reference to something that is no storage")
        storage = storages.setdefault(key, storage_of(kind, count))
        if view is None:
            return storage
        _, first, length = view
        part = storage_of(kind, length)
        if type(first) is not int or first < 0 or first + length > storage.count or part.dtype != storage.dtype:
            raise ValueError("a part of a storage that goes beyond it")
        views.append((part, storage, first))
        return part

    magic, position = load_pickle(data, ledger, {})
    version, position = load_pickle(data, ledger, {}, start=position)
    info, position = load_pickle(data, ledger, {}, start=position)
    if type(magic) is not int or magic != LEGACY_MAGIC or type(version) is not int or type(info) is not dict:
        raise ledger.damaged("it does not begin as files of PyTorch do")
    if version != _LEGACY_VERSION:
        raise VersionError(f"{ledger.label} has an unknown layout of PyTorch's files, {version}; save it again")
    if info.get("little_endian") is not True:
        raise FileFormatError(f"{ledger.label} has big-endian numbers; load and save it again on a usual machine")
    value, position = load_pickle(data, ledger, builders, persistent, position)
    keys, position = load_pickle(data, ledger, {}, start=position)
    if type(keys) is not list or not all(type(key) is str and key in storages for key in keys):
        raise ledger.damaged("its list of storages does not fit its tensors")
    for key in keys:
        position = _place(data, ledger, storages[key], position)
    for part, whole, first in views:
        if whole.data is not None and part.dtype is not None:
            part.data = whole.data[first * part.dtype.itemsize :][: part.num_bytes]
    if position != len(data):
        raise ledger.damaged(f"{len(data) - position} bytes follow its last storage")
    return value


def _place(data: memoryview, ledger: Ledger, storage: Storage, position: int) -> int:
    """Find a storage's bytes; returns the position of the next one."""
    if storage.dtype is None:
        raise ledger.damaged("it holds numbers of a kind that is not read (complex or quantized ones)")
    count = int.from_bytes(data[position : position + 8], "little")
    end = position + 8 + storage.num_bytes
    if end > len(data):
        raise FileFormatError(
            f"{ledger.label} ends in the middle: {len(data)} bytes are there, its tensors need {end} or more; it is "
            "half a download or copy, get it again"
        )
    if count != storage.count or storage.data is not None:
        raise ledger.damaged(f"a storage of {count} values, expected {storage.count}")
    storage.data = data[position + 8 : end]
    return end


def _load_from_bytes(ledger: Ledger, args: tuple[Any, ...]) -> Storage:
    (data,) = args
    value = load_torch_legacy(writable(data, ledger), ledger, nested=True)
    if type(value) is not Storage:
        raise ledger.refused("it has a pickle of something else in place of a tensor's numbers")
    return value


def _refuse_nesting(ledger: Ledger, args: tuple[Any, ...]) -> Storage:
    raise ledger.refused("a pickle of a tensor's numbers holds another pickle")


def _other_zip(names: list[str]) -> str:
    endings = {name.rpartition(".")[2].lower() for name in names}
    if endings & {"png", "jpg", "jpeg", "webp"}:
        return "a zip archive of images"
    if "npy" in endings:
        return "an archive of NumPy arrays (.npz)"
    if any(name.endswith(("data.pkl", ".pkl", ".pt", ".pth")) for name in names):
        return "a zip archive with checkpoints in it (unpack it)"
    if any(name.endswith(("config.json", ".h5")) for name in names):
        return "a model of Keras"
    return "a zip archive of something else"


_LOAD = Global("torch.storage", "_load_from_bytes")
BUILDERS: dict[Global, Builder] = {**TENSOR_BUILDERS, _LOAD: _load_from_bytes}
"""Builders for the names in checkpoints."""
_NESTED_BUILDERS: dict[Global, Builder] = {**TENSOR_BUILDERS, _LOAD: _refuse_nesting}
