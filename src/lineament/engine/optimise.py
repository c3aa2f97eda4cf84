"""The mechanics that all trainings share: a step of descent, an average of weights, a learning rate over time."""

import math
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament.engine.devices import any_process, average_gradients
from lineament.errors import NonFiniteError

FINAL_RATE = 0.05
"""The learning rate at the end, as a share of the full one."""

YOUNG_SHARE = 0.1
"""The half-life of an average of weights is at most this share of the steps so far, so that the start is forgotten."""


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
    """One step of ``module`` down the gradient of the loss; other networks that it passes through stay as they are.

    Args:
        fabric: whose processes average their gradients; all of them must call this.
        loss: a scalar.
        module: whose parameters move, those that require a gradient.
        optimizer: of these parameters.
        step: number of the step, for messages.
        rate: learning rate of this step; that of the optimizer if None.
        clip_norm: longest gradient.
        clipped_alone: groups of parameters whose gradients are clipped apart; all together if empty.

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
    """The norm of all gradients together, which are made shorter in place where it is above the limit."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit < math.inf:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


@torch.no_grad()
def average_weights(average: nn.Module, current: nn.Module, half_life: float) -> None:
    """Move the average of a network's parameters towards the present ones; buffers stay.

    Args:
        half_life: steps after which a step counts half; 0 takes the present ones.
    """
    decay = 0.5 ** (1 / max(half_life, 1e-8))
    averages: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(averages, list(current.parameters()), 1 - decay)


def half_life_at(step: int, half_life: float) -> float:
    """The half-life of an average of weights at a step: shorter in the beginning."""
    return min(half_life, (step + 1) * YOUNG_SHARE)


def falling_rate(step: int, steps: int, decay: float) -> float:
    """Share of the learning rate: all of it, then falling linearly over the last ``decay`` of the steps."""
    left = (steps - step) / max(decay * steps, 1e-8)
    return min(max(left, FINAL_RATE), 1.0)


def warm_and_falling_rate(step: int, steps: int, warmup_steps: int, decay: float) -> float:
    """As `falling_rate`, and rising linearly over the first ``warmup_steps``."""
    return min((step + 1) / max(warmup_steps, 1), 1.0) * falling_rate(step, steps, decay)
