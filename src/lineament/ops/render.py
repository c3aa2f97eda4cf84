"""Depth, albedo, view and light put together into an image.

Source:
    Wu et al., CVPR 2020, section 3.2: the canonical image is shaded, its depth is rasterised in the view, and the
    colour is fetched by inverse warping, because gradients of colour through a mesh rasteriser are noisy.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.shading import lambert_shading, normals_from_depth, shade
from lineament.ops.warp import inverse_warp_grid, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition, Rendering

STEEP = 5.0
"""Depth per sideways distance beyond which a surface counts as seen edge-on; the sides of a nose stay below 3."""


def is_steep(depth: Float[Tensor, "n h w"], camera: Camera) -> Bool[Tensor, "n h w"]:
    """Where a depth map jumps: at contours, and on the walls that stand at the border of a canonical surface.

    Such pixels show a few stretched texels: comparing them with an image tells little, and the gradient of that
    comparison with respect to the view is huge.
    """
    across = F.pad(depth[:, :, 2:] - depth[:, :, :-2], (1, 1)).abs()
    down = F.pad(depth[:, 2:] - depth[:, :-2], (0, 0, 1, 1)).abs()
    spacing = 2 * camera.center_depth / camera.focal_px(depth.shape[2])
    return torch.maximum(across, down) > STEEP * spacing


def render(
    parts: Decomposition, camera: Camera, *, max_slope: float | None = None, skip_steep: bool = True
) -> Rendering:
    """Render a decomposition in its own view and light.

    Args:
        parts: depth, albedo, view and light.
        camera: the pinhole camera.
        max_slope: bound on the gradients at contours, see `rasterize_depth`.
        skip_steep: leave surfaces seen edge-on out of ``recon_mask``; see `is_steep`.

    Returns:
        The rendering, differentiable in all parts. Pixels that the surface does not cover, and pixels whose colour
        would come from outside the canonical image or (unless asked) whose surface is seen edge-on, are False in
        ``recon_mask``.
    """
    normal = normals_from_depth(parts.canon_depth, camera)
    shading = lambert_shading(normal, parts.light)
    image = shade(parts.canon_albedo, shading)
    depth, covered = rasterize_depth(parts.canon_depth, parts.view, camera, max_slope=max_slope)
    # Depth outside of what a face may fill only occurs at folds of the border columns; keep the warp sane there.
    margin = (camera.max_depth - camera.min_depth) / 2
    depth = depth.clamp(camera.min_depth - margin, camera.max_depth + margin)
    grid = inverse_warp_grid(depth, parts.view, camera)
    recon = warp_image(image, grid)
    inside = (grid.detach().abs() <= 1).all(dim=-1)
    mask = torch.logical_and(covered, inside)
    if skip_steep:
        mask = torch.logical_and(mask, ~is_steep(depth.detach(), camera))
    return Rendering(normal, shading, image, depth, mask, recon, grid)
