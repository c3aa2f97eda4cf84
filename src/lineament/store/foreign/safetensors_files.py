"""Networks in safetensors files of other programs."""

from pathlib import Path

import safetensors
import torch

from lineament.errors import FileFormatError
from lineament.records.checkpoint import ForeignNetwork
from lineament.store.foreign.contents import Contents
from lineament.store.foreign.plain import TENSOR_COST
from lineament.store.foreign.values import Ledger
from lineament.store.json_text import parse_json
from lineament.store.tensors import HEADER_KEY, MAX_HEADER_BYTES, is_safetensors

_EXOTIC = ("F8", "F4", "F6", "C64")
"""Beginnings of the names of kinds of numbers that are not read."""


def is_foreign_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, but not one of Lineament's; damaged ones count as Lineament's."""
    if not is_safetensors(path):
        return False
    try:
        document = parse_json(_raw_header(path), path.stat().st_size)
    except ValueError:
        return False
    metadata = document.get("__metadata__") if isinstance(document, dict) else None
    return isinstance(document, dict) and HEADER_KEY not in (metadata if isinstance(metadata, dict) else {})


def _raw_header(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(min(int.from_bytes(handle.read(8), "little"), MAX_HEADER_BYTES))


def safetensors_contents(path: Path, ledger: Ledger) -> Contents:
    """The one network in a safetensors file, its tensors mapped.

    Raises:
        FileFormatError: damaged, without tensors, or with more than its size justifies.
    """
    ledger.charge(TENSOR_COST * _raw_header(path).count(b"data_offsets"))
    tensors: dict[str, torch.Tensor] = {}
    unread: dict[str, str] = {}
    try:
        with safetensors.safe_open(path, framework="pt") as handle:  # pyright: ignore[reportPrivateImportUsage]
            for name in handle.keys():  # noqa: SIM118 - not a dict
                kind = handle.get_slice(name).get_dtype()
                if kind.startswith(_EXOTIC):
                    unread[name] = f"it holds numbers of the kind {kind}, which is not read; save it as float16"
                else:
                    tensors[name] = handle.get_tensor(name)
            settings = dict(handle.metadata() or {})
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise ledger.damaged(str(error)) from error
    if not tensors and not unread:
        raise FileFormatError(f"{path} has no tensors; name the checkpoint of a StyleGAN")
    return Contents("safetensors", {"": ForeignNetwork("", "", settings, {}, tensors, "", unread)})
