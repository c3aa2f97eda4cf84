"""Feature maps in which images are compared: the GAN's own discriminator (no label), or VGG16 if the user has it."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.progressive_discriminator import ProgressiveDiscriminator, ProgressiveDiscriminatorConfig

QUARTER_BLOCKS = 2
"""Blocks of the discriminator after which its features are a quarter of the image's size."""


class DiscriminatorFeatures(nn.Module):
    """The first two residual blocks of a discriminator, each channel scaled to unit variance on generated images.

    A discriminator has seen no label, only which images are real: what it looks at is what makes a face a face.
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


_VGG_MEAN, _VGG_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_VGG_CHANNELS = ((3, 64), (64, 64), None, (64, 128), (128, 128), None, (128, 256), (256, 256), (256, 256))


class VGG16Features(nn.Module):
    """VGG16 up to relu3_3, as published; trained on labels, so never the default.

    Source: Simonyan and Zisserman, ICLR 2015, configuration D; input statistics of the usual ImageNet weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for spec in _VGG_CHANNELS:
            layers += [nn.MaxPool2d(2)] if spec is None else [nn.Conv2d(*spec, 3, padding=1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_VGG_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_VGG_STD)[:, None, None], persistent=False)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "VGG16Features":
        """From tensors named as in the widely used state dict (``features.0.weight`` ...); others are ignored."""
        network = cls()
        missing = [k for k in network.state_dict() if k not in tensors]
        if missing:
            raise ConfigError(f"not VGG16 weights: {missing[0]} is missing; expected keys features.N.weight and .bias")
        network.load_state_dict({k: tensors[k].float() for k in network.state_dict()})
        return network.eval().requires_grad_(False)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h4 w4"]:
        """Activations of relu3_3 at a quarter of the size; images in [-1, 1]."""
        return self.features((image / 2 + 0.5 - self.mean) / self.std)


def downsample_mask(mask: Tensor, size: int) -> Tensor:
    """A mask at the size of a feature map: true where every pixel below is true."""
    return -F.adaptive_max_pool2d(-mask[:, None].float(), size).squeeze(1) > 0.5
