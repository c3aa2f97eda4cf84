"""Rotations that make scores sparse, for the sparse factorisation to start from."""

import numpy as np
from jaxtyping import Float

NUM_ANGLES = 8  # angles tried per quarter turn; the factorisation refines the best one


def varimax(X: Float[np.ndarray, "k p"], max_iter: int = 20) -> Float[np.ndarray, "k k"]:
    """Rotation R for which the rows of RX are peaked: varimax, by the SVD iteration of Kaiser's criterion."""
    rotation, last = np.eye(len(X)), 0.0
    for _ in range(max_iter):
        Y = rotation.astype(X.dtype) @ X
        cubes = Y * Y
        cubes -= cubes.mean(axis=1, keepdims=True)
        cubes *= Y
        left, values, right = np.linalg.svd((cubes @ X.T).astype(np.float64))
        rotation = left @ right
        if values.sum() <= last * (1 + 1e-4):
            break
        last = float(values.sum())
    return rotation


def least_absolute_rotation(X: Float[np.ndarray, "k p"], max_sweeps: int = 5) -> Float[np.ndarray, "k k"]:
    """Rotation R, a product of plane rotations, for which the sum of |RX| is small.

    Varimax weighs peaks by their fourth power and leaves overlapping components mixed in pairs. The alternation never
    separates them; a search over angles does. Pairs that did not move in a sweep are not tried again.
    """
    X, rotation = X.copy(), np.eye(len(X))
    angles = np.arange(NUM_ANGLES) * (np.pi / 2 / NUM_ANGLES)
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    turns = np.concatenate([turns, turns[:, ::-1] * [-1, 1]])  # first axes of all angles, then second axes
    small = turns.astype(X.dtype)
    moved = np.ones(len(X), dtype=bool)
    for _ in range(max_sweeps):
        moving = np.zeros_like(moved)
        for i in range(len(X) - 1):
            for j in range(i + 1, len(X)):
                if not (moved[i] or moved[j] or moving[i] or moving[j]):
                    continue
                tried = small @ X[[i, j]]
                sums = np.abs(tried, out=tried).sum(axis=1).reshape(2, -1).sum(axis=0)
                best = int(sums.argmin())
                if sums[best] < sums[0] * (1 - 1e-4):
                    plane = turns[[best, best + NUM_ANGLES]]
                    X[[i, j]] = plane.astype(X.dtype) @ X[[i, j]]
                    rotation[[i, j]] = plane @ rotation[[i, j]]
                    moving[[i, j]] = True
        moved = moving
        if not moved.any():
            break
    return rotation
