"""One face under another pose or light: pairs of samples whose latents differ by a direction found so far.

A generator that has learned to turn and to relight a face shows a decomposer many views of one person, without knowing
it: along the directions of pose and light the canonical depth and the albedo should not change. The directions are
those of an atlas, or are found from the decomposer as it is, and again and again while it learns. The steady steps of
an atlas change the person less than such first ones, so that the pairs teach less that is wrong.
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
"""What differs within a pair, one of them at a time; the others and the strength of the light are held."""

HELD = (*MOVED, "ambient", "diffuse")
SAMPLES_PER_DIMENSION = 8
"""Samples behind the directions, per dimension of w."""


class LatentPairs:
    """Latents moved along the directions of pose and light.

    Args:
        generator: whose latents.
        seed, truncation: of the samples behind the directions.
        atlas: the directions, found before; None to find them.

    Attributes:
        steps: moves of one standard deviation of each of `MOVED`, of every layer or of all alike; None before
            `refresh`. A semantic that cannot be told apart from the others has the step zero.

    Raises:
        ConfigError: the atlas lacks a direction, or steady steps.
    """

    def __init__(self, generator: Generator, *, seed: int, truncation: float, atlas: Atlas | None = None) -> None:
        self.generator, self.seed, self.truncation, self.atlas = generator, seed, truncation, atlas
        self.steps: Float[Tensor, "m l d"] | None = None
        if atlas is not None:
            self.steps = torch.from_numpy(steps_of_atlas(atlas)).float().to(generator.mapping.w_avg.device)

    @torch.no_grad()
    def refresh(self, decomposer: Decomposer, step: int) -> None:
        """Find the directions anew, by the decomposer as it is at this step of its training; not those of an atlas."""
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
    """For each of `MOVED` the most probable step of one standard deviation, the others of `HELD` held."""
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
        ConfigError: it lacks a direction, or its steps are not steady.
    """
    steps = []
    for one in [atlas.direction(name) for name in MOVED]:
        if one.layer_steps is None or one.is_bare_step:
            raise ConfigError(
                f"the atlas has no steady step of {one.name}, and others take the person along; run discover with "
                "--steady, and with parts"
            )
        steps.append(one.layer_steps * np.sqrt(one.gradient @ atlas.w_cov @ one.gradient))
    return np.stack(steps)
