"""Feature maps for comparing images, from the GAN's own discriminator, which has seen no label."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.progressive_discriminator import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)

QUARTER_BLOCKS = 2
"""Number of blocks of the discriminator after which its features have a quarter of the image's size."""


class DiscriminatorFeatures(nn.Module):
    """The first two residual blocks of a discriminator, each channel scaled to unit variance on generated images.

    A discriminator has seen no label, only which images are real. So its features describe what makes a face look real.
    """

    scale: Tensor

    def __init__(self, config: DiscriminatorConfig | ProgressiveDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        progressive = isinstance(config, ProgressiveDiscriminatorConfig)
        full = ProgressiveDiscriminator(config) if progressive else Discriminator(config)
        self.from_rgb: nn.Module = full.from_rgb
        self.blocks = nn.ModuleList(list(full.blocks)[:QUARTER_BLOCKS])
        self.register_buffer("scale", torch.ones(config.channels(config.resolution // 4)))

    @classmethod
    def from_discriminator(
        cls, discriminator: Discriminator | ProgressiveDiscriminator, images: Float[Tensor, "n 3 h w"]
    ) -> "DiscriminatorFeatures":
        """Cut the features out of a discriminator and scale them on ``images``."""
        features = cls(discriminator.config)
        state = {k: v for k, v in discriminator.state_dict().items() if k in features.state_dict()}
        features.load_state_dict({**state, "scale": features.scale})
        features.to(images.device).eval().requires_grad_(False)
        with torch.no_grad():
            std = features(images).std(dim=(0, 2, 3))
            features.scale.copy_(1 / std.clamp_min(1e-3))
        return features

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h4 w4"]:
        """Scaled features at a quarter of the size; images in [-1, 1]."""
        x = self.from_rgb(image)
        for block in self.blocks:
            x = block(x)
        return x * self.scale[:, None, None]


def downsample_mask(mask: Tensor, size: int) -> Tensor:
    """A mask at the size of a feature map: true where all pixels that it covers are true."""
    return -F.adaptive_max_pool2d(-mask[:, None].float(), size).squeeze(1) > 0.5
