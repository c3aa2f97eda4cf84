"""The judge: predicts the named parameters that a face was rendered from, trained on their true values.

It shares nothing with the decomposer: it has another network, other data and another way of learning. So it can score
directions that the decomposer found.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.ops.resample import shrink
from lineament.records.attributes import MIRRORED
from lineament.records.shapes import JudgeConfig

COARSEST = 4
"""Side of the last feature map in pixels."""


LEAST_LOG_VARIANCE = -4.0
"""Lower bound of the log variances in the loss. It limits how much the best attributes outweigh the worst, which would
otherwise never be learned."""


class JudgeBlock(nn.Module):
    """Two convolutions and a shortcut, to half the resolution.

    Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016 (normalise and rectify first).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm0, self.norm1 = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Features at half the resolution."""
        x = F.relu(self.norm0(x))
        return self.conv1(F.relu(self.norm1(self.conv0(x)))) + self.skip(F.avg_pool2d(x, 2))


class Judge(nn.Module):
    """Images to attributes.

    If the image does not show an attribute, the judge predicts the mean, so the variance of predictions is the share
    that it can see. Readings are means, and the mean of a sum is the sum of the means: a sum of attributes is read by
    adding their readings.

    Attributes:
        mean, std: of each attribute over the training's truth, " m".
        r2: share of the variance that it explains on held-out renders, " m"; 0 until measured.
        log_variance: of the residual, in units of ``std``, " m"; weighs the attributes in the loss.
    """

    mean: Tensor
    std: Tensor
    r2: Tensor
    signs: Tensor

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        num_blocks = int(math.log2(config.resolution // 2 // COARSEST))
        widths = [min(config.channels * 2**i, config.channel_max) for i in range(num_blocks + 1)]
        count = len(config.names)
        first = widths[0]
        self.stem = nn.Conv2d(12, first, 3, padding=1, bias=False)
        self.fine = nn.Sequential(nn.BatchNorm2d(first), nn.ReLU(), nn.Conv2d(first, first, 3, padding=1, bias=False))
        self.blocks = nn.ModuleList(JudgeBlock(i, o) for i, o in pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.hidden = nn.Linear(widths[-1] * COARSEST**2, config.hidden_dim)
        self.out = nn.Linear(config.hidden_dim, count)
        self.log_variance = nn.Parameter(torch.zeros(count))
        for name, values in (("mean", torch.zeros(count)), ("std", torch.ones(count)), ("r2", torch.zeros(count))):
            self.register_buffer(name, values)
        signs = torch.tensor(
            [-1.0 if name in MIRRORED else 1.0 for name in config.names], device="cpu"
        )  # files do not hold it
        self.register_buffer("signs", signs, persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, in order."""
        return self.config.names

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n m"]:
        """Attributes of square images in [-1, 1], less their mean and in units of ``std``."""
        # Two by two pixels as channels: a convolution at the full resolution would cost as much as all the others.
        x = self.stem(F.pixel_unshuffle(shrink(images, self.config.resolution), 2))
        x = x + self.fine(x)
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.norm(x)).flatten(1)
        # Convolutions may be in half precision; its three digits are too few for the attributes.
        with torch.autocast(x.device.type, enabled=False):
            return self.out(F.relu(self.hidden(x.float())))

    def standardised(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n m"]:
        """As `forward`, averaged over the image and its mirror image."""
        return (self(images) + self(images.flip(3)) * self.signs) / 2

    def loss(self, images: Float[Tensor, "n 3 h w"], truth: Float[Tensor, "n m"]) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood, with a separate variance for each attribute; and the mean squared errors.

        Attributes that can be read well then weigh more than those that cannot be read at all.

        Source: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, equation 7.
        """
        squares = ((truth - self.mean) / self.std - self(images)).square().mean(dim=0)
        log_variance = self.log_variance.clamp_min(LEAST_LOG_VARIANCE)
        return (squares * (-log_variance).exp() + log_variance).mean() / 2, squares.detach()
