"""Simple shapes: an ellipsoid to start a face from, the oval that a face fills, and what ties a shape to a mean head.

A face that turns says its shape only up to a scaling of the relief and a shear (Belhumeur et al., "The Bas-Relief
Ambiguity", IJCV 1999): a flat face that turns far looks like a deep one that turns little, and a face that leans back
like an upright one that looks up. So both are tied to two numbers of the mean head.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OVAL_AXES, OVAL_EXPONENT = (0.82, 0.92), 2.5
"""Half axes (1 is half of the canonical image) and exponent of the superellipse that a face fills."""

FRONT_HALF_WIDTH = 0.7
"""Half width of the part of the oval in which a shape is tied: without ears and hair at the sides."""

MEAN_RELIEF, MEAN_LEAN_DEG = 0.107, 6.0
"""The front of a mean head, tight crop: standard deviation of the depth from the plane that fits it best, as a share of
the image's width; and the lean of that plane, the chin farther away than the forehead. Anthropometry: the mean of 300
heads of both sexes, all ages and three ancestries that MakeHuman's base mesh and targets give (CC0)."""


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
    axis = torch.linspace(-1, 1, resolution, device="cpu")  # files do not hold it
    return distance_in_oval(torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)) <= 1


def head_front(resolution: int) -> Bool[Tensor, "h w"]:
    """The pixels of the canonical image within the part of the oval in which a shape is tied to the mean head."""
    axis = torch.linspace(-1, 1, resolution, device="cpu")
    return face_oval(resolution) & (axis.abs() < FRONT_HALF_WIDTH)
