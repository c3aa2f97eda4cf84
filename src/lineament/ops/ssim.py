"""Structural similarity of images.

Source:
    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    IEEE Transactions on Image Processing 13(4), 2004: equation 13, a Gaussian window of 11 x 11 with a standard
    deviation of 1.5, K1 = 0.01, K2 = 0.03, at every place where the window lies inside the image. Colour is not in the
    paper; here every channel of RGB is compared by itself, and the mean is taken.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ShapeError

WINDOW = 11
"""Side of the window in pixels."""
WINDOW_STD = 1.5
K1, K2 = 0.01, 0.03


def ssim(
    images: Float[Tensor, "n c h w"], others: Float[Tensor, "n c h w"], data_range: float = 2.0
) -> Float[Tensor, " n"]:
    """Mean structural similarity of each pair of images.

    Args:
        images, others: to compare; symmetric in the two.
        data_range: of the values: 2 for [-1, 1], 1 for [0, 1].

    Returns:
        At most 1, which only equal images reach; differentiable in both.

    Raises:
        ShapeError: images smaller than the window.
    """
    if min(images.shape[2:]) < WINDOW:
        raise ShapeError(f"images are {tuple(images.shape[2:])} pixels, expected at least {WINDOW} a side")
    down, across = (_window_means(size, like=images) for size in images.shape[2:])

    def means(x: Tensor) -> Tensor:
        # As two matrix products: a depthwise convolution takes a CPU twice as long.
        return down @ x @ across.T

    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = means(images), means(others)
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    covariance = means(images * others) - product
    variances = means(images.square() + others.square()) - squares
    map_ = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return map_.mean(dim=(1, 2, 3))


def _window_means(size: int, *, like: Tensor) -> Float[Tensor, "m s"]:
    """Matrix that gives the window's weighted mean at every position where it fits a line of ``size`` pixels."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    taps = torch.exp(-offsets.square() / (2 * WINDOW_STD**2))
    matrix = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64)
    for offset, tap in enumerate(taps / taps.sum()):
        matrix.diagonal(offset).fill_(tap)
    return matrix.to(like)
