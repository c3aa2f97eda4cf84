"""Parts of the face: what a localized component changes, where, by which direction of w, and how reliably.

Convention:
    A map has four channels: the canonical depth, then three of the albedo. Positions are in the canonical image, from
    -1 to 1, right and down positive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import ConfigError, ShapeError
from lineament.records.direction import Direction, require_finite, with_more_layers

MIN_STABILITY = 0.8
"""Minimum |cosine| between a part's map and the one found again in half of the samples; below it the part counts as
unstable. At 0.8 the two maps share 64 % of the energy."""


@dataclass(frozen=True)
class MapShape:
    """Where a map acts; energies are squares in comparable units of depth and albedo.

    Attributes:
        depth_share: share of the energy that is depth.
        x, y: centre of the energy.
        extent: the smallest share of the mask's area that holds 80 % of the energy.
        symmetry: 1 if the map is its own mirror image, -1 if mirroring turns its sign, 0 if it lies on one side.
        sidedness: energy on the image's right half minus that on the left, as a share of all.
    """

    depth_share: float
    x: float
    y: float
    extent: float
    symmetry: float
    sidedness: float


@dataclass(frozen=True, eq=False)
class Part:
    """One localized component.

    Attributes:
        direction: in the w of its ``layers``. Its unit is one standard deviation of the score that
            `lineament.estimators.part_scores` reads off images, at most `lineament.directions.parts.MAX_UNIT`; its
            ``r2`` and ``range_seen`` are of that score.
        place: in words, such as "mouth"; taken from a template of a face's proportions, not recognised in the images.
        explained: share of the Jacobian's energy that lies along its direction; parts may share energy.
        contrast: mean change of the pixels where it acts, divided by that of the face's other pixels; linear model.
        stability: median |cosine| of its map with the matching one found in half of the samples, over all halvings.
        shape: of its map.
    """

    direction: Direction
    place: str
    explained: float
    contrast: float
    stability: float
    shape: MapShape

    @property
    def name(self) -> str:
        """The name on the command line."""
        return self.direction.name

    @property
    def stable(self) -> bool:
        """Whether it is found again in half of the samples."""
        return self.stability >= MIN_STABILITY


@dataclass(frozen=True, eq=False)
class Localization:
    """All parts found in one generator, with the data to draw them and to read them off images.

    Attributes:
        parts: strongest first, see `lineament.estimators.local_components.find_components`.
        layer_groups: the generator's layers, cut into runs; every part moves the w of one run.
        scalar_gradients: of each scalar semantic, in the order of the atlas, with respect to the w of each group.
        maps: change of the maps by one unit of each part, in units of `scales`; 0 outside of the mask.
        scalar_maps: change by one unit of each scalar semantic, in the order of the atlas and in units of `scales`.
        mean: canonical depth and albedo of the mean face, in their own units.
        mask: pixels of the face that were used.
        scales: typical standard deviation of a pixel's depth and of its albedo, the units of the maps.
        num_samples: images used for the Jacobian.
    """

    parts: tuple[Part, ...]
    layer_groups: tuple[tuple[int, ...], ...]
    scalar_gradients: Float[np.ndarray, "b m d"]
    maps: Float[np.ndarray, "k 4 h w"]
    scalar_maps: Float[np.ndarray, "m 4 h w"]
    mean: Float[np.ndarray, "4 h w"]
    mask: Bool[np.ndarray, "h w"]
    scales: dict[str, float]
    num_samples: int

    def __post_init__(self) -> None:
        size = self.mask.shape
        for name, array, shape in (
            ("maps", self.maps, (len(self.parts), 4, *size)),
            ("scalar_maps", self.scalar_maps, (len(self.scalar_maps), 4, *size)),
            ("mean", self.mean, (4, *size)),
        ):
            if len(size) != 2 or array.shape != shape:
                raise ShapeError(f"{name} of the parts has shape {array.shape}, expected {shape}")
            require_finite(f"{name} of the parts", array)
        groups, gradients = self.layer_groups, self.scalar_gradients
        if not groups or gradients.shape[:2] != (len(groups), len(self.scalar_maps)) or gradients.ndim != 3:
            raise ShapeError(
                f"gradients of the semantics have shape {gradients.shape}, expected one for each of {len(groups)} "
                f"groups of layers and {len(self.scalar_maps)} semantics"
            )
        require_finite("gradients of the semantics", gradients)
        strange = [part.name for part in self.parts if part.direction.layers not in (*groups, None)]
        if strange:
            raise ConfigError(f"{strange[0]} moves layers that are no group of {groups}; discover the parts again")
        if set(self.scales) != {"depth", "albedo"} or not all(0 < value < np.inf for value in self.scales.values()):
            raise ConfigError(f"scales are {self.scales}, expected positive ones of depth and albedo")
        if not self.mask.any():
            raise ShapeError("the mask of the parts is empty, expected the face's pixels")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, in order."""
        return tuple(part.name for part in self.parts)

    @property
    def units(self) -> Float[np.ndarray, " 4"]:
        """Factor that turns each channel of a map into its own unit."""
        return channel_units(self.scales)

    @property
    def gradients(self) -> Float[np.ndarray, "k d"]:
        """Gradients of the parts with respect to w."""
        return np.array([part.direction.gradient for part in self.parts])

    def with_more_layers(self, before: int, count: int) -> "Localization":
        """See `Direction.with_more_layers`."""
        grown = [replace(part, direction=part.direction.with_more_layers(before, count)) for part in self.parts]
        groups = tuple(with_more_layers(group, before, count) or group for group in self.layer_groups)
        return replace(self, parts=tuple(grown), layer_groups=groups)


def channel_units(scales: Mapping[str, float]) -> Float[np.ndarray, " 4"]:
    """The scales of depth and albedo, one for each of the four channels of a map."""
    return np.array([scales["depth"], *[scales["albedo"]] * 3])
