"""Losses between an image and its reconstruction, with a predicted uncertainty sigma.

Source: Wu et al., CVPR 2020, section 3.1 equation 3 and section 3.3 equation 6; Kendall and Gal, NeurIPS 2017.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "n h w"], mask: Bool[Tensor, "n h w"]) -> Float[Tensor, ""]:
    """Mean over the true pixels; 0 where there are none."""
    weight = mask.to(x.dtype)
    return (x * weight).sum() / weight.sum().clamp_min(1.0)


def laplace_loss(
    image: Float[Tensor, "n 3 h w"],
    recon: Float[Tensor, "n 3 h w"],
    sigma: Float[Tensor, "n h w"],
    mask: Bool[Tensor, "n h w"],
) -> Float[Tensor, ""]:
    """Negative log-likelihood of a Laplace distribution: sqrt(2) |d| / sigma + log(sqrt(2) sigma) (Equation 3)."""
    error = (image - recon).abs().mean(dim=1)
    return masked_mean(math.sqrt(2) * error / sigma + torch.log(math.sqrt(2) * sigma), mask)


def gaussian_loss(
    features: Float[Tensor, "n c h w"],
    recon_features: Float[Tensor, "n c h w"],
    sigma: Float[Tensor, "n h w"],
    mask: Bool[Tensor, "n h w"],
) -> Float[Tensor, ""]:
    """Negative log-likelihood of a normal distribution of features: d^2 / (2 sigma^2) + log sigma (Equation 6)."""
    error = (features - recon_features).square().mean(dim=1)
    return masked_mean(error / (2 * sigma.square()) + torch.log(sigma), mask)
