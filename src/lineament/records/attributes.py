"""What a judge reads of a truth table: its columns under the package's names, and sums of columns that have a name.

What shapes a face is not read from the table but measured (`lineament.records.proportions`).
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

SUMS: Mapping[str, Sequence[str]] = {"lip_colour": ("lip_red", "lipstick")}
"""Attributes that are sums of columns of the table, in its units."""

SINGLE_MORPHS = ("w_", "e_")
"""Columns that begin so are not read: of 110 single morphs of shape and expression five can be read at 64 pixels, and
the others are noise in a training. What they do together is measured instead (`lineament.records.proportions`)."""

LOCAL = (
    *("smile", "mouth_", "lip_", "nose_", "eye_", "brow_", "jaw_", "chin_", "beard", "moustache"),
    *("stubble", "sideburn", "bangs", "hair_", "hairline", "recede", "peak", "lipstick", "makeup", "under_eye", "iris"),
    "pupil",
)
"""Beginnings of the names of attributes of a part of the face; the others are of all of it."""

NOT_IDENTITY = (
    *("yaw", "pitch", "roll", "ambient", "diffuse", "light_", "gaze", "scale", "smile", "mouth_opening", "eye_opening"),
    *("mouth_width", "brow_height", "hair", "recede", "peak", "bangs", "sideburn", "stubble", "beard", "moustache"),
    *("lip", "makeup"),
)
"""Beginnings of the names of attributes that are not of the person: pose, light, expression, hair and make-up."""


def is_local(name: str) -> bool:
    """Whether an attribute is one of a part of the face."""
    return name.startswith(LOCAL)


def attribute_table(
    names: Sequence[str], values: Float[np.ndarray, "n k"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "n m"]]:
    """A table of truth with the package's names, and with all `SUMS` whose columns it has.

    Columns of `LEFT_OUT` and `SINGLE_MORPHS`, and those that are the same on every face, are dropped.
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
