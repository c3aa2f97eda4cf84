"""Canonical depth and albedo of generated images as vectors, from which their Jacobian with respect to w is found.

By default the albedo is the one that the pixels show (`Decomposer.seen_albedo`). The network's own albedo blurs small
parts but is smoother in w, so its mean derivative can be estimated from far fewer w.

The Jacobian is found by regression on samples, or from exact derivatives (``benchmarks/exact_jacobian.py``). If w is
normal, least squares estimates the mean of the derivatives (Stein's lemma). It uses one number per pixel and sample,
whereas a derivative gives d numbers. A generator's w is not normal. Least squares then estimates a mean weighted by
matrices, which `regression_weights` in that file approximates. The estimate is least certain along directions in which
w hardly varies, so two estimates are compared in the metric of the covariance of w.
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
    """Decomposer inputs from w: images with constant noise, clipped to [-1, 1], after `Decomposer.shown`."""
    return images_of_layers(generator, generator.broadcast(w), decomposer)


def images_of_layers(
    generator: Generator, ws: Float[Tensor, "n l d"], decomposer: Decomposer
) -> Float[Tensor, "n 3 r r"]:
    """As `images_of`, with a separate w for each layer."""
    return decomposer.shown(generator.synthesize(ws).clamp(-1, 1))


def maps_of(
    decomposer: Decomposer, generator: Generator, w: Float[Tensor, "n d"], albedo: Albedo = "seen"
) -> Float[Tensor, "n p"]:
    """Canonical depth, then albedo, of the images of w, each flattened."""
    return maps_of_images(decomposer, images_of(generator, w, decomposer), albedo)


def maps_of_images(
    decomposer: Decomposer,
    images: Float[Tensor, "n 3 r r"],
    albedo: Albedo = "seen",
    parts: Decomposition | None = None,
) -> Float[Tensor, "n p"]:
    """Canonical depth, then albedo, of images at the decomposer's resolution, each flattened.

    ``parts`` is the decomposition of the images, if it is known already.
    """
    known: Decomposition = decomposer(images) if parts is None else parts
    colour = decomposer.seen_albedo(images, known) if albedo == "seen" else known.canon_albedo
    return torch.cat([known.canon_depth.flatten(1), colour.flatten(1)], dim=1)


def map_mask(decomposer: Decomposer) -> Bool[np.ndarray, " p"]:
    """True for the values of `maps_of` that are used: all but the border columns, where the depth is fixed."""
    inside = (decomposer.border == 0).flatten().cpu().numpy()
    return np.tile(inside, 4)
