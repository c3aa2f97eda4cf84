"""The first StyleGAN's operations as their definitions: loops over samples, pixels and taps."""

import torch
from torch import Tensor


def convolve_loop(x: Tensor, kernel: Tensor) -> Tensor:
    """3 x 3 cross-correlation, zero beyond the border; one sum for each output pixel."""
    n, _, h, w = x.shape
    out = torch.zeros(n, len(kernel), h, w, dtype=x.dtype)
    for row in range(h):
        for column in range(w):
            for i in range(3):
                for j in range(3):
                    y, z = row + i - 1, column + j - 1
                    if 0 <= y < h and 0 <= z < w:
                        out[:, :, row, column] += x[:, :, y, z] @ kernel[:, :, i, j].T
    return out


def blur_loop(x: Tensor) -> Tensor:
    """Every pixel and its eight neighbours, weighted 1, 2, 1 along both axes; zero beyond the border."""
    channels = x.shape[1]
    taps = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype) / 16
    kernel = torch.zeros(channels, channels, 3, 3, dtype=x.dtype)
    for channel in range(channels):
        kernel[channel, channel] = taps
    return convolve_loop(x, kernel)


def upscale_convolve_loop(x: Tensor, kernel: Tensor) -> Tensor:
    """Small sizes of the original: every pixel four times, then the convolution."""
    return convolve_loop(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), kernel)


def upscale_fused_loop(x: Tensor, kernel: Tensor) -> Tensor:
    """Large sizes of the original: every pixel paints its 3 x 3 kernel around each of the four that it becomes.

    The kernel is painted as it is, where the convolution reads it mirrored. What falls beyond the border is lost.
    """
    n, _, h, w = x.shape
    out = torch.zeros(n, len(kernel), 2 * h, 2 * w, dtype=x.dtype)
    for y in range(2 * h):
        for z in range(2 * w):
            for i in range(3):
                for j in range(3):
                    row, column = y + i - 1, z + j - 1
                    if 0 <= row < 2 * h and 0 <= column < 2 * w:
                        out[:, :, row, column] += x[:, :, y // 2, z // 2] @ kernel[:, :, i, j].T
    return out


def convolve_downscale_loop(x: Tensor, kernel: Tensor) -> Tensor:
    """The discriminator's: the convolution, then the mean of each 2 x 2 pixels."""
    large = convolve_loop(x, kernel)
    out = torch.zeros(*large.shape[:2], large.shape[2] // 2, large.shape[3] // 2, dtype=x.dtype)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            four = large[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            out[:, :, row, column] = four.sum(dim=(2, 3)) / 4
    return out


def finish_layer_loop(x: Tensor, noise: Tensor | None, strength: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Noise, leaky rectifier, then every map of every sample to the style's mean and standard deviation."""
    samples = []
    for k in range(len(x)):
        maps = []
        for channel in range(x.shape[1]):
            pixels = x[k, channel]
            if noise is not None:
                pixels = pixels + strength[channel] * noise[k % len(noise), 0]
            pixels = torch.where(pixels > 0, pixels, 0.2 * pixels)
            mean = pixels.sum() / pixels.numel()
            variance = ((pixels - mean) ** 2).sum() / pixels.numel()
            maps.append(scale[k, channel] * (pixels - mean) / torch.sqrt(variance + 1e-8) + shift[k, channel])
        samples.append(torch.stack(maps))
    return torch.stack(samples)
