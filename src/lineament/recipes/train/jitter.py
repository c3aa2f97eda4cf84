"""Random changes of framing, colour and sharpness of the faces that a decomposer is trained on.

A decomposer that has seen only one kind of crop and camera reads pose and light off their traces, too: when what is
outside the face changed, the light that it found moved up or down. So every face comes in another crop and from another
camera each time.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SHIFT, TURN_DEG, ZOOM = 0.05, 6.0, 0.06
"""Standard deviations of the shift (1 is half of the image), the rotation and the logarithm of the zoom."""

GAIN, GAMMA = 0.08, 0.15
"""Standard deviations of the logarithms of each colour's gain and of the exponent of brightness."""

MAX_BLUR = 0.7
"""Largest standard deviation of the blur, in pixels of an image of 64 px."""

STRIP_SHARE, MAX_STRIP = 0.25, 0.2
"""Share of images with a strip of one colour at an edge, and the strip's largest width (1 is the whole image)."""

_BLUR_TAPS = 5


@dataclass(frozen=True)
class Jitter:
    """What happens to each of n images; `apply` does it."""

    place: Float[Tensor, "n 2 3"]
    reflected: Float[Tensor, " n"]
    gain: Float[Tensor, "n 3"]
    gamma: Float[Tensor, " n"]
    blur: Float[Tensor, " n"]
    strips: Float[Tensor, "n 4"]
    colour: Float[Tensor, "n 3"]

    @classmethod
    def draw(cls, n: int, strength: float, rng: torch.Generator) -> "Jitter":
        """Random changes; ``strength`` scales them."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=rng).clamp(-2, 2) * strength

        def uniform(*shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=rng)

        angle, zoom = math.radians(TURN_DEG) * normal(), torch.exp(ZOOM * normal())
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        shift = SHIFT * normal(2)
        place = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
        strips = torch.where(uniform(4) < STRIP_SHARE / 4, uniform(4) * MAX_STRIP * min(strength, 1.0), 0.0)
        return cls(
            place=place,
            reflected=(uniform() < 0.5).float(),
            gain=torch.exp(GAIN * normal(3)),
            gamma=torch.exp(GAMMA * normal()),
            blur=torch.where(uniform() < 0.5, uniform() * MAX_BLUR * strength, 0.0),
            strips=strips,
            colour=uniform(3) * 2 - 1,
        )

    def first(self, k: int) -> "Jitter":
        """The changes of the first k images."""
        return Jitter(*(getattr(self, field.name)[:k] for field in fields(self)))

    def apply(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The changed images, in [-1, 1]."""
        return self.on_strips(self._blurred(self._coloured(self._placed(images)))).clamp(-1, 1)

    def _placed(self, images: Tensor) -> Tensor:
        """Shifted, turned and zoomed; what comes from outside is reflected, or repeats the edge."""
        grid = F.affine_grid(self.place.to(images), list(images.shape), align_corners=False)
        inside = 1 - ((grid + 1) % 4 - 2).abs()  # reflected at the edges, which lie at -1 and 1
        grid = torch.where(self.reflected.to(images)[:, None, None, None] > 0, inside, grid)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _coloured(self, images: Tensor) -> Tensor:
        white = ((images + 1) / 2).clamp(1e-4, 1) ** self.gamma.to(images)[:, None, None, None]
        return 2 * white * self.gain.to(images)[:, :, None, None] - 1

    def _blurred(self, images: Tensor) -> Tensor:
        n, channels, height, _ = images.shape
        sigma = (self.blur.to(images) * height / 64).clamp_min(1e-3)[:, None]
        taps = torch.arange(_BLUR_TAPS, device=images.device) - _BLUR_TAPS // 2
        kernel = torch.softmax(-0.5 * (taps / sigma).square(), dim=1).repeat_interleave(channels, 0)
        flat = F.pad(images.reshape(1, n * channels, *images.shape[2:]), (_BLUR_TAPS // 2,) * 4, mode="replicate")
        flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * channels)
        return F.conv2d(flat, kernel[:, None, :, None], groups=n * channels).view_as(images)

    def on_strips(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """With strips of one colour at left, right, top and bottom, as letterboxes have."""
        n, _, height, width = images.shape
        x, y = ((torch.arange(size, device=images.device) + 0.5) / size for size in (width, height))
        left, right, top, bottom = (self.strips.to(images)[:, i, None] for i in range(4))
        across = torch.logical_or(x < left, x > 1 - right)[:, None, None, :]
        down = torch.logical_or(y < top, y > 1 - bottom)[:, None, :, None]
        return torch.where(torch.logical_or(across, down), self.colour.to(images).view(n, 3, 1, 1), images)
