"""Samples in folds: every fold has moments of its own, so that what is found can be tested on what was not used."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.estimators.pixel_jacobian import PixelJacobian

NUM_FOLDS = 4
"""Disjoint parts of the samples; any two of them are the half on which the parts are found again."""


def add_to_folds(
    folds: Sequence[PixelJacobian], first: int, w: Float[np.ndarray, "n d"], maps: Float[np.ndarray, "n p"]
) -> None:
    """Share samples numbered from ``first`` among the folds; which gets which does not depend on the batches."""
    for i, fold in enumerate(folds):
        chosen = slice((i - first) % len(folds), None, len(folds))
        fold.partial_fit(w[chosen], maps[chosen])


def merged(folds: Sequence[PixelJacobian]) -> PixelJacobian:
    """The solved Jacobian of all samples of some folds, which stay as they are."""
    whole = PixelJacobian(folds[0].max_bytes, folds[0].scratch)
    for fold in folds:
        whole.merge(fold)
    return whole.solve()


def summed(jacobian: PixelJacobian, num_groups: int) -> Float[np.ndarray, "p d"]:
    """The Jacobian for one w of all layers, from that for the w of every group of them."""
    p = len(jacobian.coef_)
    return jacobian.coef_.reshape(p, num_groups, -1).sum(axis=1)
