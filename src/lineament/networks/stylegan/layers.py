"""Layers with equalised learning rate.

Source: Karras et al., "Progressive Growing of GANs", ICLR 2018, section 4.1.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.ops.resample import downsample_fir, fir_filter

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)  # keeps the variance of a unit normal input


def clamped(x: Tensor, limit: float) -> Tensor:
    """Values held within plus and minus ``limit``; 0 is no limit."""
    return x.clamp(-limit, limit) if limit else x


class Dense(nn.Module):
    """Fully connected layer; weights are stored at unit scale and scaled when used."""

    def __init__(
        self, in_dim: int, out_dim: int, *, bias_init: float = 0.0, lr_multiplier: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_dim,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_dim)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """Affine map, then the scaled leaky rectifier if ``activate``."""
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, LRELU_SLOPE) * LRELU_GAIN if self.activate else x


class Conv(nn.Module):
    """Convolution of the discriminator, with optional low-pass filtered downsampling by two."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activate: bool = True,
        downsample: bool = False,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.activate = activate
        self.downsample = downsample
        self.clamp = clamp

    def forward(self, x: Float[Tensor, "n i h w"], gain: float = 1.0) -> Float[Tensor, "n o h2 w2"]:
        """Convolve (and halve), add the bias, activate, clamp; ``gain`` scales the result."""
        # leaky(x) g = leaky(x g): the gain is multiplied into the small tensors.
        limit = self.clamp * gain
        gain = gain * LRELU_GAIN if self.activate else gain
        weight = (self.weight * (self.weight_gain * gain)).to(x.dtype)
        bias = None if self.bias is None else (self.bias * gain).to(x.dtype)
        kernel = weight.shape[-1]
        if not self.downsample:
            x = F.conv2d(x, weight, bias, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(downsample_fir(x), weight, bias)
        else:
            x = F.conv2d(fir_filter(x, padding=kernel // 2 + 1), weight, bias, stride=2)
        return clamped(F.leaky_relu(x, LRELU_SLOPE) if self.activate else x, limit)
