"""Steady steps: they may differ from layer to layer and change the rest of the face as little as possible.

Many steps in w turn a face: all that satisfy the gradient of yaw. The most probable of them also changes whatever the
generator's turned faces have in common. A steady step is the one, among all steps of the layers, that changes depth and
albedo least, as neither depends on pose or light. The decomposer measures both, so no label is needed.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import ShapeError
from lineament.estimators.pixel_jacobian import BLOCK_VALUES, PixelJacobian, kind_scales, kind_slices, row_blocks
from lineament.estimators.steps import mahalanobis_step


def mean_square_change(jacobian: PixelJacobian, mask: Bool[np.ndarray, " p"]) -> Float[np.ndarray, "k k"]:
    """M such that s' M s is the change of the maps by a step s: the mean squares of depth and of albedo, added.

    Args:
        jacobian: solved, of canonical depth and albedo, for the w of all groups of layers side by side.
        mask: outputs that count.

    Returns:
        Symmetric, positive semidefinite; in squared standard deviations of the maps over faces (`kind_scales`).

    Raises:
        ShapeError: the mask is for other maps.
        DataError: depth or albedo is the same on every face.
    """
    p, k = jacobian.coef_.shape
    if mask.shape != (p,):
        raise ShapeError(f"a mask of shape {mask.shape} for {p} outputs, expected one value for each")
    scales = kind_scales(jacobian.y_std_, mask)
    total = np.zeros((k, k))
    for kind, part in kind_slices(p).items():
        chosen = np.flatnonzero(mask[part]) + part.start
        for block in row_blocks(len(chosen), max(BLOCK_VALUES // k, 1)):
            rows = jacobian.coef_[chosen[block]].astype(np.float64) / scales[kind]
            total += rows.T @ rows / len(chosen)
    return total


def steady_steps(
    gradients: Float[np.ndarray, "m k"],
    cov: Float[np.ndarray, "k k"],
    change: Float[np.ndarray, "k k"],
    weight: float,
    *,
    names: Sequence[str] | None = None,
) -> Float[np.ndarray, "m k"]:
    """For each semantic the step that raises it by one, holds the others and changes the maps least.

    Minimises s' S^-1 s + weight s' M s under A s = e_i: the most probable step under (S^-1 + weight M)^-1.

    Args:
        gradients: A, one row for each semantic.
        cov: S, of the w of all groups of layers; may be singular.
        change: M of `mean_square_change`.
        weight: of a root mean square change of the maps by one standard deviation, relative to a step of one standard
            deviation of w. 0 gives the most probable step.
        names: of the semantics, for messages.

    Raises:
        ConfigError: a semantic does not vary, or cannot be told from the others.
    """
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    metric = root @ np.linalg.solve(np.eye(len(cov)) + weight * root.T @ change @ root, root.T)
    metric = (metric + metric.T) / 2
    return np.stack([mahalanobis_step(gradients, metric, one, names=names) for one in np.eye(len(gradients))])
