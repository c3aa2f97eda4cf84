"""Builders for pickles: Python's containers and NumPy's arrays, as plain data and views of the file."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.store.foreign.values import Builder, Global, Ledger, Opaque, hashable

_MOST_AXES = 32
_LARGEST_AXIS = 2**40
_FEW_BYTES = 256
_BUFFERS = (bytes, memoryview, str)

_DTYPES = {
    "f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "b1": torch.bool,
    "i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64,
    "u1": torch.uint8, "u2": torch.uint16, "u4": torch.uint32, "u8": torch.uint64,
}  # fmt: skip


@dataclass(slots=True, eq=False)
class ArrayType:
    """The dtype of an array in a file; ``code`` is for example "f4", or "" if it is not one of plain numbers."""

    code: str
    big_endian: bool = False

    def set_state(self, state: Any) -> None:
        """Take NumPy's description of the dtype: its byte order, and whether it is one of plain numbers."""
        if type(state) is not tuple or not 8 <= len(state) <= 9:
            raise ValueError("a dtype of an unknown version of NumPy")
        _, order, subtype, names, fields, *_ = state
        self.big_endian = order == ">"
        if subtype is not None or names is not None or fields is not None:
            self.code = ""


@dataclass(slots=True, eq=False)
class StoredArray:
    """An array of NumPy in a file; checked and turned into a tensor on demand."""

    shape: Any = ()
    dtype: Any = None
    fortran: bool = False
    data: Any = None

    def set_state(self, state: Any) -> None:
        """Take the state of a NumPy array: version, shape, dtype, order of axes and bytes."""
        if type(state) is not tuple or not 4 <= len(state) <= 5:
            raise ValueError("an array of an unknown version of NumPy")
        *_, self.shape, self.dtype, fortran, self.data = state
        self.fortran = bool(fortran)

    @property
    def is_small(self) -> bool:
        """Whether the array is a setting rather than a weight: at most one axis and few bytes."""
        return self.is_numeric and len(self.data) <= _FEW_BYTES and type(self.shape) is tuple and len(self.shape) <= 1

    @property
    def is_numeric(self) -> bool:
        """Whether the array holds plain numbers."""
        return type(self.dtype) is ArrayType and bool(self.dtype.code) and type(self.data) in _BUFFERS

    def tensor(self, ledger: Ledger) -> Tensor:
        """The array as a tensor on the file's bytes; ValueError if it cannot be one."""
        dtype = _DTYPES.get(self.dtype.code) if type(self.dtype) is ArrayType else None
        if dtype is None:
            raise ValueError("an array of something other than numbers")
        if self.dtype.big_endian and dtype.itemsize > 1:
            raise ValueError("an array in big-endian byte order; save it again on another machine")
        shape, count = checked_sizes(self.shape)
        data = writable(self.data, ledger)
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"an array of shape {shape} and {len(data)} bytes")
        if self.fortran:
            return view_of(data, dtype, count).view(shape[::-1]).permute(*reversed(range(len(shape))))
        return view_of(data, dtype, count).view(shape)


def checked_sizes(shape: Any) -> tuple[tuple[int, ...], int]:
    """A shape and its number of values; ValueError if the shape is not valid."""
    if type(shape) not in (tuple, list) or len(shape) > _MOST_AXES:
        raise ValueError("not a valid shape")
    if not all(type(size) is int and 0 <= size <= _LARGEST_AXIS for size in shape):
        raise ValueError("a shape of absurd sizes")
    if math.prod(size or 1 for size in shape) >= 2**60:
        raise ValueError("a shape of absurd sizes")
    return tuple(shape), math.prod(shape)


def writable(data: Any, ledger: Ledger) -> memoryview:
    """A buffer's bytes as writable memory; read-only ones are copied, because torch warns of read-only memory."""
    if type(data) is memoryview and not data.readonly:
        return data
    if type(data) not in _BUFFERS:
        raise ValueError("something other than bytes")
    ledger.charge(len(data))
    return memoryview(bytearray(data, "latin-1") if isinstance(data, str) else bytearray(data))


def view_of(data: memoryview, dtype: torch.dtype, count: int) -> Tensor:
    """The first values of some bytes, without a copy; booleans are copied, because a byte can have any value."""
    if not count:
        return torch.empty(0, dtype=dtype)
    if dtype == torch.bool:
        return torch.frombuffer(data, dtype=torch.uint8, count=count) != 0
    return torch.frombuffer(data, dtype=dtype, count=count)


def _dtype(ledger: Ledger, args: tuple[Any, ...]) -> ArrayType:
    name = args[0]
    if type(name) is not str:
        return ArrayType("")
    code = {"bool": "b1", "float": "f8", "float32": "f4", "float64": "f8"}.get(name, name.lstrip("<=|>"))
    return ArrayType(code if code in _DTYPES else "", name.startswith(">"))


def _scalar(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    dtype, data = args if len(args) == 2 else (args[0], None)
    if type(dtype) is not ArrayType:
        raise ValueError("a number without a type")
    if not dtype.code:
        return Opaque(Global("numpy", "scalar"), args)
    raw = writable(data, ledger)
    if len(raw) != int(dtype.code[1]):
        raise ValueError("a number of the wrong length")
    return np.frombuffer(raw, (">" if dtype.big_endian else "<") + dtype.code)[0].item()


def _from_buffer(ledger: Ledger, args: tuple[Any, ...]) -> StoredArray:
    data, dtype, shape, order = args
    return StoredArray(shape, dtype, order == "F", data)


def _reconstruct(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    return StoredArray() if type(args[0]) is Global and args[0].name == "ndarray" else Opaque(_RECONSTRUCT, args)


def _encode(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    """Protocols below 3 write bytes as text."""
    text, encoding = args if len(args) == 2 else (args[0], "utf-8")
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError("bytes as text in an encoding that is not expected")
    ledger.charge(len(text) if encoding != "utf-8" else 3 * len(text))
    return text.encode(encoding) if len(text) <= 256 else memoryview(bytearray(text, encoding))


def _bytes(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    if not args:
        return b""
    if type(args[0]) is str:
        return _encode(ledger, args)
    return args[0]


def _container(kind: type) -> Builder:
    def build(ledger: Ledger, args: tuple[Any, ...]) -> Any:
        values = args[0] if args else ()
        if type(values) not in (list, tuple, set, dict):
            raise ValueError("a container made from something that is no container")
        ledger.charge((200 if kind in (dict, set) else 8) * len(values))
        if kind is set:
            return {*map(hashable, values)}
        if kind is dict and type(values) is not dict:
            return {hashable(key): value for key, value in values}
        return kind(values)

    return build


def _default_dict(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    return _container(dict)(ledger, args[1:2])


def _names(modules: str, names: str, builder: Builder) -> dict[Global, Builder]:
    return {Global(module, name): builder for module in modules.split() for name in names.split()}


_RECONSTRUCT = Global("numpy", "_reconstruct")
_PYTHON = "builtins __builtin__"
_NUMPY = "numpy numpy.core.multiarray numpy._core.multiarray"

PLAIN_BUILDERS: dict[Global, Builder] = {
    **_names(_PYTHON, "list", _container(list)),
    **_names(_PYTHON, "tuple", _container(tuple)),
    **_names(_PYTHON, "dict", _container(dict)),
    **_names(_PYTHON, "set frozenset", _container(set)),
    **_names(_PYTHON, "bytes bytearray", _bytes),
    **_names("collections", "OrderedDict Counter", _container(dict)),
    **_names("collections", "defaultdict", _default_dict),
    **_names("collections", "deque", _container(list)),
    **_names("dnnlib.util dnnlib easydict", "EasyDict", _container(dict)),
    **_names("_codecs", "encode", _encode),
    **_names(_NUMPY, "dtype", _dtype),
    **_names(_NUMPY, "scalar", _scalar),
    **_names(_NUMPY, "_reconstruct", _reconstruct),
    **_names("numpy.core.numeric numpy._core.numeric", "_frombuffer", _from_buffer),
}
"""Builders for the names in plain pickles."""
