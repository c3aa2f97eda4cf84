"""Find the networks in the plain value of a checkpoint, whichever program wrote it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lineament.errors import FileFormatError
from lineament.records.checkpoint import CheckpointLayout, ForeignNetwork
from lineament.store.foreign.networks import (
    PERSISTENT,
    is_module,
    is_state_dict,
    is_tensorflow,
    state_dict,
    tensorflow_network,
    torch_network,
)
from lineament.store.foreign.plain import is_stored, is_unread, made_tensor, plain
from lineament.store.foreign.torch_tensors import is_torch_vocabulary
from lineament.store.foreign.values import Ledger, Opaque

_TENSORFLOW_ROLES = ("G", "D", "Gs")
_UNDERSTOOD = (PERSISTENT.name, "Network", "ndarray", "object", "_reconstructor", "__newobj__", "__newobj_ex__")


@dataclass(eq=False)
class Contents:
    """What was found in a checkpoint."""

    layout: CheckpointLayout = "torch"
    networks: dict[str, ForeignNetwork] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)


def read_contents(value: Any, ledger: Ledger) -> Contents:
    """The networks in a checkpoint's value.

    Raises:
        FileFormatError: it holds no network, or one whose tensors cannot be read.
        VersionError: a newer layout.
    """
    contents = Contents()
    if isinstance(value, tuple | list) and len(value) == 3 and all(is_tensorflow(network) for network in value):
        entries: dict[Any, Any] = dict(zip(_TENSORFLOW_ROLES, value, strict=True))
    elif is_module(value) or is_tensorflow(value):
        entries = {"": value}
    elif type(value) is dict:
        entries = dict(_flat(value))
    elif type(value) is Opaque and type(value.state) is dict:
        entries = value.state
    else:
        entries = {}
    lone: dict[str, Any] = {}
    for key, item in entries.items():
        if type(key) is not str:
            continue
        if is_tensorflow(item):
            contents.networks[key] = tensorflow_network(key, item, ledger)
            contents.layout = "nvidia-tensorflow"
        elif is_module(item):
            contents.networks[key] = torch_network(key, item, ledger)
            if item.name.name == PERSISTENT.name:
                contents.layout = "nvidia-torch"
        elif is_state_dict(item):
            contents.networks[key] = state_dict(key, item, ledger)
        elif is_stored(item) or is_unread(item):
            lone[key] = item
        else:
            contents.extras[key] = plain(item, ledger)
    if lone and not contents.networks:
        contents.networks[""] = state_dict("", lone | dict.fromkeys(contents.extras), ledger)
        contents.networks[""].settings.update(contents.extras)
        contents.extras.clear()
    elif lone:
        for name, item in lone.items():
            contents.extras[name] = made_tensor(name, item, ledger) if is_stored(item) else plain(item, ledger)
    if not contents.networks:
        raise FileFormatError(
            f"{ledger.label} has no networks: it is {_described(value)}; name the checkpoint of a StyleGAN"
        )
    return contents


def foreign_names(ledger: Ledger) -> tuple[str, ...]:
    """Names that were neither built nor understood, in alphabetical order."""
    return tuple(
        sorted(name.dotted for name in ledger.names if name.name not in _UNDERSTOOD and not is_torch_vocabulary(name))
    )


def _flat(entries: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The entries; genforce's dict ``models`` is replaced by the networks in it."""
    for key, item in entries.items():
        if key == "models" and type(item) is dict and item and all(map(is_state_dict, item.values())):
            yield from item.items()
        else:
            yield key, item


def _described(value: Any) -> str:
    if type(value) is dict:
        names = [key for key in value if type(key) is str]
        return f"a dict of {', '.join(f'{name!r:.40}' for name in names[:6]) or 'no names'}"
    if type(value) is Opaque:
        return f"an object of the class {value.name.dotted!r:.80}"
    return f"one value of the type {type(value).__name__}"
