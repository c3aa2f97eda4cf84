"""Render an image from depth, albedo, view and light.

Source:
    Wu et al., CVPR 2020, section 3.2: the canonical image is shaded, its depth is rasterised in the view, and the
    colour is fetched by inverse warping, because gradients of colour through a mesh rasteriser are noisy.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.shading import lambert_shading, normals_from_depth, shade
from lineament.ops.warp import inverse_warp_grid, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition, Rendering


def render(parts: Decomposition, camera: Camera, *, max_slope: float | None = None) -> Rendering:
    """Render a decomposition in its own view and light.

    Args:
        parts: depth, albedo, view and light.
        camera: the pinhole camera.
        max_slope: bound on the gradients at contours, see `rasterize_depth`.

    Returns:
        The rendering, differentiable in all parts. Pixels that the surface does not cover, and pixels whose colour
        would come from outside the canonical image, are False in ``recon_mask``.
    """
    normal = normals_from_depth(parts.canon_depth, camera)
    shading = lambert_shading(normal, parts.light)
    image = shade(parts.canon_albedo, shading)
    depth, covered = depth_in_view(parts.canon_depth, parts.view, camera, max_slope=max_slope)
    grid = inverse_warp_grid(depth, parts.view, camera)
    recon = warp_image(image, grid)
    inside = (grid.detach().abs() <= 1).all(dim=-1)
    mask = torch.logical_and(covered, inside)
    return Rendering(normal, shading, image, depth, mask, recon, grid)


def depth_in_view(
    canon_depth: Float[Tensor, "n h w"], view: Float[Tensor, "n 6"], camera: Camera, *, max_slope: float | None = None
) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, "n h w"]]:
    """Depth of the surface as a view sees it, fit to fetch colours by, and where the surface is; see `rasterize_depth`.

    Depth outside of the camera's interval only occurs at folds of the border columns; it is bounded there, so that what
    is computed from it stays sane.
    """
    depth, covered = rasterize_depth(canon_depth, view, camera, max_slope=max_slope)
    margin = (camera.max_depth - camera.min_depth) / 2
    return depth.clamp(camera.min_depth - margin, camera.max_depth + margin), covered
