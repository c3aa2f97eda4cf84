"""The first StyleGAN's generator: mapping network, adaptive instance normalisation, images from the last resolution.

Source:
    Karras et al., "A Style-Based Generator Architecture for GANs", CVPR 2019, configuration F. Deviations: the factors
    of the equalised learning rate and the upscaling's 4 x 4 kernels are part of the stored weights
    (`lineament.networks.layouts.stylegan1` computes them), because this network is only loaded from files, never
    trained; the lower resolutions' images of progressive growing are left out.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.stylegan.generator import Generator, NoiseMode
from lineament.networks.stylegan.layers import LRELU_GAIN, LRELU_SLOPE, Dense
from lineament.networks.stylegan.mapping import MappingNetwork
from lineament.records.bounds import check_bounds
from lineament.records.shapes import channels_at, check_widths

RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)
INSTANCE_NORM_EPSILON = 1e-8
STRIP_SIZE = 1 << 17
"""Numbers processed at a time: half a megabyte, which fits a core's second-level cache."""


@dataclass(frozen=True)
class StyleGAN1Config:
    """Shape of a generator of the first StyleGAN."""

    resolution: int = 1024
    """Side of the square images in pixels; a power of two from 8 to 1024."""
    z_dim: int = 512
    """Size of the latent z."""
    w_dim: int = 512
    """Size of the intermediate latent w."""
    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    image_channels: int = 3
    """Channels of the images."""
    num_mapping_layers: int = 8
    """Fully connected layers from z to w."""
    mapping_dim: int = 0
    """Width of the mapping network's inner layers; 0 for that of w."""
    channel_base: int = 16384
    """Channels at a resolution r are channel_base / r (twice what the original calls fmap_base) ..."""
    channel_max: int = 512
    """... but never more than this."""
    widths: tuple[int, ...] = ()
    """Channels at 4, 8, 16, ... pixels, if they do not follow from the base and the maximum."""
    truncation_cutoff: int = 8
    """Number of layers, from the coarsest, that truncation acts on when faces are drawn; 0 for all. The original's
    default is 8 (up to 32 pixels)."""

    def __post_init__(self) -> None:
        sizes = ("z_dim", "w_dim", "image_channels", "num_mapping_layers", "channel_base", "channel_max")
        check_shape(self, at_least_one=sizes, at_least_none=("c_dim", "mapping_dim", "truncation_cutoff"))

    def channels(self, resolution: int) -> int:
        """Number of feature maps at ``resolution``."""
        return channels_at(resolution, self.channel_base, self.channel_max, self.widths)

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes: two per resolution."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


def check_shape(config: Any, *, at_least_one: tuple[str, ...], at_least_none: tuple[str, ...]) -> None:
    """Check the settings of a generator or a discriminator of this family.

    Raises:
        ConfigError: names the first setting that is out of its range.
    """
    if config.resolution not in RESOLUTIONS:
        raise ConfigError(f"resolution is {config.resolution}, expected a power of two from 8 to 1024")
    check_bounds(config, *at_least_one, least=1)
    check_bounds(config, *at_least_none, least=0)
    check_widths(config.widths, config.resolution)


def blur(x: Float[Tensor, "n c h w"], bias: Float[Tensor, " c"] | None = None) -> Float[Tensor, "n c h w"]:
    """The low-pass filter [1, 2, 1] / 4 along both axes, zero beyond the border; then a bias.

    Not folded into the preceding convolution. The border would differ, as that convolution's output beyond the border
    is cut off before the filter, and it would cost 9 instead of 4 products.
    """
    taps = torch.tensor((0.25, 0.5, 0.25), dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    kernel = (taps[:, None] * taps).expand(channels, 1, 3, 3)
    return F.conv2d(x, kernel, bias, padding=1, groups=channels)


def finish_layer(
    x: Float[Tensor, "n c h w"],
    noise: Float[Tensor, "m 1 h w"] | None,
    strength: Float[Tensor, " c"],
    scale: Float[Tensor, "n c"],
    shift: Float[Tensor, "n c"],
) -> Float[Tensor, "n c h w"]:
    """Noise, leaky rectifier, adaptive instance normalisation.

    ``AdaIN(y) = scale (y - mean(y)) / std(y) + shift`` (Equation 1), with the mean and the standard deviation over the
    pixels of each map.

    Args:
        x: feature maps with their bias.
        noise: one map for all samples, one for each, or None.
        strength: how much of the noise each channel takes.
        scale: the style's factor, for each sample and channel.
        shift: the style's offset.

    Returns:
        Feature maps. Differentiable in all tensors.
    """
    if noise is not None:
        x = x + noise * strength[:, None, None]
    x = F.leaky_relu(x, LRELU_SLOPE)
    x = x - x.mean(dim=(2, 3), keepdim=True)
    factor = torch.rsqrt(x.square().mean(dim=(2, 3), keepdim=True) + INSTANCE_NORM_EPSILON)
    return torch.addcmul(shift[..., None, None], x, factor * scale[..., None, None])


def finish_layer_in_place(
    x: Float[Tensor, "n c h w"],
    noise: Float[Tensor, "m 1 h w"] | None,
    strength: Float[Tensor, " c"],
    scale: Float[Tensor, "n c"],
    shift: Float[Tensor, "n c"],
) -> Float[Tensor, "n c h w"]:
    """`finish_layer` in the memory of ``x``, strip by strip; for inference mode, four to ten times faster on a CPU.

    All operations on a strip are done while it is in the cache, so that the maps are read from memory twice instead of
    nine times. The moments of the strips are combined by the law of total variance. Each is computed from centred
    numbers; sums of squares over whole maps would lose three digits at 1024 pixels.
    """
    height = x.shape[2]
    wanted = min(math.ceil(x.numel() / STRIP_SIZE), height)
    num_strips = next(k for k in range(wanted, height + 1) if height % k == 0)
    strips = x.chunk(num_strips, dim=2)
    means, variances = [], []
    for strip, noise_strip in zip(strips, _strips(noise, num_strips), strict=True):
        if noise_strip is not None:
            strip.addcmul_(noise_strip, strength[:, None, None])
        F.leaky_relu_(strip, LRELU_SLOPE)
        means.append(strip.mean(dim=(2, 3), keepdim=True))
        centred = strip - means[-1]
        variances.append(centred.mul_(centred).mean(dim=(2, 3), keepdim=True))
    each_mean = torch.stack(means)
    mean = each_mean.mean(dim=0)
    variance = torch.stack(variances).mean(dim=0) + (each_mean - mean).square().mean(dim=0)
    factor = torch.rsqrt(variance + INSTANCE_NORM_EPSILON) * scale[..., None, None]
    offset = shift[..., None, None] - mean * factor
    for strip in strips:
        strip.mul_(factor).add_(offset)
    return x


def _strips(noise: Tensor | None, num_strips: int) -> Iterator[Tensor | None]:
    return iter([None] * num_strips if noise is None else noise.chunk(num_strips, dim=2))


class StyledLayer(nn.Module):
    """Feature maps from `source`, then noise, activation and a style; the base of the three kinds of layers."""

    noise_const: Tensor

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.style = Dense(w_dim, 2 * channels)
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def source(self, x: Tensor | None, n: int) -> Tensor:
        """The maps of ``n`` samples with their bias, in memory that may be overwritten."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "n i h w"] | None,
        w: Float[Tensor, "n d"],
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, "n o h2 w2"]:
        """One step of synthesis; noise is drawn from ``rng`` if ``noise_mode`` is 'random'."""
        maps = self.source(x, len(w))
        noise = None
        if noise_mode == "const":
            noise = self.noise_const[None, None]
        elif noise_mode == "random":
            # Drawn on the CPU so that a seed gives the same noise on every device.
            noise = torch.randn((len(w), 1, *self.noise_const.shape), generator=rng).to(maps)
        scale, shift = self.style(w).chunk(2, dim=1)
        # In inference mode only: under `no_grad`, forward derivatives (`vmap` of `jvp`) may be taken, and go wrong.
        finish = finish_layer_in_place if torch.is_inference_mode_enabled() else finish_layer
        return finish(maps, noise, self.noise_strength, scale + 1, shift)


class ConstantLayer(StyledLayer):
    """A learned constant of 4 x 4 pixels, which takes the place of the latent of earlier generators."""

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__(channels, w_dim, 4)
        self.const = nn.Parameter(torch.ones(channels, 4, 4))

    def source(self, x: Tensor | None, n: int) -> Tensor:
        """The constant, once for each sample."""
        maps = (self.const + self.bias[:, None, None]).expand(n, -1, -1, -1)
        return maps.contiguous(memory_format=torch.channels_last)


class ConvLayer(StyledLayer):
    """A 3 x 3 convolution."""

    def __init__(self, in_channels: int, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__(channels, w_dim, resolution)
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 3, 3) * (LRELU_GAIN / math.sqrt(in_channels * 9)))

    def source(self, x: Tensor | None, n: int) -> Tensor:
        """The convolution."""
        assert x is not None
        return F.conv2d(x, self.weight, self.bias, padding=1)


class UpscalingLayer(StyledLayer):
    """Twice the size: a transposed convolution, then the low-pass filter.

    The 4 x 4 kernel is a 3 x 3 kernel spread over the four pixels that replace one. So this equals nearest-neighbour
    upscaling and a convolution, with 4 instead of 9 products for each pixel.
    """

    def __init__(self, in_channels: int, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__(channels, w_dim, resolution)
        self.weight = nn.Parameter(torch.randn(in_channels, channels, 4, 4) * (LRELU_GAIN / math.sqrt(in_channels * 4)))

    def source(self, x: Tensor | None, n: int) -> Tensor:
        """The larger maps."""
        assert x is not None
        return blur(F.conv_transpose2d(x, self.weight, stride=2, padding=1), self.bias)


class StyleGAN1(Generator):
    """z -> w -> ws -> image."""

    family: ClassVar[str] = "stylegan1"
    config: StyleGAN1Config

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.config = config
        self.truncation_cutoff = config.truncation_cutoff or None
        self.mapping = MappingNetwork(
            config.z_dim,
            config.w_dim,
            num_layers=config.num_mapping_layers,
            c_dim=config.c_dim,
            inner_dim=config.mapping_dim or None,
            embedding_dim=config.z_dim,
            joint_normalization=True,
        )
        channels, w_dim = config.channels(4), config.w_dim
        layers: list[StyledLayer] = [ConstantLayer(channels, w_dim), ConvLayer(channels, channels, w_dim, 4)]
        for resolution in (2**i for i in range(3, int(math.log2(config.resolution)) + 1)):
            before, channels = channels, config.channels(resolution)
            layers += [
                UpscalingLayer(before, channels, w_dim, resolution),
                ConvLayer(channels, channels, w_dim, resolution),
            ]
        self.layers = nn.ModuleList(layers)
        self.to_rgb = nn.Conv2d(channels, config.image_channels, 1)

    def synthesize(
        self, ws: Float[Tensor, "n l d"], noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Images of the latents ``ws``; deterministic unless ``noise_mode`` is 'random', which draws from ``rng``."""
        x = None
        for layer, w in zip(self.layers, ws.unbind(dim=1), strict=True):
            x = layer(x, w, noise_mode, rng)
        return self.to_rgb(x)
