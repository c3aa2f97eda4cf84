"""Join two images without a seam.

Source:
    Burt and Adelson, "A Multiresolution Spline With Application to Image Mosaics", ACM Transactions on Graphics 1983:
    every band of frequencies is joined over a width like its own wavelength.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.resample import binomial_blur, stretched

_LEAST_SIDE = 8


def multi_band(
    first: Float[Tensor, "n c h w"], second: Float[Tensor, "n c h w"], weight: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n c h w"]:
    """``first`` where the weight is 1, ``second`` where it is 0.

    Args:
        first: an image.
        second: another one.
        weight: share of ``first``, from 0 to 1.

    Returns:
        The joined image, not clipped; ``first`` itself where both are equal. Differentiable.
    """
    if min(first.shape[2:]) < 2 * _LEAST_SIDE:
        return second + weight * (first - second)
    small = [F.avg_pool2d(binomial_blur(x), 2, ceil_mode=True) for x in (first, second, weight)]
    coarse = [stretched(x, first) for x in (multi_band(*small), *small[:2])]
    return coarse[0] + weight * (first - coarse[1]) + (1 - weight) * (second - coarse[2])
