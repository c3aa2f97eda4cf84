"""The losses that train a StyleGAN2.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 3.2 (path length) and
    appendix B; Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018 (R1).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def generator_loss(fake_logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Non-saturating logistic loss, mean of -log sigmoid(D(G(z)))."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Float[Tensor, " n"], fake_logits: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Logistic loss, mean of -log sigmoid(D(x)) plus mean of -log(1 - sigmoid(D(G(z))))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(real_logits: Float[Tensor, " n"], real_images: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean squared gradient of the logits with respect to the images (R1, without its factor gamma / 2)."""
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def path_lengths(
    images: Float[Tensor, "n c h w"], ws: Float[Tensor, "n l d"], noise: Float[Tensor, "n c h w"]
) -> Float[Tensor, " n"]:
    """Length of J_w^T y for random images y: how far an image moves for a unit step in w (Equation 4)."""
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
