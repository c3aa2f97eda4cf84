"""The StyleGAN2 generator: mapping network, modulated synthesis with skip connections.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020. Deviations: none in the
    architecture; the modulated convolution is computed without grouped convolutions (see ops.modulation).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.layers import LRELU_GAIN, LRELU_SLOPE, Dense
from lineament.ops.modulation import modulated_conv2d
from lineament.ops.resample import upsample_fir

NoiseMode = Literal["const", "random", "none"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a StyleGAN2 generator."""

    resolution: int = 64
    """Side of the square images in pixels; a power of two from 32 to 1024."""
    z_dim: int = 128
    """Size of the latent z."""
    w_dim: int = 128
    """Size of the intermediate latent w."""
    num_mapping_layers: int = 4
    """Fully connected layers from z to w."""
    channel_base: int = 1024
    """Channels at a resolution r are channel_base / r ..."""
    channel_max: int = 96
    """... but never more than this."""

    def __post_init__(self) -> None:
        if self.resolution not in (32, 64, 128, 256, 512, 1024):
            raise ConfigError(f"resolution is {self.resolution}, expected a power of two from 32 to 1024")
        for name in ("z_dim", "w_dim", "num_mapping_layers", "channel_base", "channel_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")

    def channels(self, resolution: int) -> int:
        """Number of feature maps at ``resolution``."""
        return max(min(self.channel_base // resolution, self.channel_max), 1)

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes: one per convolution, one for the last ToRGB."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


class MappingNetwork(nn.Module):
    """z to w: normalise, then fully connected layers with a hundredth of the learning rate."""

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        dims = [config.z_dim] + [config.w_dim] * config.num_mapping_layers
        self.layers = nn.ModuleList(Dense(i, o, lr_multiplier=0.01, activate=True) for i, o in pairwise(dims))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Float[Tensor, "n d_z"]) -> Float[Tensor, "n d"]:
        """Map latents of any length to w (only their direction counts)."""
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = layer(x)
        return x


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, activation."""

    noise_const: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int, *, upsample: bool) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution = resolution
        self.upsample = upsample

    def forward(
        self,
        x: Float[Tensor, "n i h w"],
        w: Float[Tensor, "n d"],
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, "n o h2 w2"]:
        """One step of synthesis; ``rng`` feeds the noise where ``noise_mode`` is 'random'."""
        # The rectifier's gain is moved in front of it, into factors that are small tensors: leaky(x) g = leaky(x g).
        weight, style = self.weight * self.weight_gain, self.affine(w)
        x = modulated_conv2d(x, weight, style, upsample=self.upsample, gain=LRELU_GAIN)
        bias = (self.bias * LRELU_GAIN)[:, None, None]
        strength = self.noise_strength * LRELU_GAIN
        if noise_mode == "const":
            x = x + self.noise_const * strength
        elif noise_mode == "random":
            shape = (x.shape[0], 1, self.resolution, self.resolution)
            # Drawn on the CPU so that a seed gives the same noise on every device.
            x = x + torch.randn(shape, generator=rng).to(x) * strength
        return F.leaky_relu(x + bias, LRELU_SLOPE)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to three channels, not demodulated."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n d"]) -> Float[Tensor, "n 3 h w"]:
        """The contribution of this resolution to the image."""
        rgb = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return rgb + self.bias[:, None, None]


class SynthesisBlock(nn.Module):
    """All layers of one resolution."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.is_first = resolution == 4
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, upsample=True)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, upsample=False)
        self.to_rgb = ToRGB(out_channels, w_dim)
        self.num_convs = 1 if self.is_first else 2

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Float[Tensor, "n l d"],
        noise_mode: NoiseMode,
        rng: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Features and image so far, at this block's resolution; ``ws`` holds one w per convolution and ToRGB."""
        if x is None or image is None:
            const = self.const.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
            features: Tensor = self.conv1(const, ws[:, 0], noise_mode, rng)
            return features, self.to_rgb(features, ws[:, 1])
        features = self.conv1(self.conv0(x, ws[:, 0], noise_mode, rng), ws[:, 1], noise_mode, rng)
        return features, upsample_fir(image) + self.to_rgb(features, ws[:, 2])


class Generator(nn.Module):
    """z -> w -> ws -> image.

    Convention:
        Images are in [-1, 1] up to the network's overshoot, RGB. ``ws`` holds one w per layer,
        ``config.num_ws`` of them, from coarse to fine.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        resolutions = [2**i for i in range(2, int(math.log2(config.resolution)) + 1)]
        self.blocks = nn.ModuleList(
            SynthesisBlock(config.channels(r // 2), config.channels(r), config.w_dim, r) for r in resolutions
        )

    @property
    def num_ws(self) -> int:
        """Number of w vectors per image."""
        return self.config.num_ws

    def map(self, z: Float[Tensor, "n d_z"], truncation: float = 1.0) -> Float[Tensor, "n d"]:
        """z to w, pulled towards the mean w: ``w_avg + truncation (w - w_avg)`` (the truncation trick)."""
        w = self.mapping(z)
        return w if truncation == 1.0 else self.mapping.w_avg.lerp(w, truncation)

    def broadcast(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n l d"]:
        """The same w for every layer."""
        return w[:, None].expand(-1, self.num_ws, -1)

    def synthesize(
        self,
        ws: Float[Tensor, "n l d"],
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, "n 3 h w"]:
        """Images of the latents ``ws``; deterministic unless ``noise_mode`` is 'random'."""
        x = image = None
        start = 0
        for block in self.blocks:
            count = int(block.num_convs)  # pyright: ignore[reportArgumentType]
            x, image = block(x, image, ws[:, start : start + count + 1], noise_mode, rng)
            start += count
        if image is None:
            raise ConfigError("a generator without blocks cannot synthesise")
        return image

    def forward(
        self, z: Float[Tensor, "n d_z"], truncation: float = 1.0, noise_mode: NoiseMode = "const"
    ) -> Float[Tensor, "n 3 h w"]:
        """Images of the latents ``z``."""
        return self.synthesize(self.broadcast(self.map(z, truncation)), noise_mode)


def mix_styles(
    ws_a: Float[Tensor, "n l d"], ws_b: Float[Tensor, "n l d"], cutoffs: Sequence[int]
) -> Float[Tensor, "n l d"]:
    """Style mixing: image i takes ``ws_a`` below layer ``cutoffs[i]`` and ``ws_b`` from there on.

    Source: Karras et al., "A Style-Based Generator Architecture", CVPR 2019, section 3.1.
    """
    layer = torch.arange(ws_a.shape[1], device=ws_a.device)
    takes_b = layer[None] >= torch.as_tensor(list(cutoffs), device=ws_a.device)[:, None]
    return torch.where(takes_b[..., None], ws_b, ws_a)
