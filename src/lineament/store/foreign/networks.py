"""Networks of PyTorch and TensorFlow, read from the object states in pickles; their classes are not needed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lineament.errors import VersionError
from lineament.records.checkpoint import ForeignNetwork
from lineament.store.foreign.plain import is_stored, is_unread, made_tensor, plain
from lineament.store.foreign.values import Global, Ledger, Opaque

PERSISTENT = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
_NEWEST_PERSISTENCE = 6
_NEWEST_TENSORFLOW = 5  # of stylegan2-ada
_DEEPEST = 64
_MOST_MODULES = 10_000
_INIT = ("_init_args", "_init_kwargs")
_PLAIN = (type(None), bool, int, float, str, list, tuple, dict, set)
_TORCH_OWN = ("training", "dump_patches", "call_super_init")


@dataclass(eq=False)
class _Tensors:
    """The tensors of a network that can be read, and why the others cannot."""

    ledger: Ledger
    read: dict[str, Tensor] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, item: Any) -> None:
        """Read one tensor."""
        try:
            self.read[name] = made_tensor(name, item, self.ledger)
        except ValueError as error:
            self.unread[name] = str(error)


# ---- PyTorch ----


def is_module(value: Any) -> bool:
    """Whether a value is a module of PyTorch, pickled directly or by NVIDIA's ``torch_utils.persistence``."""
    if type(value) is not Opaque:
        return False
    return value.name.name == PERSISTENT.name or (
        type(value.state) is dict and type(value.state.get("_parameters")) is dict
    )


def _opened(module: Opaque, ledger: Ledger) -> tuple[str, dict[Any, Any], str]:
    """Class, state and source text of a module."""
    if module.name.name != PERSISTENT.name:
        return module.name.name, module.state, ledger.sources.get(module.name, "")
    meta = module.args[0] if len(module.args) == 1 else None
    if type(meta) is not dict:
        raise ledger.damaged("a module in it has no description")
    version = meta.get("version")
    if type(version) is int and version > _NEWEST_PERSISTENCE:
        raise VersionError(
            f"{ledger.label} holds modules of version {version} of NVIDIA's programs; versions up to "
            f"{_NEWEST_PERSISTENCE} are read: load it there and save its state_dict()"
        )
    name, state, source = meta.get("class_name"), meta.get("state"), meta.get("module_src")
    if type(version) is not int or type(name) is not str or type(state) is not dict or type(source) is not str:
        raise ledger.damaged("the description of a module in it is incomplete")
    return name, state, source


def torch_network(role: str, module: Opaque, ledger: Ledger) -> ForeignNetwork:
    """A network pickled as modules; the tensors are named as in its state dict."""
    tensors = _Tensors(ledger)
    settings: dict[str, dict[str, Any]] = {}
    class_name, state, source = _opened(module, ledger)
    for path, inner in _modules(module, ledger):
        _, inner_state, _ = _opened(inner, ledger)
        settings[path] = {
            key: plain(item, ledger)
            for key, item in inner_state.items()
            if type(key) is str
            and (key in _INIT or not (key.startswith("_") or key in _TORCH_OWN))
            and (type(item) in _PLAIN or getattr(item, "is_small", False))
        }
        for group in ("_parameters", "_buffers"):
            for key, item in _dict(inner_state, group, ledger).items():
                if item is not None:
                    tensors.put(f"{path}.{key}" if path else f"{key}", item)
    arguments = plain(state.get("_init_kwargs"), ledger)
    arguments = arguments if type(arguments) is dict else {}
    return ForeignNetwork(role, class_name, arguments, settings, tensors.read, source, tensors.unread)


def _modules(root: Opaque, ledger: Ledger) -> Iterator[tuple[str, Opaque]]:
    """All modules with their dotted paths, in the order of PyTorch's own names."""
    waiting: list[tuple[str, int, Opaque]] = [("", 0, root)]
    count = 0
    while waiting:
        path, depth, module = waiting.pop()
        count += 1
        ledger.charge(len(path))
        if depth > _DEEPEST or count > _MOST_MODULES:
            raise ledger.refused("its modules are nested too deeply or too many")
        yield path, module
        _, state, _ = _opened(module, ledger)
        children = _dict(state, "_modules", ledger)
        for key, child in reversed(children.items()):
            if child is not None and not is_module(child):
                raise ledger.damaged(f"the module {key!r:.80} in {path!r:.80} cannot be read")
            if child is not None:
                waiting.append((f"{path}.{key}" if path else f"{key}", depth + 1, child))


def _dict(state: dict[Any, Any], name: str, ledger: Ledger) -> dict[str, Any]:
    found = state.get(name, {})
    if type(found) is not dict or not all(type(key) is str for key in found):
        raise ledger.damaged(f"{name} of a module is not a dict of names")
    return found


def is_state_dict(value: Any) -> bool:
    """Whether a value is a state dict: string keys, and tensors for at least half of them."""
    if type(value) is not dict or not value or not all(type(key) is str for key in value):
        return False
    return 2 * sum(is_stored(item) or is_unread(item) for item in value.values()) >= len(value)


def state_dict(role: str, entries: dict[str, Any], ledger: Ledger) -> ForeignNetwork:
    """A network saved as a state dict."""
    tensors = _Tensors(ledger)
    settings: dict[str, Any] = {}
    for name, item in entries.items():
        if is_stored(item) or is_unread(item):
            tensors.put(name, item)
        elif item is not None:
            settings[name] = plain(item, ledger)
    return ForeignNetwork(role, "", settings, {}, tensors.read, "", tensors.unread)


# ---- TensorFlow ----


def is_tensorflow(value: Any) -> bool:
    """Whether a value is a network of NVIDIA's TensorFlow programs."""
    return (
        type(value) is Opaque
        and value.name.name == "Network"
        and type(value.state) is dict
        and "variables" in value.state
    )


def tensorflow_network(role: str, network: Opaque, ledger: Ledger) -> ForeignNetwork:
    """A network of TensorFlow with its components; the variables are named as in the graph."""
    tensors = _Tensors(ledger)
    settings: dict[str, dict[str, Any]] = {}
    waiting: list[tuple[str, int, Any]] = [("", 0, network)]
    while waiting:
        path, depth, component = waiting.pop()
        if depth > _DEEPEST or len(settings) > _MOST_MODULES or not is_tensorflow(component):
            raise ledger.damaged("the components of a network are not networks, or are nested too deeply or too many")
        state = component.state
        if type(state.get("version")) is not int or type(state["variables"]) is not list:
            raise ledger.damaged("the description of a network in it is incomplete")
        if state["version"] > _NEWEST_TENSORFLOW:
            raise VersionError(
                f"{ledger.label} holds networks of version {state['version']} of the TensorFlow programs; versions up "
                f"to {_NEWEST_TENSORFLOW} are read"
            )
        ledger.charge(len(path))
        arguments = plain(state.get("static_kwargs"), ledger)
        settings[path] = arguments if type(arguments) is dict else {}
        for entry in state["variables"]:
            if type(entry) not in (tuple, list) or len(entry) != 2 or type(entry[0]) is not str:
                raise ledger.damaged("a variable of a network has no name")
            tensors.put(f"{path}/{entry[0]}" if path else entry[0], entry[1])
        components = state.get("components", {})
        if type(components) is not dict:
            raise ledger.damaged("the components of a network are not a dict")
        for key, inner in reversed(components.items()):
            own = inner.state.get("name") if is_tensorflow(inner) else None
            own = own if type(own) is str else str(plain(key, ledger))
            waiting.append((f"{path}/{own}" if path else own, depth + 1, inner))
    state = network.state
    name, source = state.get("build_func_name"), state.get("build_module_src")
    arguments = settings.pop("")
    return ForeignNetwork(
        role,
        name if type(name) is str else "",
        arguments,
        settings,
        tensors.read,
        source if type(source) is str else "",
        tensors.unread,
    )
