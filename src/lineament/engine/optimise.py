"""Shared by all trainings: gradient steps, averages of weights, learning rate schedules."""

import math
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament.engine.devices import any_process, average_gradients
from lineament.errors import NonFiniteError

FINAL_RATE = 0.05
"""Learning rate at the end of a training, as a share of the full one."""

YOUNG_SHARE = 0.1
"""Maximum half-life of an average of weights, as a share of the steps so far, so that the average forgets the start."""


def descend(
    fabric: Fabric,
    loss: Tensor,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    rate: float | None = None,
    clip_norm: float = math.inf,
    clipped_alone: Sequence[Sequence[Tensor]] = (),
) -> float:
    """One gradient step on the parameters of ``module``; other networks in the loss are not changed.

    Args:
        fabric: its processes average their gradients; all of them must call this.
        loss: a scalar.
        module: its parameters that require a gradient are updated.
        optimizer: of these parameters.
        step: number of the step, for messages.
        rate: learning rate of this step; that of the optimizer if None.
        clip_norm: maximum norm of the gradient.
        clipped_alone: groups of parameters whose gradients are clipped separately; if empty, all are clipped together.

    Returns:
        The norm of the gradient before it was clipped.

    Raises:
        NonFiniteError: the loss or a gradient is not finite; no parameter was changed.
    """
    if any_process(fabric, not bool(torch.isfinite(loss))):
        raise NonFiniteError(f"the loss became {float(loss.detach())} at step {step}")
    optimizer.zero_grad(set_to_none=True)
    parameters: list[Tensor] = list(module.parameters())
    moving = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter, gradient in zip(moving, torch.autograd.grad(loss, moving, allow_unused=True), strict=True):
        parameter.grad = gradient
    average_gradients(fabric, parameters)
    # Checked before the step, so that a gradient that is not finite never reaches the parameters.
    norms = [clipped(group, clip_norm) for group in clipped_alone or [parameters]]
    norm = float(torch.stack(norms).norm())
    if not math.isfinite(norm):
        raise NonFiniteError(f"the gradient became {norm} at step {step}")
    if rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
    optimizer.step()
    return norm


def clipped(parameters: Sequence[Tensor], limit: float) -> Tensor:
    """Clip gradients in place to a joint norm of at most ``limit``; returns the norm before."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit < math.inf:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


@torch.no_grad()
def average_weights(average: nn.Module, current: nn.Module, half_life: float) -> None:
    """Move the average of a network's parameters towards the current ones; buffers are not changed.

    Args:
        half_life: number of steps after which the weight of a step has halved; 0 copies the current parameters.
    """
    decay = 0.5 ** (1 / max(half_life, 1e-8))
    averages: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(averages, list(current.parameters()), 1 - decay)


def half_life_at(step: int, half_life: float) -> float:
    """The half-life of an average of weights at a step: shorter in the beginning."""
    return min(half_life, (step + 1) * YOUNG_SHARE)


def falling_rate(step: int, steps: int, decay: float) -> float:
    """Factor on the learning rate: 1, then falling to `FINAL_RATE` linearly over the last ``decay`` of the steps."""
    left = (steps - step) / max(decay * steps, 1e-8)
    return min(max(left, FINAL_RATE), 1.0)


def warm_and_falling_rate(step: int, steps: int, warmup_steps: int, decay: float) -> float:
    """As `falling_rate`, but rising linearly over the first ``warmup_steps``."""
    return min((step + 1) / max(warmup_steps, 1), 1.0) * falling_rate(step, steps, decay)
