"""Alias-free signal processing: low-pass filters from their specification, and the filtered leaky rectifier.

Source:
    Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021, section 3 and appendix C.
"""

import math

import numpy as np
import scipy.special
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

STRIP_BYTES = 24 * 2**20
"""Size of the upsampled rows held at a time on a CPU. From 32 MiB on, the C library asks the system for fresh, zeroed
pages for every tensor; for whole maps these cost more than the filters."""


def kaiser_beta(num_taps: int, width: float) -> float:
    """Shape of the Kaiser window of a filter with a transition band of ``width`` (1 is half the sampling rate).

    Source: appendix C: the attenuation that this number of taps can reach, and the window that reaches it.
    """
    attenuation = 2.285 * (num_taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0


def lowpass_filter(num_taps: int, cutoff: float, half_width: float, sampling_rate: float) -> Float[np.ndarray, " t"]:
    """Separable low-pass filter: a sinc under a Kaiser window, of sum 1.

    Args:
        num_taps: length; 1 gives the identity.
        cutoff: frequency where the gain is a half.
        half_width: half the width of the transition band.
        sampling_rate: of the signal to filter; all three in cycles per image.
    """
    x = (np.arange(num_taps) - (num_taps - 1) / 2) / sampling_rate
    taps = np.sinc(2 * cutoff * x) * np.kaiser(num_taps, kaiser_beta(num_taps, 4 * half_width / sampling_rate))
    return taps / taps.sum()


def radial_lowpass_filter(
    num_taps: int, cutoff: float, half_width: float, sampling_rate: float
) -> Float[np.ndarray, "t t"]:
    """Low-pass filter with the same response in every direction: a jinc under a separable Kaiser window, of sum 1.

    Args are those of `lowpass_filter`.
    """
    x = (np.arange(num_taps) - (num_taps - 1) / 2) / sampling_rate
    radius = np.maximum(np.hypot(x[:, None], x[None, :]), 1e-12)
    window = np.kaiser(num_taps, kaiser_beta(num_taps, 4 * half_width / sampling_rate))
    taps = scipy.special.j1(2 * math.pi * cutoff * radius) / radius * np.outer(window, window)
    return taps / taps.sum()


def filtered_leaky_relu(
    x: Float[Tensor, "n c h w"],
    up_filter: Float[Tensor, " tu"],
    down_filter: Float[Tensor, " td"] | Float[Tensor, "td td"],
    *,
    up: int,
    down: int,
    padding: tuple[int, int],
    gain: float = 1.0,
    slope: float = 0.2,
    clamp: float = 0.0,
) -> Float[Tensor, "n c h2 w2"]:
    """Leaky rectifier at a higher sampling rate, so that the frequencies it makes can be filtered away.

    Upsample (``up - 1`` zeros after each pixel, then the filter), rectify, filter and keep every ``down``-th pixel.
    Upsampling is a transposed depthwise convolution along each axis, which never touches the zeros. Filtering and
    downsampling is a strided convolution. In channels_last both run near the speed of the memory, twice as fast as
    polyphase filters written as banded matrix products. A CPU works in strips of rows (see ``STRIP_BYTES``).

    Convention:
        Filters are convolved, not correlated: tap 0 comes first in the impulse response.

    Args:
        x: feature maps; fast in channels_last.
        up_filter: taps of the separable filter after zeros are inserted; scaled by ``up`` for every axis.
        down_filter: taps of the filter before pixels are dropped: 1D of a separable filter, or all taps in 2D.
        up: upsampling factor.
        down: downsampling factor.
        padding: zeros before and after the upsampled rows and columns; negative numbers crop.
        gain: scales the input of the rectifier.
        slope: of the rectifier below zero.
        clamp: rectified values are clamped to plus and minus this; 0 for no limit.

    Returns:
        Feature maps of height ``(h up + sum(padding) - (tu - 1) - td) // down + 1``, and width likewise; pixels beyond
        the border of ``x`` count as zero. Differentiable in ``x`` and the filters.

    Source:
        Section 3.2 and appendix D. Equal to the official operation of that name, without its bias.
    """
    taps_up, taps_down = len(up_filter), len(down_filter)
    # The full convolution of x with the filter has more rows than needed, or fewer: crop it, or pad x with zeros.
    before, after = (math.ceil(max(p - taps_up + more, 0) / up) for p, more in zip(padding, (1, up), strict=True))
    crop = taps_up - 1 - padding[0] + before * up
    height, width = (s * up + sum(padding) - taps_up + 1 for s in x.shape[2:])
    if before or after:
        x = F.pad(x, (before, after, before, after))
    # Take one more column on the right if there is one, so that at least as much is cropped there as on the left.
    left, right = _reach(crop, crop + width + up, taps_up, up, x.shape[3])
    if (left, right) != (0, x.shape[3]):
        x = x[..., left:right]
    crop_left = crop - left * up
    crop_both = min(crop_left, (x.shape[3] - 1) * up + taps_up - crop_left - width)
    num_rows, num_columns = ((s - taps_down) // down + 1 for s in (height, width))
    channels = x.shape[1]
    up_kernels, down_kernels = _kernels((up_filter * up).to(x.dtype), down_filter.to(x.dtype), gain, down, channels)
    strip = num_rows
    if x.device.type == "cpu":
        num_upsampled = STRIP_BYTES // (x.element_size() * channels * width)
        num_strips = math.ceil(num_rows / max((num_upsampled - taps_down) // down, 4))
        strip = math.ceil(num_rows / num_strips)
    images = []
    for image in x.split(1 if strip < num_rows else len(x)):
        strips = []
        for start in range(0, num_rows, strip):
            # Rows [first, last) of the full convolution give rows [start, start + strip) of the result.
            first = start * down + crop
            last = (min(start + strip, num_rows) - 1) * down + taps_down + crop
            top, bottom = _reach(first, last, taps_up, up, x.shape[2])
            crop_top = first - top * up
            crop_rows = min(crop_top, (bottom - 1) * up + taps_up - last)
            y = image[:, :, top:bottom]
            y = F.conv_transpose2d(y, up_kernels[0], stride=(1, up), padding=(0, crop_both), groups=channels)
            y = F.conv_transpose2d(y, up_kernels[1], stride=(up, 1), padding=(crop_rows, 0), groups=channels)
            y = y[:, :, crop_top - crop_rows :][:, :, : last - first]
            if crop_left > crop_both:
                y = y[..., crop_left - crop_both :]
            y = _rectify(y, slope, clamp)
            for kernel, stride in down_kernels:
                y = F.conv2d(y, kernel, stride=stride, groups=channels)
            strips.append(y[..., :num_columns])
        images.append(strips[0] if len(strips) == 1 else torch.cat(strips, dim=2))
    return images[0] if len(images) == 1 else torch.cat(images)


def _reach(first: int, last: int, num_taps: int, up: int, size: int) -> tuple[int, int]:
    """Range of pixels, out of ``size``, that samples [first, last) of the full convolution depend on."""
    return max(-((num_taps - 1 - first) // up), 0), min((last - 1) // up + 1, size)


def _kernels(
    up_filter: Float[Tensor, " tu"], down_filter: Tensor, gain: float, down: int, channels: int
) -> tuple[tuple[Tensor, Tensor], list[tuple[Tensor, tuple[int, int]]]]:
    """Depthwise kernels: two for upsampling, columns first; those for downsampling with their strides."""

    def depthwise(taps: Tensor, height: int, width: int) -> Tensor:
        return taps.view(1, 1, height, width).expand(channels, -1, -1, -1)

    ups = depthwise(up_filter * gain, 1, -1), depthwise(up_filter, -1, 1)
    taps = len(down_filter)
    flipped = down_filter.flip(list(range(down_filter.ndim)))
    if down_filter.ndim == 2:
        return ups, [(depthwise(flipped, taps, taps), (down, down))]
    return ups, [(depthwise(flipped, 1, taps), (1, down)), (depthwise(flipped, taps, 1), (down, 1))]


def _rectify(x: Tensor, slope: float, clamp: float) -> Tensor:
    """Leaky rectifier and clamp, in place in inference mode, where no gradient needs ``x``."""
    if not torch.is_inference_mode_enabled():
        x = F.leaky_relu(x, slope)
        return x.clamp(-clamp, clamp) if clamp else x
    x = F.leaky_relu_(x, slope)
    return x.clamp_(-clamp, clamp) if clamp else x
