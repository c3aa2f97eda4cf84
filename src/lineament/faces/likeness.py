"""Loss between two images, for fitting one to the other: pixels, structure and label-free features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.ops.ssim import ssim
from lineament.records.inversion_settings import LikenessConfig


class Likeness:
    """Compares images with fixed target images, each pair by itself.

    Args:
        images: the targets, in [-1, 1].
        features: perceptual features; None leaves them out.
        config: weights of the terms.
    """

    def __init__(self, images: Float[Tensor, "n 3 h w"], features: nn.Module | None, config: LikenessConfig) -> None:
        self.images, self.config = images, config
        self.features = features if config.perceptual else None
        with torch.no_grad():
            self._wanted = None if self.features is None else self.features(images)

    def loss(self, others: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Loss of each image against its target, 0 if they are equal; differentiable."""
        config = self.config
        loss = config.pixels * (others - self.images).abs().mean(dim=(1, 2, 3))
        if config.structure:
            loss = loss + config.structure * (1 - ssim(others, self.images))
        if self.features is not None:
            unlike = (self.features(others) - self._wanted).square().mean(dim=(1, 2, 3))
            loss = loss + config.perceptual * unlike
        return loss
