"""Open checkpoints of StyleGAN, recognised by their content, without running any code in them."""

import hashlib
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.errors import FileFormatError, InputError
from lineament.records.checkpoint import ForeignCheckpoint
from lineament.store.atomic import storage_error
from lineament.store.foreign.contents import Contents, foreign_names, read_contents
from lineament.store.foreign.folders import checkpoint_in, mapped_folder, unpacked_archive
from lineament.store.foreign.machine import load_pickle
from lineament.store.foreign.safetensors_files import safetensors_contents
from lineament.store.foreign.torch_archives import (
    BUILDERS,
    LEGACY_MAGIC,
    load_torch_archive,
    load_torch_legacy,
    load_torch_zip,
)
from lineament.store.foreign.values import Ledger
from lineament.store.foreign.wrong_files import check_is_checkpoint
from lineament.store.regular_files import check_regular
from lineament.store.tensors import is_safetensors

_MOST_RESIDENT = 2**25  # bytes of tensors that are checked before their pages are dropped from memory
_MOST_VIEWS = 4  # all tensors together may be at most this many times as large as the file
_NON_FINITE = (
    "it holds NaN or infinity; the training that wrote it broke down, or the file is damaged: take an earlier "
    "checkpoint, or get the file again"
)


def open_checkpoint(path: str | Path) -> ForeignCheckpoint:
    """Open a checkpoint of another program: a pickle, a file of ``torch.save``, or safetensors.

    The file is mapped into memory and the tensors lie in it, so it must not change while they are used.

    Args:
        path: the file; its bytes, not its name, say what it is. Or a folder with one checkpoint, or an archive of
            ``torch.save`` that was unpacked.

    Returns:
        Networks, settings and hash.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint (the message says what it is), damaged, truncated or hostile.
        VersionError: of a layout that is not known.
        StorageError: reading failed.
    """
    path = checkpoint_in(Path(path)) if Path(path).is_dir() else Path(path)
    if (folder := unpacked_archive(path)) is not None:
        return _open_unpacked(folder)
    mapped, sha256 = _mapped(path)
    data = memoryview(mapped)
    label = str(path)
    check_is_checkpoint(label, data)
    ledger = Ledger.for_file(label, len(data))
    if is_safetensors(path):
        contents = safetensors_contents(path, ledger)
    else:
        contents = read_contents(checkpoint_value(data, ledger), ledger)
    return _checked(path, contents, ledger, [mapped], sha256)


def _open_unpacked(folder: Path) -> ForeignCheckpoint:
    """Open an archive of ``torch.save`` that lies unpacked in a folder."""
    files, sha256 = mapped_folder(folder)
    sizes = {name: len(data) for name, data in files.items()}
    ledger = Ledger.for_file(str(folder), sum(sizes.values()))
    contents = read_contents(load_torch_archive(sizes, files.__getitem__, ledger), ledger)
    maps = [data.obj for data in files.values() if isinstance(data.obj, mmap.mmap)]
    return _checked(folder, contents, ledger, maps, sha256)


def _checked(path: Path, contents: Contents, ledger: Ledger, maps: list[mmap.mmap], sha256: str) -> ForeignCheckpoint:
    """The checkpoint, after a look at all tensors."""
    _check_tensors(contents, ledger, maps)
    return ForeignCheckpoint(
        path=path,
        layout=contents.layout,
        networks=contents.networks,
        extras=contents.extras,
        carries_code=bool(ledger.sources) or any(network.source for network in contents.networks.values()),
        opaque_names=foreign_names(ledger),
        num_bytes=sum(map(len, maps)),
        sha256=sha256,
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; InputError or StorageError if it cannot be read."""
    check_regular(path)
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise storage_error(path, error, verb="read") from error


def _mapped(path: Path) -> tuple[mmap.mmap, str]:
    """The file's bytes, mapped, and their hash."""
    # Hashed from the file, not from the map, so that hashing does not keep the whole file in memory.
    sha256 = file_hash(path)
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, 2)
            if not size:
                raise FileFormatError(f"{path} is empty, expected a checkpoint; get the file again")
            # A private map is writable; torch warns of read-only memory.
            return mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_COPY), sha256
    except OSError as error:
        raise storage_error(path, error, verb="read") from error


def checkpoint_value(data: memoryview, ledger: Ledger) -> Any:
    """The plain value in the bytes of a pickle or of a file of ``torch.save``.

    Raises:
        FileFormatError: damaged, truncated or hostile.
        VersionError: of a newer layout.
    """
    if bytes(data[:2]) == b"PK":
        return load_torch_zip(data, ledger)

    def outside(identifier: Any) -> Any:
        if type(identifier) is tuple and identifier[:1] == ("storage",):
            raise FileFormatError(
                f"{ledger.label} is a part of a PyTorch archive, without the tensors' numbers; name the file before it "
                "was unpacked, or its whole folder"
            )
        raise ledger.refused("it refers to objects outside of itself")

    value, end = load_pickle(data, ledger, BUILDERS, outside)
    if type(value) is int and value == LEGACY_MAGIC:
        return load_torch_legacy(data, ledger)
    if end != len(data):
        raise ledger.damaged(f"{len(data) - end} bytes follow its end")
    return value


def _check_tensors(contents: Contents, ledger: Ledger, maps: list[mmap.mmap]) -> None:
    """Set tensors with NaN or infinity aside; refuse tensors that are many views of the same bytes."""
    total = seen = 0
    size = sum(map(len, maps))
    for tensors, unread, name in _tensors(contents):
        tensor = tensors[name]
        total += tensor.nbytes
        if total > _MOST_VIEWS * size + 2**20:
            raise ledger.refused("its tensors show the same bytes over and over")
        if total - seen > _MOST_RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            for mapped in maps:
                mapped.madvise(mmap.MADV_DONTNEED)  # unchanged pages can be read from the file again
            seen = total
        if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
            del tensors[name]
            unread[name] = _NON_FINITE


def _tensors(contents: Contents) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """The name of every tensor, the dict that holds it, and the dict for the reasons why some cannot be used."""
    for network in contents.networks.values():
        for name in list(network.tensors):
            yield network.tensors, network.unread, name
    extras = contents.extras
    for name in [name for name, value in extras.items() if isinstance(value, Tensor)]:
        yield extras, extras, name


def _is_finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor)  # both are NaN if one value is; makes no copy of the tensor
    return math.isfinite(low.item()) and math.isfinite(high.item())
