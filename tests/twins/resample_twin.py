"""Slow, obvious forms of the FIR resampling: explicit loops over output pixels and taps."""

import torch
from torch import Tensor

TAPS = (1.0, 3.0, 3.0, 1.0)


def filter_loop(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Correlate every channel with the outer product of the taps (sum ``gain``), zeros beyond the border."""
    n, c, h, w = x.shape
    out = torch.zeros(n, c, h + 2 * padding - 3, w + 2 * padding - 3, dtype=x.dtype)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            for i, tap_i in enumerate(TAPS):
                for j, tap_j in enumerate(TAPS):
                    y, z = row + i - padding, column + j - padding
                    if 0 <= y < h and 0 <= z < w:
                        out[:, :, row, column] += x[:, :, y, z] * (tap_i * tap_j * gain / 64)
    return out


def upsample_by_zeros(x: Tensor) -> Tensor:
    """A zero after every pixel and row, then the filter with gain 4 (2 taps of 4 meet a pixel on each axis).

    Output pixel 2i lies a quarter of a pixel before input pixel i: two zeros (or outside) before, one after.
    """
    n, c, h, w = x.shape
    stuffed = torch.zeros(n, c, 2 * h, 2 * w, dtype=x.dtype)
    stuffed[:, :, ::2, ::2] = x
    return filter_loop(torch.nn.functional.pad(stuffed, (2, 1, 2, 1)), 0, gain=4.0)


def downsample_loop(x: Tensor) -> Tensor:
    """The filter, then every second pixel."""
    return filter_loop(x, 1)[:, :, ::2, ::2]
