"""Training images as batches, and how the learning rate falls."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from lineament.ops.seeding import philox
from lineament.recipes.console import console, progress_bar
from lineament.store.images import load_image_array

_STREAM_EPOCH = 3

FINAL_RATE = 0.05
"""The learning rate at the end, as a share of the full one."""


def batch_indices(seed: int, num_images: int, start: int, count: int) -> list[int]:
    """Image numbers ``start`` to ``start + count`` of an endless sequence of shuffled epochs."""
    indices: list[int] = []
    while len(indices) < count:
        epoch, offset = divmod(start + len(indices), num_images)
        order = philox(seed, _STREAM_EPOCH, epoch).permutation(num_images)
        indices += order[offset : offset + count - len(indices)].tolist()
    return indices


def falling_rate(step: int, steps: int, decay: float) -> float:
    """Share of the learning rate: all of it, then falling linearly over the last ``decay`` of the steps."""
    left = (steps - step) / max(decay * steps, 1e-8)
    return min(max(left, FINAL_RATE), 1.0)


def to_tensor(images: np.ndarray) -> Float[Tensor, "n 3 h w"]:
    """Bytes to [-1, 1], channels_last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def load_images(path: Path, resolution: int, cache_dir: Path, fabric: Fabric) -> np.ndarray:
    """Decode once, on the first process; the others wait and read the cache."""
    with fabric.rank_zero_first(), progress_bar(disable=not fabric.is_global_zero) as bar:
        task = bar.add_task("reading images", total=None, note="")
        return load_image_array(
            path,
            resolution,
            cache_dir,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            on_skip=lambda skipped: console.print(skipped.summary()),
        )
