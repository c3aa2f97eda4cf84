"""How photographs are inverted."""

from dataclasses import dataclass, field

from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds


@dataclass(frozen=True)
class LikenessConfig:
    """Weights of what two images are compared by."""

    pixels: Advanced[float] = 1.0
    """Of the mean absolute difference of the pixels, black at -1 and white at 1."""
    structure: Advanced[float] = 1.0
    """Of 1 - SSIM."""
    perceptual: Advanced[float] = 0.1
    """Of the mean square difference of perceptual features, where there are any."""

    def __post_init__(self) -> None:
        check_bounds(self, "pixels", "structure", "perceptual", least=0)


@dataclass(frozen=True)
class InversionSettings:
    """How photographs are inverted. The defaults were chosen on photographs, for likeness and for edits."""

    steps: int = 100
    """Steps of the optimisation, and twice as many where there is no encoder; 0 takes the encoder's answer."""
    learning_rate: Advanced[float] = 0.1
    """Adam's, in standard deviations of w."""
    distance_weight: Advanced[float] = 0.02
    """Pull of the common w towards the generator's mean w, in standard deviations squared."""
    offset_weight: Advanced[float] = 0.3
    """Pull of the layers' w towards the common one, in standard deviations squared. More keeps edits true, less makes
    the image more like the photograph."""
    coarse_factor: Advanced[float] = 10.0
    """How many times stronger that pull is at the coarsest layer, which holds the pose, than at the finest."""
    likeness: Advanced[LikenessConfig] = field(default_factory=lambda: LikenessConfig(perceptual=0.4))
    """What image and photograph are compared by."""

    def __post_init__(self) -> None:
        check_bounds(self, "learning_rate", above=0)
        check_bounds(self, "coarse_factor", least=1)
        check_bounds(self, "steps", "distance_weight", "offset_weight", least=0)
