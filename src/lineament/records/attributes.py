"""The attributes that a judge learns from a truth table: columns under the package's names, and sums of columns.

The shape of a face is not read from the table but measured (`lineament.records.proportions`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

RENAMED = {"dx": "light_x", "dy": "light_y", "melanin": "skin"}
"""Columns of a truth table that have another name in this package."""

LEFT_OUT = ("noise_", "cloth_", "bg", "a_asym", "hair_phase", "tx", "ty", "tz", "crop_y", "spec", "l2", "shadow")
"""Prefixes of columns that are not read: background, asymmetric attributes, and shifts, which training adds itself."""

MIRRORED = ("yaw", "roll", "light_x", "gaze_x")
"""Attributes that change sign in a mirror image."""

SUMS: Mapping[str, Sequence[str]] = {"lip_colour": ("lip_red", "lipstick")}
"""Attributes that are sums of columns of the table, in its units."""

SINGLE_MORPHS = ("w_", "e_")
"""Prefixes of columns that are not read: single morphs of shape and expression. Only 5 of the 110 can be read at 64
pixels; the others are noise in training. Their joint effect is measured instead (`lineament.records.proportions`)."""

LOCAL = (
    *("smile", "mouth_", "lip_", "nose_", "eye_", "brow_", "jaw_", "chin_", "beard", "moustache"),
    *("stubble", "sideburn", "bangs", "hair_", "hairline", "recede", "peak", "lipstick", "makeup", "under_eye", "iris"),
    "pupil",
)
"""Name prefixes of attributes of a part of the face; all others concern the whole face."""

NOT_IDENTITY = (
    *("yaw", "pitch", "roll", "ambient", "diffuse", "light_", "gaze", "scale", "smile", "mouth_opening", "eye_opening"),
    *("mouth_width", "brow_height", "hair", "recede", "peak", "bangs", "sideburn", "stubble", "beard", "moustache"),
    *("lip", "makeup"),
)
"""Name prefixes of attributes that do not belong to the person: pose, light, expression, hair and make-up."""


def is_local(name: str) -> bool:
    """Whether an attribute belongs to a part of the face."""
    return name.startswith(LOCAL)


def attribute_table(
    names: Sequence[str], values: Float[np.ndarray, "n k"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "n m"]]:
    """A truth table under the package's names, with all `SUMS` whose columns it has.

    Columns of `LEFT_OUT` and `SINGLE_MORPHS`, and constant columns, are dropped.
    """
    columns = {str(name): values[:, i] for i, name in enumerate(names)}
    for name, parts in SUMS.items():
        if all(part in columns for part in parts):
            columns[name] = np.sum([columns[part] for part in parts], axis=0)
    kept = {
        RENAMED.get(name, name): column
        for name, column in columns.items()
        if not name.startswith((*LEFT_OUT, *SINGLE_MORPHS)) and np.ptp(column) > 1e-6
    }
    return tuple(kept), np.array(list(kept.values())).T.reshape(len(values), len(kept))
