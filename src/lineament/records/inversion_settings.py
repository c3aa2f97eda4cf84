"""How photographs are inverted."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds, check_numbers

Align: TypeAlias = Literal["none", "detect", "auto"]
"""Whether faces are looked for in photographs, or the crops are aligned already."""


@dataclass(frozen=True)
class LikenessConfig:
    """Weights of the terms by which two images are compared."""

    pixels: Advanced[float] = 1.0
    """Weight of the mean absolute difference of the pixels, black at -1 and white at 1."""
    structure: Advanced[float] = 1.0
    """Weight of 1 - SSIM."""
    perceptual: Advanced[float] = 0.1
    """Weight of the mean square difference of perceptual features, if there are any."""

    def __post_init__(self) -> None:
        check_numbers(self, group="likeness.")
        check_bounds(self, "pixels", "structure", "perceptual", least=0)


@dataclass(frozen=True)
class InversionSettings:
    """How photographs are inverted. The defaults were chosen on photographs, for likeness and for edits."""

    steps: int = 100
    """Number of optimisation steps, twice as many without an encoder. 0 takes the encoder's result."""
    learning_rate: Advanced[float] = 0.1
    """Learning rate of Adam, in standard deviations of w."""
    distance_weight: Advanced[float] = 0.02
    """Penalty on the distance of the common w from the generator's mean w, in standard deviations squared."""
    offset_weight: Advanced[float] = 0.3
    """Penalty on the distance of the layers' w from the common one, in standard deviations squared. Larger values give
    better edits, smaller ones a better likeness to the photograph."""
    coarse_factor: Advanced[float] = 10.0
    """How many times stronger the penalty `offset_weight` is at the coarsest layer than at the finest. The coarsest
    layer controls the pose."""
    likeness: Advanced[LikenessConfig] = field(default_factory=lambda: LikenessConfig(perceptual=0.4))
    """How image and photograph are compared."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "learning_rate", above=0)
        check_bounds(self, "coarse_factor", least=1)
        check_bounds(self, "steps", "distance_weight", "offset_weight", least=0)
