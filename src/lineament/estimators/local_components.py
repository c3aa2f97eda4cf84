"""Localized semantics out of a pixel Jacobian: units made equal, pose and light taken out, latents whitened."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import DataError, ShapeError
from lineament.estimators._sparse_solver import gram
from lineament.estimators.pixel_jacobian import PixelJacobian, kind_scales, kind_slices, remove_span
from lineament.estimators.sparse_factors import SparseFactors, unshrunk_codes

MIN_VARIANCE = 1e-7
"""Directions of w with a smaller share of the largest variance count as absent: `LinearSemantics` looks closer, but
dividing by their deviation would make gradients of rounding errors."""

MIN_REST = 1e-8
"""Less of the Jacobian's energy beside pose and light is rounding."""

MIN_SPREAD = 0.1
"""Pixels that vary less than this share of their kind are not evened out further: what they show is rounding."""


@dataclass(frozen=True, eq=False)
class LocalComponents:
    """What acts on parts of the face and on neither pose nor light.

    Attributes:
        maps: what one standard deviation of each component changes where the factorisation says that it acts, in the
            maps' own units and without the shrinkage of the penalty, "p k"; 0 elsewhere.
        gradients: of the components with respect to w, "k d", in standard deviations: each has variance 1.
        explained: share of the Jacobian's energy that each explains, see `SparseFactors`, " k".
        scales: what each kind of map was divided by to be comparable.
    """

    maps: Float[np.ndarray, "p k"]
    gradients: Float[np.ndarray, "k d"]
    explained: Float[np.ndarray, " k"]
    scales: dict[str, float]


def find_components(
    jacobian: PixelJacobian,
    scalar_gradients: Float[np.ndarray, "m d"],
    mask: Bool[np.ndarray, " p"],
    factors: SparseFactors,
    evenness: float = 0.0,
) -> LocalComponents:
    """Factorise a solved Jacobian into localized components.

    The Jacobian is divided by `kind_scales`, freed of the scalar semantics (`remove_span`) and multiplied by
    Sigma^(1/2), the symmetric root of the covariance of w: then a column of V is a direction in which a step of length
    one is a standard deviation, whatever the shape of W, and directions that hardly occur do not count.

    Args:
        jacobian: after `PixelJacobian.solve`.
        scalar_gradients: of pose and light, one row each; may have none.
        mask: pixels that are looked at.
        factors: how to factorise; fitted in place.
        evenness: each pixel is further divided by its own standard deviation, relative to its kind's, to this power: 1
            makes all pixels vary alike, 0 leaves those that vary most (hairlines, jaws) to say what the parts are.

    Raises:
        ShapeError: the mask or the gradients do not fit the Jacobian.
        DataError: nothing varies beside the scalar semantics, or as `kind_scales`.
        ConfigError: as `SparseFactors.fit`.

    Source:
        Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021; the units, the
        whitening and the removal of pose and light are ours.
    """
    p, d = jacobian.coef_.shape
    if mask.shape != (p,) or scalar_gradients.shape[1:] != (d,):
        raise ShapeError(
            f"mask {mask.shape} and gradients {scalar_gradients.shape} do not fit a Jacobian of {p} x {d}; "
            "take all three from the same networks"
        )
    scales = kind_scales(jacobian.y_std_, mask)
    unit = np.ones(p, dtype=np.float32)
    for kind, part in kind_slices(p).items():
        relative = np.maximum(jacobian.y_std_[part] / scales[kind], MIN_SPREAD)
        unit[part] = scales[kind] * relative**evenness
    inner = np.flatnonzero(mask)
    rows = jacobian.coef_[inner] / unit[inner, None]
    root, inverse_root = _roots(jacobian.w_cov_)
    energy = _energy(rows, jacobian.w_cov_)
    if len(scalar_gradients):
        rows = remove_span(rows, scalar_gradients, jacobian.w_cov_)
    if _energy(rows, jacobian.w_cov_) <= MIN_REST * energy:
        raise DataError(
            f"pose and light use up all {d} dimensions of w, so that no part is left; take a generator with a wider w"
        )
    rows = rows @ root.astype(rows.dtype)
    factors.fit(rows)
    maps = np.zeros((p, factors.n_components_), dtype=np.float32)
    maps[inner] = unshrunk_codes(rows, factors.U_, factors.V_) * unit[inner, None]
    return LocalComponents(maps, factors.V_.T @ inverse_root, factors.explained_variance_ratio_, scales)


def _energy(rows: np.ndarray, cov: np.ndarray) -> float:
    """Of the changes that gradients predict for w of this covariance; without a whitened copy of them."""
    return float(np.vdot(gram(rows), cov))


def _roots(cov: Float[np.ndarray, "d d"]) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """The symmetric root of a covariance and its pseudo-inverse."""
    variances, axes = np.linalg.eigh(cov)
    present = variances > MIN_VARIANCE * variances.max()
    std = np.sqrt(np.where(present, variances, 0.0))
    inverse = np.where(present, 1 / np.where(present, std, 1.0), 0.0)
    return (axes * std) @ axes.T, (axes * inverse) @ axes.T
