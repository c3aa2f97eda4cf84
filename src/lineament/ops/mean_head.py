"""A mean head, laid over the mean of images of faces.

A decomposer that sees single photographs cannot know how far a face turns before it knows the shape that turns, and the
other way round (the bas-relief ambiguity; `ops.shapes`). Where the mean shape is that of a mean head, only its place in
the images is left to find, and that needs no label: the mean of aligned faces is a face.

Source:
    The registration is ours: normalised correlation over the zoom, the stretch and the height, the only unknowns of
    upright faces that are their own mirror images.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.resample import gaussian_blur
from lineament.ops.shading import lambert_shading, normals_from_depth
from lineament.records.camera import Camera

ZOOMS, HEIGHTS, STRETCHES = (0.6, 2.0), (-0.6, 0.6), (0.75, 1.25)
"""Ranges of the zoom, of the height at which the head's centre is looked for (1 is half of the image), and of the zoom
along the height as a share of that across: smiles and a crop's own habits make mean faces longer or shorter."""

REGIONS = ((0.15, 0.55, 0.55), (0.05, 0.75, 0.85))
"""Height of the centre and half axes (1 is half of the head's image) of the superellipses in which images are compared.
The first one, from the brows to the lower lip, says the place to a hundredth, but may take one feature for another; the
second one, the whole face, is seldom taken in, but hair and background draw it aside."""

REGION_EXPONENT, REGION_FILL = 2.5, 0.845
"""Exponent of the superellipses, and their area as a share of their bounding boxes'."""

MIN_COVERED = 0.75
"""Least share of a region that must lie within the image."""

LIGHT = (0.4, 0.6, 0.0, 0.6)
"""Light in which the head is looked for: ambient, diffuse, and the slopes of its direction."""

COMPARED_SIZES = (32, 64)
"""Side of the images that are compared, in pixels, at first and at last."""

BRIGHTNESS_BLUR = 3 / 32
"""Standard deviation of the blur that is taken off (1 is the whole image): the light on both means differs."""

LEAST_LIKENESS = 0.5
"""Mean correlation below which a mean image does not show a face from the front."""

MAX_UNIT = 0.97
"""Limit of depths, as a share of the camera's interval: farther out, tanh has almost no gradient left."""

_STEPS = (0.04, 0.01)
_REACH = ((0.2, 0.2, 0.08), (0.04, 0.04, 0.03))
"""Steps of the search, and how far it goes about the last place along zoom, stretch and height."""


@dataclass(frozen=True)
class MeanHead:
    """Depth and albedo of a mean head from the front, through the default `Camera`; both their own mirror images."""

    depth: Float[Tensor, "h h"]
    albedo: Float[Tensor, "h h"]

    @property
    def image(self) -> Float[Tensor, "h h"]:
        """The head in a light from above, as in most photographs.

        By the shadows of nose and chin faces are found that brows, eyes and lips leave in doubt.
        """
        (shading,) = lambert_shading(normals_from_depth(self.depth[None], Camera()), torch.tensor([LIGHT]))
        return self.albedo * shading


@dataclass(frozen=True)
class Placement:
    """Where a head lies.

    Attributes:
        zoom: its width and depth, as a multiple of the mean head's.
        stretch: its height, as a multiple of ``zoom`` times the mean head's.
        height: of its centre; 1 is half of the image, down.
        likeness: correlation of the images.
    """

    zoom: float
    stretch: float
    height: float
    likeness: float


def find_head(head: MeanHead, mean_image: Float[Tensor, "3 h w"]) -> Placement:
    """The place at which a mean head looks most like a mean image.

    Args:
        head: the mean head.
        mean_image: mean of many aligned faces; its mirror image counts as much as itself.
    """
    grey = (mean_image + mean_image.flip(2)).mean(dim=0) / 2
    small, wanted = (_without_brightness(_resized(grey, size)) for size in COMPARED_SIZES)
    zooms, heights = (torch.arange(low, high + 1e-6, _STEPS[0]) for low, high in (ZOOMS, HEIGHTS))
    image = head.image.to(grey)
    (zoom, stretch, height), likeness = _best(image, small, [zooms, torch.ones(1), heights], REGIONS)
    for step, reaches in zip(_STEPS, _REACH, strict=True):
        now = zip((zoom, stretch, height), reaches, strict=True)
        around = [x + torch.arange(-reach, reach + 1e-6, step) for x, reach in now]
        around = [x.clamp(*limits) for x, limits in zip(around, (ZOOMS, STRETCHES, HEIGHTS), strict=True)]
        (zoom, stretch, height), _ = _best(image, wanted, around, REGIONS[:1])
    return Placement(zoom, stretch, height, likeness)


def _best(
    image: Float[Tensor, "s s"],
    wanted: Float[Tensor, "h w"],
    axes: list[Tensor],
    regions: tuple[tuple[float, ...], ...],
) -> tuple[tuple[float, float, float], float]:
    """The zoom, stretch and height, of those on these axes, of the largest mean likeness; and that likeness."""
    tried = torch.cartesian_prod(*axes)
    alike = [torch.cat([_likeness(image, wanted, part, region) for part in tried.split(256)]) for region in regions]
    values = torch.stack(alike).mean(dim=0)
    i = int(values.argmax())
    zoom, stretch, height = tried[i].tolist()
    return (zoom, stretch, height), float(values[i])


def head_at(head: MeanHead, placement: Placement, size: int, camera: Camera) -> Float[Tensor, "n n"]:
    """Depth map of a head of another size and at another height; as deep as it is wide, so that it turns like a head.

    The values are centred in the camera's interval as `networks.decomposer` centres them, and limited to it.
    Perspective changes by a hundredth at most and is ignored.
    """
    depth = _placed(head.depth, _numbers(placement), size, padding="border")[0, 0]
    half = (camera.max_depth - camera.min_depth) / 2
    unit = (depth - camera.center_depth) * placement.zoom / half

    def squashed(shift: float) -> Tensor:
        return torch.atanh((unit + shift).clamp(-MAX_UNIT, MAX_UNIT))

    low, high = -2.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(squashed(middle).mean()) < 0 else (low, middle)
    return (camera.max_depth + camera.min_depth) / 2 + half * torch.tanh(squashed(low))


def _resized(grey: Float[Tensor, "h w"], size: int) -> Float[Tensor, "n n"]:
    return F.interpolate(grey[None, None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def _numbers(placement: Placement) -> Float[Tensor, "1 3"]:
    return torch.tensor([[placement.zoom, placement.stretch, placement.height]])


def _placed(
    map_: Float[Tensor, "h h"], placements: Float[Tensor, "n 3"], size: int, *, padding: str = "zeros"
) -> Float[Tensor, "n 1 s s"]:
    grid = _sources(placements, size).to(map_)
    return F.grid_sample(map_.expand(len(grid), 1, -1, -1), grid, padding_mode=padding, align_corners=True)


def _sources(placements: Float[Tensor, "n 3"], size: int) -> Float[Tensor, "n s s 2"]:
    """The point of the head's image that each pixel shows."""
    axis = torch.linspace(-1, 1, size)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    zoom, stretch, height = placements.unbind(1)
    scale, shift = torch.stack([zoom, zoom * stretch], dim=1), torch.stack([torch.zeros_like(height), height], dim=1)
    return (places - shift[:, None, None]) / scale[:, None, None]


def _without_brightness(grey: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    flat = grey.reshape(-1, 1, *grey.shape[-2:])
    return (flat - gaussian_blur(flat, BRIGHTNESS_BLUR * grey.shape[-1])).view_as(grey)


def _likeness(
    image: Float[Tensor, "s s"],
    wanted: Float[Tensor, "h w"],
    placements: Float[Tensor, "n 3"],
    region: tuple[float, ...],
) -> Float[Tensor, " n"]:
    """Correlation within a region of the head; -1 if too little of it lies within the image."""
    centre, half_width, half_height = region
    sources = _sources(placements, len(wanted)).to(wanted)
    x, y = sources[..., 0].abs() / half_width, (sources[..., 1] - centre).abs() / half_height
    inside = (x**REGION_EXPONENT + y**REGION_EXPONENT <= 1).to(wanted)
    shown = _without_brightness(_placed(image, placements, len(wanted))[:, 0])
    count = inside.sum(dim=(1, 2)).clamp_min(1)

    def centred(values: Tensor) -> Tensor:
        return (values - ((values * inside).sum(dim=(1, 2)) / count)[:, None, None]) * inside

    a, b = centred(shown), centred(wanted.expand_as(shown))
    product = (a.square().sum(dim=(1, 2)) * b.square().sum(dim=(1, 2))).sqrt().clamp_min(1e-12)
    whole = (placements[:, 0].square() * placements[:, 1]).to(wanted) * (
        REGION_FILL * half_width * half_height * len(wanted) ** 2
    )
    return torch.where(count > MIN_COVERED * whole, (a * b).sum(dim=(1, 2)) / product, -1.0)
