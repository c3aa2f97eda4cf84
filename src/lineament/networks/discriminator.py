"""The StyleGAN2 discriminator: residual blocks and minibatch standard deviation; also our perceptual feature.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 4.1 (residual
    discriminator); Karras et al., "Progressive Growing of GANs", ICLR 2018, section 3 (minibatch standard deviation).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.layers import Conv, Dense
from lineament.networks.stylegan2 import GeneratorConfig


def minibatch_std(x: Float[Tensor, "n c h w"], group_size: int = 4) -> Float[Tensor, "n c1 h w"]:
    """Append one channel: the mean standard deviation within groups of ``group_size`` samples.

    Samples ``i`` and ``j`` share a group if they agree modulo ``n / group_size``; a batch that does not divide is one
    group.
    """
    n, _, h, w = x.shape
    group = group_size if n % group_size == 0 else n
    y = x.reshape(group, -1, *x.shape[1:])
    std = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt()
    channel = std.mean(dim=(1, 2, 3)).repeat(group)[:, None, None, None].expand(n, 1, h, w)
    return torch.cat([x, channel], dim=1)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, half the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = Conv(in_channels, in_channels, 3)
        self.conv1 = Conv(in_channels, out_channels, 3, downsample=True)
        self.skip = Conv(in_channels, out_channels, 1, bias=False, activate=False, downsample=True)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Features at half the resolution."""
        return self.conv1(self.conv0(x), gain=math.sqrt(0.5)) + self.skip(x, gain=math.sqrt(0.5))


class Discriminator(nn.Module):
    """Image to one logit, positive for real."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.from_rgb = Conv(3, config.channels(config.resolution), 1)
        resolutions = [2**i for i in range(int(math.log2(config.resolution)), 2, -1)]
        self.blocks = nn.ModuleList(ResidualBlock(config.channels(r), config.channels(r // 2)) for r in resolutions)
        channels = config.channels(4)
        self.final_conv = Conv(channels + 1, channels, 3)
        self.final_dense = Dense(channels * 16, channels, activate=True)
        self.logit = Dense(channels, 1)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Logits; images in [-1, 1]."""
        x = self.from_rgb(image)
        for block in self.blocks:
            x = block(x)
        x = self.final_conv(minibatch_std(x))
        return self.logit(self.final_dense(x.flatten(1))).squeeze(1)
