"""Localized semantics from a pixel Jacobian: units made equal, pose and light removed, latents whitened.

Convention (all of this module):
    The generator's layers are cut into groups, each with its own w, and the Jacobian has d columns for each group.
    Summed over the groups it is the Jacobian of one w for all layers. A component moves the w of one group only. For
    such V the objective of `lineament.estimators.sparse_factors` splits into one objective per group, so each group is
    factorised by itself.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import eigh

from lineament.errors import DataError, ShapeError
from lineament.estimators._sparse_solver import gram
from lineament.estimators.pixel_jacobian import PixelJacobian, kind_scales, kind_slices, remove_span
from lineament.estimators.sparse_factors import SparseFactors

MIN_VARIANCE = 1e-7
"""Directions of w with a smaller share of the largest variance count as absent. `LinearSemantics` allows smaller ones,
but here gradients are divided by the standard deviation, which would amplify rounding errors."""

MIN_REST = 1e-8
"""Minimum share of the Jacobian's energy left after removing pose and light; below it the rest is rounding."""

MIN_SPREAD = 0.1
"""Minimum standard deviation, relative to that of the kind, for evening out pixels: smaller changes are rounding."""

SUPPORT = 0.3
"""A component acts where its sparse map exceeds this share of its largest value."""

RIDGE = 0.1
"""Ridge on the energy outside the part, as a share of that of a random direction, against directions that hardly change
anything."""

_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class LocalComponents:
    """Components that act on parts of the face but not on pose or light; strongest first.

    Attributes:
        maps: change by one standard deviation of each component, in the maps' own units, "p k"; 0 outside of the mask.
        gradients: of the components with respect to the w of their group, "k d", in standard deviations: each has
            variance 1.
        groups: the group of layers that each moves, " k".
        explained: share of the Jacobian's energy, without pose and light, that lies along each, " k". Directions may
            be similar, so the shares need not add up.
        contrasts: mean change of the pixels where a component acts, divided by that of the other pixels, " k".
        scales: divisor that makes each kind of map comparable.
        units: divisor of each value of the maps, which makes them comparable and even, " p".
    """

    maps: Float[np.ndarray, "p k"]
    gradients: Float[np.ndarray, "k d"]
    groups: Int[np.ndarray, " k"]
    explained: Float[np.ndarray, " k"]
    contrasts: Float[np.ndarray, " k"]
    scales: dict[str, float]
    units: Float[np.ndarray, " p"]

    def __len__(self) -> int:
        return len(self.gradients)


def find_components(
    jacobian: PixelJacobian,
    w_cov: Float[np.ndarray, "d d"],
    scalar_gradients: Float[np.ndarray, "b m d"],
    mask: Bool[np.ndarray, " p"],
    factors: SparseFactors,
    *,
    evenness: float = 0.0,
    count: int | None = None,
    max_alike: float = 1.0,
) -> LocalComponents:
    """Factorise a solved Jacobian into localized components.

    The Jacobian is divided by `kind_scales`, the scalar semantics are removed (`remove_span`), and it is multiplied by
    Sigma^(1/2), the symmetric root of the covariance of w. Then a step of length one along a column of V is one
    standard deviation, whatever the shape of W, and directions that hardly occur do not count. Last, each direction is
    concentrated on the pixels of its sparse map (`concentrated`).

    Components are ordered by their strength: the contrast times the norm of their maps, in comparable units.

    Args:
        jacobian: after `PixelJacobian.solve`; its columns are those of the groups, one group after the other.
        w_cov: covariance of the w of a group, the same for all.
        scalar_gradients: of pose and light with respect to the w of each group; may have no rows.
        mask: pixels that are used.
        factors: how to factorise each group; fitted in place.
        evenness: each pixel is further divided by its own standard deviation, relative to its kind's, to this power. 1
            makes all pixels vary equally; at 0 the pixels that vary most (hairlines, jaws) decide the parts.
        count: keep only this many of the strongest; all if not given.
        max_alike: leave out components whose map has a larger |cosine| with the map of a stronger one.

    Raises:
        ShapeError: the mask or the gradients do not fit the Jacobian.
        DataError: nothing varies beside the scalar semantics, or as `kind_scales`.
        ConfigError: as `SparseFactors.fit`.

    Source:
        Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021; the units, the
        whitening, the groups of layers, the removal of pose and light and the concentration are ours.
    """
    (p, columns), (num_groups, _, d) = jacobian.coef_.shape, scalar_gradients.shape
    if mask.shape != (p,) or w_cov.shape != (d, d) or columns != num_groups * d:
        raise ShapeError(
            f"mask {mask.shape}, covariance {w_cov.shape} and gradients {scalar_gradients.shape} do not fit a Jacobian "
            f"of {p} x {columns}; take all of them from the same networks"
        )
    scales = kind_scales(jacobian.y_std_, mask)
    unit = comparable_units(jacobian.y_std_, scales, evenness)
    inner = np.flatnonzero(mask)
    root, inverse_root = _roots(w_cov)
    directions, maps, groups, contrasts = [], [], [], []
    energy = rest = 0.0
    for group, gradients in enumerate(scalar_gradients):
        rows = jacobian.coef_[inner, group * d : (group + 1) * d] / unit[inner, None].astype(np.float32)
        before = _energy(rows, w_cov)
        if len(gradients):
            rows = remove_span(rows, gradients, w_cov)
        after = _energy(rows, w_cov)
        energy, rest = energy + before, rest + after
        if after <= MIN_REST * before:
            continue
        rows = rows @ root.astype(rows.dtype)
        factors.fit(rows)
        V, contrast = concentrated(rows, factors.U_, factors.V_)
        maps.append(rows @ V.astype(rows.dtype))
        directions.append(V.T)
        contrasts.append(contrast)
        groups.append(np.full(len(contrast), group))
    if rest <= MIN_REST * energy:
        raise DataError(
            f"pose and light use up all {d} dimensions of w, so that no part is left; take a generator with a wider w"
        )
    changes, found = np.concatenate(maps, axis=1), np.concatenate(directions)
    sizes, contrast = np.linalg.norm(changes, axis=0), np.concatenate(contrasts)
    order = _distinct(changes / sizes, np.argsort(-contrast * sizes, kind="stable"), count, max_alike)
    whole = np.zeros((p, len(order)), dtype=np.float32)
    whole[inner] = changes[:, order] * unit[inner, None]
    gradients = found[order] @ inverse_root
    return LocalComponents(
        maps=whole,
        gradients=gradients / np.sqrt(np.einsum("kd,de,ke->k", gradients, w_cov, gradients))[:, None],
        groups=np.concatenate(groups)[order],
        explained=sizes[order].astype(np.float64) ** 2 / rest,
        contrasts=contrast[order],
        scales=scales,
        units=unit,
    )


def comparable_units(
    y_std: Float[np.ndarray, " p"], scales: dict[str, float], evenness: float
) -> Float[np.ndarray, " p"]:
    """Divisor of every pixel; see `find_components`."""
    unit = np.ones(len(y_std))
    for kind, part in kind_slices(len(y_std)).items():
        unit[part] = scales[kind] * np.maximum(y_std[part] / scales[kind], MIN_SPREAD) ** evenness
    return unit


def concentrated(
    rows: Float[np.ndarray, "q d"], U: Float[np.ndarray, "q k"], V: Float[np.ndarray, "d k"]
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, " k"]]:
    """For every component the direction with the largest change where it acts, relative to the change elsewhere.

    A factorisation finds where a part is, but its direction also has to explain changes that no other direction
    explains. Let S be the pixels where the component acts by column k of U (`SUPPORT`). This maximises the ratio of the
    mean energy of a step's changes in S to that in the other pixels (a generalised Rayleigh quotient). S is found, not
    drawn by a user.

    Args:
        rows: of the Jacobian in whitened coordinates, the channels of all pixels one after the other.
        U: sparse maps of the same rows.
        V: unit directions.

    Returns:
        Unit directions, each with the sign that makes its largest change positive; if a map acts everywhere, its
        direction changes at most its sign. And the mean change of the pixels in S of each, divided by that of the
        others; 1 if there are no others.

    Source:
        Ours. With S drawn by the user: Zhu et al., "Region-Based Semantic Factorization in GANs", ICML 2022.
    """
    pixels = len(rows) // _CHANNELS
    by_pixel = rows.reshape(_CHANNELS, pixels, -1)
    whole = gram(rows)
    directions, contrasts = V.copy(), np.ones(V.shape[1])
    for k in range(V.shape[1]):
        size = np.sqrt(np.square(U[:, k].reshape(_CHANNELS, pixels), dtype=np.float64).sum(axis=0))
        acts = size > SUPPORT * size.max()
        inside, outside = int(acts.sum()), pixels - int(acts.sum())
        if inside and outside:
            within = gram(np.ascontiguousarray(by_pixel[:, acts]).reshape(-1, rows.shape[1]))
            beside = (whole - within) / outside
            level = RIDGE * whole.trace() / (pixels * len(whole))
            if level > 0:
                last = len(whole) - 1
                _, vector = eigh(within / inside, beside + level * np.eye(len(whole)), subset_by_index=[last, last])
                directions[:, k] = vector[:, 0] / np.linalg.norm(vector)
        change = rows @ directions[:, k].astype(rows.dtype)
        if change[np.abs(change).argmax()] < 0:
            directions[:, k] *= -1
        if inside and outside:
            moved = np.linalg.norm(change.reshape(_CHANNELS, pixels), axis=0)
            contrasts[k] = moved[acts].mean() / max(moved[~acts].mean(), np.finfo(np.float32).tiny)
    return directions, contrasts


def _distinct(
    unit_maps: Float[np.ndarray, "q k"], order: Int[np.ndarray, " k"], count: int | None, max_alike: float
) -> Int[np.ndarray, " c"]:
    """The first ``count`` of an order, without those that are too similar to an earlier one."""
    kept: list[int] = []
    for k in order.tolist():
        if len(kept) == (count or len(order)):
            break
        if max_alike >= 1 or not kept or np.abs(unit_maps[:, k] @ unit_maps[:, kept]).max() <= max_alike:
            kept.append(k)
    return np.array(kept)


def _energy(rows: np.ndarray, cov: np.ndarray) -> float:
    """Energy of the changes that gradients predict for w of this covariance, without a whitened copy of them."""
    return float(np.vdot(gram(rows), cov))


def _roots(cov: Float[np.ndarray, "d d"]) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """The symmetric root of a covariance and its pseudo-inverse."""
    variances, axes = np.linalg.eigh(cov)
    present = variances > MIN_VARIANCE * variances.max()
    std = np.sqrt(np.where(present, variances, 0.0))
    inverse = np.where(present, 1 / np.where(present, std, 1.0), 0.0)
    return (axes * std) @ axes.T, (axes * inverse) @ axes.T
