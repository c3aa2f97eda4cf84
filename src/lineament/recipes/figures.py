"""Pictures of what a decomposer sees."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.ops.render import render
from lineament.ops.shading import lambert_shading, normals_from_depth
from lineament.ops.warp import inverse_warp_grid
from lineament.records.decomposition import Decomposition, Rendering
from lineament.store.pictures import tile, to_uint8

ROW_NAMES = (
    "image",
    "reconstruction",
    "relief",
    "normals",
    "albedo",
    "shading",
    "frontal",
    "from its right",
    "from its left",
)
TURN_DEG = 25.0
BORDER_PX = 4
MIN_TEXELS_PER_PIXEL = 0.25
"""Pixels that see less of the canonical image than this are shown white."""
_HEADLIGHT = (0.25, 0.75, 0.5, 0.6)


def grey(x: Float[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """Values in [0, 1] as grey images in [-1, 1]."""
    return (x[:, None] * 2 - 1).clamp(-1, 1).expand(-1, 3, -1, -1)


def relief(depth: Float[Tensor, "n h w"], decomposer: Decomposer) -> Float[Tensor, "n 3 h w"]:
    """Depth as a plaster cast: lit from above left, no albedo."""
    normals = normals_from_depth(depth, decomposer.camera)
    light = depth.new_tensor([_HEADLIGHT]).repeat(len(depth), 1)
    return grey(lambert_shading(normals, light))


def turned(parts: Decomposition, yaw_deg: float, decomposer: Decomposer) -> Decomposition:
    """The same faces, upright, from another viewpoint: this yaw, no other rotation or shift."""
    view = torch.zeros_like(parts.view)
    view[:, 0] = decomposer.tilt
    view[:, 1] = math.radians(yaw_deg)
    return Decomposition(parts.canon_depth, parts.canon_albedo, view, parts.light)


def without_border(pictures: Float[Tensor, "n 3 h w"], border: int = BORDER_PX) -> Float[Tensor, "n 3 h w"]:
    """Cut the border off, where the depth is fixed and shows nothing, and enlarge the rest to the same size."""
    inner = pictures[:, :, border:-border, border:-border]
    return F.interpolate(inner, pictures.shape[-2:], mode="bicubic", align_corners=False)


def is_stretched(grid: Float[Tensor, "n h w 2"]) -> Bool[Tensor, "n h w"]:
    """Where a texel of the canonical image covers many pixels of the view: the smear on surfaces seen edge-on."""
    half = (grid.shape[1] - 1) / 2
    across = F.pad(grid[:, :, 1:] - grid[:, :, :-1], (0, 0, 0, 1)) * half
    down = F.pad(grid[:, 1:] - grid[:, :-1], (0, 0, 0, 0, 0, 1)) * half
    # Texels per pixel: the area of the canonical image that a pixel of the view covers.
    area = (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]).abs()
    smeared = (area < MIN_TEXELS_PER_PIXEL)[:, None].float()
    return F.max_pool2d(smeared, 3, stride=1, padding=1).squeeze(1) > 0


@torch.no_grad()
def decomposition_pictures(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
    """For each of `ROW_NAMES` one batch of pictures, n 3 h w in [-1, 1]."""
    parts = decomposer(images)
    rendering = render(parts, decomposer.camera)
    camera = decomposer.camera

    def on_white(seen: Rendering, view: Float[Tensor, "n 6"]) -> Tensor:
        grid = inverse_warp_grid(seen.recon_depth, view, camera)
        inner = (grid.abs() < 1 - 2 * BORDER_PX / grid.shape[1]).all(dim=-1)
        visible = torch.logical_and(torch.logical_and(seen.recon_mask, inner), ~is_stretched(grid))
        return torch.where(visible[:, None], seen.recon_image, torch.ones_like(images))

    def seen_from(yaw_deg: float) -> Tensor:
        other = turned(parts, yaw_deg, decomposer)
        return on_white(render(other, camera), other.view)

    return [
        images,
        on_white(rendering, parts.view),
        without_border(relief(parts.canon_depth, decomposer)),
        without_border(rendering.canon_normal * images.new_tensor([-1, -1, 1])[:, None, None]),
        without_border(parts.canon_albedo),
        without_border(grey(rendering.canon_shading / 1.5)),
        seen_from(0.0),
        seen_from(-TURN_DEG),
        seen_from(TURN_DEG),
    ]


def decomposition_rows(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "gh gw 3"]:
    """One column per face, one row per part (`ROW_NAMES`)."""
    pictures = decomposition_pictures(decomposer, images)
    return tile(to_uint8(torch.cat([p.clamp(-1, 1) for p in pictures])), columns=len(images))
