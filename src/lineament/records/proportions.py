"""Proportions of a face seen from the front, measured on its 3D truth.

A renderer's own parameters are finer than an image shows: twenty of them shape the nose, and an image does not show
which of them made it wide. The width itself can be measured. The unit of all lengths is the distance between the
centres of the eyeballs.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.records.camera import Camera

LANDMARKS = (
    *("chin", "nose_tip", "upper_lip", "lower_lip", "mouth_l", "mouth_r"),
    *("eye_inner_l", "eye_outer_l", "eye_inner_r", "eye_outer_r", "eyeball_l", "eyeball_r"),
)
"""Required points. For the lips they are the middles of the outer edges, for mouth and eyes the corners."""

LABELS = ("skin", "lips", "brows", "eye_white", "iris", "pupil", "ears", "mouth_inside", "nose")
"""Required labels."""

PROPORTIONS = {
    "smile": "height of the corners of the mouth above the middle of the lips",
    "mouth_opening": "from the upper edge of the upper lip to the lower edge of the lower lip",
    "mouth_width": "from corner to corner",
    "mouth_height": "height of the upper lip, from the eyes: the higher, the less negative",
    "lip_fullness": "area of the lips over the width of the mouth",
    "nose_width": "just above the tip, where its depth has fallen off by seven tenths",
    "nose_length": "from the height of the eyes to the tip",
    "nose_forward": "depth of the tip before the inner corners of the eyes",
    "eye_width": "from corner to corner",
    "eye_distance": "between the inner corners",
    "eye_opening": "area of what is seen of both eyes",
    "brow_height": "of the middle of the brows above the eyes; NaN where hair hides them",
    "chin_length": "from the lower lip to the chin",
    "jaw_width": "of skin, lips and mouth, in the middle half of the height between lower lip and chin",
    "face_width": "of skin, nose, lips, ears and the white of the eyes, from the eyes down to the tip of the nose",
}
"""The measures of `proportions`, with their definitions."""

_NOSE_ABOVE_TIP, _NOSE_SIDE, _NOSE_LEVEL = 0.05, 0.6, 0.7
_NUM_SAMPLES = 121


def proportions(
    landmarks: Float[np.ndarray, "p 3"],
    names: Sequence[str],
    label: Float[np.ndarray, "h w"],
    labels: Sequence[str],
    depth: Float[np.ndarray, "h w"],
) -> dict[str, float]:
    """All `PROPORTIONS` of one face.

    Args:
        landmarks: x and y in pixels, and depth, of points of the face seen from the front.
        names: of the landmarks; `LANDMARKS` must be among them.
        label: index into ``labels`` of the surface seen at each pixel.
        labels: their names; `LABELS` must be among them.
        depth: of the surface.
    """
    x, y, z = ({name: float(landmarks[names.index(name), axis]) for name in LANDMARKS} for axis in range(3))
    unit = abs(x["eyeball_l"] - x["eyeball_r"])
    eyes, corners = (y["eyeball_l"] + y["eyeball_r"]) / 2, (y["mouth_l"] + y["mouth_r"]) / 2
    pixels_per_depth = Camera().focal_px(len(depth))
    seen = {name: label == labels.index(name) for name in LABELS}
    mouth_width = abs(x["mouth_l"] - x["mouth_r"])
    rows, brows = np.arange(len(label)), seen["brows"].sum(axis=1)
    face = seen["skin"] | seen["lips"] | seen["mouth_inside"]
    head = seen["skin"] | seen["lips"] | seen["nose"] | seen["eye_white"] | seen["ears"]
    chin_height = y["chin"] - y["lower_lip"]
    jaw = (y["lower_lip"] + chin_height / 4, y["lower_lip"] + chin_height * 3 / 4)
    in_pixels = {
        "smile": (y["upper_lip"] + y["lower_lip"]) / 2 - corners,
        "mouth_opening": y["lower_lip"] - y["upper_lip"],
        "mouth_width": mouth_width,
        "mouth_height": eyes - y["upper_lip"],
        "lip_fullness": seen["lips"].sum() / mouth_width,
        "nose_width": nose_width(depth, x["nose_tip"], y["nose_tip"] - _NOSE_ABOVE_TIP * unit, unit),
        "nose_length": y["nose_tip"] - eyes,
        "nose_forward": ((z["eye_inner_l"] + z["eye_inner_r"]) / 2 - z["nose_tip"]) * pixels_per_depth,
        "eye_width": (abs(x["eye_outer_l"] - x["eye_inner_l"]) + abs(x["eye_outer_r"] - x["eye_inner_r"])) / 2,
        "eye_distance": abs(x["eye_inner_l"] - x["eye_inner_r"]),
        "eye_opening": (seen["eye_white"] | seen["iris"] | seen["pupil"]).sum() / unit,
        "brow_height": eyes - float(rows @ brows) / brows.sum() if brows.any() else np.nan,
        "chin_length": chin_height,
        "jaw_width": _mean_width(face, *jaw),
        "face_width": _mean_width(head, eyes, y["nose_tip"]),
    }
    return {name: float(in_pixels[name] / unit) for name in PROPORTIONS}


def nose_width(depth: Float[np.ndarray, "h w"], x: float, y: float, unit: float) -> float:
    """Width in pixels of the nose around column ``x`` on row ``y``, at seven tenths of the depth from tip to cheeks.

    The depth of the cheeks is taken half a ``unit`` to either side, as the mean over a fifteenth of a unit.
    """
    size = len(depth)
    columns = x + np.linspace(-_NOSE_SIDE, _NOSE_SIDE, _NUM_SAMPLES) * unit
    top = int(np.clip(np.floor(y), 0, size - 2))
    share = float(np.clip(y - top, 0, 1))
    profile = np.interp(columns, np.arange(size), depth[top] * (1 - share) + depth[top + 1] * share)
    tip, cheeks = profile.min(), np.concatenate([profile[5:12], profile[-12:-5]]).mean()
    return float((profile < tip + _NOSE_LEVEL * (cheeks - tip)).mean() * 2 * _NOSE_SIDE * unit)


def _mean_width(mask: np.ndarray, top: float, bottom: float) -> float:
    """Mean number of mask pixels per row between two heights; the rows at both ends count by their share."""
    rows = np.arange(len(mask))
    shares = np.clip(np.minimum(rows + 0.5, bottom) - np.maximum(rows - 0.5, top), 0, 1)
    return float(shares @ mask.sum(axis=1) / max(shares.sum(), 1e-6))
