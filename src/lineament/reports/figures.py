"""Pictures of a decomposer's outputs.

Canonical faces are shown within an oval, on white. At the left and right border a decomposer's depth is fixed, and next
to the border it is not constrained by the images. Neither belongs to the face; in a turned view the resulting walls
would hide everything else.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.ops.camera import rotation_matrices
from lineament.ops.pixels import to_uint8
from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.shading import lambert_shading, normals_from_depth, shade
from lineament.ops.shapes import distance_in_oval
from lineament.ops.warp import inverse_warp_grid, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.store.pictures import tile

PART_NAMES = ("image", "reconstruction", "relief", "normals", "albedo", "shading")
ROW_NAMES = (*PART_NAMES, "frontal", "from its right", "from its left")
TURN_DEG = 25.0
MOVE_BACK = 0.1
"""Extra distance of turned faces in world units, so that a chin or a cheek that comes forward stays in view."""

_OVAL_SHARPNESS, _OVAL_CUT = 12.0, 1.06
_SUPERSAMPLING = 2
_HEADLIGHT = (0.2, 0.8, 0.6, 0.5)
_TEXT_COLOUR, _HEADING_COLOUR = (40, 40, 40), (110, 110, 110)

MIN_TILE_PX = 96
"""Smaller faces are enlarged by an integer factor."""


def grey(x: Float[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """Values in [0, 1] as grey images in [-1, 1]."""
    return (x[:, None] * 2 - 1).clamp(-1, 1).expand(-1, 3, -1, -1)


def enlarged(pictures: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c s s"]:
    """Pictures smoothly resized to ``side`` pixels; the centres of the outermost pixels stay in place."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return F.interpolate(pictures, (side, side), mode="bicubic", align_corners=True)


def light_of_upright(light: Float[Tensor, "n 4"], decomposer: Decomposer) -> Float[Tensor, "n 4"]:
    """Convert lights relative to the upright face to the canonical frame: the inverse of `Decomposer.upright`."""
    lean = torch.zeros_like(light[:1, :1]).repeat(1, 6)
    lean[:, 0] = decomposer.tilt
    (tilted,) = rotation_matrices(lean)
    x, y, z = (torch.cat([light[:, 2:], torch.ones_like(light[:, :1])], dim=1) @ tilted).unbind(1)
    z = z.clamp_min(0.25)  # as in `upright`: nearly horizontal light has no finite slope
    return torch.stack([light[:, 0], light[:, 1], x / z, y / z], dim=1)


def relief(depth: Float[Tensor, "n h w"], decomposer: Decomposer) -> Float[Tensor, "n 3 h w"]:
    """Depth as a plaster cast: lit from above left, no albedo."""
    light = light_of_upright(depth.new_tensor([_HEADLIGHT]).repeat(len(depth), 1), decomposer)
    return grey(lambert_shading(normals_from_depth(depth, decomposer.camera), light))


def turned(parts: Decomposition, yaw_deg: float, decomposer: Decomposer) -> Decomposition:
    """The same faces, upright, from another viewpoint: this yaw, no other rotation, centred, `MOVE_BACK` away."""
    view = torch.zeros_like(parts.view)
    view[:, 0] = decomposer.tilt
    view[:, 1] = math.radians(yaw_deg)
    view[:, 5] = MOVE_BACK
    return Decomposition(parts.canon_depth, parts.canon_albedo, view, parts.light)


def relit(parts: Decomposition, light_x: float, decomposer: Decomposer) -> Decomposition:
    """The same faces under a strong light from the left (positive) or right, with the total strength of their own."""
    strength = parts.light[:, 0] + parts.light[:, 1]
    slopes = (torch.full_like(strength, light_x), torch.full_like(strength, 0.2))
    light = torch.stack([0.3 * strength, 0.9 * strength, *slopes], dim=1)
    return Decomposition(parts.canon_depth, parts.canon_albedo, parts.view, light_of_upright(light, decomposer))


def _on_white(pictures: Tensor, distance: Tensor, covered: Tensor | None = None) -> Tensor:
    """Supersampled pictures, faded out at the oval and averaged down."""
    opacity = ((1 - distance) * _OVAL_SHARPNESS + 0.5).clamp(0, 1)
    if covered is not None:
        opacity = opacity * covered
    opacity = opacity.expand(len(pictures), -1, -1)[:, None]
    return F.avg_pool2d(pictures.clamp(-1, 1) * opacity + (1 - opacity), _SUPERSAMPLING)


def _canonical_grid(side: int, like: Tensor) -> Float[Tensor, "s s 2"]:
    axis = torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)


def in_oval(canon_pictures: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n 3 s s"]:
    """Canonical images within the oval, on white."""
    fine = enlarged(canon_pictures, side * _SUPERSAMPLING)
    return _on_white(fine, distance_in_oval(_canonical_grid(side * _SUPERSAMPLING, fine)))


def seen(parts: Decomposition, camera: Camera, side: int) -> Float[Tensor, "n 3 s s"]:
    """Faces in their view and light, cut out along the oval, on white.

    Convention:
        Everything within the oval is shown: surfaces that are hidden in the image get the colours stretched over them.
        `lineament.ops.render.render` masks them, which would look like holes in a picture.

    Args:
        parts: depth, albedo, view and light.
        camera: the pinhole camera.
        side: side of the pictures in pixels; they are smooth even if it exceeds the side of the parts.

    Returns:
        Pictures in [-1, 1].
    """
    fine = side * _SUPERSAMPLING
    shading = lambert_shading(normals_from_depth(parts.canon_depth, camera), parts.light)
    depth = enlarged(parts.canon_depth[:, None], fine).squeeze(1)
    # The rasteriser skips cells with a corner without depth, so pixels outside the oval hide nothing.
    outside = distance_in_oval(_canonical_grid(fine, depth)) > _OVAL_CUT
    depth, covered = rasterize_depth(depth.masked_fill(outside, math.nan), parts.view, camera)
    grid = inverse_warp_grid(depth, parts.view, camera)
    image = warp_image(enlarged(shade(parts.canon_albedo, shading), fine), grid)
    return _on_white(image, distance_in_oval(grid), covered)


@torch.no_grad()
def part_pictures(
    decomposer: Decomposer, images: Float[Tensor, "n 3 h w"], parts: Decomposition, side: int
) -> list[Tensor]:
    """For each of `PART_NAMES` one batch of pictures, n 3 side side in [-1, 1]."""
    normals = normals_from_depth(parts.canon_depth, decomposer.camera)
    # The usual colours of normal maps: red for right, green for up, blue towards the camera.
    toward = normals * normals.new_tensor([-1, -1, 1])[:, None, None]
    canonical = [
        relief(parts.canon_depth, decomposer),
        toward,
        parts.canon_albedo,
        grey(lambert_shading(normals, parts.light) / 1.5),
    ]
    return [
        enlarged(images, side),
        seen(parts, decomposer.camera, side),
        *(in_oval(pictures, side) for pictures in canonical),
    ]


@torch.no_grad()
def decomposition_pictures(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
    """For each of `ROW_NAMES` one batch of pictures, n 3 h w in [-1, 1]."""
    parts, side = decomposer(images), images.shape[-1]
    views = (seen(turned(parts, yaw, decomposer), decomposer.camera, side) for yaw in (0.0, -TURN_DEG, TURN_DEG))
    return [*part_pictures(decomposer, images, parts, side), *views]


def decomposition_rows(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "gh gw 3"]:
    """One column per face, one row per part (`ROW_NAMES`)."""
    pictures = decomposition_pictures(decomposer, images)
    return tile(to_uint8(torch.cat([p.clamp(-1, 1) for p in pictures])), columns=len(images))


def labelled_rows(
    pictures: UInt8[np.ndarray, "n h w 3"], rows: Sequence[str], columns: Sequence[str]
) -> UInt8[np.ndarray, "gh gw 3"]:
    """Pictures row by row on white, the rows named at the left and the columns above.

    Args:
        pictures: as many as there are rows times columns.
        rows: names of the rows; the picture is widened to fit the longest.
        columns: names of the columns, cut to the pictures' width.
    """
    height, width = pictures.shape[1:3]
    gap = max(height // 20, 2)
    font = ImageFont.load_default(max(height / 7, 11))
    small = ImageFont.load_default(max(height / 9, 10))
    grid = tile(pictures, len(columns), gap=gap)
    left, top = math.ceil(max(map(font.getlength, rows))) + 4 * gap, height // 4
    canvas = Image.new("RGB", (left + grid.shape[1] + 2 * gap, top + grid.shape[0] + 2 * gap), "white")
    canvas.paste(Image.fromarray(grid), (left, top))
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(rows):
        at = (left - 2 * gap, top + i * (height + gap) + height / 2)
        draw.text(at, name, fill=_TEXT_COLOUR, font=font, anchor="rm")
    for i, name in enumerate(columns):
        shown = name
        while len(shown) > 1 and small.getlength(shown) > width:
            shown = shown.rstrip("…")[:-1] + "…"
        draw.text((left + i * (width + gap) + width / 2, top / 2), shown, fill=_HEADING_COLOUR, font=small, anchor="mm")
    return np.asarray(canvas)
