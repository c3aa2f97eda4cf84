"""The report's semantic field: which pixels respond to w like a chosen pixel, and whether distance explains it.

Convention:
    Everything uses the Jacobian without pose and light (`remove_span`), on a grid of at most `TEST_SIDE` pixels per
    side. Pixels between grid points are skipped, not averaged.
"""

import base64
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from lineament.errors import ConfigError
from lineament.estimators.part_analysis import positions, zones
from lineament.estimators.pixel_jacobian import KINDS, remove_span
from lineament.estimators.semantic_field import SpatialTest, semantic_fields, spatial_test
from lineament.records.parts import Localization
from lineament.reports.page import webp_uri
from lineament.reports.part_pictures import LESS, MORE, grey_face, signed_pictures

FIELD_SIDE = 22
"""Side of the grid of pixels that can be chosen in the page (every third of 64). The page holds the cosines of all
pairs, so a finer grid would make it too large."""
TEST_SIDE = 64
"""Side of the grid on which fields are drawn and tested; more pixels give the same result and need more memory."""
STATIC_PRESETS = ("nose tip", "eye", "mouth corner", "brow")
"""The fields that are shown if the page cannot run JavaScript."""


def thinned(size: int, side: int) -> Int[np.ndarray, " s"]:
    """At most ``side`` evenly spaced pixels of ``size``, symmetric about the middle, with both ends."""
    chosen = np.rint(np.linspace(0, size - 1, min(side, size))).astype(np.int64)
    half = len(chosen) // 2
    chosen[len(chosen) - half :] = size - 1 - chosen[:half][::-1]
    return chosen


def rows_at(
    J: Float[np.ndarray, "p d"], shape: tuple[int, int], rows: Int[np.ndarray, " a"], columns: Int[np.ndarray, " b"]
) -> Float[np.ndarray, "q d"]:
    """The rows of a pixel Jacobian for some rows and columns of the maps."""
    return J.reshape(4, *shape, J.shape[1])[:, rows[:, None], columns].reshape(-1, J.shape[1])


def preset_pixels(
    local: Localization,
    allowed: Bool[np.ndarray, "a b"],
    rows: Int[np.ndarray, " a"],
    columns: Int[np.ndarray, " b"],
) -> dict[str, tuple[int, int]]:
    """For each landmark the nearest of the ``allowed`` pixels of a thinned grid, as (row, column) of that grid.

    The landmarks come from the template of `zones`, in the image's left half; empty zones are left out.
    """
    x, y = np.broadcast_arrays(*positions(local.mask.shape))
    regions = zones(local.mean[0], local.mask)
    left = {name: zone & (x < 0) for name, zone in regions.items()}

    def middle(zone: np.ndarray) -> tuple[float, float] | None:
        return (float(x[zone].mean()), float(y[zone].mean())) if zone.any() else None

    nearest = np.where(regions["nose"], local.mean[0], np.inf)
    tip = np.unravel_index(int(nearest.argmin()), nearest.shape)
    corner = middle(left["mouth"])
    wanted = {
        "nose tip": (float(x[tip]), float(y[tip])) if regions["nose"].any() else None,
        "eye": middle(left["eyes"]),
        "brow": middle(left["brows"]),
        # At two thirds from the midline to the edge of the zone, because the zone leaves room for a smile.
        "mouth corner": corner and (corner[0] * 4 / 3, corner[1]),
        "cheek": middle(left["cheeks"]),
        "chin": middle(regions["chin and jaw"] & (np.abs(x) < 0.2)),
    }
    there = np.argwhere(allowed)
    places = np.stack([x[0, columns[there[:, 1]]], y[rows[there[:, 0]], 0]], axis=1)
    found = {}
    for name, place in wanted.items():
        if place is not None and len(there):
            row, column = there[np.linalg.norm(places - place, axis=1).argmin()]
            found[name] = (int(row), int(column))
    return found


def field_context(
    local: Localization,
    jacobian: Float[np.ndarray, "p d"],
    w_cov: Float[np.ndarray, "d d"],
    scalar_gradients: Float[np.ndarray, "m d"],
) -> dict[str, Any] | None:
    """Data of the semantic fields for the template; None if no pixel of the grid responds to w.

    Args:
        local: the parts; their mean face is the background.
        jacobian: Jacobian of the same pixels.
        w_cov: covariance of w.
        scalar_gradients: gradients of pose and light, which are removed.

    Returns:
        ``data`` for the page's program (see `encoded_cosines`), ``presets`` (name, number of the point), ``pictures``
        (name, kind, picture) for pages without JavaScript, ``face``, and ``tests`` (kind, result, reason if none).
    """
    shape = local.mask.shape
    rows, columns = (thinned(size, TEST_SIDE) for size in shape)
    J = remove_span(rows_at(jacobian, shape, rows, columns), scalar_gradients, w_cov)
    mask = local.mask[np.ix_(rows, columns)] & _moving(J, (len(rows), len(columns)))
    few = [thinned(size, FIELD_SIDE) for size in mask.shape]
    coarse = rows_at(J, mask.shape, *few)
    points = mask[np.ix_(*few)]
    if not points.any():
        return None
    cosines = {kind: _cosines(coarse, w_cov, points, kind) for kind in KINDS}
    chosen = preset_pixels(local, points, rows[few[0]], columns[few[1]])
    number = np.cumsum(points).reshape(points.shape) - 1
    face = grey_face(local.mean[1:])
    fine = {name: (int(few[0][row]), int(few[1][column])) for name, (row, column) in chosen.items()}
    static = [name for name in STATIC_PRESETS if name in fine]
    pictures = []
    for kind in KINDS:
        fields = semantic_fields(J, w_cov, mask, [fine[name] for name in static], kind)
        drawn = signed_pictures(np.nan_to_num(fields), face[np.ix_(rows, columns)])
        pictures += [(name, kind, webp_uri(picture)) for name, picture in zip(static, drawn, strict=True)]
    return {
        "data": {
            "side": list(points.shape),
            "points": np.flatnonzero(points).tolist(),
            "colours": {"more": list(MORE), "less": list(LESS)},
            "cosines": {kind: encoded_cosines(values) for kind, values in cosines.items()},
        },
        "presets": [(name, int(number[pixel])) for name, pixel in chosen.items()],
        "pictures": pictures,
        "face": webp_uri(signed_pictures(np.zeros((1, *shape)), face)[0]),
        "tests": [(kind, *_tested(J, w_cov, mask, kind)) for kind in KINDS],
    }


def encoded_cosines(cosines: Float[np.ndarray, "n n"]) -> str:
    """The entries right of the diagonal of a symmetric matrix, row by row, times 127 as signed bytes, in base64."""
    upper = cosines[np.triu_indices(len(cosines), 1)]
    return base64.b64encode(np.rint(upper * 127).astype(np.int8).tobytes()).decode()


def _cosines(J: np.ndarray, w_cov: np.ndarray, points: np.ndarray, kind: str) -> np.ndarray:
    pixels = [(int(row), int(column)) for row, column in np.argwhere(points)]
    return semantic_fields(J, w_cov, points, pixels, kind)[:, points]


def _moving(J: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose depth and albedo both respond to w."""
    answers = (J != 0).any(axis=1).reshape(4, *shape)
    return answers[0] & answers[1:].any(axis=0)


def _tested(J: np.ndarray, w_cov: np.ndarray, mask: np.ndarray, kind: str) -> tuple[SpatialTest | None, str]:
    """The test, or why there is none."""
    try:
        return spatial_test(J, w_cov, mask, kind), ""
    except ConfigError as error:
        return None, str(error)
