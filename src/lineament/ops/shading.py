"""Normals of a depth map and how a light shades them.

Convention (all of this module):
    Normals are unit vectors that point away from the camera, so a surface that faces the camera has (0, 0, 1).
    The light is (ambient, diffuse, dx, dy) with direction (dx, dy, 1) / norm: positive dx is light from the image's
    left, positive dy is light from above. It is fixed to the canonical frame and turns with the face.

Source:
    Wu et al., CVPR 2020, section 3.2.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ShapeError
from lineament.records.camera import Camera


def normals_from_depth(depth: Float[Tensor, "n h w"], camera: Camera) -> Float[Tensor, "n 3 h w"]:
    """The normals of the surface that a depth map shows.

    Central differences of the unprojected points inside, one-sided ones in the outermost rows and columns.

    Args:
        depth: positive.
        camera: the pinhole camera.

    Returns:
        Unit normals whose product with the pixel's ray is positive, so z > 0 unless the depth jumps by more than
        about 3 percent from pixel to pixel at the image's edge. Differentiable in `depth`.

    Raises:
        ShapeError: fewer than two rows or columns.

    Source:
        Wu et al., CVPR 2020, section 3.2: the cross product of differences of unprojected points. Deviations: it is
        written out, with s = (change of depth per pixel) / depth in each direction and pixel coordinates x, y from
        the centre, as n ~ (-f s_x, -f s_y, (1 + x s_x) (1 + y s_y) - x y s_x s_y); and it is normalised, where the
        authors add 1e-7 to the norm of cross products only 1e-5 long, which shortens normals by 1.3 percent.
    """
    height, width = depth.shape[1:]
    if height < 2 or width < 2:
        raise ShapeError(f"a depth map of {height} x {width} pixels, expected at least 2 x 2; use a larger resolution")
    dtype = torch.promote_types(depth.dtype, torch.float32)
    depth = depth.to(dtype)
    x = torch.arange(width, dtype=dtype, device=depth.device) - (width - 1) / 2
    y = torch.arange(height, dtype=dtype, device=depth.device)[:, None] - (height - 1) / 2
    focal = camera.focal_px(width)
    slope_x, middle_x = _log_slope(depth, x, dim=-1)
    slope_y, middle_y = _log_slope(depth, y, dim=-2)
    away = (1 + middle_x * slope_x) * (1 + middle_y * slope_y) - (x * slope_x) * (y * slope_y)
    # The brackets differ from 1 only at the border, whose one-sided differences are taken half a pixel off.
    across = -focal * slope_x * (1 + (middle_y - y) * slope_y)
    down = -focal * slope_y * (1 + (middle_x - x) * slope_x)
    length = (across.square() + down.square() + away.square()).sqrt()
    return torch.stack([across / length, down / length, away / length], dim=1)


def light_directions(light: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3"]:
    """Unit directions (dx, dy, 1) / norm of lights; differentiable in `light`."""
    return F.normalize(torch.cat([light[:, 2:], torch.ones_like(light[:, :1])], dim=1), dim=1)


def lambert_shading(normals: Float[Tensor, "n 3 h w"], light: Float[Tensor, "n 4"]) -> Float[Tensor, "n h w"]:
    """How bright a matt surface is: ambient + diffuse * max(0, n . l).

    Args:
        normals: unit length.
        light: (ambient, diffuse, dx, dy).

    Returns:
        Shading, not below ambient and not above ambient + diffuse; differentiable in both arguments.
    """
    direction = light_directions(light)
    ambient, diffuse = light[:, 0, None, None], light[:, 1, None, None]
    # Not a matmul: see `lineament.ops.camera`; the cosine would have three digits under autocast.
    dx, dy, dz = direction[:, :, None, None].unbind(dim=1)
    cosine = normals[:, 0] * dx + normals[:, 1] * dy + normals[:, 2] * dz
    return ambient + diffuse * cosine.clamp_min(0)


def shade(albedo: Float[Tensor, "n 3 h w"], shading: Float[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """The image of an albedo under a shading: (albedo / 2 + 0.5) * shading * 2 - 1.

    Args:
        albedo: in [-1, 1], where -1 is black.
        shading: not negative.

    Returns:
        Image in which -1 is black. It may exceed 1 where the shading does; it is not clipped, so that an overexposed
        pixel still has a gradient. Differentiable in both arguments.
    """
    return (albedo / 2 + 0.5) * shading[:, None] * 2 - 1


def _log_slope(depth: Tensor, coordinate: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Change of depth per pixel between the two neighbours, divided by their mean depth; and their mean coordinate.

    At the border the pixel itself stands for the missing neighbour.
    """
    low, high = _neighbours(depth, dim)
    low_at, high_at = _neighbours(coordinate, dim)
    return 2 * (high - low) / ((high + low) * (high_at - low_at)), (low_at + high_at) / 2


def _neighbours(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The neighbours before and after each value along an axis; at the ends, the value itself."""
    size = values.shape[dim]
    low = torch.cat([values.narrow(dim, 0, 1), values.narrow(dim, 0, size - 1)], dim)
    high = torch.cat([values.narrow(dim, 1, size - 1), values.narrow(dim, size - 1, 1)], dim)
    return low, high
