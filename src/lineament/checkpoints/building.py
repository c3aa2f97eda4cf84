"""Build networks from settings that nobody vouches for: names and shapes are compared before memory is taken."""

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from lineament.errors import FileFormatError, LineamentError

SPARE_PARAMETERS = 100
"""How many more parameters than tensors of the file may be made before the settings are refused. Some networks are cut
out of larger ones: features, for example, out of a discriminator."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]


_ELEMENTWISE = {getattr(Tensor, name) for name in ("add", "sub", "mul", "div", "square", "exp", "norm")}
"""Arithmetic in constructors (`norm` keeps its axes there)."""


class _TooManyError(Exception):
    """The settings ask for many more parameters than there are tensors."""


class _ShapesAlone(TorchFunctionMode):
    """Random numbers and results of arithmetic on the meta device get a shape, but nothing is called.

    PyTorch's implementations of them for this device import its compiler, which takes three seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.randn, torch.rand):
            return torch.empty(*args, device="meta")
        if func is torch.eye:
            return torch.empty(args[0], args[0], device="meta")
        tensors = [value for value in args if isinstance(value, Tensor)]
        if func in _ELEMENTWISE and any(value.is_meta for value in tensors):
            return torch.empty(np.broadcast_shapes(*(value.shape for value in tensors)), device="meta")
        return func(*args, **(kwargs or {}))


def build_checked(
    path: str | Path, build: Callable[[Any], NetworkT], config: Any, state: Mapping[str, Tensor]
) -> NetworkT:
    """Build a network from settings and tensors of a file, if they agree.

    Nothing is allocated before names and shapes agree, and tensors that already have the network's dtype are used as
    they are, not copied.

    Args:
        path: of the file, for messages.
        build: makes the network from ``config``.
        config: the settings that the file claims.
        state: all tensors of the network's state, by name.

    Raises:
        FileFormatError: tensors are missing, left over, of another shape or complex; or the settings are impossible.
    """
    network = build_empty(path, build, config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    fill(path, network, state)
    return network


def build_empty(path: str | Path, build: Callable[[Any], NetworkT], config: Any, shapes: Shapes) -> NetworkT:
    """A network without memory (on the meta device) whose state has exactly these shapes; give it tensors with `fill`.

    Raises:
        FileFormatError: tensors are missing, left over or of another shape; or the settings are impossible.
    """
    thread, counter = threading.get_ident(), itertools.count()

    def count(*_: Any) -> None:
        if threading.get_ident() == thread and next(counter) >= len(shapes) + SPARE_PARAMETERS:
            raise _TooManyError

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), _ShapesAlone():
            network = build(config)
    except _TooManyError as error:
        raise FileFormatError(
            f"{path} does not fit its own configuration: it has {len(shapes)} tensors, but the configuration asks for "
            "many more; the file is damaged"
        ) from error
    except (LineamentError, RuntimeError, ArithmeticError, TypeError, ValueError, MemoryError) as error:
        raise FileFormatError(
            f"{path}: no network has the sizes of its configuration ({error!s:.200}); the file is damaged"
        ) from error
    finally:
        hook.remove()
    _check_shapes(path, shapes, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    return network


def _check_shapes(path: str | Path, found: Shapes, expected: Shapes) -> None:
    """Raise FileFormatError that names tensors that are missing, left over or of another shape."""
    problems = [f"missing {k}" for k in expected.keys() - found.keys()]
    problems += [f"left over {k:.80}" for k in found.keys() - expected.keys()]
    problems += [
        f"{k} has shape {found[k]}, expected {shape}" for k, shape in expected.items() if found.get(k, shape) != shape
    ]
    if problems:
        raise FileFormatError(f"{path} does not fit its own configuration: {'; '.join(sorted(problems)[:3])}")


def fill(path: str | Path, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give an empty network its tensors, converted to its dtypes where they differ, and otherwise not copied.

    Raises:
        FileFormatError: a tensor is complex.
    """
    expected = network.state_dict()
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        if tensor.is_complex():
            raise FileFormatError(f"{path}: tensor {name:.80} is complex, expected real numbers; the file is damaged")
        converted = tensor.detach().to("cpu", expected[name].dtype).contiguous()
        # Weights that share memory, as tied ones do, would later change together.
        own[name] = converted.clone() if converted.untyped_storage().data_ptr() in storages else converted
        storages.add(own[name].untyped_storage().data_ptr())
    network.load_state_dict(own, assign=True)
    everything: Iterable[Tensor] = itertools.chain(network.parameters(), network.buffers())
    assert not any(tensor.is_meta for tensor in everything), "buffers outside the state must be made on the CPU"
