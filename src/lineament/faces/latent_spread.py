"""Mean and covariance of a generator's w, and the distance of latents from them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents

NUM_SAMPLES = 10_000
"""Number of sampled w; enough for a covariance of 512 dimensions with errors of a few percent."""

SMALLEST_SHARE = 1e-3
"""Minimum variance of a direction of w, as a share of the mean variance. Without it, any step along a direction in
which w hardly varies would count as very far."""

_SEED = 0
_CHUNK = 1000


@dataclass(frozen=True, eq=False)
class LatentSpread:
    """The distribution of a generator's w, without truncation.

    Attributes:
        mean: of w.
        root: symmetric square root of the covariance, which is unique.
        inverse: inverse of ``root``.
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
        """Mahalanobis distance of the mean over layers from the mean w, / sqrt(d); about 1 for samples of w."""
        return self.whitened(ws).mean(dim=1).square().mean(dim=1).sqrt()

    def offset(self, ws: Float[Tensor, "n l d"]) -> Float[Tensor, " n"]:
        """Root mean square distance of the layers' w from their mean over layers, in standard deviations of w."""
        whitened = self.whitened(ws)
        return (whitened - whitened.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).sqrt()


@torch.no_grad()
def latent_spread(generator: Generator, num_samples: int = NUM_SAMPLES) -> LatentSpread:
    """Measure the distribution of w on a fixed set of latents."""
    device = generator.mapping.w_avg.device
    parts = [
        generator.map(latents(_SEED, range(start, min(start + _CHUNK, num_samples)), generator.config.z_dim).to(device))
        for start in range(0, num_samples, _CHUNK)
    ]
    w = torch.cat(parts).double().cpu()
    values, vectors = torch.linalg.eigh(torch.cov(w.T))
    # If the generator draws only one face, all variances are 0; 1e-12 then avoids a division by zero.
    floor = float(SMALLEST_SHARE * values.mean().clamp_min(1e-12))
    scales = values.clamp_min(floor).sqrt()
    root, inverse = vectors * scales @ vectors.T, vectors / scales @ vectors.T
    return LatentSpread(*(tensor.float().to(device) for tensor in (w.mean(dim=0), root, inverse)))
