"""Modulated convolution without grouped convolutions.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 2.2, equations 1-3.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.resample import fir_filter

DEMODULATION_EPSILON = 1e-8
TINY = 1e-20
"""Lower bound of the largest absolute values by which weights and styles are divided, so that none is zero."""


def demodulation(weight: Float[Tensor, "o c kh kw"], style: Float[Tensor, "n c"]) -> Float[Tensor, "n o"]:
    """1 / norm of each modulated filter (Equation 3): ``rsqrt(sum_ck (s_c W_ock)^2)``.

    The sum over the kernel does not depend on the sample, so it is one small matrix product instead of a weight
    tensor per sample.
    """
    energy = weight.square().sum(dim=(2, 3))
    return torch.rsqrt(style.square() @ energy.T + DEMODULATION_EPSILON)


def modulated_conv2d(
    x: Float[Tensor, "n c h w"],
    weight: Float[Tensor, "o c kh kw"],
    style: Float[Tensor, "n c"],
    *,
    demodulate: bool = True,
    upsample: bool = False,
    gain: float = 1.0,
) -> Float[Tensor, "n o h2 w2"]:
    """Convolution with weights that are scaled per sample and input channel, then normalised per output channel.

    Scaling the weights of a sample equals scaling its input, and normalising them equals scaling its output. So all
    samples share one ordinary convolution; the paper's grouped form needs one weight tensor per sample and is
    several times slower on a CPU (``make bench``).

    Feature maps may be in half precision; the weights stay in single precision until they are used. Before
    demodulation, weights and styles are then scaled so that no product leaves the range of half precision;
    demodulation cancels the scale.

    Args:
        x: feature maps, in single or half precision.
        weight: filters, odd square kernels.
        style: scale of every input channel (Equation 1).
        demodulate: normalise the modulated filters to unit norm (Equation 3); off for ToRGB layers.
        upsample: double the size on the way (transposed convolution, then the low-pass filter).
        gain: scales the result; costs nothing with ``demodulate``.

    Returns:
        Feature maps, twice the size with ``upsample``. Differentiable (twice) in all tensors.
    """
    if demodulate and x.dtype == torch.float16:
        weight = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(TINY) * weight[0].numel() ** 0.5)
        style = style / style.abs().amax(dim=1, keepdim=True).clamp_min(TINY)
    kernel = weight.to(x.dtype)
    x = x * style[:, :, None, None].to(x.dtype)
    if upsample:
        # The kernel is not flipped, as in the official code, so that official weights keep their meaning.
        x = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
        x = fir_filter(x, padding=1, gain=4.0)
    else:
        x = F.conv2d(x, kernel, padding=weight.shape[-1] // 2)
    if demodulate:
        return x * (demodulation(weight, style) * gain)[:, :, None, None].to(x.dtype)
    return x if gain == 1.0 else x * gain


def modulated_conv2d_grouped(
    x: Float[Tensor, "n c h w"],
    weight: Float[Tensor, "o c kh kw"],
    style: Float[Tensor, "n c"],
    *,
    demodulate: bool = True,
    upsample: bool = False,
    gain: float = 1.0,
) -> Float[Tensor, "n o h2 w2"]:
    """The paper's form of `modulated_conv2d`: one weight tensor per sample, in one grouped convolution.

    Reference of ``make bench`` and of the tests: the same values, slower.
    """
    n, c, h, w = x.shape
    o, _, kh, kw = weight.shape
    modulated = weight[None] * style[:, None, :, None, None]
    if demodulate:
        norm = modulated.square().sum(dim=(2, 3, 4), keepdim=True)
        modulated = modulated * torch.rsqrt(norm + DEMODULATION_EPSILON)
    x = x.reshape(1, n * c, h, w)
    if upsample:
        kernel = modulated.transpose(1, 2).reshape(n * c, o, kh, kw)
        x = F.conv_transpose2d(x, kernel, stride=2, groups=n)
        x = fir_filter(x.view(n, o, *x.shape[2:]), padding=1, gain=4.0)
    else:
        x = F.conv2d(x, modulated.reshape(n * o, c, kh, kw), padding=kh // 2, groups=n)
        x = x.view(n, o, *x.shape[2:])
    return x * gain
