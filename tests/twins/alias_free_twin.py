"""Alias-free operations as their definitions say them, in double precision: zeros inserted, every tap by itself."""

import numpy as np
import torch
from torch import Tensor


def convolve(x: Tensor, taps: Tensor) -> Tensor:
    """Convolution (tap 0 meets the latest pixel) with a filter over both axes, where it lies inside ``x`` entirely."""
    if taps.ndim == 1:
        taps = taps[:, None] * taps[None, :]
    size = len(taps)
    height, width = x.shape[2] - size + 1, x.shape[3] - size + 1
    out = torch.zeros(*x.shape[:2], height, width, dtype=x.dtype)
    for i in range(size):
        for j in range(size):
            top, left = size - 1 - i, size - 1 - j
            out = out + taps[i, j] * x[:, :, top : top + height, left : left + width]
    return out


def filtered_leaky_relu_loop(
    x: Tensor,
    up_filter: Tensor,
    down_filter: Tensor,
    *,
    up: int,
    down: int,
    padding: tuple[int, int],
    gain: float = 1.0,
    slope: float = 0.2,
    clamp: float = 0.0,
) -> Tensor:
    """Zero insertion, padding or cropping, filter, rectifier, filter, every ``down``-th pixel."""
    n, c, h, w = x.shape
    stuffed = torch.zeros(n, c, h * up, w * up, dtype=x.dtype)
    stuffed[:, :, ::up, ::up] = x
    before, after = padding
    y = convolve(torch.nn.functional.pad(stuffed, (before, after, before, after)), up_filter * up) * gain
    y = torch.where(y > 0, y, slope * y)
    if clamp:
        y = torch.where(y.abs() > clamp, clamp * y.sign(), y)
    return convolve(y, down_filter)[:, :, ::down, ::down]


def jinc_by_integration(radius: float, cutoff: float) -> float:
    """Inverse Fourier transform of a disc of radius ``cutoff`` at distance ``radius``, by the midpoint rule."""
    angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi - np.pi / 2
    u = cutoff * np.sin(angle)
    chord = 2 * cutoff * np.cos(angle)
    return float(np.mean(chord * np.cos(2 * np.pi * u * radius) * cutoff * np.cos(angle)) * np.pi)
