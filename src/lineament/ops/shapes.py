"""Simple shapes: an ellipsoid to start a face from, and the oval that a face fills."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OVAL_AXES, OVAL_EXPONENT = (0.82, 0.92), 2.5
"""Half axes (1 is half of the canonical image) and exponent of the superellipse that a face fills."""


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


def distance_in_oval(grid: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """How far points of the canonical image lie from its middle: 1 on the oval that a face fills."""
    x, y = (grid[..., i].abs() / OVAL_AXES[i] for i in (0, 1))
    return x**OVAL_EXPONENT + y**OVAL_EXPONENT


def face_oval(resolution: int) -> Bool[Tensor, "h w"]:
    """The pixels of the canonical image within that oval."""
    axis = torch.linspace(-1, 1, resolution)
    return distance_in_oval(torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)) <= 1
