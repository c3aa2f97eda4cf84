"""Simple shapes to start from."""

import torch
from jaxtyping import Float
from torch import Tensor


def ellipsoid_depth(
    resolution: int, *, near: float, far: float, half_width: float = 0.42, half_height: float = 0.48
) -> Float[Tensor, "h w"]:
    """Depth of half an ellipsoid in front of a plane at depth ``far``; its nearest point, in the middle, at ``near``.

    Args:
        resolution: side of the square map in pixels.
        near: depth of the tip.
        far: depth of the plane.
        half_width: horizontal half axis as a fraction of the image's width.
        half_height: vertical half axis as a fraction of the image's height.

    Source: Pan et al., "Do 2D GANs Know 3D Shape?", ICLR 2021, section 3.1 (initial shape).
    """
    axis = torch.linspace(-0.5, 0.5, resolution)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    rest = 1 - (x / half_width).square() - (y / half_height).square()
    return far - (far - near) * rest.clamp_min(0).sqrt()
