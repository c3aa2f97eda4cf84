"""The one container of all our files: safetensors with a JSON header that says what the file is."""

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from lineament import __version__
from lineament.errors import ConfigError, FileFormatError, InputError, NonFiniteError, ShapeError, VersionError
from lineament.store.atomic import atomic_write, is_temporary, storage_error
from lineament.store.json_text import parse_json
from lineament.store.regular_files import check_regular, is_regular

HEADER_KEY = "lineament"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format
MAX_DIMENSIONS = 64  # the limit of PyTorch and NumPy


@dataclass(frozen=True)
class FileHeader:
    """The header of one of our files.

    Attributes:
        kind: "atlas", "generator", "discriminator", "decomposer", "latents", "training-state", ...
        schema_version: version of this kind's layout.
        written_by: release of Lineament that wrote the file.
        header: the writer's own JSON values.
        tensors: dtype (safetensors' name, such as "F32") and shape by tensor name.
        num_bytes: size of the whole file.
    """

    kind: str
    schema_version: int
    written_by: str
    header: dict[str, Any]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    num_bytes: int

    @property
    def num_parameters(self) -> int:
        """Number of values in all tensors together."""
        return sum(math.prod(shape) for _, shape in self.tensors.values())


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, np.ndarray | Tensor],
    kind: str,
    schema_version: int,
    header: Mapping[str, Any],
    *,
    check_finite: bool = True,
) -> None:
    """Write tensors and a JSON header, atomically.

    Args:
        path: the file to create or replace.
        tensors: arrays of NumPy or torch, on any device, of any memory layout.
        kind: the kind of file; `load_tensors` must be called with the same kind.
        schema_version: version of this kind's layout, from 1.
        header: JSON values; NaN and infinity are not allowed.
        check_finite: refuse NaN and infinity; `load_tensors` would refuse such a file.

    Raises:
        ConfigError: the header is not JSON, or a tensor's name is not allowed.
        NonFiniteError: a tensor holds NaN or infinity; an existing file is left unchanged.
        StorageError: writing failed; an existing file is left unchanged.
    """
    names = [name for name in tensors if not name or name == "__metadata__"]
    if names:
        raise ConfigError(f"cannot write {path}: a tensor may not be called {names[0]!r}; choose another name")
    document = {"kind": kind, "schema_version": schema_version, "written_by": __version__, "header": dict(header)}
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"cannot write {path}: its header is not JSON ({error}); use finite numbers, strings, lists and dicts"
        ) from error
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        tensor = _as_torch(name, value)
        # Tied weights are legitimate, but safetensors refuses tensors that share memory.
        plain[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in storages else tensor
        storages.add(plain[name].untyped_storage().data_ptr())
    if check_finite and (bad := _first_non_finite(plain)):
        raise NonFiniteError(f"cannot write {path}: tensor {bad!r} holds NaN or infinity; the previous file is kept")
    # Not the library's own writers: one opens the path itself, sets its own file mode and does not sync; the other
    # returns bytes, a second copy of all tensors in memory.
    order = sorted(
        plain, key=lambda name: (-plain[name].element_size(), name)
    )  # large elements first, so that all are aligned
    table: dict[str, Any] = {"__metadata__": {HEADER_KEY: text}}
    end = 0
    for name in order:
        tensor = plain[name]
        if tensor.dtype not in _DTYPE_NAMES:
            raise ShapeError(f"tensor {name!r} has dtype {tensor.dtype}; expected numbers or booleans")
        table[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end := end + tensor.nbytes],
        }
    start = json.dumps(table, separators=(",", ":")).encode()
    start += b" " * (-len(start) % 8)
    with atomic_write(path) as handle:
        handle.write(len(start).to_bytes(8, "little") + start)
        for name in order:
            handle.write(_bytes_of(plain[name]))


@overload
def load_tensors(
    path: str | Path, kind: str, framework: Literal["np"] = "np", *, schema_version: int = 1, check_finite: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]: ...
@overload
def load_tensors(
    path: str | Path,
    kind: str,
    framework: Literal["pt"],
    *,
    schema_version: int = 1,
    check_finite: bool = True,
    mapped: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Any]]: ...
def load_tensors(
    path: str | Path,
    kind: str,
    framework: Literal["np", "pt"] = "np",
    *,
    schema_version: int = 1,
    check_finite: bool = True,
    mapped: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file that `save_tensors` wrote. No code in the file is ever run.

    Args:
        path: the file.
        kind: the kind of file expected.
        framework: "np" for NumPy arrays, "pt" for torch tensors on the CPU.
        schema_version: the newest version of this kind's layout that the caller can read.
        check_finite: refuse files with NaN or infinity.
        mapped: map the file into memory, so that a tensor is read when it is first used. Only for framework "pt", and
            only if nobody replaces the file meanwhile (Windows does not allow that anyway).

    Returns:
        The tensors by name, writable and, unless mapped, independent of the file; and the writer's header.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a safetensors file, truncated, foreign, of another kind, or with NaN.
        VersionError: the layout is newer than ``schema_version``.
        StorageError: reading failed.
    """
    found = read_header(path)
    check_kind(path, found, kind, schema_version)
    known = _NUMPY_DTYPES if framework == "np" else frozenset(_DTYPE_NAMES.values())
    unknown = [name for name, (dtype, _) in found.tensors.items() if dtype not in known]
    if unknown:
        dtype = found.tensors[unknown[0]][0]
        remedy = "NumPy lacks; load it with torch" if dtype == "BF16" else "files of Lineament never hold"
        raise FileFormatError(f"{path}: tensor {unknown[0]:.80} is {dtype:.20}, which {remedy}")
    try:
        tensors: dict[str, Any]
        if mapped:
            tensors = safetensors.torch.load_file(path)
        else:
            loader = safetensors.torch.load if framework == "pt" else safetensors.numpy.load
            tensors = loader(Path(path).read_bytes())
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise FileFormatError(f"{path} is damaged ({error}); get or make the file again") from error
    if check_finite and (bad := _first_non_finite(tensors)):
        raise FileFormatError(f"{path}: tensor {bad!r} holds NaN or infinity; the file is damaged, make it again")
    return tensors, found.header


def check_kind(path: str | Path, found: FileHeader, kind: str, schema_version: int) -> None:
    """Refuse a file of another kind, or one whose layout is newer than ``schema_version``.

    Raises:
        FileFormatError: another kind.
        VersionError: a newer layout.
    """
    if found.kind != kind:
        raise FileFormatError(f"{path} is a file of kind {found.kind!r:.80}, expected {kind!r}; choose the right file")
    if found.schema_version > schema_version:
        raise VersionError(
            f"{path} was written by Lineament {found.written_by} with {kind} schema {found.schema_version}; "
            f"this release, {__version__}, reads up to {schema_version}: upgrade Lineament"
        )


def is_safetensors(path: str | Path) -> bool:
    """Whether a file begins like a safetensors file, truncated or not; False if it is missing or unreadable."""
    if not is_regular(path):
        return False
    try:
        with Path(path).open("rb") as handle:
            start = handle.read(9)
    except OSError:
        return False
    return len(start) == 9 and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES and start[8:] == b"{"


def read_header(path: str | Path) -> FileHeader:
    """The header of one of our files, without reading its tensors; raises the same errors as `load_tensors`."""
    path = Path(path)
    check_regular(path)
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(0)
            start = handle.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise _not_safetensors(path, start, size)
            raw = handle.read(length)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(_missing(path)) from error
    except OSError as error:
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected a file; name a file inside it") from error
        raise storage_error(path, error, verb="read") from error
    try:
        document = parse_json(raw, size)
    except ValueError as error:
        raise _not_safetensors(path, start, size, error) from error
    if not isinstance(document, dict):
        raise _not_safetensors(path, start, size)
    metadata = document.pop("__metadata__", None) or {}
    shapes, end = _tensor_table(path, document)
    if size != 8 + length + end:
        state = "truncated" if size < 8 + length + end else "followed by foreign bytes"
        raise FileFormatError(
            f"{path} is {state}: {size} bytes, expected {8 + length + end}; get or make the file again"
        )
    return _parse_header(path, metadata, shapes, size)


def fingerprint(tensors: Mapping[str, np.ndarray | Tensor]) -> str:
    """SHA-256 (64 hex digits) of names, dtypes, shapes and values, independent of order, layout, device and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = _as_torch(name, tensors[name])
        label = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(json.dumps(label).encode() + b"\n")
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a dense, row-major tensor on the CPU, not copied."""
    flat = tensor.reshape(-1)
    if flat.stride(0) != 1:  # with 0 or 1 values any stride counts as contiguous, but cannot be viewed as bytes
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data


def short_fingerprint(full: str) -> str:
    """The first 16 hex digits, for messages and tables."""
    return full[:16]


_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_NUMPY_DTYPES = frozenset({"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})


def _as_torch(name: str, value: np.ndarray | Tensor) -> Tensor:
    """The value as a dense, row-major tensor on the CPU, in the machine's byte order."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous()
    try:
        native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(native)
    except TypeError as error:
        raise ShapeError(f"tensor {name!r} has dtype {value.dtype}; expected numbers or booleans") from error


def _first_non_finite(tensors: Mapping[str, Any]) -> str | None:
    for name, value in tensors.items():
        real = value.is_floating_point() if isinstance(value, Tensor) else value.dtype.kind == "f"
        # Extremes, which NaN spreads to, need no memory; a mask of finite values needs more than the tensor.
        extremes = (value.min(), value.max()) if real and math.prod(value.shape) else ()
        if not all(math.isfinite(extreme) for extreme in extremes):
            return name
    return None


def _not_safetensors(path: Path, start: bytes, size: int, reason: Exception | None = None) -> FileFormatError:
    if is_temporary(path):
        what = "is a half-written file that a killed run left behind; delete it"
    elif size == 0:
        what = "is empty, expected a safetensors file; get or make the file again"
    elif start.startswith((b"PK", b"\x80")):
        what = "looks like a pickle, expected a safetensors file; pickles can run code and are never opened"
    else:
        detail = f" ({reason!s:.200})" if reason else ""
        what = f"is not a safetensors file, or only a part of one{detail}; get or make the file again"
    return FileFormatError(f"{path} {what}")


def _missing(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file() and not is_temporary(entry)]
    except OSError:
        return f"{path}: the folder {path.parent} does not exist; check the path"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"{path} does not exist; " + (f"did you mean {path.with_name(close[0])}?" if close else "check the path")


def _tensor_table(path: Path, document: dict[str, Any]) -> tuple[dict[str, tuple[str, tuple[int, ...]]], int]:
    """Dtypes and shapes of all tensors, and where the last one ends; safetensors checks the rest when loading."""
    table: dict[str, tuple[str, tuple[int, ...]]] = {}
    end = 0
    for name, entry in document.items():
        try:
            dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            if not isinstance(dtype, str) or not all(type(v) is int and v >= 0 for v in [*shape, *offsets]):
                raise ValueError(name)
            if len(shape) > MAX_DIMENSIONS:
                raise ValueError(name)
            table[name] = (dtype, tuple(shape))
            end = max(end, offsets[1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FileFormatError(
                f"{path}: the entry of tensor {name[:80]!r} is damaged; get or make the file again"
            ) from error
    return table, end


def _parse_header(
    path: Path, metadata: Any, shapes: dict[str, tuple[str, tuple[int, ...]]], num_bytes: int
) -> FileHeader:
    text = metadata.get(HEADER_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FileFormatError(
            f"{path} is a safetensors file of another program (no {HEADER_KEY!r} header); name one of Lineament's"
        )
    try:
        document = parse_json(text.encode(), num_bytes)
        kind, version = document["kind"], document["schema_version"]
        written_by, header = document["written_by"], document["header"]
        if not (isinstance(kind, str) and type(version) is int and version >= 1):
            raise ValueError("kind or schema_version")
        if not (isinstance(written_by, str) and isinstance(header, dict)):
            raise ValueError("written_by or header")
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            f"{path}: its Lineament header is damaged ({error!s:.200}); get or make the file again"
        ) from error
    return FileHeader(kind, version, written_by, header, shapes, num_bytes)
