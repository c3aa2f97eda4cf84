"""The modulated convolution as its equations say it: every sample with weights of its own, one after another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.twins.resample_twin import filter_loop


def modulated_conv2d_loop(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, upsample: bool = False, gain: float = 1.0
) -> Tensor:
    """Karras et al., CVPR 2020, equations 1 and 3, sample by sample and filter by filter."""
    images = []
    for sample, scales in zip(x, style, strict=True):
        filters = []
        for kernel in weight:
            modulated = kernel * scales[:, None, None]
            if demodulate:
                modulated = modulated / torch.sqrt(modulated.square().sum() + 1e-8)
            filters.append(modulated)
        kernels = torch.stack(filters)
        if upsample:
            large = F.conv_transpose2d(sample[None], kernels.transpose(0, 1), stride=2)
            images.append(filter_loop(large, 1, gain=4.0))
        else:
            images.append(F.conv2d(sample[None], kernels, padding=weight.shape[-1] // 2))
    return torch.cat(images) * gain
