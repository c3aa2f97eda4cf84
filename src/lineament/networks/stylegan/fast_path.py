"""When a network may use a faster path that cannot be differentiated, and the cache of that path."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

T = TypeVar("T")


def are_plain(*tensors: Tensor) -> bool:
    """Whether tensors are plain numbers on the CPU, which the fast path needs.

    False if a gradient is wanted, within `torch.func` transforms and forward mode, under autocast, and while a program
    is compiled or exported.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    usual = all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.float64) for t in tensors)
    return usual and are_constant(*tensors)


def are_constant(*tensors: Tensor) -> bool:
    """Whether no derivative is wanted of tensors, on any device: no gradient, no tangent, no `torch.func` transform."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return False
    wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wants_gradient and all(forward_ad.unpack_dual(t).tangent is None for t in tensors)


class Kept(Generic[T]):
    """Cache of a value made from a parameter, until the parameter changes.

    A change in place shows in the parameter's version (but not one through ``.data``, which hides changes). Another
    parameter shows in its address; a view keeps the old address from being reused. Copies and pickles are empty.
    """

    def __init__(self) -> None:
        self._made: tuple[int, Tensor, T] | None = None

    def __call__(self, parameter: Tensor, make: Callable[[Tensor], T]) -> T:
        """``make(parameter)``, or its result from before."""
        if parameter.is_inference():  # has no version
            return make(parameter)
        made = self._made
        if made is None or made[0] != parameter._version or made[1].data_ptr() != parameter.data_ptr():
            with torch.no_grad():
                made = parameter._version, parameter.detach(), make(parameter)
            self._made = made
        return made[2]

    def __reduce__(self) -> tuple[type["Kept[T]"], tuple[()]]:
        return Kept, ()
