"""Quality of a generator's samples: a picture, and their distance to photographs."""

import math

import numpy as np
import torch

from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.seeding import latents, philox
from lineament.ops.swd import image_set_distance
from lineament.store.pictures import tile

_STREAM_EVAL = 4


def sample_grid(generator: Generator, seed: int, count: int, truncation: float) -> np.ndarray:
    """A picture of the first ``count`` images of the seed."""
    device = generator.mapping.w_avg.device
    z = latents(seed, range(count), generator.config.z_dim).to(device)
    with torch.inference_mode():
        images = torch.cat([generator(part, truncation) for part in z.split(16)])
    return tile(to_uint8(images), columns=max(int(math.sqrt(count) * 1.4), 1))


def evaluate_samples(generator: Generator, images: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """Sliced Wasserstein distance of generated to real images, no truncation."""
    count = min(count, len(images))
    rng = philox(seed, _STREAM_EVAL, 0)
    real = to_tensor(np.stack([images[i] for i in sorted(rng.permutation(len(images))[:count])]))
    device = generator.mapping.w_avg.device
    z = latents(seed + 1, range(count), generator.config.z_dim).to(device)
    with torch.inference_mode():
        fake = torch.cat([generator(part).clamp(-1, 1).cpu() for part in z.split(32)])
    return image_set_distance(real, fake, seed=seed)
