"""Turn a photograph by its depth from a decomposer, so that its visible pixels stay sharp.

Parts of the turned face that the photograph does not show (the side of the far cheek, the ear, the background) have to
come from the generator.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.camera import canon_from_view, project, unproject, view_from_canon
from lineament.ops.rasterizer import rasterize_depth
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition

HIDDEN = 0.012
"""How far behind the photograph's visible surface a point may lie; the middle of a face is at depth 1."""

FARTHEST = 1.035
"""Largest depth of the face; the decomposer's maps end there."""

STRETCH = 0.25
"""Smallest area of the photograph, in pixels, for a pixel of the turned face; less gives smeared pixels."""

_FADE = 3
"""Side of the window over which seams are blended, in pixels."""

_BESIDE = 7
"""Side of the window, in pixels, that must be free of the head around a background pixel."""


@dataclass(frozen=True, eq=False)
class Turned:
    """A turned photograph.

    Attributes:
        images: the photographs as the new view shows them.
        share: weight with which these are used, from 0 to 1.
        apart: weight from 0 to 1 of pixels that lie beside the head both before and after the turn.
    """

    images: Float[Tensor, "n 3 h w"]
    share: Float[Tensor, "n 1 h w"]
    apart: Float[Tensor, "n 1 h w"]

    def over(self, edited: Float[Tensor, "n 3 h w"], residual: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Lay the photograph over a generated picture.

        The background of that picture is corrected by ``residual``, the photograph minus the unedited picture.
        """
        behind = (edited + self.apart * residual).clamp(-1, 1)
        return behind + self.share * (self.images - behind)


@torch.no_grad()
def turned(
    photographs: Float[Tensor, "n 3 h w"], parts: Decomposition, view: Float[Tensor, "n 6"], camera: Camera
) -> Turned:
    """Photographs in another view.

    Args:
        photographs: in [-1, 1], at the size of the maps.
        parts: their decomposition.
        view: the new view, in the form of `lineament.records.decomposition`.
        camera: the decomposer's.
    """
    size = photographs.shape[-1]
    depth, covered = rasterize_depth(parts.canon_depth, view, camera)
    points = view_from_canon(canon_from_view(unproject(depth, camera), view, camera), parts.view, camera)
    pixels = project(points, camera, size, size)
    grid = pixels * (2 / (size - 1)) - 1
    own_depth, own_covered = rasterize_depth(parts.canon_depth, parts.view, camera)
    front = F.grid_sample(own_depth[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    inside = (grid.abs() <= 1).all(dim=-1)
    head, own_head = covered & (depth < FARTHEST), own_covered & (own_depth < FARTHEST)
    use = head & inside & (points[..., 2] < front + HIDDEN) & (_taken(pixels) > STRETCH)
    images = F.grid_sample(photographs, grid, mode="bicubic", padding_mode="border", align_corners=True).clamp(-1, 1)
    near = _grown((head | own_head)[:, None].float(), _BESIDE)
    return Turned(images, _faded(_shrunk(_grown(use[:, None].float(), 3), 3)), _faded(1 - near))


def _taken(pixels: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n h w"]:
    """Area of the photograph, in pixels, that each pixel covers, by central differences."""
    along = F.pad(pixels.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    dx, dy = (along[..., 1:-1, 2:] - along[..., 1:-1, :-2]) / 2, (along[..., 2:, 1:-1] - along[..., :-2, 1:-1]) / 2
    return (dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0]).abs()


def _grown(mask: Float[Tensor, "n 1 h w"], side: int) -> Float[Tensor, "n 1 h w"]:
    return F.max_pool2d(mask, side, 1, side // 2)


def _shrunk(mask: Float[Tensor, "n 1 h w"], side: int) -> Float[Tensor, "n 1 h w"]:
    return 1 - _grown(1 - mask, side)


def _faded(mask: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    return F.avg_pool2d(mask, _FADE, 1, _FADE // 2, count_include_pad=False)
