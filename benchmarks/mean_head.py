"""``python -m benchmarks.mean_head --truth RENDERS``: make the mean head that comes with the package.

RENDERS is a folder of heads with their truth (`lineament.store.truth`), made without photographs: the heads of the
package's file are MakeHuman's (CC0). The median of their depths from the front, so that open mouths and long hair of a
few do not show, and the mean of their albedos.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lineament.checkpoints.mean_head import mean_head_path, save_mean_head
from lineament.errors import ConfigError
from lineament.ops.mean_head import MeanHead
from lineament.ops.resample import binomial_blur
from lineament.store.truth import load_truth

FARTHEST = 1.045
"""Depth behind which nothing counts as the head: ears and hair at the sides, the neck, the background."""


@dataclass(frozen=True)
class MeanHeadConfig:
    """Make a mean head from heads of known depth.

    Example: ``python -m benchmarks.mean_head --truth renders``
    """

    truth: Path
    """Folder of heads with their truth."""
    out: Path | None = None
    """File to write; the package's own if not given."""
    heads: int = 1000
    """Number of heads."""
    size: int = 128
    """Side of the maps in pixels."""


def mean_head(depth: np.ndarray, mask: np.ndarray, albedo: np.ndarray) -> MeanHead:
    """The mean head of heads from the front: n h w, n h w (where the head is), n h w 3."""
    far = np.float32(FARTHEST)
    median = torch.from_numpy(np.median(np.minimum(np.where(mask, depth, far), far), axis=0)).float()
    smooth = binomial_blur(median[None, None])[0, 0]
    smooth = (smooth + smooth.flip(1)) / 2
    mean = torch.from_numpy(albedo.mean(axis=(0, 3))).float()
    return MeanHead(smooth, (mean + mean.flip(1)) / 2)


def run(config: MeanHeadConfig) -> None:
    """Read the heads and write their mean."""
    truth = load_truth(str(config.truth), config.size, config.heads)
    if truth.canon_depth is None or truth.canon_mask is None or truth.canon_albedo is None:
        raise ConfigError(f"{config.truth} lacks canonical maps; make it with its whole truth")
    head = mean_head(truth.canon_depth, truth.canon_mask, truth.canon_albedo)
    provenance = {"heads": len(truth.canon_depth), "from": "MakeHuman's base mesh and targets (CC0)"}
    save_mean_head(config.out or mean_head_path(), head, provenance)


if __name__ == "__main__":
    from lineament.cli.main import run_module

    raise SystemExit(run_module("benchmarks.mean_head", "MeanHeadConfig", "python -m benchmarks.mean_head"))
