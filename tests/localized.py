"""A world of known parts: maps that are bumps times latents, plus what pose does, plus noise."""

from dataclasses import dataclass

import numpy as np

SIDE, WIDTH = 16, 12


@dataclass(frozen=True)
class PartWorld:
    """Normal w; maps = 0.9 + parts (bumps times latents of variance 1) + what the scalars do + noise."""

    w: np.ndarray  # n d
    y: np.ndarray  # n m, the scalars
    maps: np.ndarray  # n p
    mask: np.ndarray  # h w
    scalar_gradients: np.ndarray  # m d
    gradients: np.ndarray  # k d, of the parts: variance 1, no covariance with the scalars or with each other
    bumps: np.ndarray  # k 4 h w, per standard deviation, in the maps' own units


def part_world(samples: int, *, noise: float = 0.01, seed: int = 0) -> PartWorld:
    rng = np.random.default_rng(seed)
    root = np.eye(WIDTH) + 0.3 * rng.standard_normal((WIDTH, WIDTH))
    # Rows that are orthonormal in whitened coordinates: two scalars and then four parts.
    rows = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0][:6] @ np.linalg.inv(root)
    scalars, parts = rows[:2], rows[2:]
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = ((4, 5), (4, 11), (8, 7.5), (12, 7.5))
    bumps = np.zeros((4, 4, SIDE, SIDE))
    for i, (row, column) in enumerate(centres):
        bump = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4.0)
        bumps[i] = bump * np.array([0.02 if i % 2 else 0.0, *(3 * [0.0 if i % 2 else 0.3])])[:, None, None]
    pose = rng.standard_normal((2, 4, SIDE, SIDE)) * np.array([0.01, 0.1, 0.1, 0.1])[:, None, None]
    w = 0.5 + rng.standard_normal((samples, WIDTH)) @ root.T
    scores, turned = (w - 0.5) @ parts.T, (w - 0.5) @ scalars.T
    maps = 0.9 + np.einsum("nk,kchw->nchw", scores, bumps) + np.einsum("nm,mchw->nchw", turned, pose)
    maps += noise * np.array([0.02, 0.3, 0.3, 0.3])[:, None, None] * rng.standard_normal(maps.shape)
    mask = np.ones((SIDE, SIDE), bool)
    mask[:, [0, -1]] = False
    return PartWorld(w, turned, maps.reshape(samples, -1).astype(np.float32), mask, scalars, parts, bumps)
