"""The discriminator of the first StyleGAN and of progressive growing, at its full resolution.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018, section 3 and table 2, with the low-pass filter of Karras
    et al., "A Style-Based Generator Architecture for GANs", CVPR 2019. Deviations: the images of lower resolutions are
    left out; the convolution that halves the size has its 4 x 4 kernels and factors stored (see `stylegan1`).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.stylegan.discriminator import minibatch_std
from lineament.networks.stylegan.layers import LRELU_GAIN, LRELU_SLOPE, Conv, Dense
from lineament.networks.stylegan.stylegan1 import blur, check_shape
from lineament.records.shapes import channels_at


@dataclass(frozen=True)
class ProgressiveDiscriminatorConfig:
    """Shape of a discriminator of the first StyleGAN."""

    resolution: int = 1024
    """Side of the square images in pixels; a power of two from 8 to 1024."""
    channel_base: int = 16384
    """Channels at a resolution r are channel_base / r (twice what the original calls fmap_base) ..."""
    channel_max: int = 512
    """... but never more than this."""
    widths: tuple[int, ...] = ()
    """Channels at 4, 8, 16, ... pixels, if they do not follow from the base and the maximum."""
    dense_dim: int = 512
    """Width of the fully connected layer before the logit."""
    image_channels: int = 3
    """Channels of the images."""
    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    group_size: int = 4
    """Samples that share a standard deviation."""
    num_std_channels: int = 1
    """Channels of standard deviations; 0 for none."""

    def __post_init__(self) -> None:
        sizes = ("channel_base", "channel_max", "dense_dim", "image_channels", "group_size")
        check_shape(self, at_least_one=sizes, at_least_none=("c_dim", "num_std_channels"))

    def channels(self, resolution: int) -> int:
        """Number of feature maps at ``resolution``."""
        return channels_at(resolution, self.channel_base, self.channel_max, self.widths)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


class DownscalingConv(nn.Module):
    """Half the size: the low-pass filter, a 3 x 3 convolution and the mean of four pixels, the last two in one step."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        std = LRELU_GAIN / math.sqrt(in_channels * 16)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 4, 4) * std)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Filter, convolve and halve, add the bias, activate."""
        return F.leaky_relu(F.conv2d(blur(x), self.weight, self.bias, stride=2, padding=1), LRELU_SLOPE)


class DownscalingBlock(nn.Module):
    """Two convolutions, half the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = Conv(in_channels, in_channels, 3)
        self.conv1 = DownscalingConv(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Features at half the resolution."""
        return self.conv1(self.conv0(x))


class ProgressiveDiscriminator(nn.Module):
    """Image (and class) to one logit, positive for real."""

    def __init__(self, config: ProgressiveDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.from_rgb = Conv(config.image_channels, config.channels(config.resolution), 1)
        resolutions = [2**i for i in range(int(math.log2(config.resolution)), 2, -1)]
        self.blocks = nn.ModuleList(DownscalingBlock(config.channels(r), config.channels(r // 2)) for r in resolutions)
        channels = config.channels(4)
        self.final_conv = Conv(channels + config.num_std_channels, channels, 3)
        self.final_dense = Dense(channels * 16, config.dense_dim, activate=True)
        self.logit = Dense(config.dense_dim, max(config.c_dim, 1))

    def forward(
        self, image: Float[Tensor, "n c h w"], label: Float[Tensor, "n d_c"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits; images in [-1, 1], one-hot classes where there are classes.

        Raises:
            ConfigError: a label is missing or is not one for this discriminator.
        """
        given = 0 if label is None else label.shape[1]
        if given != self.config.c_dim:
            raise ConfigError(
                f"the discriminator has {self.config.c_dim or 'no'} classes, got a label of {given or 'none'}; give "
                "one-hot labels of as many"
            )
        x = self.from_rgb(image)
        for block in self.blocks:
            x = block(x)
        if self.config.num_std_channels:
            x = minibatch_std(x, self.config.group_size, self.config.num_std_channels)
        logits = self.logit(self.final_dense(self.final_conv(x).flatten(1)))
        return (logits if label is None else logits * label).sum(dim=1)
