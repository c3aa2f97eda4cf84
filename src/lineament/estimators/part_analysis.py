"""Describe localized components: where they act, on depth or colour, and how alike components are.

Convention (all of this module):
    Maps are those of `lineament.records.parts`: four channels in comparable units, depth and albedo, in the canonical
    frame, so that the midline is the middle column. Positions (x, y) are in [-1, 1], -1 and 1 at the centres of the
    outermost pixels; x right, y down; "left" is the image's left. Gradients are covectors in w. The cosine of two
    gradients is the correlation g S h' / sqrt(g S g' h S h') of the values they measure, for w of covariance S.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform

from lineament.errors import ShapeError
from lineament.records.parts import MapShape

EXTENT_SHARE = 0.8
"""Share of its energy that lies within the extent of a map."""

MAX_EXTENT = 0.5
"""A map of larger extent acts on the whole face; one that changes all pixels equally has an extent of 0.8."""

MIN_DENSITY = 2.0
"""A zone gives its name to a map if its energy per pixel is at least this many times the mean over the mask."""

ONE_SIDED = 0.5
"""Minimum |sidedness| of a one-sided component; at 0.5, three quarters of its energy are on that side."""

SINGULAR = {"brows": "brow", "temples": "temple", "eyes": "eye", "cheeks": "cheek"}
"""Zones that occur twice in a face, with the name of one of the two."""


def shape_of(change: Float[np.ndarray, "4 h w"], mask: Bool[np.ndarray, "h w"]) -> MapShape:
    """Describe the map of a component.

    A decomposer with symmetric depth has even depth only; then only the albedo shows that a part is odd or one-sided.

    Args:
        change: depth and albedo in comparable units.
        mask: pixels that count.

    Raises:
        ShapeError: the map is zero everywhere within the mask, or NaN or infinite somewhere.
    """
    values = np.where(mask, change, 0.0).astype(np.float64)
    if not (np.isfinite(values).all() and values.any()):
        raise ShapeError(
            "the map of a component is zero everywhere within the mask, or NaN or infinite somewhere; "
            "expected finite changes, leave the component out"
        )
    energy = (values**2).sum(axis=0)
    total = float(energy.sum())
    x, y = positions(mask.shape)
    falling = np.sort(energy[mask])[::-1].cumsum()
    # Slightly less than the share, so that rounding of the sum does not decide whether one more pixel counts.
    within = int((falling < EXTENT_SHARE * total * (1 - 1e-9)).sum()) + 1
    return MapShape(
        depth_share=float((values[0] ** 2).sum()) / total,
        x=float((energy * x).sum()) / total,
        y=float((energy * y).sum()) / total,
        extent=within / int(mask.sum()),
        symmetry=float((values * values[..., ::-1]).sum()) / total,
        sidedness=_sidedness(energy),
    )


def zones(mean_depth: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> dict[str, Bool[np.ndarray, "h w"]]:
    """The mask cut into zones by a template of a face's proportions, placed on the mean shape.

    The zones are a prior on proportions; eyes are not detected in these faces. A zone is where an eye should be, give
    or take a tenth of the face. The template is the draughtsman's canon (from hairline to brows, to the base of the
    nose, to the chin are equal thirds; the face is five eyes wide), in units of the height of the eyes above the tip of
    the nose. The mean canonical depth gives the tip, which is the nearest pixel in the middle third of the square, and
    the unit, which is 0.64 of half the face's width (where the tip's row is nearer than halfway to its farthest pixel).
    The hollow at the root of the nose would give the unit, too, but hardly trained shapes lack it, and it was no better
    in others.

    Args:
        mean_depth: canonical depth, mean of many faces.
        mask: pixels that are used.

    Returns:
        Disjoint masks whose union is ``mask``: hair and border (outside of the face's oval), brows, temples,
        forehead, eyes, nose, mouth, chin and jaw (with what is below the chin), cheeks.

    Raises:
        ShapeError: the depth holds NaN or infinity.
    """
    tip, unit = _landmarks(mean_depth)
    x, y = positions(mask.shape)
    across, down = np.abs(x) / unit, (y - tip) / unit
    oval = (across / 2.0) ** 2.5 + np.abs((down + 0.65) / 2.55) ** 2.5
    claims = {
        "hair and border": (oval > 1) & ((down < 1.3) | (across > 1)),
        "brows": (down > -1.75) & (down < -1.2) & (across > 0.35) & (across < 1.4),
        "temples": (down > -1.75) & (down < -0.4) & (across >= 1.4),
        "forehead": down < -1.2,
        "eyes": (down < -0.7) & (across > 0.35) & (across < 1.4),
        "nose": (down < 0.4) & (across < 0.3 + 0.3 * (down + 1.2)),
        "mouth": (down >= 0.4) & (down < 1.3) & (across < 0.95),
        "chin and jaw": (down >= 1.3) | ((down >= 0.4) & (oval > 0.5)),
        "cheeks": np.ones_like(mask),
    }
    free, found = mask.copy(), {}
    for name, claim in claims.items():
        found[name] = claim & free
        free &= ~claim
    return found


def place_of(shape: MapShape, energy: Float[np.ndarray, "h w"], regions: Mapping[str, Bool[np.ndarray, "h w"]]) -> str:
    """Words for where a component acts, such as "brows, both sides", "left eye", "mouth" or "whole face".

    The zone with the most energy per pixel gives the name. A map larger than `MAX_EXTENT` acts on the "whole face". A
    smaller map in which no zone reaches `MIN_DENSITY` acts on "several parts".

    Args:
        shape: of its map, see `shape_of`.
        energy: of its map per pixel, the sum of squares over the channels.
        regions: see `zones`, whose docstring says how reliable these words are.
    """
    whole = np.logical_or.reduce(list(regions.values()))
    densities = {name: float(energy[zone].mean()) for name, zone in regions.items() if zone.any()}
    best = max(densities, key=lambda name: densities[name])
    if shape.extent > MAX_EXTENT:
        return "whole face"
    if densities[best] < MIN_DENSITY * energy[whole].mean():
        return "several parts"
    sidedness = _sidedness(np.where(regions[best], energy, 0.0))
    if abs(sidedness) < ONE_SIDED:
        return f"{best}, both sides" if best in SINGULAR else best
    side = "right" if sidedness > 0 else "left"
    return f"{side} {SINGULAR[best]}" if best in SINGULAR else f"{best}, {side} side"


def match(
    a: Float[np.ndarray, "k d"], b: Float[np.ndarray, "m d"], w_cov: Float[np.ndarray, "d d"] | None = None
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Pair components of two fits so that the sum of |cosine| is largest (Hungarian method).

    Args:
        a: rows of one fit: gradients in w, or maps.
        b: those of the other.
        w_cov: covariance of w, for gradients; plain cosines if not given.

    Returns:
        For every component of `a` its partner in `b` and their cosine, which is negative if the two are opposite; -1
        and 0 where `b` has too few.
    """
    between = _cosines(a, b, w_cov)
    rows, columns = linear_sum_assignment(-np.abs(between))
    order, cosines = np.full(len(a), -1), np.zeros(len(a))
    order[rows], cosines[rows] = columns, between[rows, columns]
    return order, cosines


def cosine_matrix(gradients: Float[np.ndarray, "k d"], w_cov: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "k k"]:
    """Cosines of all pairs of components; symmetric, 1 on the diagonal."""
    cosines = _cosines(gradients, gradients, w_cov)
    cosines = (cosines + cosines.T) / 2
    np.fill_diagonal(cosines, 1.0)
    return cosines


def cluster_order(cosines: Float[np.ndarray, "k k"]) -> Int[np.ndarray, " k"]:
    """An order that puts similar components side by side, for drawing their cosine matrix.

    Average linkage on 1 - |cosine|. Among the orders that the tree allows, it is the one with the most similar
    neighbours; it starts at the end with the smaller number.
    """
    k = len(cosines)
    if k < 2:
        return np.arange(k)
    far = 1 - np.abs(cosines)
    tree = linkage(squareform((far + far.T) / 2, checks=False).clip(0), "average", optimal_ordering=True)
    order = leaves_list(tree).astype(np.int64)
    return order if order[0] < order[-1] else order[::-1].copy()


def positions(shape: tuple[int, int]) -> tuple[Float[np.ndarray, "1 w"], Float[np.ndarray, "h 1"]]:
    """x of the columns and y of the rows of a map."""
    return np.linspace(-1, 1, shape[1])[None], np.linspace(-1, 1, shape[0])[:, None]


def _sidedness(energy: np.ndarray) -> float:
    x, _ = positions((1, energy.shape[1]))
    # The middle column of an odd width lies on neither side; linspace may miss 0 by rounding.
    side = np.sign(np.where(np.abs(x) < 1e-9, 0.0, x))
    return float((energy * side).sum() / energy.sum())


def _cosines(a: np.ndarray, b: np.ndarray, w_cov: np.ndarray | None) -> np.ndarray:
    """Cosines of the rows of two sets; 0 where one is zero or does not vary with w."""
    moved, other = (a, b) if w_cov is None else (a @ w_cov, b @ w_cov)
    size = np.sqrt(np.outer((moved * a).sum(axis=1), (other * b).sum(axis=1)).clip(0))
    return np.where(size > 0, moved @ b.T / np.where(size > 0, size, 1.0), 0.0).clip(-1, 1)


def _landmarks(mean_depth: np.ndarray) -> tuple[float, float]:
    """The height y of the tip of the nose, and the height of the eyes above it; see `zones`."""
    if not np.isfinite(mean_depth).all():
        raise ShapeError("the mean depth holds NaN or infinity, expected finite depths; decompose other images")
    h, w = mean_depth.shape
    depth = gaussian_filter(mean_depth.astype(np.float64), (h / 64, w / 64), mode="nearest")
    x, y = positions((h, w))
    row = int(np.where((np.abs(x) < 1 / 3) & (np.abs(y) < 1 / 3), depth, np.inf).argmin()) // w
    across = depth[row]
    half_width = float((across < (across.min() + across.max()) / 2).mean())
    return float(y[row, 0]), 0.64 * min(max(half_width, 0.5), 0.9)
