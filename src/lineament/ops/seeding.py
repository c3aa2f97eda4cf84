"""Random numbers that depend on (seed, index) alone, never on the batch size or on what was drawn before."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError

LIMIT = 1 << 64
"""Seeds, streams and indices are numbers of 64 bits."""


def philox(seed: int, stream: int, index: int) -> np.random.Generator:
    """The random generator number ``index`` of the stream ``stream`` of the seed ``seed``.

    Philox is counter-based: the seed and the stream are its key, the index is the high word of its counter, so
    neighbouring indices are independent and nothing has to be drawn in order.

    Raises:
        ConfigError: one of the three is below 0 or has more than 64 bits, and would stand for another one.

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
    """
    for name, number in (("seed", seed), ("stream", stream), ("index", index)):
        if not 0 <= number < LIMIT:
            raise ConfigError(f"{name} is {number}, expected a number from 0 to {LIMIT - 1}")
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def latents(seed: int, indices: Sequence[int] | range, z_dim: int) -> Float[Tensor, "n d"]:
    """The latents z of the images ``indices`` of the run ``seed``: standard normal, float32, on the CPU."""
    rows = [philox(seed, 0, int(index)).standard_normal(z_dim, dtype=np.float32) for index in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, z_dim)


def step_generator(seed: int, stream: int, step: int) -> torch.Generator:
    """A torch generator (CPU) for one training step: a resumed run draws what an uninterrupted one would."""
    generator = torch.Generator()
    generator.manual_seed(int(philox(seed, stream, step).integers(0, 2**63 - 1)))
    return generator
