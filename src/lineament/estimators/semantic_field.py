"""Semantic fields: which pixels of the face respond to w like a chosen pixel, and whether distance explains it.

Convention (all of this module):
    J is a pixel Jacobian (`lineament.estimators.pixel_jacobian`), normally without pose and light (`remove_span`):
    otherwise all pixels are alike, because turning the head changes them all. The local direction of a pixel is its row
    of the depth, or its three rows of the albedo as one vector. Cosines are taken in the metric of S, the covariance of
    w, so that they compare the changes that w causes. Pixels are (row, column); positions and distances on the face are
    those of `lineament.estimators.part_analysis.positions`, where the square is 2 wide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.part_analysis import positions
from lineament.estimators.pixel_jacobian import BLOCK_VALUES, KINDS, kind_slices, row_blocks
from lineament.ops.seeding import philox

MIN_MIRROR_DISTANCE = 0.4
"""Minimum distance of mirror pairs: each pixel is at least a tenth of the width off the axis."""

MAX_AXIS_OFFSET = 0.3
"""Maximum distance between the middle of the square and the other axes, with which the midline is compared."""

DISTANCE_BINS = 24
"""Intervals of distance in which the similarity of pairs is averaged."""

MIN_COUNT = 20
"""Minimum number of pixels, of mirror pairs and of permutations for a test."""

NULL_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class SpatialTest:
    """Whether the similarity |cosine| of pixels' directions depends on their positions; see `spatial_test`.

    Attributes:
        kind: of the map, depth or albedo.
        num_pixels: sampled pixels; the distance test uses all their pairs.
        num_pairs: mirror pairs among the sampled pixels and their mirror images.
        distance_correlation: Spearman's, of similarity and distance on the face; negative if near pixels are alike.
        distance_null: `NULL_QUANTILES` of the correlation for permuted pixels.
        distance_p: share of permutations with a correlation at least as negative.
        mirror_similarity: mean similarity of left-right mirror pairs.
        equal_distance_similarity: mean similarity of all pairs at the distances of the mirror pairs.
        mirror_null: `NULL_QUANTILES` of the excess for other axes.
        mirror_p: share of other axes with at least as large an excess.
    """

    kind: str
    num_pixels: int
    num_pairs: int
    distance_correlation: float
    distance_null: tuple[float, float, float]
    distance_p: float
    mirror_similarity: float
    equal_distance_similarity: float
    mirror_null: tuple[float, float, float]
    mirror_p: float

    @property
    def mirror_excess(self) -> float:
        """Excess of the similarity of mirror pairs over that of pairs at the same distance."""
        return self.mirror_similarity - self.equal_distance_similarity


def semantic_fields(
    J: Float[np.ndarray, "p d"],
    w_cov: Float[np.ndarray, "d d"],
    mask: Bool[np.ndarray, "h w"],
    pixels: Sequence[tuple[int, int]],
    kind: str,
) -> Float[np.ndarray, "n h w"]:
    """Cosine of the local direction of each chosen pixel with that of every other pixel, in one pass over J.

    Args:
        J: Jacobian, the depth's rows first.
        w_cov: covariance of w.
        mask: pixels that are shown.
        pixels: chosen ones, within the mask.
        kind: "depth" or "albedo".

    Returns:
        In [-1, 1]; NaN off the mask, 0 for pixels that do not move with w.

    Raises:
        ConfigError: another kind, or a chosen pixel that is off the mask or does not move with w.
        ShapeError: J and the mask do not fit.
    """
    rows = _rows_of(J, mask, kind)
    for pixel in pixels:
        inside = all(0 <= i < size for i, size in zip(pixel, mask.shape, strict=True))
        if not inside or not mask[pixel]:
            raise ConfigError(f"pixel {pixel} is not in the mask of {mask.shape}; choose a (row, column) within it")
    sizes = _sizes(rows, mask, w_cov)
    chosen = np.array([row * mask.shape[1] + column for row, column in pixels], dtype=np.int64)
    if not (sizes[chosen] > 0).all():
        still = pixels[int(sizes[chosen].argmin())]
        raise ConfigError(f"the {kind} of pixel {still} does not move with w; choose another one")
    own = _directions(rows, chosen, w_cov, sizes)
    inner = np.flatnonzero(mask)
    fields = np.full((len(chosen), mask.size), np.nan)
    for block in row_blocks(len(inner), max(BLOCK_VALUES // J.shape[1], 1)):
        fields[:, inner[block]] = _cosines(own, rows, inner[block], sizes)
    return fields.reshape(-1, *mask.shape)


def spatial_test(
    J: Float[np.ndarray, "p d"],
    w_cov: Float[np.ndarray, "d d"],
    mask: Bool[np.ndarray, "h w"],
    kind: str,
    *,
    num_pixels: int = 400,
    permutations: int = 999,
    seed: int = 0,
) -> SpatialTest:
    """Test whether pixels that are near each other, or mirror images, have similar directions.

    - Distance: the rank correlation of |cosine| and distance over all pairs of sampled pixels, against permutations of
      the pixels (Mantel).
    - Mirror images: the excess of |cosine| of mirror pairs over the mean of all pairs at the same distance, against
      the excess for other axes of reflection. These have any angle, pass through the middle of the square or near it,
      and have at least half as many pairs on the mask. The alternative, to permute partners at the same distance one by
      one, would count neighbouring pairs as independent although they are nearly equal. In smooth random fields without
      symmetry it found mirror images (p <= 0.05) in 8 to 20 % of them, the smoother the more; the test with other axes
      found them in 0 to 7 %.

    A p value is (1 + number at least as extreme) / (1 + number compared).

    Limits: neighbours are alike partly because the output of a convolution is smooth, and so is the noise in an
    estimated Jacobian. Similarity along bands across the face counts as mirror symmetry, as pairs at one height are
    then more alike than others. A decomposer with symmetric depth (``symmetric_depth`` of `DecomposerConfig`) makes
    mirror images in the depth alike by construction; then only the albedo is evidence.

    Args:
        J: Jacobian, the depth's rows first.
        w_cov: covariance of w.
        mask: pixels that are used.
        kind: "depth" or "albedo".
        num_pixels: sampled pixels, of those in the mask that move with w; all of them if there are fewer.
        permutations: of the pixels; and number of other axes that are drawn.
        seed: of the sample, the permutations and the axes.

    Raises:
        ConfigError: another kind, or too few pixels, permutations or mirror pairs.
        ShapeError: as `semantic_fields`.

    Source:
        Mantel, "The detection of disease clustering and a generalized regression approach", Cancer Research 1967. The
        tested claim is that of Zheng et al., CVPR 2021; the test of mirror images is ours.
    """
    rows = _rows_of(J, mask, kind)
    sizes = _sizes(rows, mask, w_cov)
    moving = np.flatnonzero(sizes > 0)
    if min(len(moving), num_pixels, permutations) < MIN_COUNT:
        raise ConfigError(
            f"{len(moving)} pixels move with w, num_pixels is {num_pixels} and permutations is {permutations}; "
            f"expected at least {MIN_COUNT} each, take more"
        )
    sample = np.sort(philox(seed, 0, 0).choice(moving, min(num_pixels, len(moving)), replace=False))
    own = _directions(rows, sample, w_cov, sizes)
    alike = np.abs(_cosines(own, rows, sample, sizes))
    x, y = np.broadcast_arrays(*positions(mask.shape))
    places = np.stack([x.ravel(), y.ravel()], axis=1)[sample]
    apart = np.linalg.norm(places[:, None] - places, axis=2).round(9)  # so that ties are exact
    correlation, null = _mantel(alike, apart, philox(seed, 0, 1), permutations)

    usual = _mean_by_distance(alike, apart)

    def mirrored(angle: float, offset: float) -> tuple[int, float, float]:
        """Pairs that an axis reflects into each other: number, mean similarity, and that of all at their distance."""
        which, partners, distances = _reflected(places, mask.shape, angle, offset)
        moves = sizes[partners] > 0
        if not moves.any():
            return 0, 0.0, 0.0
        which, partners, distances = which[moves], partners[moves], distances[moves]
        cosines = np.einsum("cnd,cnd->n", own[:, which], rows[:, partners]) / sizes[partners]
        return len(which), float(np.abs(cosines).mean()), float(usual(distances).mean())

    num_pairs, similarity, at_distance = mirrored(0.0, 0.0)
    rng = philox(seed, 0, 2)
    axes = zip(rng.uniform(0, np.pi, permutations), rng.uniform(-1, 1, permutations) * MAX_AXIS_OFFSET, strict=True)
    others = [found for found in (mirrored(*axis) for axis in axes) if found[0] >= max(num_pairs / 2, 1)]
    if min(num_pairs, len(others)) < MIN_COUNT:
        raise ConfigError(
            f"the mask leaves {num_pairs} mirror pairs, and {len(others)} other axes with half as many; "
            f"expected at least {MIN_COUNT} each, take a mask on both sides of the midline or more pixels"
        )
    excess = np.array([mean - expected for _, mean, expected in others])
    return SpatialTest(
        kind=kind,
        num_pixels=len(sample),
        num_pairs=num_pairs,
        distance_correlation=correlation,
        distance_null=_quantiles(null),
        distance_p=_p_value(null <= correlation),
        mirror_similarity=similarity,
        equal_distance_similarity=at_distance,
        mirror_null=_quantiles(excess),
        mirror_p=_p_value(excess >= similarity - at_distance),
    )


def _reflected(
    places: np.ndarray, shape: tuple[int, ...], angle: float, offset: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror images across the axis whose normal has this angle and that passes the middle at distance ``offset``.

    Returns:
        Indices of the places whose mirror image is on the map and far enough away; the nearest pixel of the image; and
        their distance.
    """
    normal = np.array([np.cos(angle), np.sin(angle)])
    ahead = places @ normal - offset
    image = places - 2 * ahead[:, None] * normal
    on = (np.abs(image) <= 1 + 1e-9).all(axis=1) & (2 * np.abs(ahead) > MIN_MIRROR_DISTANCE - 1e-9)
    column, row = np.rint((image[on] + 1) / 2 * (np.array(shape[::-1]) - 1)).astype(np.int64).T
    return np.flatnonzero(on), row * shape[1] + column, 2 * np.abs(ahead[on])


def _rows_of(J: np.ndarray, mask: np.ndarray, kind: str) -> Float[np.ndarray, "c q d"]:
    """The rows of one kind, by channel and pixel; a view."""
    if kind not in KINDS:
        raise ConfigError(f"kind of map is {kind!r}, expected {' or '.join(KINDS)}; choose one of them")
    if len(J) != 4 * mask.size:
        raise ShapeError(
            f"J has {len(J)} rows, expected 4 for each of the {mask.size} pixels of the mask; pass both whole"
        )
    return J[kind_slices(len(J))[kind]].reshape(-1, mask.size, J.shape[1])


def _sizes(rows: np.ndarray, mask: np.ndarray, w_cov: np.ndarray) -> Float[np.ndarray, " q"]:
    """Standard deviation of each pixel's change by w, sqrt(r S r'); 0 off the mask. Computed in double precision.

    The noise in a Jacobian is largest where w hardly varies, and it cancels in r S r' only if the product is exact.
    """
    inner, sizes = np.flatnonzero(mask), np.zeros(mask.size)
    with np.errstate(invalid="ignore"):
        for block in row_blocks(len(inner), max(BLOCK_VALUES // rows.shape[2], 1)):
            part = rows[:, inner[block]].astype(np.float64)
            sizes[inner[block]] = np.sqrt(np.einsum("cnd,cnd->n", part @ w_cov, part).clip(0))
    if not np.isfinite(sizes).all():
        pixel = np.unravel_index(int(np.argmin(np.isfinite(sizes))), mask.shape)
        raise ShapeError(f"J holds NaN or infinity at pixel {tuple(map(int, pixel))}; expected finite numbers, mask it")
    return sizes


def _directions(rows: np.ndarray, pixels: np.ndarray, w_cov: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """r S / sqrt(r S r') of some pixels, "c n d": the factor of another pixel's row in the cosine."""
    return rows[:, pixels].astype(np.float64) @ w_cov / sizes[pixels, None]


def _cosines(own: np.ndarray, rows: np.ndarray, pixels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cosines of all `_directions` with all of these pixels; 0 for pixels that do not move."""
    size = sizes[pixels]
    products = sum(mine @ row[pixels].T for mine, row in zip(own, rows, strict=True))
    return np.where(size > 0, products / np.where(size > 0, size, 1.0), 0.0).clip(-1, 1)


def _mantel(
    alike: np.ndarray, apart: np.ndarray, rng: np.random.Generator, permutations: int
) -> tuple[float, np.ndarray]:
    """Rank correlation of two symmetric matrices without diagonals; and with the first one's pixels permuted."""
    upper = np.triu_indices(len(alike), 1)
    ranked = []
    for values in (alike, apart):
        ranks = rankdata(values[upper])
        ranks -= ranks.mean()
        square = np.zeros_like(values)
        square[upper] = ranks / max(np.sqrt(2 * ranks @ ranks), np.finfo(np.float64).tiny)
        ranked.append(square + square.T)
    first, second = ranked
    orders = (rng.permutation(len(first)) for _ in range(permutations))
    null = np.array([np.vdot(first[np.ix_(order, order)], second) for order in orders])
    return float(np.vdot(first, second)), null


def _mean_by_distance(alike: np.ndarray, apart: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The mean similarity of all pairs as a function of their distance."""
    upper = np.triu_indices(len(alike), 1)
    values, far = alike[upper], apart[upper]
    which = (far * (DISTANCE_BINS / (far.max() * (1 + 1e-9)))).astype(np.int64)
    counts = np.bincount(which)
    filled = counts > 0
    middle, mean = (np.bincount(which, weights)[filled] / counts[filled] for weights in (far, values))
    return lambda distances: np.interp(distances, middle, mean)


def _quantiles(null: np.ndarray) -> tuple[float, float, float]:
    low, median, high = (float(value) for value in np.quantile(null, NULL_QUANTILES))
    return low, median, high


def _p_value(as_extreme: np.ndarray) -> float:
    return float((1 + as_extreme.sum()) / (1 + len(as_extreme)))
