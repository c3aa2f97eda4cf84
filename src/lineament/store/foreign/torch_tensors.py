"""Tensors of PyTorch as pickles describe them: a storage and a view of it, on the file's own bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lineament.store.foreign.builders import PLAIN_BUILDERS, StoredArray, checked_sizes, view_of
from lineament.store.foreign.values import Builder, Global, Ledger, Opaque

_LARGEST_STRIDE = 2**40

STORAGE_DTYPES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
}  # fmt: skip
"""Type of the numbers in each class of storages; complex, quantized and 8-bit floating ones are not supported."""

_NEW_DTYPES = {"uint16": torch.uint16, "uint32": torch.uint32, "uint64": torch.uint64}


@dataclass(slots=True, eq=False)
class Storage:
    """A block of numbers in a file; its bytes may be found later than its first mention.

    Attributes:
        dtype: None for an unsupported kind of numbers.
        count: number of values.
        data: their bytes; None until they are found.
        kind: of the numbers, for messages.
    """

    dtype: torch.dtype | None
    count: int
    data: memoryview | None = None
    kind: str = ""

    @property
    def num_bytes(self) -> int:
        """Size of the numbers; 0 if they cannot be read."""
        return self.count * self.dtype.itemsize if self.dtype else 0


@dataclass(slots=True, eq=False)
class StoredTensor:
    """A view of a storage; checked and turned into a tensor on demand."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any
    dtype: torch.dtype | None
    kind: str

    def tensor(self, ledger: Ledger) -> Tensor:
        """The tensor on the file's bytes; ValueError if it does not lie within them."""
        size, count = checked_sizes(self.size)
        stride, offset = self.stride, self.offset
        if self.dtype is None:
            raise ValueError(f"it holds numbers of the kind {self.kind}, which is not read; save it as float16")
        if type(stride) not in (tuple, list) or len(stride) != len(size) or type(offset) is not int:
            raise ValueError("its strides do not fit its shape")
        if not all(type(step) is int and 0 <= step <= _LARGEST_STRIDE for step in [*stride, offset]):
            raise ValueError("its strides are negative or absurd")
        if not count:
            return torch.empty([min(n, 1) for n in size], dtype=self.dtype).expand(size)
        if self.storage.data is None:
            raise ValueError("its numbers are not in the file")
        available = len(self.storage.data) // self.dtype.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= available or count > available:
            raise ValueError(f"its shape {size} and strides {tuple(stride)} go beyond its storage of {available}")
        steps = [step if n > 1 else 1 for n, step in zip(size, stride, strict=True)]
        return view_of(self.storage.data, self.dtype, available).as_strided(size, steps, offset)


def storage_of(kind: Any, count: Any) -> Storage:
    """A storage, still without bytes, of the class and number of values in a file; ValueError if they make no sense."""
    if type(kind) is not Global or not kind.name.endswith("Storage") or type(count) is not int:
        raise ValueError("a storage of an unknown class")
    if not 0 <= count < 2**48:
        raise ValueError(f"a storage of {count} values")
    dtype = STORAGE_DTYPES.get(kind.name) if kind.module.partition(".")[0] == "torch" else None
    return Storage(dtype, count, kind=kind.name.removesuffix("Storage"))


def is_torch_vocabulary(name: Global) -> bool:
    """Whether a name is a storage's class or a dtype, which need no builder because they are never called."""
    kind = getattr(torch, name.name, None) if name.name.isidentifier() else None
    return name.module.partition(".")[0] == "torch" and (name.name in STORAGE_DTYPES or isinstance(kind, torch.dtype))


def _tensor(ledger: Ledger, args: tuple[Any, ...]) -> StoredTensor:
    storage, offset, size, stride = args[:4]
    if type(storage) is not Storage or (len(args) > 6 and args[6]):
        raise ValueError("a tensor without a storage, or one with a sign or conjugation still to be applied")
    return StoredTensor(storage, offset, size, stride, storage.dtype, storage.kind)


def _new_tensor(ledger: Ledger, args: tuple[Any, ...]) -> StoredTensor:
    storage, offset, size, stride, _, _, dtype = args[:7]
    if type(storage) is not Storage or type(dtype) is not Global or len(args) > 7:
        raise ValueError("a tensor without a storage")
    return StoredTensor(storage, offset, size, stride, _NEW_DTYPES.get(dtype.name), dtype.name)


def _first(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    if type(args[0]) not in (StoredTensor, StoredArray, Opaque):
        raise ValueError("a parameter that is not a tensor")
    return args[0]


def _typed(ledger: Ledger, args: tuple[Any, ...]) -> Any:
    """Tensors with attributes of their own, and subclasses of tensors."""
    function, _, values, _ = args
    builder = _REBUILDS.get(function) if type(function) is Global else None
    return Opaque(_TYPED, args) if builder is None else builder(ledger, values)


def _size(ledger: Ledger, args: tuple[Any, ...]) -> tuple[int, ...]:
    return checked_sizes(args[0] if args else ())[0]


def _device(ledger: Ledger, args: tuple[Any, ...]) -> str:
    if not all(type(arg) in (str, int) for arg in args[:2]):
        raise ValueError("a device without a name")
    return ":".join(map(str, args[:2]))


_TYPED = Global("torch._tensor", "_rebuild_from_type_v2")
_REBUILDS: dict[Global, Builder] = {
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v3"): _new_tensor,
    Global("torch._utils", "_rebuild_parameter"): _first,
    Global("torch._utils", "_rebuild_parameter_with_state"): _first,
    Global("torch._utils", "_rebuild_device_tensor_from_numpy"): _first,
    Global("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _first,
    Global("torch._utils", "_rebuild_xla_tensor"): _first,
}
TENSOR_BUILDERS: dict[Global, Builder] = {
    **PLAIN_BUILDERS,
    **_REBUILDS,
    _TYPED: _typed,
    Global("torch._tensor", "_rebuild_from_type"): _typed,
    Global("torch.tensor", "_rebuild_from_type"): _typed,
    Global("torch.nn.parameter", "Parameter"): _first,
    Global("torch", "Size"): _size,
    Global("torch", "device"): _device,
}
"""Builders for the names in pickles with tensors."""
