"""Find the networks in the plain value of a checkpoint, whichever program wrote it."""

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
from lineament.store.foreign.torch_tensors import StoredTensor, is_torch_vocabulary
from lineament.store.foreign.values import Ledger, Opaque

_TENSORFLOW_ROLES = ("G", "D", "Gs")
_UNDERSTOOD = (PERSISTENT.name, "Network", "ndarray", "object", "_reconstructor", "__newobj__", "__newobj_ex__")
_DEEPEST = 4
_MOST_DICTS = 10_000


@dataclass(eq=False)
class Contents:
    """What was found in a checkpoint."""

    layout: CheckpointLayout = "torch"
    networks: dict[str, ForeignNetwork] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)

    def add(self, role: str, item: Any, ledger: Ledger) -> None:
        """Read one network."""
        if is_tensorflow(item):
            self.networks[role] = tensorflow_network(role, item, ledger)
            self.layout = "nvidia-tensorflow"
        elif is_module(item):
            self.networks[role] = torch_network(role, item, ledger)
            if item.name.name == PERSISTENT.name:
                self.layout = "nvidia-torch"
        else:
            self.networks[role] = state_dict(role, item, ledger)


def read_contents(value: Any, ledger: Ledger) -> Contents:
    """The networks in a checkpoint's value, at the top or in dicts within it.

    Raises:
        FileFormatError: it holds no network, or none whose tensors can be read.
        VersionError: a newer layout.
    """
    contents = Contents()
    search = _Search(_entries(value))
    for role, item in search.networks.items():
        contents.add(role, item, ledger)
    others = {name: plain(item, ledger) for name, item in search.others.items()}
    if search.lone and not search.networks:
        contents.networks[""] = state_dict("", search.lone, ledger)
        contents.networks[""].settings.update(others)
    else:
        contents.extras = others | _lone_tensors(search.lone, ledger)
    if not contents.networks:
        raise FileFormatError(f"{ledger.label} has no networks: it is {_described(value)}")
    _check_some_are_read(contents, ledger)
    return contents


def _entries(value: Any) -> dict[Any, Any]:
    """The parts of the value at the top of a file, by name."""
    if isinstance(value, tuple | list) and value and all(is_tensorflow(item) or is_module(item) for item in value):
        roles = _TENSORFLOW_ROLES if len(value) == 3 else map(str, range(len(value)))
        return dict(zip(roles, value, strict=True))
    if is_module(value) or is_tensorflow(value):
        return {"": value}
    return _inner(value) or {}


def _inner(value: Any) -> dict[Any, Any] | None:
    """The dict that a value is, or that an object of an unknown class keeps its parts in."""
    if type(value) is dict:
        return value
    if type(value) is Opaque:
        return value.items if value.items is not None else value.state if type(value.state) is dict else None
    return None


class _Search:
    """Networks, lone tensors and all other values in nested dicts; each dict is looked at once, near the top first."""

    def __init__(self, entries: dict[Any, Any]) -> None:
        self.networks: dict[str, Any] = {}
        self.lone: dict[str, Any] = {}
        self._known: dict[int, bool] = {}  # a file can hold one dict a million times
        self._seen = {id(entries)}
        used: set[str] = set()
        waiting: list[tuple[str, dict[Any, Any]]] = [("", entries)]
        for path, values in waiting:
            for key, item in values.items():
                if type(key) is not str:
                    continue
                top = path.partition(".")[0] or key
                inner = self._unseen(item)
                if is_stored(item) or is_unread(item):
                    self.lone.setdefault(key, item)
                    used.add(top)
                elif is_tensorflow(item) or is_module(item) or (inner and self._is_only_state(inner)):
                    # A network is called by its own name, unless another one has that name already.
                    self.networks[key if key not in self.networks else f"{path}.{key}"] = inner or item
                    used.add(top)
                elif inner and path.count(".") < _DEEPEST:
                    waiting.append((f"{path}.{key}" if path else key, inner))
        self.others = {key: item for key, item in entries.items() if type(key) is str and key not in used}

    def _unseen(self, item: Any) -> dict[Any, Any] | None:
        inner = None if is_tensorflow(item) or is_module(item) else _inner(item)
        if not inner or id(inner) in self._seen or len(self._seen) >= _MOST_DICTS:
            return None
        self._seen.add(id(inner))
        return inner

    def _is_only_state(self, values: dict[Any, Any]) -> bool:
        """Whether a dict is a state dict, rather than one with networks in it."""
        return is_state_dict(values) and not any(map(self._is_network, values.values()))

    def _is_network(self, value: Any) -> bool:
        if id(value) not in self._known:
            self._known[id(value)] = is_tensorflow(value) or is_module(value) or is_state_dict(value)
        return self._known[id(value)]


def _lone_tensors(lone: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Tensors beside the networks; those that cannot be read become a text that says so."""
    found: dict[str, Any] = {}
    for name, item in lone.items():
        try:
            found[name] = made_tensor(name, item, ledger) if is_stored(item) else plain(item, ledger)
        except ValueError as error:
            found[name] = f"<not read: {error}>"
    return found


def _check_some_are_read(contents: Contents, ledger: Ledger) -> None:
    """Refuse a file of whose networks no tensor can be read, naming one."""
    if any(network.tensors for network in contents.networks.values()):
        return
    for role, network in contents.networks.items():
        for name, why in network.unread.items():
            shown = f"{role}: {name}" if role else name
            raise FileFormatError(f"{ledger.label}: the tensor {shown!r:.120} cannot be read: {why}")


def foreign_names(ledger: Ledger) -> tuple[str, ...]:
    """Names that were neither built nor understood, in alphabetical order."""
    return tuple(
        sorted(name.dotted for name in ledger.names if name.name not in _UNDERSTOOD and not is_torch_vocabulary(name))
    )


def _described(value: Any) -> str:
    if type(value) is dict:
        names = [key for key in value if type(key) is str]
        shown = ", ".join(f"{name!r:.40}" for name in names[:6]) or "no names"
        return f"a dict of {shown}; name the checkpoint of a StyleGAN"
    if type(value) is Opaque:
        return f"an object of the class {value.name.dotted!r:.80}; name the checkpoint of a StyleGAN"
    if is_stored(value):
        shape = value.size if isinstance(value, StoredTensor) else value.shape
        shape = tuple(shape) if isinstance(shape, tuple | list) else "?"
        return f"one tensor of shape {shape!s:.40}, such as latents; name the generator it belongs to"
    return f"one value of the type {type(value).__name__}; name the checkpoint of a StyleGAN"
