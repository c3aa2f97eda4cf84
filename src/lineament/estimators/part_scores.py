"""Read the parts of the face off canonical maps: how many standard deviations of each does a face show?"""

import numpy as np
from jaxtyping import Float

from lineament.errors import ShapeError
from lineament.records.parts import Localization

MAX_CONDITION = 1e4
"""Maximum condition of the parts' maps: combinations of parts that the maps separate less well are read as zero."""


class PartReader:
    """Scores of the parts: least squares of a face's deviation from the mean face on the maps of all parts.

    The maps of the scalar semantics are fitted too. An imperfect decomposer changes its maps when a face is turned or
    relit, and this change must not be taken for a part.

    Args:
        local: the parts and their maps.
    """

    def __init__(self, local: Localization) -> None:
        self.local = local
        inside = local.mask.ravel()
        maps = np.concatenate([local.maps, local.scalar_maps]).reshape(-1, 4, inside.size)[:, :, inside]
        design = maps.reshape(len(maps), -1).T.astype(np.float64)
        size = np.linalg.norm(design, axis=0)
        scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
        self._inside = inside
        self._decoder = ((np.linalg.pinv(design * scale, rcond=1 / MAX_CONDITION).T * scale).T)[: len(local.parts)]
        self._mean = local.mean.reshape(4, -1)[:, inside]

    def gradients(self, J: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "k d"]:
        """Gradients of the scores with respect to w, for maps with this Jacobian."""
        rows = J.reshape(4, self._inside.size, -1)[:, self._inside] / self.local.units[:, None, None]
        return self._decoder @ rows.reshape(-1, J.shape[1])

    def read(self, maps: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n k"]:
        """Scores of faces, 0 for the mean face, in standard deviations.

        Args:
            maps: canonical depth and then albedo, each flattened, in their own units.

        Raises:
            ShapeError: maps of another resolution.
        """
        if maps.shape[1] != 4 * self._inside.size:
            raise ShapeError(
                f"maps of {maps.shape[1]} values, expected {4 * self._inside.size}; use the atlas's own decomposer"
            )
        seen = maps.reshape(len(maps), 4, -1)[:, :, self._inside].astype(np.float64)
        deviation = (seen - self._mean) / self.local.units[:, None]
        return deviation.reshape(len(maps), -1) @ self._decoder.T
