"""Directions that a method found in one generator, in the common form for comparing and exchanging methods."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.records.direction import require_finite


@dataclass(frozen=True, eq=False)
class FoundDirections:
    """Directions of one method for one generator, as a common form for comparison, import and export.

    Convention:
        ``ws + amount * steps[i]`` is the edit, whatever the method. A method with units has a step of one unit; any
        other has its published step for an amount of one.

    Attributes:
        method: such as "ours", "GANSpace (w)", "SeFa", "InterFaceGAN", "supervised", "random".
        names: of the attributes if the method has them, else "component 0" and so on; unique.
        steps: the move by one unit of each direction, for each of the generator's layers: the same row in every layer
            for a direction of W, zeros in the layers that a direction does not move.
        units: of the amount, such as "degrees"; "" for directions without a unit.
        labels_used: number of image labels given to the method.
        samples_used: number of latents that it used.
        seconds: time to find the directions, including their samples and labels.
        generator_fingerprint: SHA-256 of the weights of the generator; "" if not known, as in files of other tools.
        provenance: anything else worth keeping; JSON values.
    """

    method: str
    names: tuple[str, ...]
    steps: Float[np.ndarray, "k l d"]
    units: tuple[str, ...]
    labels_used: int
    samples_used: int
    seconds: float
    generator_fingerprint: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps.ndim != 3 or not self.steps.size:
            raise ShapeError(
                f"{self.method}: steps have shape {self.steps.shape}, expected (directions, layers, width)"
            )
        if len(self.names) != len(self.steps) or len(self.units) != len(self.steps):
            raise ShapeError(
                f"{self.method}: {len(self.names)} names and {len(self.units)} units for {len(self.steps)} steps, "
                "expected one of each per direction"
            )
        if repeated := sorted(name for name, count in Counter(self.names).items() if count > 1):
            raise ConfigError(f"{self.method}: directions {repeated} occur twice; give each its own name")
        require_finite(self.method, self.steps)
        still = [name for name, step in zip(self.names, self.steps, strict=True) if not step.any()]
        if still:
            raise ConfigError(f"{self.method}: {still} do not move w at all; leave them out")

    @property
    def num_layers(self) -> int:
        """Layers of the generator that take a w each."""
        return self.steps.shape[1]

    @property
    def w_dim(self) -> int:
        """Width of w."""
        return self.steps.shape[2]
