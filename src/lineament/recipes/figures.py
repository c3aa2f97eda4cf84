"""Pictures of what a decomposer sees."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.ops.render import render
from lineament.ops.shading import lambert_shading, normals_from_depth
from lineament.records.decomposition import Decomposition
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


@torch.no_grad()
def decomposition_pictures(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
    """For each of `ROW_NAMES` one batch of pictures, n 3 h w in [-1, 1]."""
    parts = decomposer(images)
    rendering = render(parts, decomposer.camera)
    recon = torch.where(rendering.recon_mask[:, None], rendering.recon_image, torch.ones_like(images))

    def seen_from(yaw_deg: float) -> Tensor:
        other = render(turned(parts, yaw_deg, decomposer), decomposer.camera)
        return torch.where(other.recon_mask[:, None], other.recon_image, torch.ones_like(images))

    return [
        images,
        recon,
        relief(parts.canon_depth, decomposer),
        rendering.canon_normal * images.new_tensor([-1, -1, 1])[:, None, None],
        parts.canon_albedo,
        grey(rendering.canon_shading / 1.5),
        seen_from(0.0),
        seen_from(-TURN_DEG),
        seen_from(TURN_DEG),
    ]


def decomposition_rows(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "gh gw 3"]:
    """One column per face, one row per part (`ROW_NAMES`)."""
    pictures = decomposition_pictures(decomposer, images)
    return tile(to_uint8(torch.cat([p.clamp(-1, 1) for p in pictures])), columns=len(images))
