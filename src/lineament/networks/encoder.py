"""The encoder: an image to the latents of one generator, in one pass.

Source:
    Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", SIGGRAPH 2021: one w and small offsets from it
    for every layer. Deviations: a far smaller network, residual blocks as in the discriminator of StyleGAN2, and
    latents predicted in whitened coordinates, in which the generator's own latents are about standard normal.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.layers import Conv, Dense
from lineament.ops.resample import shrink
from lineament.records.shapes import EncoderConfig

COARSEST = 4
"""Side of the last feature map in pixels."""


class EncoderBlock(nn.Module):
    """Two convolutions and a shortcut, then half the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = Conv(in_channels, in_channels, 3)
        self.conv1 = Conv(in_channels, out_channels, 3)
        self.skip = Conv(in_channels, out_channels, 1, bias=False, activate=False)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Features at half the resolution."""
        gain = math.sqrt(0.5)
        x = self.conv1(self.conv0(x), gain) + self.skip(x, gain)
        return F.avg_pool2d(x, 2)


class Encoder(nn.Module):
    """Image to ws: a common w and an offset from it for every layer; an untrained one predicts the mean w.

    Attributes:
        mean: the generator's mean w, of shape (d,).
        root: symmetric square root of the covariance of its w, of shape (d, d).
    """

    mean: Tensor
    root: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        num_blocks = int(math.log2(config.resolution // 2 // COARSEST))
        widths = [min(config.channels * 2**i, config.channel_max) for i in range(num_blocks + 1)]
        self.stem = Conv(12, widths[0], 3)
        self.blocks = nn.ModuleList(EncoderBlock(i, o) for i, o in pairwise(widths))
        size = widths[-1] * COARSEST**2
        self.common = Dense(size, config.w_dim)
        nn.init.zeros_(self.common.weight)
        self.to_offsets: nn.Sequential | None = None
        if config.offsets:
            last = Dense(config.offset_dim, config.num_ws * config.w_dim)
            nn.init.zeros_(last.weight)
            self.to_offsets = nn.Sequential(Dense(size, config.offset_dim, activate=True), last)
        self.register_buffer("mean", torch.zeros(config.w_dim))
        self.register_buffer("root", torch.eye(config.w_dim))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l d"]:
        """Latents of square images in [-1, 1]."""
        config = self.config
        # Two by two pixels as channels: a convolution at the full resolution would cost as much as all the others.
        x = self.stem(F.pixel_unshuffle(shrink(images, config.resolution), 2))
        for block in self.blocks:
            x = block(x)
        x = x.flatten(1)
        whitened = self.common(x)[:, None].expand(-1, config.num_ws, -1)
        if self.to_offsets is not None:
            whitened = whitened + self.to_offsets(x).view(-1, config.num_ws, config.w_dim)
        return self.mean + whitened @ self.root
