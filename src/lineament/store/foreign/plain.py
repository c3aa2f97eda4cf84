"""Settings and tensors of foreign networks, made from the plain values of pickles."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lineament.store.foreign.builders import StoredArray
from lineament.store.foreign.torch_tensors import StoredTensor
from lineament.store.foreign.values import Global, Ledger, Opaque

_DEEPEST = 64
TENSOR_COST = 1500
"""Bytes of a tensor object without its data."""

_NAMESPACES = frozenset({Global("argparse", "Namespace"), Global("types", "SimpleNamespace")})


def plain(value: Any, ledger: Ledger, depth: int = 0) -> Any:
    """Settings as numbers, strings, lists and dicts; anything else becomes a string in angle brackets."""
    ledger.settings -= 1
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _DEEPEST or ledger.settings < 0:
        return "<left out>"
    if type(value) is Opaque:
        # Namespaces and subclasses of dict and list are replaced by their contents.
        inner = value.state if value.name in _NAMESPACES else value.parts if value.items is None else value.items
        return plain(inner, ledger, depth + 1) if isinstance(inner, dict | list) else f"<{value.name.dotted}>"
    if isinstance(value, list | tuple | set):
        return [plain(item, ledger, depth + 1) for item in value if ledger.settings > 0]
    if type(value) is dict:
        return {
            key if type(key) is str else str(plain(key, ledger, depth + 1)): plain(item, ledger, depth + 1)
            for key, item in value.items()
            if ledger.settings > 0
        }
    if type(value) is Global:
        return f"<{value.dotted}>"
    if type(value) is StoredArray and value.is_small:
        with suppress(ValueError):
            return made_tensor("a setting", value, ledger).tolist()
    return "<bytes>" if type(value) in (bytes, memoryview) else "<tensor>"


def is_stored(value: Any) -> bool:
    """Whether a value stands for a tensor that can be read."""
    return type(value) is StoredTensor or (type(value) is StoredArray and value.is_numeric)


def is_unread(value: Any) -> bool:
    """Whether a value stands for a tensor of an unsupported kind, such as a sparse one."""
    return type(value) is Opaque and value.name.module.startswith("torch.") and "_rebuild" in value.name.name


def made_tensor(name: str, stored: Any, ledger: Ledger) -> Tensor:
    """The tensor; ValueError says why it cannot be read."""
    ledger.charge(TENSOR_COST + len(name))
    if type(stored) is int and abs(stored) < 2**63:
        return torch.tensor(stored)
    if type(stored) is float:  # a variable of TensorFlow without axes
        return torch.tensor(stored, dtype=torch.float32)
    if not isinstance(stored, StoredTensor | StoredArray):
        raise ValueError("it is of an unsupported kind, such as a sparse tensor")
    return stored.tensor(ledger)
