"""The Jacobian of canonical depth and albedo with respect to w, by regression on samples or by exact derivatives.

The albedo is the one that the pixels show (`Decomposer.seen_albedo`), unless the network's is asked for, which blurs
small parts but is smoother in w: its mean derivative is known from far fewer w.

For normal w least squares finds the mean of the derivatives (Stein's lemma), from one number per pixel and sample where
a derivative gives d. A generator's w are not normal: least squares then finds a mean of the derivatives weighted by
matrices, which `regression_weights` approximates. Directions in which w hardly varies are known worst, so two estimates
are compared in the metric of the covariance of w.
"""

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.decomposition import Decomposition

Albedo: TypeAlias = Literal["seen", "network"]


def images_of(generator: Generator, w: Float[Tensor, "n d"], decomposer: Decomposer) -> Float[Tensor, "n 3 r r"]:
    """What a decomposer is shown of w: images with constant noise, clipped to [-1, 1], as `Decomposer.shown` says."""
    return images_of_layers(generator, generator.broadcast(w), decomposer)


def images_of_layers(
    generator: Generator, ws: Float[Tensor, "n l d"], decomposer: Decomposer
) -> Float[Tensor, "n 3 r r"]:
    """As `images_of`, for a w of every layer."""
    return decomposer.shown(generator.synthesize(ws).clamp(-1, 1))


def maps_of(
    decomposer: Decomposer, generator: Generator, w: Float[Tensor, "n d"], albedo: Albedo = "seen"
) -> Float[Tensor, "n p"]:
    """Canonical depth and then albedo of the images of w, each flattened."""
    return maps_of_images(decomposer, images_of(generator, w, decomposer), albedo)


def maps_of_images(
    decomposer: Decomposer,
    images: Float[Tensor, "n 3 r r"],
    albedo: Albedo = "seen",
    parts: Decomposition | None = None,
) -> Float[Tensor, "n p"]:
    """Canonical depth and then albedo of images at the decomposer's resolution, each flattened.

    ``parts`` are those of the images, if they are known.
    """
    known: Decomposition = decomposer(images) if parts is None else parts
    colour = decomposer.seen_albedo(images, known) if albedo == "seen" else known.canon_albedo
    return torch.cat([known.canon_depth.flatten(1), colour.flatten(1)], dim=1)


def map_mask(decomposer: Decomposer) -> Bool[np.ndarray, " p"]:
    """True where `maps_of` speaks of the face; the border columns, whose depth is fixed, are left out of all maps."""
    inside = (decomposer.border == 0).flatten().cpu().numpy()
    return np.tile(inside, 4)
