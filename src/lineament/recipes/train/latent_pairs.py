"""Pairs of a generator's samples that show one face in two poses or lights; their latents differ along a direction.

A generator that can turn and relight a face gives a decomposer several views of one person. Along the directions of
pose and light, canonical depth and albedo should not change. The directions come from an atlas, or are found with the
present decomposer and refreshed while it learns. The steady steps of an atlas change the person less than such first
directions, so that pairs from an atlas contain fewer errors.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.steps import mahalanobis_step
from lineament.faces.samples import PAIRS, batches, sample_and_measure
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.semantics import SEMANTIC_NAMES

MOVED = ("yaw", "pitch", "light_x", "light_y")
"""Semantics that differ within a pair, one at a time; the others and the strength of the light are held."""

HELD = (*MOVED, "ambient", "diffuse")
SAMPLES_PER_DIMENSION = 8
"""Samples from which the directions are found, per dimension of w."""


class LatentPairs:
    """Latents moved along the directions of pose and light.

    Args:
        generator: the generator of the latents.
        seed, truncation: seed and truncation of the samples from which the directions are found.
        atlas: directions found before; None to find them here.

    Attributes:
        steps: steps of one standard deviation of each of `MOVED`, one per layer or one for all; None before
            `refresh`. A semantic that cannot be separated from the others has a zero step.

    Raises:
        ConfigError: the atlas lacks a direction or its steady step.
    """

    def __init__(self, generator: Generator, *, seed: int, truncation: float, atlas: Atlas | None = None) -> None:
        self.generator, self.seed, self.truncation, self.atlas = generator, seed, truncation, atlas
        self.steps: Float[Tensor, "m l d"] | None = None
        if atlas is not None:
            self.steps = torch.from_numpy(steps_of_atlas(atlas)).float().to(generator.mapping.w_avg.device)

    @torch.no_grad()
    def refresh(self, decomposer: Decomposer, step: int) -> None:
        """Find the directions anew with the decomposer at this step of its training; those of an atlas are kept."""
        if self.atlas is not None:
            return
        d = self.generator.config.w_dim
        count, device = SAMPLES_PER_DIMENSION * d, self.generator.mapping.w_avg.device
        first = PAIRS + step * count
        ws, ys = [], []
        for numbers in batches(first, 0, count, 64):
            w, y = sample_and_measure(self.generator, decomposer, self.seed, numbers, self.truncation)
            ws.append(w.double().cpu().numpy())
            ys.append(y)
        model = LinearSemantics().fit(np.concatenate(ws), np.concatenate(ys))
        rows = model.coef_[[SEMANTIC_NAMES.index(name) for name in HELD]]
        steps = steps_of_all_layers(rows, model.w_cov_)[:, None]
        self.steps = torch.from_numpy(steps).float().to(device)

    @torch.no_grad()
    def moved(self, w: Float[Tensor, "n d"], rng: torch.Generator) -> Float[Tensor, "n l d"]:
        """Each latent, for every layer, moved along one direction by a normal number of standard deviations."""
        assert self.steps is not None
        which = torch.randint(len(MOVED), (len(w),), generator=rng).to(w.device)
        size = torch.randn(len(w), 1, generator=rng).to(w.device)
        return self.generator.broadcast(w) + size[:, None] * self.steps[which].to(w)


def steps_of_all_layers(
    gradients: Float[np.ndarray, "h d"], w_cov: Float[np.ndarray, "d d"]
) -> Float[np.ndarray, "m d"]:
    """For each of `MOVED`, the most probable step of one standard deviation that holds the others of `HELD`."""
    spread = np.sqrt(np.einsum("md,de,me->m", gradients, w_cov, gradients))
    steps = np.zeros((len(MOVED), gradients.shape[1]))
    for i in range(len(MOVED)):
        wanted = np.where(np.arange(len(HELD)) == i, spread, 0.0)
        try:
            steps[i] = mahalanobis_step(gradients, w_cov, wanted, names=HELD)
        except ConfigError:  # no freedom left: this one is not moved
            continue
    return steps


def steps_of_atlas(atlas: Atlas) -> Float[np.ndarray, "m l d"]:
    """The atlas's steady steps of `MOVED`, each of one standard deviation.

    Raises:
        ConfigError: the atlas lacks a direction, or its steps are not steady.
    """
    steps = []
    for one in [atlas.direction(name) for name in MOVED]:
        if one.layer_steps is None or one.is_bare_step:
            raise ConfigError(
                f"the atlas has no steady step of {one.name}, and other steps also change the person; run discover "
                "with --steady, and with parts"
            )
        steps.append(one.layer_steps * np.sqrt(one.gradient @ atlas.w_cov @ one.gradient))
    return np.stack(steps)
