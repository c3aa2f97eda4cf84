"""Networks that know fine details: one that draws an image at twice the size, and a critic of what it draws.

Source:
    Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops 2017 (residual
    blocks without normalisation, pixels rearranged at the end); Denton et al., "Deep Generative Image Models using a
    Laplacian Pyramid of Adversarial Networks", NeurIPS 2015 (a critic that is shown the coarse image beside the band of
    details).
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.layers import LRELU_SLOPE, Conv
from lineament.ops.resample import upsample_fir
from lineament.records.bounds import check_bounds

DETAIL_GAIN = 16.0
"""Details are so much weaker than images; the critic sees them this much stronger."""


@dataclass(frozen=True)
class UpsamplerConfig:
    """Shape of an upsampler."""

    channels: int = 32
    """Feature maps, at the size of the image given."""
    num_blocks: int = 3
    """Residual blocks of two convolutions."""

    def __post_init__(self) -> None:
        check_bounds(self, "channels", "num_blocks", least=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


class Upsampler(nn.Module):
    """An image to the same at twice the size; untrained it interpolates."""

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
    """Coarse images and their details to logits, one for each patch, positive for those of photographs."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.first = Conv(24, channels, 3)
        self.second = Conv(channels, 2 * channels, 3, downsample=True)
        self.third = Conv(2 * channels, 3 * channels, 3, downsample=True)
        self.logit = Conv(3 * channels, 1, 1, activate=False)

    def forward(
        self, coarse: Float[Tensor, "n 3 h w"], images: Float[Tensor, "n 3 2*h 2*w"]
    ) -> Float[Tensor, "n 1 h2 w2"]:
        """Logits of images, beside the coarse ones that they were drawn from."""
        smooth = upsample_fir(coarse)
        # Two by two pixels as channels: a filter in front of a stride would take away just what is to be judged.
        x = F.pixel_unshuffle(torch.cat([smooth, (images - smooth) * DETAIL_GAIN], dim=1), 2)
        return self.logit(self.third(self.second(self.first(x))))
