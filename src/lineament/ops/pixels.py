"""Images as bytes to tensors and back."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lineament.errors import NonFiniteError


def to_tensor(images: np.ndarray) -> Float[Tensor, "n 3 h w"]:
    """Bytes to [-1, 1], channels_last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_uint8(images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Images in [-1, 1] to bytes, rounded and clipped.

    Raises:
        NonFiniteError: an image holds NaN or infinity.
    """
    # Extremes, which NaN spreads to, need no memory; a mask of finite values would need a quarter of the images'.
    if images.numel() and not all(map(math.isfinite, (images.min(), images.max()))):
        raise NonFiniteError(
            "the generator drew NaN or infinity instead of an image; its weights are damaged, or its latents lie far "
            "outside of what it has learned: use smaller edits, or another file"
        )
    scaled = images.detach().float().mul(127.5).add(127.5).round().clamp(0, 255)
    return scaled.permute(0, 2, 3, 1).byte().cpu().numpy()
