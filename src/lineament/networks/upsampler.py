"""Networks for fine details: an upsampler to twice the size, and a critic of its images.

Source:
    Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017 (residual
    blocks without normalisation, pixels rearranged at the end); Denton et al., "Deep Generative Image Models using a
    Laplacian Pyramid of Adversarial Networks", NeurIPS 2015 (a critic that is shown the coarse image beside the band of
    details).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.layers import LRELU_SLOPE, Conv
from lineament.ops.resample import upsample_fir
from lineament.records.shapes import UpsamplerConfig

DETAIL_GAIN = 16.0
"""Factor on the details that the critic sees, because they are about this much weaker than the images."""


class Upsampler(nn.Module):
    """Draws an image at twice its size; untrained it interpolates."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.LeakyReLU(LRELU_SLOPE), nn.Conv2d(c, c, 3, padding=1))
            for _ in range(config.num_blocks)
        )
        self.last = nn.Conv2d(c, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 2*h 2*w"]:
        """Images in [-1, 1] at twice the size."""
        x = self.first(images)
        for block in self.blocks:
            x = x + block(x)
        return upsample_fir(images) + F.pixel_shuffle(self.last(x), 2)


class DetailCritic(nn.Module):
    """Coarse images and their details to logits, one for each patch, positive for details of photographs."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.first = Conv(24, channels, 3)
        self.second = Conv(channels, 2 * channels, 3, downsample=True)
        self.third = Conv(2 * channels, 3 * channels, 3, downsample=True)
        self.logit = Conv(3 * channels, 1, 1, activate=False)

    def forward(
        self, coarse: Float[Tensor, "n 3 h w"], images: Float[Tensor, "n 3 2*h 2*w"]
    ) -> Float[Tensor, "n 1 h2 w2"]:
        """Logits of images, given the coarse images that they were drawn from."""
        smooth = upsample_fir(coarse)
        # Two by two pixels as channels: the low-pass filter before a stride would remove the details to be judged.
        x = F.pixel_unshuffle(torch.cat([smooth, (images - smooth) * DETAIL_GAIN], dim=1), 2)
        return self.logit(self.third(self.second(self.first(x))))
