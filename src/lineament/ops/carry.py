"""Carry the pixels of an image to another pose and light of the face that it shows.

A face that turns shows mostly what it has shown before, elsewhere. The depth says where, and the ratio of the new to
the old shading says how bright. So the person's own pixels, at their own resolution, make the new picture wherever the
old one saw the surface; what it did not see must come from elsewhere.

Source:
    Ratio images: Liu, Shan, Zhang, "Expressive Expression Mapping with Ratio Images", SIGGRAPH 2001. Geometry: Wu et
    al., CVPR 2020, section 3.2.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.camera import canon_from_view, project, rotation_matrices, unproject, view_from_canon
from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.render import depth_in_view
from lineament.ops.resample import stretched
from lineament.ops.shading import lambert_shading, normals_from_depth
from lineament.ops.shapes import distance_in_oval
from lineament.ops.warp import grid_of, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition

HIDDEN_FROM, HIDDEN_AT = 0.006, 0.014
"""A point that lies so far behind the surface seen at its pixel begins to count as hidden, and is hidden; world units,
3 and 8 % of the image's width."""

GRAZING, FACING = 0.15, 0.4
"""Cosines between ray and normal in the old view below which a pixel shows too little of the surface, and enough."""

OVAL_INNER, OVAL_OUTER = 1.0, 1.4
"""The part of the canonical image that is carried (`distance_in_oval`): the face and the hair next to it."""

EDGE_INNER = 0.94
"""Pixels beyond this, 1 being the image's edge, fade out."""

MIN_SHADING, RATIO_RANGE = 0.1, (0.3, 3.0)
"""Smallest shading to divide by, and the range of the ratio of new to old shading."""


@dataclass(frozen=True)
class Carried:
    """Images in a new pose and light, and which of their pixels the old ones saw.

    Attributes:
        images: in [-1, 1].
        weight: 1 where the old image saw the surface well, 0 where it did not.
        seen: share of the face in the new view that the old image saw.
    """

    images: Float[Tensor, "n c h w"]
    weight: Float[Tensor, "n 1 h w"]
    seen: Float[Tensor, " n"]


def carry(
    images: Float[Tensor, "n c h w"],
    parts: Decomposition,
    view: Float[Tensor, "n 6"],
    light: Float[Tensor, "n 4"],
    camera: Camera,
) -> Carried:
    """Images of faces in another view and light, made of their own pixels.

    Args:
        images: in [-1, 1], square, of any size.
        parts: their decomposition, at its own resolution.
        view: the new views, canonical frame.
        light: the new lights, canonical frame.
        camera: the decomposer's camera.

    Returns:
        The pixels at the images' own resolution. With the old view and light, the images themselves.
    """
    size = parts.canon_depth.shape[-1]
    depth, covered = depth_in_view(parts.canon_depth, view, camera)
    surface = canon_from_view(unproject(depth, camera), view, camera)
    canon = grid_of(project(surface, camera, size, size), size)
    points = view_from_canon(surface, parts.view, camera)
    pixels = project(points, camera, size, size)
    normals = normals_from_depth(parts.canon_depth, camera)

    on_face = _falling(distance_in_oval(canon), OVAL_INNER, OVAL_OUTER) * covered * (canon.abs() <= 1).all(dim=-1)
    weight = on_face * _seen(points[..., 2], pixels, parts, normals, canon, camera)
    seen = weight.sum(dim=(1, 2)) / on_face.sum(dim=(1, 2)).clamp_min(1)
    old, new = (lambert_shading(normals, one).clamp_min(MIN_SHADING) for one in (parts.light, light))
    ratio = warp_image((new / old).clamp(*RATIO_RANGE)[:, None], canon)
    moved = _fetched(images, pixels)
    moved = ((moved + 1) * stretched(ratio, images) - 1).clamp(-1, 1)
    return Carried(moved, stretched(_feathered(weight[:, None]), images), seen)


def _seen(
    z: Float[Tensor, "n h w"],
    pixels: Float[Tensor, "n h w 2"],
    parts: Decomposition,
    normals: Float[Tensor, "n 3 h w"],
    canon: Float[Tensor, "n h w 2"],
    camera: Camera,
) -> Float[Tensor, "n h w"]:
    """How well the old view saw points: not hidden, not at a grazing angle, not outside of the image."""
    grid = grid_of(pixels, z.shape[-1])
    front, _ = rasterize_depth(parts.canon_depth, parts.view, camera)
    behind = z - warp_image(front[:, None], grid)[:, 0]
    cosine = torch.einsum("nchw,nc->nhw", normals, rotation_matrices(parts.view)[:, 2])
    cosine = warp_image(cosine[:, None], canon)[:, 0]
    inside = _falling(grid.abs().amax(dim=-1), EDGE_INNER, 1.0)
    return _falling(behind, HIDDEN_FROM, HIDDEN_AT) * _falling(-cosine, -FACING, -GRAZING) * inside


def _falling(values: Tensor, start: float, end: float) -> Tensor:
    """1 up to ``start``, 0 from ``end`` on, smooth between."""
    t = ((values - start) / (end - start)).clamp(0, 1)
    return 1 - t * t * (3 - 2 * t)


def _feathered(weight: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Without holes of a pixel or two, then with soft edges that do not reach beyond the old ones."""
    closed = -F.max_pool2d(-F.max_pool2d(weight, 3, 1, 1), 5, 1, 2)
    padded = F.pad(closed, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1)


def _fetched(images: Float[Tensor, "n c h w"], pixels: Float[Tensor, "n r r 2"]) -> Float[Tensor, "n c h w"]:
    """Colours of images at places that are given in pixels of the decomposer's resolution.

    The displacements are enlarged, not the places, so that what does not move stays sharp to the last digit.
    """
    size, (height, width) = pixels.shape[1], images.shape[2:]
    own = torch.arange(size, dtype=pixels.dtype, device=pixels.device)
    shift = torch.stack([pixels[..., 0] - own, pixels[..., 1] - own[:, None]], dim=1)
    shift = stretched(shift, images) * (2 / size)  # in [-1, 1] across the image
    x = (torch.arange(width, dtype=shift.dtype, device=shift.device) * 2 + 1) / width - 1
    y = (torch.arange(height, dtype=shift.dtype, device=shift.device) * 2 + 1) / height - 1
    grid = torch.stack([x + shift[:, 0], y[:, None] + shift[:, 1]], dim=-1)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
