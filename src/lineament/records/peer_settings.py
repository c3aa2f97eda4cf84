"""Settings of published methods for comparison."""

from dataclasses import dataclass
from typing import Literal

from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds, check_numbers

Method = Literal["ganspace-w", "ganspace-activations", "sefa", "interfacegan", "supervised", "random"]


@dataclass(frozen=True)
class PeerSettings:
    """Settings of the methods; each method uses those that apply to it."""

    samples: int = 10000
    """Number of samples of w for methods without labels. Methods with labels use all labelled samples."""
    truncation: float = 0.5
    """Truncation of the samples (1 for none)."""
    seed: int = 0
    """Seed of everything random. That is the samples and the other random choices."""
    components: int = 32
    """Number of directions of methods without labels."""
    layers: str | None = None
    """Layers whose style weights SeFa uses and which it moves, such as 0-3; all if not given."""
    share: Advanced[float] = 0.02
    """Share of the labelled samples that InterFaceGAN takes as positive. The same share is taken as negative."""
    conditional: Advanced[bool] = False
    """Make every direction of InterFaceGAN orthogonal to all others."""
    hold: Advanced[bool] = True
    """Keep all other labels fixed in the supervised directions."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "samples", least=2)
        check_bounds(self, "components", least=1)
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "share", above=0, most=0.5)
