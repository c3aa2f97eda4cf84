"""What a judge reads: the columns of a truth table under the package's names, and sums of columns that have a name.

A renderer's own parameters are finer than an image of 64 pixels shows: twenty of them shape the nose. Sums of those
that act alike can be read where none of them can alone. They were fixed before any direction was measured.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

RENAMED = {"dx": "light_x", "dy": "light_y", "melanin": "skin"}
"""Columns of a truth table that the rest of this package calls otherwise."""

LEFT_OUT = ("noise_", "cloth_", "bg", "a_asym", "hair_phase", "tx", "ty", "tz", "crop_y", "spec", "l2", "shadow")
"""Columns that begin so are not read: the background, what has a side, and shifts, which a training adds itself."""

MIRRORED = ("yaw", "roll", "light_x", "gaze_x")
"""Attributes whose sign a mirror image turns."""


def _sum(*names: str, less: Sequence[str] = ()) -> dict[str, float]:
    return dict.fromkeys(names, 1.0) | dict.fromkeys(less, -1.0)


SUMS: Mapping[str, Mapping[str, float]] = {
    "smile": _sum("e_mouth-corner-puller", "w_mouth-angles-up", less=("e_mouth-depression",)),
    "mouth_opening": _sum("e_mouth-open", "e_mouth-part"),
    "mouth_width": _sum(
        "w_mouth-scale-horiz",
        "w_mouth-lowerlip-width",
        "w_mouth-upperlip-width",
        "e_mouth-retraction",
        less=("e_mouth-pursing",),
    ),
    "mouth_height": _sum("w_mouth-trans-up"),
    "lip_fullness": _sum(
        "w_mouth-scale-vert",
        "w_mouth-upperlip-height",
        "w_mouth-lowerlip-height",
        "w_mouth-upperlip-volume",
        "w_mouth-lowerlip-volume",
    ),
    "lip_colour": _sum("lip_red", "lipstick"),
    "nose_width": _sum(
        "w_nose-scale-horiz",
        "w_nose-width1",
        "w_nose-width2",
        "w_nose-width3",
        "w_nose-nostrils-width",
        "w_nose-flaring",
        "w_nose-point-width",
        "w_nose-volume",
    ),
    "nose_length": _sum("w_nose-scale-vert", less=("w_nose-base-up", "w_nose-point-up", "w_nose-trans-up")),
    "nose_forward": _sum("w_nose-scale-depth", "w_nose-trans-forward"),
    "eyes_closed": _sum("e_eye-closure", "e_eye-slit", less=("e_eye-opened-up",)),
    "eye_size": _sum("w_eye-scale", "w_eye-height1", "w_eye-height2", "w_eye-height3"),
    "eye_distance": _sum("w_eye-trans-out", "w_eye-push1-out", "w_eye-push2-out"),
    "brow_height": _sum(
        "w_eyebrows-trans-up", "e_brow-up", "e_brow-inner-up", "e_brow-extern-up", less=("e_brow-down",)
    ),
    "cheek_volume": _sum("w_cheek-volume", "w_cheek-inner"),
    "jaw_width": _sum("w_chin-width", "w_chin-bones", less=("w_chin-triangle",)),
    "chin_length": _sum("w_chin-height"),
    "head_width": _sum("w_head-scale-horiz", "w_head-fat", "w_head-round", "w_weight"),
    "head_length": _sum("w_head-scale-vert", "w_forehead-scale-vert"),
}
"""Attributes that are sums of columns of the table, in its units."""

SINGLE_MORPHS = ("w_", "e_")
"""Columns that begin so are read in `SUMS` alone: of 110 single morphs of shape and expression five can be read at 64
pixels, and the others are noise in a training."""

LOCAL = (
    *("smile", "mouth_", "lip_", "nose_", "eye_", "eyes_", "brow_", "cheek_", "jaw_", "chin_", "beard", "moustache"),
    *("stubble", "sideburn", "bangs", "hair_", "hairline", "recede", "peak", "lipstick", "makeup", "under_eye", "iris"),
    "pupil",
)
"""Beginnings of the names of attributes of a part of the face; the others are of all of it."""

NOT_IDENTITY = (
    *("yaw", "pitch", "roll", "ambient", "diffuse", "light_", "gaze", "scale", "smile", "mouth_opening", "eyes_closed"),
    *("brow_height", "hair", "recede", "peak", "bangs", "sideburn", "stubble", "beard", "moustache", "lip", "makeup"),
)
"""Beginnings of the names of attributes that are not of the person: pose, light, expression, hair and make-up."""


def is_local(name: str) -> bool:
    """Whether an attribute is one of a part of the face."""
    return name.startswith(LOCAL)


def attribute_table(
    names: Sequence[str], values: Float[np.ndarray, "n k"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "n m"]]:
    """A truth table with the package's names, and with all `SUMS` whose columns it has.

    Columns of `LEFT_OUT` and `SINGLE_MORPHS`, and those that are the same on every face, are dropped.
    """
    columns = {str(name): values[:, i] for i, name in enumerate(names)}
    for name, parts in SUMS.items():
        if all(part in columns for part in parts):
            columns[name] = sum(weight * columns[part] for part, weight in parts.items()) + np.zeros(len(values))
    kept = {
        RENAMED.get(name, name): column
        for name, column in columns.items()
        if not name.startswith((*LEFT_OUT, *SINGLE_MORPHS)) and np.ptp(column) > 1e-6
    }
    return tuple(kept), np.array(list(kept.values())).T.reshape(len(values), len(kept))
