"""The StyleGAN2 generator: mapping network, modulated synthesis; skip connections unless a file says otherwise.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020; for classes Karras et al.,
    "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020. Deviations: none in the architecture;
    the modulated convolution is computed without grouped convolutions (see ops.modulation), and without gradients whole
    layers take fewer multiplications (see ops.styled_convolution).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.stylegan.fast_path import Kept, are_constant, are_plain
from lineament.networks.stylegan.generator import NUM_HALF_RESOLUTIONS, Generator, NoiseMode
from lineament.networks.stylegan.layers import LRELU_GAIN, LRELU_SLOPE, Conv, Dense, clamped
from lineament.networks.stylegan.mapping import MappingNetwork
from lineament.ops.modulation import modulated_conv2d
from lineament.ops.resample import upsample_fir
from lineament.ops.styled_convolution import PreparedWeight, modulated_pointwise, prepare_weight, styled_conv2d
from lineament.records.bounds import check_bounds
from lineament.records.shapes import GeneratorConfig, check_widths

ARCHITECTURES = ("skip", "resnet", "orig")
VALUES_AT_A_TIME = 2**21
"""Maximum numbers in a batch's feature maps in fast synthesis; larger batches are split so that they fit the cache."""


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Config(GeneratorConfig):
    """Shape of a StyleGAN2 generator of another program."""

    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    image_channels: int = 3
    """Channels of the images."""
    architecture: str = "skip"
    """How the image is made: 'skip' sums an image of each resolution, 'resnet' has residual blocks, 'orig' neither."""
    conv_clamp: float = 0.0
    """Outputs of convolutions are clamped to plus and minus this; 0 leaves them. Networks trained in half precision
    need it."""
    mapping_dim: int = 0
    """Width of the mapping network's inner layers; 0 for that of w."""
    embedding_dim: int = 0
    """Width of the class embedding; 0 for that of w."""
    mapping_lr_multiplier: float = 0.01
    """Relative learning rate of the mapping network; its weights are scaled by it."""
    joint_normalization: bool = False
    """Whether z and the class embedding are normalised together, after they are joined, as before ADA (where the
    embedding also has no bias); else each by itself."""
    widths: tuple[int, ...] = ()
    """Channels at 4, 8, 16, ... pixels, if they do not follow from the base and the maximum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"architecture is {self.architecture!r:.40}, expected one of {', '.join(ARCHITECTURES)}")
        check_bounds(self, "image_channels", least=1)
        check_bounds(self, "c_dim", "conv_clamp", "mapping_dim", "embedding_dim", least=0)
        check_bounds(self, "mapping_lr_multiplier", above=0)
        check_widths(self.widths, self.resolution)


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
        self._kept: Kept[PreparedWeight] = Kept()

    def noise(self, n: int, mode: NoiseMode, rng: torch.Generator | None) -> Float[Tensor, "m 1 r r"] | None:
        """One map for all of ``n`` samples, one for each from ``rng`` where ``mode`` is 'random', or None."""
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const[None, None]
        # Drawn on the CPU so that a seed gives the same noise on every device.
        return torch.randn((n, 1, self.resolution, self.resolution), generator=rng)

    def forward(
        self,
        x: Float[Tensor, "n i h w"],
        w: Float[Tensor, "n d"],
        noise: Float[Tensor, "m 1 h2 w2"] | None = None,
        gain: float = 1.0,
        *,
        fast: bool = False,
    ) -> Float[Tensor, "n o h2 w2"]:
        """One step of synthesis, scaled by ``gain``; ``fast`` is for plain tensors (see `are_plain`)."""
        # The rectifier's gain is applied before the rectifier, in small tensors: leaky(x) g = leaky(x g).
        act_gain, limit = LRELU_GAIN * gain, self.clamp * gain
        bias, strength = self.bias * act_gain, self.noise_strength * act_gain
        style = self.affine(w)
        noise = None if noise is None else noise.to(x) * strength
        if fast:
            weight = self._kept(self.weight, self._prepared)
            return styled_conv2d(
                x, style, weight, bias, noise, upsample=self.upsample, gain=act_gain, slope=LRELU_SLOPE, limit=limit
            )
        x = modulated_conv2d(x, self.weight * self.weight_gain, style, upsample=self.upsample, gain=act_gain)
        if noise is not None:
            x = x + noise
        return clamped(F.leaky_relu(x + bias[:, None, None].to(x.dtype), LRELU_SLOPE), limit)

    def _prepared(self, weight: Tensor) -> PreparedWeight:
        return prepare_weight(weight * self.weight_gain, upsample=self.upsample, size=self.resolution)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to the image's channels, not demodulated."""

    def __init__(self, in_channels: int, image_channels: int, w_dim: int, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.clamp = clamp

    def forward(
        self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n d"], *, fast: bool = False
    ) -> Float[Tensor, "n c h w"]:
        """The contribution of this resolution to the image."""
        style = self.affine(w) * self.weight_gain
        if fast:
            return clamped(modulated_pointwise(x, style, self.weight[:, :, 0, 0], self.bias), self.clamp)
        rgb = modulated_conv2d(x, self.weight, style, demodulate=False)
        # Images of all resolutions are summed in the precision of w.
        return clamped(rgb + self.bias[:, None, None].to(rgb.dtype), self.clamp).to(w.dtype)


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

    def layers(self) -> list[SynthesisLayer]:
        """The convolutions, in the order in which they act."""
        return [self.conv1] if self.is_first else [self.conv0, self.conv1]

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Float[Tensor, "n l d"],
        noises: Sequence[Tensor | None],
        *,
        fast: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Features and image so far, at this block's resolution.

        ``ws`` holds one w per convolution and ToRGB, ``noises`` the noise of each convolution; ``fast`` is for plain
        tensors (see `are_plain`).
        """
        gain, shortcut = 1.0, None
        if x is None:
            x = self.const.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        else:
            if self.skip is not None:
                gain = math.sqrt(0.5)
                shortcut = upsample_fir(self.skip(x, gain=gain))
            x = self.conv0(x, ws[:, 0], noises[0], fast=fast)
        features: Tensor = self.conv1(x, ws[:, self.num_convs - 1], noises[-1], gain, fast=fast)
        if shortcut is not None:
            features = features + shortcut
        if self.to_rgb is None:
            return features, None
        rgb = self.to_rgb(features, ws[:, self.num_convs], fast=fast)
        return features, rgb if image is None else upsample_fir(image) + rgb


class StyleGAN2(Generator):
    """z -> w -> ws -> image; see `Generator`.

    In eval mode on a CPU, if no derivative is wanted, synthesis uses a faster path. It caches prepared weights, of up
    to four times the weights' size. With `half_precision`, feature maps of the finest resolutions are in half
    precision, as in the official training; styles, demodulation and the sum of the images are not.
    """

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
        half = self.half_precision and not self.training and are_constant(ws, *self.parameters())
        fast = not half and not self.training and len(ws) > 0 and are_plain(ws, *self.parameters())
        noises = [
            layer.noise(len(ws), noise_mode, rng) for block in self.synthesis_blocks() for layer in block.layers()
        ]
        return self._synthesize_from(0, None, None, ws, noises, fast, half)

    def synthesis_blocks(self) -> list[SynthesisBlock]:
        """One block for each resolution, from coarse to fine."""
        return list(self.blocks)  # pyright: ignore[reportReturnType]

    def _synthesize_from(
        self,
        first: int,
        x: Tensor | None,
        image: Tensor | None,
        ws: Float[Tensor, "n l d"],
        noises: Sequence[Tensor | None],
        fast: bool,
        half: bool,
    ) -> Tensor:
        """Run the blocks from index ``first`` on, with their ws and noises, on features and image."""
        for i, block in enumerate(self.synthesis_blocks()[first:], start=first):
            most = max(VALUES_AT_A_TIME // (len(block.conv1.bias) * block.conv1.resolution**2), 1)
            if fast and len(ws) > most:
                return torch.cat(
                    [
                        self._synthesize_from(
                            i,
                            None if x is None else x[part],
                            None if image is None else image[part],
                            ws[part],
                            [noise if noise is None or len(noise) == 1 else noise[part] for noise in noises],
                            fast,
                            half,
                        )
                        for part in (slice(start, start + most) for start in range(0, len(ws), most))
                    ]
                )
            if half and x is not None and block.conv1.resolution << NUM_HALF_RESOLUTIONS > self.config.resolution:
                x = x.half()
            count = block.num_convs
            x, image = block(x, image, ws[:, : count + 1], noises[:count], fast=fast)
            ws, noises = ws[:, count:], noises[count:]
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
