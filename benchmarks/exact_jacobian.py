"""The mean Jacobian of the canonical maps, by automatic differentiation and by regression."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lineament.engine.console import progress_bar
from lineament.errors import ConfigError, NonFiniteError
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.faces.maps import Albedo, images_of, maps_of
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents

TANGENTS = 64
"""Directions of w that are differentiated at a time; more are no faster on a CPU and need more memory."""

MOMENT_SAMPLES = 20_000
"""Samples of w (without images) from which `regression_weights` estimates moments; enough for w of width 128."""

RIDGE = 0.5
"""Variance of the derivatives that is not linear in w, relative to the linear one; 0.2 and 1 are nearly as good."""


@torch.no_grad()
def sampled_jacobian(
    decomposer: Decomposer,
    generator: Generator,
    numbers: range,
    *,
    seed: int,
    truncation: float,
    batch_size: int = 64,
    albedo: Albedo = "seen",
    state: PixelJacobian | None = None,
    after_batch: Callable[[PixelJacobian], bool] | None = None,
) -> PixelJacobian:
    """Least-squares regression of the maps on w.

    Args:
        decomposer: takes the images apart.
        generator: makes them.
        numbers: numbers of the samples.
        seed: seed of the samples.
        truncation: at which w is sampled.
        batch_size: images at a time; changes speed and memory, and the result only by rounding.
        albedo: albedo as the pixels show it, or the network's output.
        state: state of an earlier run, with samples ``numbers[: state.moments.count]``; the others are added to it.
        after_batch: called after every batch, to save the state; returns whether to stop.

    Returns:
        The state; solve it once the samples are complete.

    Raises:
        ShapeError: the networks gave NaN or infinity; the message names the row of the batch.
    """
    jacobian = state or PixelJacobian()
    device = generator.mapping.w_avg.device
    with progress_bar() as bar:
        task = bar.add_task("sampling maps", total=len(numbers), completed=jacobian.moments.count, note="")
        for first in range(jacobian.moments.count, len(numbers), batch_size):
            batch = numbers[first : first + batch_size]
            w = generator.map(latents(seed, batch, generator.config.z_dim).to(device), truncation)
            maps = maps_of(decomposer, generator, w, albedo)
            jacobian.partial_fit(w.double().cpu().numpy(), maps.cpu().numpy())
            bar.advance(task, len(batch))
            if after_batch is not None and after_batch(jacobian):
                break
    return jacobian


def exact_jacobian(
    decomposer: Decomposer,
    generator: Generator,
    w: Float[Tensor, "n d"],
    weights: Float[np.ndarray, "_ d d"] | None = None,
    chunk: int = TANGENTS,
    albedo: Albedo = "seen",
) -> Float[np.ndarray, "p d"]:
    """Mean over w of the exact derivatives of `maps_of`, by forward mode: one pass for every direction of w.

    Args:
        decomposer: in eval mode.
        generator: in eval mode.
        w: where the derivatives are taken.
        weights: one matrix for each w, by which its derivatives are multiplied from the right. Those of
            `regression_weights` make the result an estimate of `sampled_jacobian`; without, it is the plain mean.
        chunk: directions that are differentiated at a time.
        albedo: albedo as the pixels show it, or the network's output.

    Raises:
        ConfigError: a network is in training mode, or the numbers of weights and of w differ.
        NonFiniteError: a derivative is NaN or infinite.
    """

    def maps(one: Tensor) -> Tensor:
        return maps_of(decomposer, generator, one, albedo)

    return _mean_derivative(maps, decomposer, generator, w, weights, chunk)


def exact_semantics_gradient(
    decomposer: Decomposer,
    generator: Generator,
    w: Float[Tensor, "n d"],
    weights: Float[np.ndarray, "_ d d"] | None = None,
    chunk: int = TANGENTS,
) -> Float[np.ndarray, "m d"]:
    """The same as `exact_jacobian` for the scalar semantics, in the order and units of `SCALAR_SEMANTICS`."""

    def semantics(one: Tensor) -> Tensor:
        return decomposer.measure(images_of(generator, one, decomposer))

    return _mean_derivative(semantics, decomposer, generator, w, weights, chunk)


def regression_weights(
    w: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "m d"], ridge: float = RIDGE
) -> Float[np.ndarray, "n d d"]:
    """Matrices A_i of mean I such that the mean of dy/dw(w_i) A_i estimates the least-squares solution of y on w.

    This is a control variate: y is modelled by a quadratic, whose least-squares solution is known from samples of w
    alone. About the mean of w, y = g w + w' H w / 2 has the derivative g + H w and the least-squares solution
    g + sum_ab H_ab E[w_a w_b w'] S^-1 / 2, where S is the covariance of w; third moments vanish for normal w only.
    g and the symmetric H follow from the derivatives at the w_i by ridge regression. All this is linear in the
    derivatives, so it is applied to the weights, before any derivative is known and for all outputs at once.

    If y is not quadratic, a bias remains. Unbiased weights follow from the covariance identity of normal z,
    Cov(w, y) = int_0^1 E[dw/dz(z) dy/dz(t z + (1 - t^2)^(1/2) z')'] dt, but are noisier. For the shipped networks and
    64 w, they reach a cosine of 0.968 with regression, the plain mean of derivatives 0.972, the weights here 0.989.

    Args:
        w: where the derivatives are taken; a random sample of any size.
        samples: many more w of the same distribution, such as `MOMENT_SAMPLES`; a larger d needs more.
        ridge: see `RIDGE`.

    Raises:
        ConfigError: too few samples, or they do not vary.

    Source:
        Ours. Covariance identity: Houdre, Perez-Abreu, "Covariance identities and inequalities for functionals on
        Wiener and Poisson spaces", Annals of Probability 23, 1995.
    """
    (n, d), centre = w.shape, samples.mean(axis=0, dtype=np.float64)
    if len(samples) <= d:
        raise ConfigError(f"{len(samples)} samples of w do not tell its {d} x {d} covariance; take many more than {d}")
    rest = samples - centre
    cov = rest.T @ rest / len(rest)
    if not cov.trace() > 0:
        raise ConfigError("the samples of w are all the same or not finite, expected random ones; sample some")
    inverse = np.linalg.pinv(cov, rcond=d * np.finfo(np.float64).eps, hermitian=True)
    spread = w - w.mean(axis=0, dtype=np.float64)
    values, basis = np.linalg.eigh(spread.T @ spread)
    values, basis = np.maximum(values[::-1], 0.0), basis[:, ::-1]
    rank = min(n - 1, d)  # the w_i say nothing about H between directions outside their span
    spread, rest = spread @ basis[:, :rank], rest @ basis
    offset = (w.mean(axis=0, dtype=np.float64) - centre) @ basis
    # gap[a, b]: contribution of H_ab and H_ba to the least-squares solution minus that to the mean derivative.
    gap = np.empty((d, rank, d))
    for b in range(rank):
        gap[:, b] = (rest * rest[:, b, None]).T @ rest / len(rest)
    gap = gap @ (basis.T @ inverse @ basis)
    gap[np.arange(d), :, np.arange(d)] -= offset[:rank]
    gap[:, np.arange(rank), np.arange(rank)] -= offset[:, None]
    gap /= (values[:, None] + values[:rank] + 2 * ridge * cov.trace())[:, :, None]
    weights = np.tensordot(spread, gap, axes=(1, 1))
    weights = basis @ (weights - weights.mean(axis=0)) @ basis.T
    return (np.eye(d) + n * weights) @ (cov @ inverse)


@torch.no_grad()
def _mean_derivative(
    function: Callable[[Tensor], Tensor],
    decomposer: Decomposer,
    generator: Generator,
    w: Tensor,
    weights: np.ndarray | None,
    chunk: int,
) -> np.ndarray:
    if decomposer.training or generator.training:
        raise ConfigError("derivatives need networks in eval mode; call eval() on both first")
    if not len(w):
        raise ConfigError("no w was given, expected at least one; sample some")
    if weights is not None and len(weights) != len(w):
        raise ConfigError(f"{len(weights)} weights for {len(w)} w, expected one each; make them from these w")
    directions = torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
    total: Tensor | None = None
    with _ForwardMode(), progress_bar() as bar, warnings.catch_warnings():
        # PyTorch 2.13 scripts its own formulas at the first use of forward mode, and warns about its own call.
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", DeprecationWarning)
        task = bar.add_task("exact derivatives", total=len(w), note="")
        for i, at in enumerate(w):

            def along(direction: Tensor, at: Tensor = at) -> Tensor:
                return torch.func.jvp(lambda one: function(one[None])[0], (at,), (direction,))[1]

            columns = torch.func.vmap(along, chunk_size=chunk)(directions)
            if not columns.isfinite().all():
                raise NonFiniteError(
                    f"the derivatives at w number {i} are NaN or infinite, expected finite ones; leave that w out"
                )
            if weights is not None:
                columns = torch.from_numpy(weights[i].T).to(columns) @ columns
            total = columns if total is None else total.add_(columns)
            bar.advance(task)
    assert total is not None
    return np.ascontiguousarray((total / len(w)).T.cpu().numpy())


class _ForwardMode(TorchFunctionMode):
    """Replaces operations that PyTorch cannot differentiate in forward mode by equivalent ones that it can.

    As of PyTorch 2.13 `grid_sample` has no forward derivative, that of `group_norm` rejects channels_last, and `vmap`
    cannot convert to that layout. The networks keep all three, because they are faster in training.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        stand_ins = {F.group_norm: _group_norm, F.grid_sample: _grid_sample, Tensor.contiguous: _contiguous}
        return stand_ins.get(func, func)(*args, **(kwargs or {}))


def _contiguous(x: Tensor, *, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    return x.contiguous()


def _group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    grouped = x.reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(dim=2, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(dim=2, keepdim=True) + eps)
    return torch.addcmul(bias[:, None, None], normed.view(x.shape), weight[:, None, None])


def _grid_sample(image: Tensor, grid: Tensor, *, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    assert (mode, padding_mode, align_corners) == ("bilinear", "border", True)
    height, width = image.shape[2:]
    x = ((grid[..., 0] + 1) * ((width - 1) / 2)).clamp(0, width - 1)
    y = ((grid[..., 1] + 1) * ((height - 1) / 2)).clamp(0, height - 1)
    left, top = (x.detach().floor().clamp(max=width - 2), y.detach().floor().clamp(max=height - 2))
    x, y = (x - left)[:, None], (y - top)[:, None]
    first = (top * width + left).nan_to_num(0).long().flatten(1)[:, None].expand(-1, image.shape[1], -1)
    pixels = image.flatten(2)
    shape = (*image.shape[:2], *grid.shape[1:3])
    a, b, c, d = (pixels.gather(2, first + offset).view(shape) for offset in (0, 1, width, width + 1))
    return (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y
