"""Where a generator's w lie: their mean and covariance, and how far a latent is from them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents

NUM_SAMPLES = 10_000
"""Enough for a covariance of 512 dimensions that is right within a few percent."""

SMALLEST_SHARE = 1e-3
"""No direction of w counts as having less than this share of the mean variance: where the generator has next to no
spread, a step of any size would count as endlessly far."""

_SEED = 0
_CHUNK = 1000


@dataclass(frozen=True, eq=False)
class LatentSpread:
    """The distribution of a generator's w, without truncation.

    Attributes:
        mean: of w.
        root: symmetric square root of the covariance; unlike other roots it is unique.
        inverse: of the root.
    """

    mean: Float[Tensor, " d"]
    root: Float[Tensor, "d d"]
    inverse: Float[Tensor, "d d"]

    def whitened(self, ws: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
        """Coordinates in which the generator's own w have mean 0 and covariance 1."""
        return (ws - self.mean) @ self.inverse

    def of_whitened(self, whitened: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
        """The inverse of `whitened`."""
        return self.mean + whitened @ self.root

    def distance(self, ws: Float[Tensor, "n l d"]) -> Float[Tensor, " n"]:
        """How far the mean over layers is from the mean w: its Mahalanobis norm / sqrt(d), about 1 for own samples."""
        return self.whitened(ws).mean(dim=1).square().mean(dim=1).sqrt()

    def offset(self, ws: Float[Tensor, "n l d"]) -> Float[Tensor, " n"]:
        """How far the layers' w are from their mean, in standard deviations of w (root mean square)."""
        whitened = self.whitened(ws)
        return (whitened - whitened.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).sqrt()


@torch.no_grad()
def latent_spread(generator: Generator, num_samples: int = NUM_SAMPLES) -> LatentSpread:
    """Map latents, always the same ones, and see where they go."""
    device = generator.mapping.w_avg.device
    parts = [
        generator.map(latents(_SEED, range(start, min(start + _CHUNK, num_samples)), generator.config.z_dim).to(device))
        for start in range(0, num_samples, _CHUNK)
    ]
    w = torch.cat(parts).double().cpu()
    values, vectors = torch.linalg.eigh(torch.cov(w.T))
    # A generator that makes one face only has no spread at all; any unit is as good then.
    floor = float(SMALLEST_SHARE * values.mean().clamp_min(1e-12))
    scales = values.clamp_min(floor).sqrt()
    root, inverse = vectors * scales @ vectors.T, vectors / scales @ vectors.T
    return LatentSpread(*(tensor.float().to(device) for tensor in (w.mean(dim=0), root, inverse)))
