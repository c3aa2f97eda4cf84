"""Colour for a view, fetched from the canonical image.

Source:
    Wu et al., CVPR 2020, section 3.2: the depth of the view says which canonical pixel a pixel shows. Deviation: the
    authors normalise by W - 1 but leave `align_corners` to its default, which blurs and shrinks the image.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.camera import canon_from_view, project, unproject
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
    points = canon_from_view(unproject(recon_depth, camera), view, camera)
    pixels = project(points, camera, height, width)
    return pixels * (2 / pixels.new_tensor([width - 1, height - 1])) - 1


def warp_image(canon_image: Float[Tensor, "n c h1 w1"], grid: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n c h w"]:
    """The canonical image seen through a grid, interpolated bilinearly.

    Returns:
        Image of the grid's size; outside of the canonical image its border is repeated, because a constant would bleed
        into the outermost pixels by rounding alone. Differentiable in both arguments.
    """
    return F.grid_sample(canon_image, grid, mode="bilinear", padding_mode="border", align_corners=True)
