"""What the methods of others can be told."""

from dataclasses import dataclass
from typing import Literal

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced

Method = Literal["ganspace-w", "ganspace-activations", "sefa", "interfacegan", "supervised", "random"]


@dataclass(frozen=True)
class PeerSettings:
    """What the methods can be told; each takes what concerns it."""

    samples: int = 10000
    """Samples of w for those that look at samples; those with labels take all that are labelled."""
    truncation: float = 0.5
    """Truncation at which w is sampled; 1 is none."""
    seed: int = 0
    """Of the samples, and of what is drawn."""
    components: int = 32
    """Directions of those that are not told what to look for."""
    layers: str | None = None
    """Layers whose style weights SeFa takes, and that its directions move, such as 0-3; all if not given."""
    share: Advanced[float] = 0.02
    """Of the labelled samples that InterFaceGAN takes as positive, and as many as negative ones."""
    conditional: Advanced[bool] = False
    """Free every direction of InterFaceGAN of all its others."""
    hold: Advanced[bool] = True
    """Keep all other labels fixed in the supervised directions."""

    def __post_init__(self) -> None:
        if self.samples < 2 or self.components < 1:
            raise ConfigError(
                f"samples are {self.samples} and components {self.components}, expected at least 2 and at least 1"
            )
        if not 0 < self.truncation <= 1:
            raise ConfigError(f"truncation is {self.truncation}, expected above 0 and at most 1")
