"""One face under another pose or light: pairs of samples whose latents differ by a direction found so far.

A generator that has learned to turn and to relight a face shows a decomposer many views of one person, without knowing
it: along the directions of pose and light the canonical depth and the albedo should not change. The directions are
found as `lineament.recipes.discover` finds them, from the decomposer as it is, and again and again while it learns.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.steps import mahalanobis_step
from lineament.networks.decomposer import Decomposer
from lineament.networks.generator import Generator
from lineament.recipes.sampling import PAIRS, batches, sample_and_measure
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

    Attributes:
        steps: moves in w of one standard deviation of each of `MOVED`; None before `refresh`. A semantic that cannot be
            told apart from the others has the step zero.
    """

    def __init__(self, generator: Generator, *, seed: int, truncation: float) -> None:
        self.generator, self.seed, self.truncation = generator, seed, truncation
        self.steps: Float[Tensor, "m d"] | None = None

    @torch.no_grad()
    def refresh(self, decomposer: Decomposer, step: int) -> None:
        """Find the directions anew, by the decomposer as it is at this step of its training."""
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
        spread = np.sqrt(np.einsum("md,de,me->m", rows, model.w_cov_, rows))
        steps = np.zeros((len(MOVED), d))
        for i in range(len(MOVED)):
            wanted = np.where(np.arange(len(HELD)) == i, spread, 0.0)
            try:
                steps[i] = mahalanobis_step(rows, model.w_cov_, wanted, names=HELD)
            except ConfigError:  # no freedom left: this one is not moved
                continue
        self.steps = torch.from_numpy(steps).float().to(device)

    @torch.no_grad()
    def moved(self, w: Float[Tensor, "n d"], rng: torch.Generator) -> Float[Tensor, "n d"]:
        """Each latent moved along one direction, by a normal number of standard deviations."""
        assert self.steps is not None
        which = torch.randint(len(MOVED), (len(w),), generator=rng).to(w.device)
        size = torch.randn(len(w), 1, generator=rng).to(w.device)
        return w + size * self.steps[which].to(w)
