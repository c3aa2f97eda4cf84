"""The StyleGAN2 generator: mapping network, modulated synthesis; skip connections unless a file says otherwise.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020; for classes Karras et al.,
    "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020. Deviations: none in the architecture;
    the modulated convolution is computed without grouped convolutions (see ops.modulation).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.generator import Generator, NoiseMode
from lineament.networks.layers import LRELU_GAIN, LRELU_SLOPE, Conv, Dense, clamped
from lineament.networks.mapping import MappingNetwork
from lineament.ops.modulation import modulated_conv2d
from lineament.ops.resample import upsample_fir

ARCHITECTURES = ("skip", "resnet", "orig")


def channels_at(resolution: int, base: int, maximum: int, widths: Sequence[int] = ()) -> int:
    """Number of feature maps: ``base / resolution``, at most ``maximum``; or as ``widths`` say for 4, 8, ... pixels."""
    return widths[int(math.log2(resolution)) - 2] if widths else max(min(base // resolution, maximum), 1)


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a StyleGAN2 generator that we train. What other programs vary besides stands in `StyleGAN2Config`."""

    c_dim: ClassVar[int] = 0
    image_channels: ClassVar[int] = 3
    architecture: ClassVar[str] = "skip"
    conv_clamp: ClassVar[float] = 0.0
    mapping_dim: ClassVar[int] = 0
    embedding_dim: ClassVar[int] = 0
    mapping_lr_multiplier: ClassVar[float] = 0.01
    joint_normalization: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = ()

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
        return channels_at(resolution, self.channel_base, self.channel_max, self.widths)

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes: one per convolution, one for the last ToRGB."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


@dataclass(frozen=True)
class StyleGAN2Config(GeneratorConfig):
    """Shape of a StyleGAN2 generator of another program."""

    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    image_channels: int = 3
    """Channels of the images."""
    architecture: str = "skip"
    """How the image comes about: 'skip' sums one of each resolution, 'resnet' has residual blocks, 'orig' neither."""
    conv_clamp: float = 0.0
    """Outputs of convolutions are clamped to plus and minus this; 0 leaves them. Trained in half precision, networks
    count on it."""
    mapping_dim: int = 0
    """Width of the mapping network's inner layers; 0 for that of w."""
    embedding_dim: int = 0
    """Width of the class embedding; 0 for that of w."""
    mapping_lr_multiplier: float = 0.01
    """Learning rate of the mapping network, which its weights are scaled by."""
    joint_normalization: bool = False
    """Whether z and the class embedding are normalised together, after they are joined, as before ADA, where the
    embedding has no bias either; else each by itself."""
    widths: tuple[int, ...] = ()
    """Channels at 4, 8, 16, ... pixels, if they do not follow from the base and the maximum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"architecture is {self.architecture!r:.40}, expected one of {', '.join(ARCHITECTURES)}")
        if self.image_channels < 1:
            raise ConfigError(f"image_channels is {self.image_channels}, expected at least 1")
        for name in ("c_dim", "conv_clamp", "mapping_dim", "embedding_dim"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more")
        expected = int(math.log2(self.resolution)) - 1
        if self.widths and (len(self.widths) != expected or min(self.widths) < 1):
            raise ConfigError(f"widths are {self.widths}, expected {expected} numbers of at least 1")


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, activation."""

    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, resolution: int, *, upsample: bool, clamp: float = 0.0
    ) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution = resolution
        self.upsample = upsample
        self.clamp = clamp

    def forward(
        self,
        x: Float[Tensor, "n i h w"],
        w: Float[Tensor, "n d"],
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
        gain: float = 1.0,
    ) -> Float[Tensor, "n o h2 w2"]:
        """One step of synthesis, scaled by ``gain``; ``rng`` feeds the noise where ``noise_mode`` is 'random'."""
        # The rectifier's gain is moved in front of it, into factors that are small tensors: leaky(x) g = leaky(x g).
        weight, style = self.weight * self.weight_gain, self.affine(w)
        act_gain = LRELU_GAIN * gain
        x = modulated_conv2d(x, weight, style, upsample=self.upsample, gain=act_gain)
        bias = (self.bias * act_gain)[:, None, None]
        strength = self.noise_strength * act_gain
        if noise_mode == "const":
            x = x + self.noise_const * strength
        elif noise_mode == "random":
            shape = (x.shape[0], 1, self.resolution, self.resolution)
            # Drawn on the CPU so that a seed gives the same noise on every device.
            x = x + torch.randn(shape, generator=rng).to(x) * strength
        return clamped(F.leaky_relu(x + bias, LRELU_SLOPE), self.clamp * gain)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to the image's channels, not demodulated."""

    def __init__(self, in_channels: int, image_channels: int, w_dim: int, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.clamp = clamp

    def forward(self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """The contribution of this resolution to the image."""
        rgb = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return clamped(rgb + self.bias[:, None, None], self.clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution."""

    def __init__(self, config: GeneratorConfig, resolution: int) -> None:
        super().__init__()
        in_channels, out_channels = config.channels(max(resolution // 2, 4)), config.channels(resolution)
        w_dim, clamp = config.w_dim, config.conv_clamp
        self.is_first = resolution == 4
        self.skip: Conv | None = None
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, upsample=True, clamp=clamp)
            if config.architecture == "resnet":
                self.skip = Conv(in_channels, out_channels, 1, bias=False, activate=False)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, upsample=False, clamp=clamp)
        self.to_rgb: ToRGB | None = None
        if config.architecture == "skip" or resolution == config.resolution:
            self.to_rgb = ToRGB(out_channels, config.image_channels, w_dim, clamp)
        self.num_convs = 1 if self.is_first else 2

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Float[Tensor, "n l d"],
        noise_mode: NoiseMode,
        rng: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Features and image so far, at this block's resolution; ``ws`` holds one w per convolution and ToRGB."""
        if x is None:
            x = self.const.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
            features: Tensor = self.conv1(x, ws[:, 0], noise_mode, rng)
        elif self.skip is None:
            features = self.conv1(self.conv0(x, ws[:, 0], noise_mode, rng), ws[:, 1], noise_mode, rng)
        else:
            gain = math.sqrt(0.5)
            shortcut = upsample_fir(self.skip(x, gain=gain))
            features = self.conv0(x, ws[:, 0], noise_mode, rng)
            features = self.conv1(features, ws[:, 1], noise_mode, rng, gain) + shortcut
        if self.to_rgb is None:
            return features, None
        rgb = self.to_rgb(features, ws[:, self.num_convs])
        return features, rgb if image is None else upsample_fir(image) + rgb


class StyleGAN2(Generator):
    """z -> w -> ws -> image; see `Generator`."""

    family: ClassVar[str] = "stylegan2"

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config: GeneratorConfig = config
        self.mapping = MappingNetwork(
            config.z_dim,
            config.w_dim,
            num_layers=config.num_mapping_layers,
            c_dim=config.c_dim,
            inner_dim=config.mapping_dim or config.w_dim,
            embedding_dim=config.embedding_dim or config.w_dim,
            lr_multiplier=config.mapping_lr_multiplier,
            joint_normalization=config.joint_normalization,
        )
        resolutions = [2**i for i in range(2, int(math.log2(config.resolution)) + 1)]
        self.blocks = nn.ModuleList(SynthesisBlock(config, r) for r in resolutions)

    def synthesize(
        self,
        ws: Float[Tensor, "n l d"],
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, "n c h w"]:
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


def mix_styles(
    ws_a: Float[Tensor, "n l d"], ws_b: Float[Tensor, "n l d"], cutoffs: Sequence[int]
) -> Float[Tensor, "n l d"]:
    """Style mixing: image i takes ``ws_a`` below layer ``cutoffs[i]`` and ``ws_b`` from there on.

    Source: Karras et al., "A Style-Based Generator Architecture", CVPR 2019, section 3.1.
    """
    layer = torch.arange(ws_a.shape[1], device=ws_a.device)
    takes_b = layer[None] >= torch.as_tensor(list(cutoffs), device=ws_a.device)[:, None]
    return torch.where(takes_b[..., None], ws_b, ws_a)
