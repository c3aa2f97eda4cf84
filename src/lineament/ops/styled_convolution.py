"""A whole layer of StyleGAN2 for inference on a CPU: `modulated_conv2d`, noise, bias and activation in few passes.

Whatever depends on the weight alone is computed once and reused. Each pixel is finished while it is in the cache. Not
differentiable; equal to the plain form (see `ops.modulation`) up to rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.modulation import DEMODULATION_EPSILON
from lineament.ops.resample import fir_kernel
from lineament.ops.tiled_convolution import TILE, tile_filters, tiled_conv2d

STRIP_SIZE = 1 << 18
"""Numbers processed at a time: one megabyte, which fits a core's second-level cache."""
LEAST_TILED = 96
"""Minimum number of input and of output channels at which tiling is faster."""


@dataclass(frozen=True)
class PreparedWeight:
    """A layer's weight in the form that its convolution takes.

    Attributes:
        kernel: with ``tiled``, the result of `tile_filters`; else the weight of a direct or of a transposed
            convolution, in channels_last.
        energy: sum of the squares of every kernel, for the demodulation.
        tiled: whether the convolution is done in tiles.
    """

    kernel: Tensor
    energy: Float[Tensor, "o c"]
    tiled: bool


def prepare_weight(weight: Float[Tensor, "o c 3 3"], *, upsample: bool, size: int) -> PreparedWeight:
    """Prepare a weight for `styled_conv2d`, for results of ``size`` pixels a side."""
    energy = weight.square().sum(dim=(2, 3))
    tiled = not upsample and min(weight.shape[:2]) >= LEAST_TILED and size >= 2 * TILE
    if tiled:
        return PreparedWeight(tile_filters(weight), energy, tiled=True)
    # oneDNN needs this layout. It converts any other in every call, which costs more than a small layer itself.
    kernel = weight.transpose(0, 1) if upsample else weight
    return PreparedWeight(kernel.clone(memory_format=torch.channels_last), energy, tiled=False)


def styled_conv2d(
    x: Float[Tensor, "n c h w"],
    style: Float[Tensor, "n c"],
    weight: PreparedWeight,
    bias: Float[Tensor, " o"],
    noise: Float[Tensor, "m 1 h2 w2"] | None,
    *,
    upsample: bool,
    gain: float,
    slope: float,
    limit: float,
) -> Float[Tensor, "n o h2 w2"]:
    """Modulated 3 x 3 convolution, noise, bias, leaky rectifier, limits.

    Args:
        x: feature maps; fast in channels_last.
        style: scale of every input channel.
        weight: result of `prepare_weight`.
        bias: added before the rectifier, not scaled by ``gain``.
        noise: one map for all samples, or one for each; not scaled by ``gain`` either.
        upsample: double the size on the way.
        gain: of the convolution.
        slope: of the rectifier below zero.
        limit: results are clamped to plus and minus this; 0 is no limit.

    Returns:
        Feature maps in channels_last, in new memory.
    """
    scale = torch.rsqrt(style.square() @ weight.energy.T + DEMODULATION_EPSILON) * gain

    def finish(strip: Tensor, rows: slice, samples: slice = slice(None)) -> None:
        if noise is not None:
            strip.add_(noise[samples if len(noise) > 1 else slice(None), :, rows])
        F.leaky_relu_(strip, slope)
        if limit:
            strip.clamp_(-limit, limit)

    if weight.tiled:
        return tiled_conv2d(x, style, weight.kernel, scale, bias, finish)
    if upsample:
        x = F.conv_transpose2d(_scaled(x, style), weight.kernel, stride=2)
        return _low_pass(x, scale, bias, finish)
    if len(x) == 1 and x.numel() > weight.kernel.numel():
        x = F.conv2d(x, weight.kernel * style[:, :, None, None] * scale.T[:, :, None, None], bias, padding=1)
        for rows in _strips(x):
            finish(x[:, :, rows], rows)
        return x
    x = F.conv2d(_scaled(x, style), weight.kernel, padding=1)
    for rows in _strips(x):
        strip = x[:, :, rows]
        torch.addcmul(bias[:, None, None], strip, scale[:, :, None, None], out=strip)
        finish(strip, rows)
    return x


def modulated_pointwise(
    x: Float[Tensor, "n c h w"], style: Float[Tensor, "n c"], weight: Float[Tensor, "o c"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "n o h w"]:
    """Modulated 1 x 1 convolution without demodulation, and a bias: one matrix product for each sample."""
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
    products = torch.baddbmm(bias, pixels, (style[:, None] * weight).transpose(1, 2))
    return products.view(n, h, w, -1).permute(0, 3, 1, 2)


def _scaled(x: Tensor, style: Tensor) -> Tensor:
    return (x * style[:, :, None, None]).contiguous(memory_format=torch.channels_last)


def _strips(x: Tensor) -> Iterator[slice]:
    """Ranges of rows that each fit the cache."""
    height = x.shape[2]
    size = max(STRIP_SIZE * height // x.numel(), 1)
    return (slice(start, min(start + size, height)) for start in range(0, height, size))


def _low_pass(x: Tensor, scale: Tensor, bias: Tensor, finish: Callable[[Tensor, slice, slice], object]) -> Tensor:
    """`fir_filter` with a padding of 1 and a gain of 4, scale and bias, then `finish`, strip by strip."""
    n, channels, height, width = x.shape
    kernels = fir_kernel(4.0, like=x) * scale[:, :, None, None, None]
    result = x.new_empty(n, height - 1, width - 1, channels).permute(0, 3, 1, 2)
    for i, kernel in enumerate(kernels):
        for rows in _strips(result[i : i + 1]):
            first, last = max(rows.start - 1, 0), min(rows.stop + 2, height)
            # conv2d pads both sides or neither: at the border it computes one row too many, which is cut off.
            edge = int(rows.start == 0 or rows.stop == height - 1)
            strip = F.conv2d(x[i : i + 1, :, first:last], kernel, bias, padding=(edge, 1), groups=channels)
            strip = strip[:, :, (edge if rows.start else 0) :][:, :, : rows.stop - rows.start]
            finish(strip, rows, slice(i, i + 1))
            result[i : i + 1, :, rows] = strip
    return result
