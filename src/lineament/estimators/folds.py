"""Samples in folds: every fold has its own moments, so that a result can be tested on samples that were not used."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.estimators.pixel_jacobian import PixelJacobian

NUM_FOLDS = 4
"""Number of disjoint folds of the samples; any two of them make a half on which the parts are found again."""


def add_to_folds(
    folds: Sequence[PixelJacobian], first: int, w: Float[np.ndarray, "n d"], maps: Float[np.ndarray, "n p"]
) -> None:
    """Distribute samples, numbered from ``first``, over the folds by their number alone, whatever the batches."""
    for i, fold in enumerate(folds):
        chosen = slice((i - first) % len(folds), None, len(folds))
        fold.partial_fit(w[chosen], maps[chosen])


def merged(folds: Sequence[PixelJacobian]) -> PixelJacobian:
    """The solved Jacobian of all samples of some folds, which are not changed."""
    whole = PixelJacobian(folds[0].max_bytes, folds[0].scratch)
    for fold in folds:
        whole.merge(fold)
    return whole.solve()


def summed(jacobian: PixelJacobian, num_groups: int) -> Float[np.ndarray, "p d"]:
    """The Jacobian for one w shared by all layers, from the Jacobian for one w per group of layers."""
    p = len(jacobian.coef_)
    return jacobian.coef_.reshape(p, num_groups, -1).sum(axis=1)
