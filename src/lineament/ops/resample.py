"""FIR up- and downsampling of feature maps and images.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 2 and its official
    hyper-parameters (filter [1, 3, 3, 1]).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FIR_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_kernel(gain: float = 1.0, *, like: Tensor) -> Float[Tensor, "4 4"]:
    """The separable low-pass filter [1, 3, 3, 1] as a 2D kernel whose sum is ``gain``."""
    taps = torch.tensor(FIR_TAPS, dtype=like.dtype, device=like.device)
    kernel = taps[:, None] * taps[None, :]
    return kernel * (gain / kernel.sum())


def fir_filter(x: Float[Tensor, "n c h w"], padding: int, gain: float = 1.0) -> Float[Tensor, "n c h2 w2"]:
    """Filter every channel, zero-padded by ``padding`` on all sides; the result is ``2 * padding - 3`` larger.

    One depthwise 4 x 4 convolution: in channels_last it costs less on a CPU than two separable passes, and two to
    five times less than folding the filter into the neighbouring 3 x 3 convolution.
    """
    channels = x.shape[1]
    kernel = fir_kernel(gain, like=x).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, padding=padding, groups=channels)


def upsample_fir(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 2*h 2*w"]:
    """Twice the size: zeros inserted, then the low-pass filter; zero beyond the border.

    Written as one interpolation: with the taps [1, 3, 3, 1] each output is 3/4 of the nearer and 1/4 of the farther
    input, which is what bilinear interpolation of the zero-padded input computes.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]


def downsample_fir(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Half the size: the low-pass filter, then every second pixel."""
    channels = x.shape[1]
    kernel = fir_kernel(like=x).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=channels)


def binomial_blur(
    images: Float[Tensor, "n c h w"], *, gain: float = 1.0, padding_mode: str = "replicate"
) -> Float[Tensor, "n c h w"]:
    """Blur with the filter [1, 4, 6, 4, 1] / 16 along both axes, times ``gain``; edges as ``padding_mode`` says."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    kernel = (taps[:, None] * taps[None] * gain).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode=padding_mode), kernel, groups=images.shape[1])


def gaussian_blur(images: Float[Tensor, "n c h w"], sigma: float) -> Float[Tensor, "n c h w"]:
    """Blur by a Gaussian of that standard deviation in pixels, up to three of them; edges are repeated."""
    reach = max(round(3 * sigma), 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma).square())
    taps = (taps / taps.sum()).to(images.dtype)
    flat = F.pad(images, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, taps[None, None, :, None]), taps[None, None, None, :])
    return flat[:, 0].view_as(images)


def stretched(maps: Float[Tensor, "n c _h _w"], like: Float[Tensor, "n m h w"]) -> Float[Tensor, "n c h w"]:
    """Maps at the size of other ones, interpolated bilinearly between the centres of pixels."""
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)


def shrink(images: Float[Tensor, "n c h w"], resolution: int) -> Float[Tensor, "n c r r"]:
    """Antialiased resize to a square; images of that size are returned unchanged."""
    if images.shape[2:] == (resolution, resolution):
        return images
    size = (resolution, resolution)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def crop_box(images: Float[Tensor, "n c h w"], box: tuple[float, ...]) -> Float[Tensor, "n c h2 w2"]:
    """The part of images within a box, to the nearest whole pixel.

    Args:
        images: of any size.
        box: left, top, right and bottom as shares of width and height.
    """
    height, width = images.shape[2:]
    left, top, right, bottom = (round(share * size) for share, size in zip(box, (width, height) * 2, strict=True))
    return images[:, :, top : max(bottom, top + 1), left : max(right, left + 1)]


def face_of(images: Float[Tensor, "n c h w"], resolution: int, box: tuple[float, ...]) -> Float[Tensor, "n 3 r r"]:
    """The face in images: the part within a box (see `crop_box`), antialiased; grey images become RGB.

    Images of that resolution are taken to be faces already and are not cropped.
    """
    if images.shape[2:] != (resolution, resolution):
        images = shrink(crop_box(images, box), resolution)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
