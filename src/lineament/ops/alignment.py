"""Crop a face found in a photograph so that it is placed like a generator's faces."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from lineament.errors import ConfigError

MAX_OUTSIDE = 0.3
"""Maximum share of a crop that lies outside of the photograph, where its border is repeated."""


@dataclass(frozen=True)
class FoundFace:
    """Where a face is.

    Convention:
        Points are (x, y), x right and y down; in pixels of a photograph, or in shares of a square crop's side.

    Attributes:
        centre: of the box around the face.
        width: of that box.
        eyes: the one on the image's left and the one on its right; None if they were not found.
    """

    centre: tuple[float, float]
    width: float
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None

    def scaled(self, factor: float, shift: float = 0.0) -> "FoundFace":
        """The same face after all coordinates are shifted and then multiplied."""

        def moved(point: tuple[float, float]) -> tuple[float, float]:
            return (point[0] + shift) * factor, (point[1] + shift) * factor

        eyes = None if self.eyes is None else (moved(self.eyes[0]), moved(self.eyes[1]))
        return FoundFace(moved(self.centre), self.width * factor, eyes)


def usual_face(faces: Sequence[FoundFace]) -> FoundFace:
    """Medians over faces; those of the eyes are over faces with eyes.

    Raises:
        ConfigError: no face has eyes.
    """
    with_eyes = [face.eyes for face in faces if face.eyes is not None]
    if not with_eyes:
        raise ConfigError(f"the eyes of {len(faces)} faces were not found, so there is nothing to align to")
    (left_x, left_y), (right_x, right_y) = np.median(np.array(with_eyes), axis=0).tolist()
    x, y, width = np.median(np.array([(*face.centre, face.width) for face in faces]), axis=0).tolist()
    return FoundFace((x, y), width, ((left_x, left_y), (right_x, right_y)))


def similarity_to(face: FoundFace, usual: FoundFace) -> Float[np.ndarray, "2 3"]:
    """Similarity transform (rotation, scale and shift) from the crop to the photograph.

    The eyes give the angle and the position. Eyes and box together give the size, because the eyes come closer when a
    head turns, and boxes jitter. Without eyes the face is taken to be upright.

    Args:
        face: in the photograph, in pixels.
        usual: where a generator's faces are, in shares of the crop's side; it needs eyes.

    Returns:
        A matrix that maps (x, y, 1), x and y in shares of the crop's side, to pixels of the photograph.
    """
    angle, scale = 0.0, face.width / usual.width
    source, target = usual.centre, face.centre
    if face.eyes is not None and usual.eyes is not None:
        (own_angle, own_length, source), (its_angle, its_length, target) = map(_between, (usual.eyes, face.eyes))
        angle, scale = its_angle - own_angle, math.sqrt(scale * its_length / own_length)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn, np.array(target) - turn @ np.array(source)])


def _between(eyes: tuple[tuple[float, float], tuple[float, float]]) -> tuple[float, float, tuple[float, float]]:
    """Angle and length of the line between two points, and its middle."""
    (x0, y0), (x1, y1) = eyes
    return math.atan2(y1 - y0, x1 - x0), math.hypot(x1 - x0, y1 - y0), ((x0 + x1) / 2, (y0 + y1) / 2)


def crop(
    photograph: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], resolution: int
) -> tuple[UInt8[np.ndarray, "r r 3"], float]:
    """A square crop of a photograph, antialiased; beyond its borders the nearest pixel is repeated.

    Args:
        photograph: the whole photograph.
        matrix: result of `similarity_to`.
        resolution: side of the crop.

    Returns:
        The crop, and the share of it that lies outside of the photograph.
    """
    height, width, _ = photograph.shape
    pixels = math.hypot(matrix[0, 0], matrix[1, 0]) / resolution
    # Samples per side of a crop pixel, later averaged; enough that no pixel of the photograph is missed.
    fine = max(math.ceil(pixels), 1)
    places = (torch.arange(resolution * fine, dtype=torch.float64) + 0.5) / (resolution * fine)
    y, x = torch.meshgrid(places, places, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.from_numpy(matrix).T
    # Coordinates of found faces refer to pixel edges, as boxes do: a photograph spans 0 to its width.
    grid = points / torch.tensor([width, height], dtype=torch.float64) * 2 - 1
    outside = float((grid.abs() > 1).any(dim=-1).double().mean())
    image = torch.tensor(photograph).permute(2, 0, 1)[None].double()
    sampled = F.grid_sample(image, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    means = F.avg_pool2d(sampled, fine)[0] if fine > 1 else sampled[0]
    return means.round().clamp(0, 255).byte().permute(1, 2, 0).numpy(), outside
