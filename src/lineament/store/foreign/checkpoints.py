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
from lineament.store.foreign.machine import load_pickle
from lineament.store.foreign.torch_archives import BUILDERS, LEGACY_MAGIC, load_torch_legacy, load_torch_zip
from lineament.store.foreign.values import Ledger
from lineament.store.foreign.wrong_files import check_is_checkpoint

_CHUNK = 2**20
_MOST_RESIDENT = 2**25  # bytes of tensors that are checked before their pages are dropped from memory
_MOST_VIEWS = 4  # all tensors together may be at most this many times as large as the file


def open_checkpoint(path: str | Path) -> ForeignCheckpoint:
    """Open a checkpoint of NVIDIA's programs (PyTorch or TensorFlow), of rosinality, of genforce, or a state dict.

    The file is mapped into memory and the tensors lie in it, so it must not change while they are used.

    Args:
        path: the file; its bytes, not its name, say what it is.

    Returns:
        Networks, settings and hash.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint (the message says what it is), damaged, truncated, hostile, or with NaN.
        VersionError: written by a program newer than the known ones.
        StorageError: reading failed.
    """
    path = Path(path)
    mapped, sha256 = _mapped(path)
    data = memoryview(mapped)
    label = str(path)
    check_is_checkpoint(label, data)
    ledger = Ledger.for_file(label, len(data))
    contents = read_contents(checkpoint_value(data, ledger), ledger)
    _check_tensors(contents, ledger, mapped)
    return ForeignCheckpoint(
        path=path,
        layout=contents.layout,
        networks=contents.networks,
        extras=contents.extras,
        carries_code=bool(ledger.sources) or any(network.source for network in contents.networks.values()),
        opaque_names=foreign_names(ledger),
        num_bytes=len(data),
        sha256=sha256,
    )


def _mapped(path: Path) -> tuple[mmap.mmap, str]:
    """The file's bytes, mapped, and their hash."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file; name a file inside it")
    try:
        with path.open("rb") as handle:
            # Read, not taken from the map, so that hashing does not keep the whole file in memory.
            digest = hashlib.sha256()
            size = 0
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
            if not size:
                raise FileFormatError(f"{path} is empty, expected a checkpoint; get the file again")
            # A private map is writable; torch warns of read-only memory.
            mapped = mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_COPY)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    return mapped, digest.hexdigest()


def checkpoint_value(data: memoryview, ledger: Ledger) -> Any:
    """The plain value in the bytes of a pickle or of a file of ``torch.save``.

    Raises:
        FileFormatError: damaged, truncated or hostile.
        VersionError: of a newer layout.
    """
    if bytes(data[:2]) == b"PK":
        return load_torch_zip(data, ledger)
    value, end = load_pickle(data, ledger, BUILDERS)
    if type(value) is int and value == LEGACY_MAGIC:
        return load_torch_legacy(data, ledger)
    if end != len(data):
        raise ledger.damaged(f"{len(data) - end} bytes follow its end")
    return value


def _check_tensors(contents: Contents, ledger: Ledger, mapped: mmap.mmap) -> None:
    """Refuse NaN and infinity, and tensors that are many views of the same bytes."""
    total = seen = 0
    for name, tensor in _tensors(contents):
        total += tensor.nbytes
        if total > _MOST_VIEWS * len(mapped) + 2**20:
            raise ledger.refused("its tensors show the same bytes over and over")
        if total - seen > _MOST_RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)  # unchanged pages can be read from the file again
            seen = total
        if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
            raise FileFormatError(
                f"{ledger.label}: tensor {name!r:.200} holds NaN or infinity; the training that wrote it broke down, "
                "or the file is damaged: take an earlier checkpoint, or get the file again"
            )


def _tensors(contents: Contents) -> Iterator[tuple[str, Tensor]]:
    for role, network in contents.networks.items():
        for name, tensor in network.tensors.items():
            yield f"{role}: {name}" if role else name, tensor
    yield from ((name, value) for name, value in contents.extras.items() if isinstance(value, Tensor))


def _is_finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor)  # both are NaN if one value is; makes no copy of the tensor
    return math.isfinite(low.item()) and math.isfinite(high.item())
