"""Parts of the face made up for an atlas: bumps along random gradients, nothing that was found."""

from dataclasses import replace

import numpy as np

from lineament.records.atlas import Atlas
from lineament.records.direction import SeenRange
from lineament.records.parts import Localization, MapShape, Part

NAMES = ("mouth", "brows", "nose")
STABILITY = (0.95, 0.3, 0.9)
LAYER_GROUPS = ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))
SHARES = (0.2, 0.5, 0.3)
"""How much of pose and light each group of layers answers to."""
PART_GROUPS = (1, 1, 2)


def with_parts(atlas: Atlas, side: int = 64) -> Atlas:
    """The atlas and three parts: bumps of albedo, of depth, and of both; the second does not come back."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    parts, maps = [], np.zeros((len(NAMES), 4, side, side), np.float32)
    for i, (name, stability) in enumerate(zip(NAMES, STABILITY, strict=True)):
        gradient = rng.standard_normal(atlas.w_dim)
        gradient /= np.sqrt(gradient @ atlas.w_cov @ gradient)
        maps[i] = np.exp(-((x / 0.2) ** 2 + ((y - (0.4, -0.4, 0.0)[i]) / 0.1) ** 2))
        maps[i] *= np.array([(0, 1, 1, 1), (1, 0, 0, 0), (1, 1, 0, -1)][i])[:, None, None]
        direction = replace(
            atlas.directions[0],
            name=name,
            unit="sd",
            gradient=gradient,
            step=atlas.w_cov @ gradient,
            calibration=(),
            mean=0.0,
            std=1.0,
            r2=0.2 + 0.1 * i,
            range_seen=SeenRange(-3.0, -2.0, 0.0, 2.0, 3.0),
            layers=LAYER_GROUPS[PART_GROUPS[i]],
        )
        parts.append(Part(direction, name, 0.3 - 0.1 * i, 4.0, stability, MapShape(i / 2, 0.0, 0.0, 0.1, 1.0, 0.0)))
    local = Localization(
        parts=tuple(parts),
        layer_groups=LAYER_GROUPS,
        scalar_gradients=np.array([share * atlas.gradients() for share in SHARES]),
        maps=maps,
        scalar_maps=np.zeros((len(atlas.directions), 4, side, side), np.float32),
        mean=np.stack([1 - 0.1 * np.exp(-(x**2) - y**2), *[0.2 * x + 0.1 * y] * 3]).astype(np.float32),
        mask=(x / 0.82) ** 2 + (y / 0.92) ** 2 <= 1,
        scales={"depth": 0.01, "albedo": 0.1},
        num_samples=99,
    )
    return replace(atlas, local=local)


def jacobian_of(local: Localization, w_dim: int) -> np.ndarray:
    """The Jacobian of smooth random maps, of the size of the parts' own."""
    rng = np.random.default_rng(5)
    h, w = local.mask.shape
    y, x = np.mgrid[:h, :w] / h
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-6, 6, (4 * w_dim, 3))]
    return np.stack(waves).reshape(w_dim, -1).T
