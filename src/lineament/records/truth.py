"""Faces with known depth, against which a decomposer is measured."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

NULL_ROW, MEAN_ROW, TRUTH_ROW = "null depth", "mean depth", "truth in our representation"


@dataclass(frozen=True, eq=False)
class FaceTruth:
    """Images of faces, the depth they show and, where the source knows them, view, light and canonical maps.

    Convention:
        Frames, signs and units as in `lineament.records.decomposition`, but images are bytes and albedo is in [0, 1],
        black at 0. Outside of the masks depth and albedo are undefined.

    Attributes:
        images: RGB.
        depth: of the surface as seen in the image.
        mask: where the image shows the head's surface.
        view: (pitch, yaw, roll) in radians and (tx, ty, tz) in world units.
        light: (ambient, diffuse, dx, dy).
        canon_depth: of the face seen from the front.
        canon_mask: where the frontal view shows the face.
        canon_albedo: of the face seen from the front.
        face: where the image shows the face proper, without hair, ears, neck and cloth.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    depth: Float[np.ndarray, "n h w"]
    mask: Bool[np.ndarray, "n h w"]
    view: Float[np.ndarray, "n 6"] | None = None
    light: Float[np.ndarray, "n 4"] | None = None
    canon_depth: Float[np.ndarray, "n h w"] | None = None
    canon_mask: Bool[np.ndarray, "n h w"] | None = None
    canon_albedo: Float[np.ndarray, "n h w 3"] | None = None
    face: Bool[np.ndarray, "n h w"] | None = None

    def __len__(self) -> int:
        return len(self.images)
