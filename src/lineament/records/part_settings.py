"""Settings for finding parts of the face."""

from dataclasses import dataclass
from itertools import pairwise

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds, check_numbers

SAMPLES_PER_UNKNOWN = 16
"""Default number of images for every coefficient of a pixel in the Jacobian."""


@dataclass(frozen=True)
class PartsConfig:
    """How the parts of the face are found."""

    find: bool = True
    """Look for parts of the face. Without, only pose and light are found, in less time."""
    samples: int | None = None
    """Number of images used to find parts; if not given, 16 for every coefficient of a pixel."""
    layer_groups: Advanced[int] = 5
    """Number of groups of consecutive layers, of similar length. Parts are found in each group separately, because fine
    layers change less of the face at a time than all layers. With 1, parts move all layers, as in the paper."""
    components: Advanced[int | None] = None
    """Number of components of each group of layers; its principal directions in --parts.energy if not given."""
    energy: Advanced[float] = 0.99
    """Share of the Jacobian's energy that determines the number of components."""
    max_components: Advanced[int] = 24
    """Maximum number of components of each group, if --parts.components is not given."""
    count: int = 48
    """Maximum number of parts. The strongest components are kept: much change in the part, little elsewhere."""
    max_alike: Advanced[float] = 0.7
    """Maximum |cosine| between the maps of two parts. Of more similar components only the strongest is kept."""
    sparsity: Advanced[float] = 0.05
    """Sparsity penalty (alpha), as a share of a typical pixel's response. Larger values give smaller parts."""
    decorrelation: Advanced[float] = 0.3
    """Penalty on similar directions (beta), relative to their mean energy."""
    evenness: Advanced[float] = 0.5
    """How far the variation of pixels is evened out, from 0 to 1. Otherwise hairlines and jaws outweigh eyes and
    lips."""
    restarts: Advanced[int] = 2
    """Number of starts of the factorisation. The best is kept."""

    def __post_init__(self) -> None:
        check_numbers(self, group="parts.")
        counts = ("layer_groups", "max_components", "count", "restarts", "samples", "components")
        check_bounds(self, *counts, least=1, group="parts.")
        check_bounds(self, "sparsity", "decorrelation", least=0, group="parts.")
        check_bounds(self, "evenness", "max_alike", least=0, most=1, group="parts.")
        if not 0 < self.energy < 1:
            raise ConfigError(f"parts.energy is {self.energy}, expected between 0 and 1")

    def groups(self, num_layers: int) -> tuple[tuple[int, ...], ...]:
        """The groups of a generator's layers."""
        count = min(self.layer_groups, num_layers)
        size, longer = divmod(num_layers, count)
        starts = [i * size + min(i, longer) for i in range(count + 1)]
        return tuple(tuple(range(start, end)) for start, end in pairwise(starts))

    def num_samples(self, num_layers: int, w_dim: int) -> int:
        """Number of images used to find the parts of a generator; 0 without parts.

        Raises:
            ConfigError: half of the samples do not determine a gradient.
        """
        if not self.find:
            return 0
        unknown = len(self.groups(num_layers)) * w_dim
        samples = SAMPLES_PER_UNKNOWN * unknown if self.samples is None else self.samples
        if samples // 2 <= unknown + 1:
            raise ConfigError(
                f"half of {samples} samples do not determine {unknown} coefficients, so the stability of parts cannot "
                f"be measured; give --parts.samples more than {2 * unknown + 3}, or --parts.no-find"
            )
        return samples
