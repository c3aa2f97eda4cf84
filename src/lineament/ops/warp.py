"""Colour for a view, fetched from the canonical image.

Source:
    Wu et al., CVPR 2020, section 3.2: the depth of the view says which canonical pixel a pixel shows. Deviation: the
    authors normalise by W - 1 but leave `align_corners` to its default, which blurs and shrinks the image.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.camera import pixel_rays, rotation_matrices
from lineament.records.camera import Camera


def inverse_warp_grid(
    recon_depth: Float[Tensor, "n h w"], view: Float[Tensor, "n 6"], camera: Camera
) -> Float[Tensor, "n h w 2"]:
    """Where in the canonical image the pixels of a view take their colour.

    Convention:
        (x, y) in [-1, 1] from the centre of the first to the centre of the last pixel (`align_corners=True`).

    Args:
        recon_depth: depth of the surface as the view sees it.
        view: (pitch, yaw, roll, tx, ty, tz) in radians and world units.
        camera: the pinhole camera.

    Returns:
        Grid for `warp_image`, outside of [-1, 1] where a pixel shows what the canonical image does not hold;
        differentiable in `recon_depth` and `view`.

    Raises:
        ShapeError: fewer than two rows or columns.
    """
    height, width = recon_depth.shape[1:]
    dtype = torch.promote_types(torch.promote_types(recon_depth.dtype, view.dtype), torch.float32)
    depth, view = recon_depth.to(dtype), view.to(dtype)
    ray_x, ray_y, _ = pixel_rays(height, width, camera, dtype=dtype, device=depth.device).unbind(dim=-1)
    r = rotation_matrices(view)[..., None, None]
    t = view[:, 3:, None, None]
    # project(canon_from_view(unproject(depth))), but on planes of n h w: four times as fast as on triples.
    turned = (depth * ray_x - t[:, 0], depth * ray_y - t[:, 1], depth - camera.center_depth - t[:, 2])
    x, y, z = (r[:, 0, i] * turned[0] + r[:, 1, i] * turned[1] + r[:, 2, i] * turned[2] for i in range(3))
    per_unit = 2 * camera.focal_px(width) / (z + camera.center_depth)
    return torch.stack([x * per_unit / (width - 1), y * per_unit / (height - 1)], dim=-1)


def grid_of(pixels: Float[Tensor, "n h w 2"], size: int) -> Float[Tensor, "n h w 2"]:
    """Pixels of a square image of that side as a grid for `warp_image`."""
    return pixels * (2 / (size - 1)) - 1


def warp_image(canon_image: Float[Tensor, "n c h1 w1"], grid: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n c h w"]:
    """The canonical image seen through a grid, interpolated bilinearly.

    Returns:
        Image of the grid's size; outside of the canonical image its border is repeated, because a constant would bleed
        into the outermost pixels by rounding alone. Differentiable in both arguments.
    """
    return F.grid_sample(canon_image, grid, mode="bilinear", padding_mode="border", align_corners=True)
