"""Building blocks of the decomposer's networks, and what ties its shapes to a mean head."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.ops.shapes import MEAN_LEAN_DEG, MEAN_RELIEF, head_front

FULL_SIZE_CHANNELS = 16


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(channels // 4, 1), channels)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2, inplace=True)


def _downward(in_channels: int, widths: list[int], *, norm: bool) -> list[nn.Module]:
    """Stride-2 convolutions from the image to 4 x 4."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        layers.append(nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=not norm))
        if norm and i < len(widths) - 1:
            layers.append(_norm(width))
        layers.append(_leaky())
        in_channels = width
    return layers


class EncoderDecoder(nn.Module):
    """Image to image through a bottleneck without skips, so that the canonical map does not depend on the view."""

    def __init__(self, in_channels: int, out_channels: int, widths: list[int], code_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_downward(in_channels, widths, norm=True), nn.Conv2d(widths[-1], code_dim, 4), nn.ReLU(inplace=True)
        )
        up: list[nn.Module] = [nn.ConvTranspose2d(code_dim, widths[-1], 4), nn.ReLU(inplace=True)]
        up += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.ReLU(inplace=True)]
        for wide, narrow in zip(widths[::-1], widths[-2::-1], strict=False):
            up += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), _norm(narrow), nn.ReLU(inplace=True)]
            up += [nn.Conv2d(narrow, narrow, 3, padding=1), _norm(narrow), nn.ReLU(inplace=True)]
        # Few channels at full size: these two convolutions would otherwise cost as much as all the others together.
        last = min(widths[0], FULL_SIZE_CHANNELS)
        up += [nn.Upsample(scale_factor=2, mode="nearest")]
        up += [nn.Conv2d(widths[0], last, 3, padding=1), _norm(last), nn.ReLU(inplace=True)]
        up += [nn.Conv2d(last, out_channels, 5, padding=2)]
        self.decoder = nn.Sequential(*up)

    @property
    def head(self) -> nn.Conv2d:
        """The last convolution."""
        return self.decoder[-1]  # pyright: ignore[reportReturnType]

    def forward(self, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n m h w"]:
        """Raw values, before any squashing."""
        return self.decoder(self.encoder(image))


class ScalarEncoder(nn.Module):
    """Image to a few numbers in (-1, 1)."""

    def __init__(self, out_dim: int, widths: list[int], code_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_downward(3, widths, norm=False),
            nn.Conv2d(widths[-1], code_dim, 4),
            nn.ReLU(inplace=True),
            nn.Conv2d(code_dim, out_dim, 1),
        )

    def forward(self, image: Float[Tensor, "n 3 h w"], signs: tuple[int, ...] | None = None) -> Float[Tensor, "n m"]:
        """Squashed outputs.

        Args:
            image: in [-1, 1].
            signs: 1 or -1 for each output; if given, the outputs for the mirror image are those for the image, times
                these signs, exactly.
        """
        if signs is None:
            return torch.tanh(self.layers(image).flatten(1))
        raw, mirrored = self.layers(torch.cat([image, image.flip(3)])).flatten(1).chunk(2)
        return torch.tanh((raw + mirrored * raw.new_tensor(signs)) / 2)


class ConfidenceNet(nn.Module):
    """Image to the standard deviations of the reconstruction's error: pixels at full, features at quarter size.

    Two maps each: for the reconstruction and for the one from the mirrored canonical maps.
    """

    def __init__(self, widths: list[int], code_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_downward(3, widths, norm=True), nn.Conv2d(widths[-1], code_dim, 4), nn.ReLU(inplace=True)
        )
        up: list[nn.Module] = [nn.ConvTranspose2d(code_dim, widths[-1], 4), nn.ReLU(inplace=True)]
        for wide, narrow in zip(widths[:1:-1], widths[-2:0:-1], strict=True):
            up += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), _norm(narrow), nn.ReLU(inplace=True)]
        self.to_quarter = nn.Sequential(*up)
        self.feature_head = nn.Conv2d(widths[1], 2, 3, padding=1)
        half = widths[0]
        self.pixel_head = nn.Sequential(
            nn.ConvTranspose2d(widths[1], half, 4, stride=2, padding=1),
            _norm(half),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(half, half, 4, stride=2, padding=1),
            _norm(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, 2, 5, padding=2),
        )

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 2 h w"], Float[Tensor, "n 2 h4 w4"]]:
        """Positive standard deviations (unbounded below; the decomposer bounds them)."""
        x = self.to_quarter(self.encoder(image))
        return F.softplus(self.pixel_head(x)), F.softplus(self.feature_head(x))


class TiedShape(nn.Module):
    """Relief and lean of raw depth maps tied to the mean head's, so that degrees of yaw and pitch are degrees.

    The mean shape stands as upright and is as deep as the mean head (`MEAN_RELIEF`, `MEAN_LEAN_DEG`); the shapes of
    single faces may differ from it in all but these two.

    Args:
        resolution: side of the square maps in pixels.
        half_range: depth of one raw unit, in world units.
        width: width of the image in world units at the face.
    """

    front: Tensor
    height: Tensor

    def __init__(self, resolution: int, *, half_range: float, width: float) -> None:
        super().__init__()
        self.register_buffer("front", head_front(resolution).float(), persistent=False)
        height = torch.linspace(-1, 1, resolution, device="cpu")[:, None].expand(resolution, resolution)
        self.register_buffer("height", height - self._mean(height), persistent=False)
        self.relief = MEAN_RELIEF * width / half_range
        self.slope = math.tan(math.radians(MEAN_LEAN_DEG)) * width / 2 / half_range

    def _mean(self, values: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n 1 1"]:
        """Mean over the front of the head."""
        return (values * self.front).sum(dim=(-2, -1), keepdim=True) / self.front.sum()

    def _without(self, raw: Float[Tensor, "*n h w"], other: Float[Tensor, "h w"]) -> Float[Tensor, "*n h w"]:
        """Without its component along another map of mean 0."""
        return raw - self._mean(raw * other) / self._mean(other.square()).clamp_min(1e-8) * other

    def relief_of(self, raw: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """A map without its lean; its mean over the front is 0."""
        return self._without(raw - self._mean(raw), self.height)

    def mean(self, raw: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """The mean shape, tied, and its relief alone; differentiable."""
        flat = self.relief_of(raw)
        relief = flat * (self.relief / self._mean(flat.square()).clamp_min(1e-8).sqrt())
        return relief + self.slope * self.height, relief

    def rest(self, raw: Float[Tensor, "n h w"], relief: Float[Tensor, "h w"]) -> Float[Tensor, "n h w"]:
        """Differences of faces from the mean shape, without lean and relief; differentiable."""
        return self._without(self._without(raw, self.height), relief.detach())
