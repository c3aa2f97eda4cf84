"""The StyleGAN2 discriminator: residual blocks and minibatch standard deviation; also our perceptual features.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 4.1 (residual and skip
    discriminators); Karras et al., "Progressive Growing of GANs", ICLR 2018, section 3 (minibatch standard deviation);
    for classes Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, and Mescheder
    et al., "Which Training Methods for GANs do actually Converge?", ICML 2018.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.stylegan.layers import Conv, Dense
from lineament.networks.stylegan.mapping import MappingNetwork
from lineament.networks.stylegan.stylegan2 import ARCHITECTURES
from lineament.ops.resample import downsample_fir
from lineament.records.bounds import check_bounds
from lineament.records.shapes import GeneratorConfig, channels_at, check_widths


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Shape of a StyleGAN2 discriminator."""

    resolution: int = 64
    """Side of the square images in pixels; a power of two from 32 to 1024."""
    channel_base: int = 1024
    """Channels at a resolution r are channel_base / r ..."""
    channel_max: int = 96
    """... but never more than this ..."""
    channel_min: int = 1
    """... nor fewer than this."""
    widths: tuple[int, ...] = ()
    """Channels at 4, 8, 16, ... pixels, if they do not follow from the base and the maximum."""
    image_channels: int = 3
    """Channels of the images."""
    architecture: str = "resnet"
    """'resnet' has residual blocks, 'skip' looks at the image at every resolution, 'orig' does neither."""
    conv_clamp: float = 0.0
    """Outputs of convolutions are clamped to plus and minus this; 0 leaves them."""
    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    class_dim: int = 0
    """Width of the mapped class, whose inner product with the last layer's output is the logit. 0: the last layer has
    one output for each class."""
    num_mapping_layers: int = 8
    """Fully connected layers from class to ``class_dim``."""
    mapping_lr_multiplier: float = 0.01
    """Relative learning rate of these layers; their weights are scaled by it."""
    group_size: int = 4
    """Samples that share a standard deviation; 0 for the whole batch."""
    num_std_channels: int = 1
    """Channels of standard deviations; 0 for none."""

    def __post_init__(self) -> None:
        # `GeneratorConfig` checks the sizes.
        GeneratorConfig(
            self.resolution,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            channel_min=self.channel_min,
        )
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"architecture is {self.architecture!r:.40}, expected one of {', '.join(ARCHITECTURES)}")
        check_widths(self.widths, self.resolution)
        check_bounds(self, "image_channels", least=1)
        check_bounds(self, "mapping_lr_multiplier", above=0)
        check_bounds(
            self, "conv_clamp", "c_dim", "class_dim", "num_mapping_layers", "group_size", "num_std_channels", least=0
        )

    @classmethod
    def matching(cls, config: GeneratorConfig) -> "DiscriminatorConfig":
        """Settings with the sizes of a generator."""
        return cls(config.resolution, config.channel_base, config.channel_max, config.channel_min)

    def channels(self, resolution: int) -> int:
        """Number of feature maps at ``resolution``."""
        return channels_at(resolution, self.channel_base, self.channel_max, self.widths, self.channel_min)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


def minibatch_std(x: Float[Tensor, "n c h w"], group_size: int = 4, num_channels: int = 1) -> Float[Tensor, "n c1 h w"]:
    """Append channels: the mean standard deviation within groups of ``group_size`` samples.

    Samples ``i`` and ``j`` share a group if they agree modulo ``n / group_size``. A batch that is not divisible by
    ``group_size`` is one group, and so is every batch for size 0. With several channels, each covers its share of the
    features.
    """
    n, c, h, w = x.shape
    group = group_size if group_size and n % group_size == 0 else n
    y = x.reshape(group, -1, num_channels, c // num_channels, h, w)
    std = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt()
    channels = std.mean(dim=(2, 3, 4)).repeat(group, 1)[:, :, None, None].expand(n, num_channels, h, w)
    return torch.cat([x, channels], dim=1)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, half the resolution; a shortcut where the architecture is 'resnet'."""

    def __init__(self, config: DiscriminatorConfig, resolution: int) -> None:
        super().__init__()
        in_channels, out_channels = config.channels(resolution), config.channels(resolution // 2)
        self.conv0 = Conv(in_channels, in_channels, 3, clamp=config.conv_clamp)
        self.conv1 = Conv(in_channels, out_channels, 3, downsample=True, clamp=config.conv_clamp)
        self.skip: Conv | None = None
        if config.architecture == "resnet":
            self.skip = Conv(in_channels, out_channels, 1, bias=False, activate=False, downsample=True)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Features at half the resolution."""
        if self.skip is None:
            return self.conv1(self.conv0(x))
        return self.conv1(self.conv0(x), gain=math.sqrt(0.5)) + self.skip(x, gain=math.sqrt(0.5))


class Discriminator(nn.Module):
    """Image (and class) to one logit, positive for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        colours, clamp = config.image_channels, config.conv_clamp
        self.from_rgb = Conv(colours, config.channels(config.resolution), 1, clamp=clamp)
        resolutions = [2**i for i in range(int(math.log2(config.resolution)), 2, -1)]
        self.blocks = nn.ModuleList(DiscriminatorBlock(config, r) for r in resolutions)
        skip = config.architecture == "skip"
        smaller = [r // 2 for r in resolutions] if skip else []
        # Only 'skip' discriminators also read smaller images; the last of these convolutions is never clamped.
        self.from_smaller = nn.ModuleList(
            Conv(colours, config.channels(r), 1, clamp=clamp if r > 4 else 0.0) for r in smaller
        )
        channels = config.channels(4)
        self.final_conv = Conv(channels + config.num_std_channels, channels, 3, clamp=clamp)
        self.final_dense = Dense(channels * 16, channels, activate=True)
        self.logit = Dense(channels, config.class_dim or max(config.c_dim, 1))
        self.mapping: MappingNetwork | None = None
        if config.class_dim:
            self.mapping = MappingNetwork(
                0,
                config.class_dim,
                num_layers=config.num_mapping_layers,
                c_dim=config.c_dim,
                lr_multiplier=config.mapping_lr_multiplier,
            )

    def forward(
        self, image: Float[Tensor, "n c h w"], label: Float[Tensor, "n d_c"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits; images in [-1, 1], one-hot classes where there are classes.

        Raises:
            ConfigError: a label is missing, or is not one for this discriminator.
        """
        if (0 if label is None else label.shape[1]) != self.config.c_dim:
            raise ConfigError(f"the discriminator has {self.config.c_dim or 'no'} classes; give labels of as many")
        x = self.from_rgb(image)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if len(self.from_smaller):
                image = downsample_fir(image)
                x = x + self.from_smaller[i](image)
        if self.config.num_std_channels:
            x = minibatch_std(x, self.config.group_size, self.config.num_std_channels)
        x = self.logit(self.final_dense(self.final_conv(x).flatten(1)))
        if label is None:
            return x.squeeze(1)
        if self.mapping is None:
            return (x * label).sum(dim=1)
        return (x * self.mapping(x[:, :0], label)).sum(dim=1) / math.sqrt(self.config.class_dim)
