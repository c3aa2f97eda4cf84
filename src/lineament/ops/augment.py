"""Adaptive discriminator augmentation: invertible-in-distribution transforms of real and generated images.

Source:
    Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, appendix B: the "bgc"
    pipeline (blitting, geometry, colour) with its published strengths. Deviation: all geometric transforms are
    resampled at once by bilinear interpolation on a twice enlarged, reflection-padded image instead of by wavelet
    filters.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.ops.resample import downsample_fir

TRANSLATE_INT_MAX = 0.125
SCALE_STD = 0.2
TRANSLATE_FRAC_STD = 0.125
BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5
SATURATION_STD = 1.0


class _Draws:
    """Random parameters of n images; each transform is applied with probability p, else replaced by its identity."""

    def __init__(self, n: int, p: float, rng: torch.Generator) -> None:
        self.n, self.p, self.rng = n, p, rng

    def uniform(self, low: float = -1.0, high: float = 1.0) -> Tensor:
        return torch.rand(self.n, generator=self.rng) * (high - low) + low

    def normal(self) -> Tensor:
        return torch.randn(self.n, generator=self.rng)

    def gate(self, value: Tensor, identity: float, p: float | None = None) -> Tensor:
        applied = torch.rand(self.n, generator=self.rng) < (self.p if p is None else p)
        return torch.where(applied, value, torch.full_like(value, identity))


def _affine(n: int, **entries: Tensor) -> Tensor:
    """Identity 3 x 3 matrices with the named entries (``m01`` is row 0, column 1) replaced."""
    matrix = torch.eye(3).repeat(n, 1, 1)
    for name, value in entries.items():
        matrix[:, int(name[1]), int(name[2])] = value
    return matrix


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return _affine(len(angle), m00=cos, m01=-sin, m10=sin, m11=cos)


def geometric_transforms(n: int, p: float, rng: torch.Generator, *, width: int) -> Float[Tensor, "n 3 3"]:
    """Where each output pixel is fetched from, in coordinates from -1 to 1 (appendix B, lines 4 to 21)."""
    draw = _Draws(n, p, rng)
    g = _affine(n, m00=draw.gate(draw.uniform().sign(), 1.0))
    g = g @ _rotation(draw.gate((draw.uniform(0.0, 4.0).floor()) * (math.pi / 2), 0.0))
    whole = [torch.round(draw.uniform() * TRANSLATE_INT_MAX * width) * 2 / width for _ in range(2)]
    g = g @ _affine(n, m02=draw.gate(whole[0], 0.0), m12=draw.gate(whole[1], 0.0))
    scale = draw.gate(torch.exp2(draw.normal() * SCALE_STD), 1.0)
    g = g @ _affine(n, m00=1 / scale, m11=1 / scale)
    # Two rotations, before and after the anisotropic scaling, are together applied with probability p.
    p_rotate = 1 - math.sqrt(1 - p)
    g = g @ _rotation(draw.gate(draw.uniform() * math.pi, 0.0, p_rotate))
    aniso = draw.gate(torch.exp2(draw.normal() * SCALE_STD), 1.0)
    g = g @ _affine(n, m00=1 / aniso, m11=aniso)
    g = g @ _rotation(draw.gate(draw.uniform() * math.pi, 0.0, p_rotate))
    shift = [draw.gate(draw.normal() * TRANSLATE_FRAC_STD * 2, 0.0) for _ in range(2)]
    return g @ _affine(n, m02=shift[0], m12=shift[1])


def color_transforms(n: int, p: float, rng: torch.Generator) -> Float[Tensor, "n 3 4"]:
    """Affine maps of RGB in [-1, 1] (appendix B, lines 22 to 32)."""
    draw = _Draws(n, p, rng)
    luma = torch.full((3,), 1 / math.sqrt(3.0))
    along = luma[:, None] * luma[None, :]
    across = torch.eye(3) - along
    brightness = draw.gate(draw.normal() * BRIGHTNESS_STD, 0.0)
    contrast = draw.gate(torch.exp2(draw.normal() * CONTRAST_STD), 1.0)
    flip = draw.gate(draw.uniform().sign(), 1.0)
    angle = draw.gate(draw.uniform() * math.pi, 0.0)
    saturation = draw.gate(torch.exp2(draw.normal() * SATURATION_STD), 1.0)
    # Rotation of the hue about the grey axis (Rodrigues): its cross-product matrix is skew / sqrt(3).
    skew = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    hue = along + angle.cos()[:, None, None] * across + angle.sin()[:, None, None] * skew
    linear = (flip[:, None, None] * along + saturation[:, None, None] * across) @ hue
    linear = linear * contrast[:, None, None]
    # Brightness comes first, so contrast and luma flip act on it too.
    offset = (linear @ torch.ones(3)) * brightness[:, None]
    return torch.cat([linear, offset[..., None]], dim=2)


def apply_geometry(images: Float[Tensor, "n c h w"], transforms: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n c h w"]:
    """Resample images at transformed positions, reflecting at the border."""
    n, _, h, w = images.shape
    theta = transforms[:, :2].to(images)
    grid = F.affine_grid(theta, [n, 1, 2 * h, 2 * w], align_corners=False)
    large = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return downsample_fir(large)


def apply_color(images: Float[Tensor, "n 3 h w"], transforms: Float[Tensor, "n 3 4"]) -> Float[Tensor, "n 3 h w"]:
    """Map the colours of each image by its affine transform."""
    transforms = transforms.to(images)
    flat = transforms[:, :, :3] @ images.flatten(2) + transforms[:, :, 3:]
    return flat.view_as(images)


def augment(images: Float[Tensor, "n 3 h w"], p: float, rng: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """Augment each image by every transform with probability ``p``; the images themselves at ``p = 0``.

    Images that drew no geometric transform are not resampled, so at small p most images stay sharp.

    Args:
        images: real or generated images in [-1, 1].
        p: probability of each transform, in [0, 1].
        rng: a CPU generator; the same state gives the same transforms on every device.

    Returns:
        Augmented images, differentiable (once) in ``images``.
    """
    if p <= 0:
        return images
    n, _, _, width = images.shape
    geometry = geometric_transforms(n, p, rng, width=width)
    color = color_transforms(n, p, rng)
    moved = (geometry - torch.eye(3)).abs().amax(dim=(1, 2)) > 0
    where = moved.nonzero().squeeze(1)
    if len(where):
        resampled = apply_geometry(images[where.to(images.device)], geometry[where])
        images = images.index_copy(0, where.to(images.device), resampled.to(images.dtype))
    return apply_color(images, color)
