"""Invert photographs: the encoder predicts latents, and a short optimisation improves them.

Source:
    Abdal, Qin and Wonka, "Image2StyleGAN", ICCV 2019 (a w for every layer); Tov et al., "Designing an Encoder for
    StyleGAN Image Manipulation", SIGGRAPH 2021 (an inversion is editable if it is one w near the generator's own, plus
    small offsets); Zhu et al., "Improved StyleGAN Embedding: Where are the Good Latents?", 2020 (distances in
    whitened coordinates). Deviations: everything is optimised in whitened coordinates; the perceptual features come
    from the GAN's own discriminator instead of a network trained on labels.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.checkpoints.growth import check_encoder_matches, for_all_layers
from lineament.errors import ShapeError
from lineament.faces.latent_spread import LatentSpread, latent_spread
from lineament.faces.likeness import Likeness
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.ssim import ssim
from lineament.records.inversion_settings import InversionSettings

WARMUP_STEPS = 5
"""Number of steps in which the learning rate rises, because Adam's first steps are its largest."""

WITHOUT_ENCODER = 2
"""Factor on the number of steps without an encoder, because the start is then only the mean w."""

FALLING_SHARE = 0.5
"""Share of the steps, at the end, in which the learning rate falls to 0, so that the last step is small."""


@dataclass(frozen=True)
class Inverted:
    """Latents of images, and the images that the generator draws from them, in [-1, 1]."""

    ws: Float[Tensor, "n l d"]
    images: Float[Tensor, "n 3 h w"]


def invert_images(
    generator: Generator,
    encoder: Encoder | None,
    images: Float[Tensor, "n 3 h w"],
    settings: InversionSettings | None = None,
    features: nn.Module | None = None,
    *,
    spread: LatentSpread | None = None,
) -> Inverted:
    """Invert a batch of images. Each is optimised by itself: the others in the batch change only its rounding errors.

    Args:
        generator: in evaluation mode; its output must be differentiable in w.
        encoder: the generator's encoder; if None, the optimisation starts at the mean w and takes more steps.
        images: square crops in [-1, 1] at the generator's resolution, aligned like its own images.
        settings: None uses the defaults.
        features: perceptual features; if None, only pixels and structure are compared.
        spread: of the generator's w; measured if not given.

    Raises:
        MismatchError: the encoder belongs to another generator.
        ShapeError: the images do not have the size of the generator's images.
    """
    settings = settings or InversionSettings()
    size = generator.config.resolution
    if images.shape[1:] != (3, size, size):
        raise ShapeError(f"images are {tuple(images.shape)}, expected (n, 3, {size}, {size}) as the generator's")
    spread = spread or latent_spread(generator)
    with torch.inference_mode(False), torch.no_grad():
        images = images.clone(memory_format=torch.channels_last)
        ws = spread.mean.expand(len(images), generator.num_ws, -1)
        if encoder is not None:
            check_encoder_matches(encoder, generator)
            ws = for_all_layers(encoder(images), generator) if len(images) else ws
        else:
            settings = replace(settings, steps=WITHOUT_ENCODER * settings.steps)
        if settings.steps and len(images):
            ws = _optimised(generator, ws, Likeness(images, features, settings.likeness), settings, spread)
        return Inverted(ws.contiguous(), generator.synthesize(ws).clamp(-1, 1))


def _optimised(
    generator: Generator, ws: Tensor, likeness: Likeness, settings: InversionSettings, spread: LatentSpread
) -> Float[Tensor, "n l d"]:
    """Optimised latents; the variables are a common w and an offset for each layer, in whitened coordinates."""
    start = spread.whitened(ws)
    common = start.mean(dim=1, keepdim=True)
    variables = [common.clone().requires_grad_(), (start - common).requires_grad_()]
    optimizer = torch.optim.Adam(variables, betas=(0.9, 0.99))
    fineness = torch.linspace(-0.5, 0.5, ws.shape[1], device=ws.device)
    weights = settings.offset_weight * settings.coarse_factor**-fineness
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate_at(step, settings)
        with torch.enable_grad():
            whitened = variables[0] + variables[1]
            middle = whitened.mean(dim=1, keepdim=True)
            loss = likeness.loss(generator.synthesize(spread.of_whitened(whitened)))
            loss = loss + settings.distance_weight * middle.square().mean(dim=(1, 2))
            loss = loss + (weights[:, None] * (whitened - middle).square()).mean(dim=(1, 2))
            # The sum instead of the mean, so that an image's gradient does not depend on the batch size.
            gradients = torch.autograd.grad(loss.sum(), variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        optimizer.step()
    return spread.of_whitened(variables[0].detach() + variables[1].detach())


def _learning_rate_at(step: int, settings: InversionSettings) -> float:
    warmth = min((step + 1) / WARMUP_STEPS, 1.0)
    left = (settings.steps - step) / (FALLING_SHARE * settings.steps)
    return settings.learning_rate * warmth * math.sin(math.pi / 2 * min(left, 1.0)) ** 2


@torch.no_grad()
def quality(
    inverted: Inverted, photographs: Float[Tensor, "n 3 h w"], spread: LatentSpread
) -> dict[str, Float[np.ndarray, " n"]]:
    """Quality of inversions: ``ssim``, ``rmse``, ``distance`` and ``offset``, as defined in `Inversions`."""
    scores = {
        "ssim": ssim(inverted.images, photographs),
        "rmse": (inverted.images - photographs).square().mean(dim=(1, 2, 3)).sqrt() / 2,
        "distance": spread.distance(inverted.ws),
        "offset": spread.offset(inverted.ws),
    }
    return {name: score.double().cpu().numpy() for name, score in scores.items()}
