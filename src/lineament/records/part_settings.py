"""How parts of the face are looked for."""

from dataclasses import dataclass
from itertools import pairwise

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds

SAMPLES_PER_UNKNOWN = 16
"""Images for every number of the Jacobian that a pixel has, if nothing else is said."""


@dataclass(frozen=True)
class PartsConfig:
    """How the parts of the face are found."""

    find: bool = True
    """Look for parts; without, only pose and light are found, in less time."""
    samples: int | None = None
    """Images behind the parts; sixteen for every number to be found of a pixel if not given."""
    layer_groups: Advanced[int] = 5
    """Runs of layers of the generator, of like length, in each of which parts are looked for by themselves: fine layers
    move less of the face at a time than all layers together. With 1, parts move all layers, as in the paper."""
    components: Advanced[int | None] = None
    """Components of each group of layers; as many as it has principal directions in --parts.energy if not given."""
    energy: Advanced[float] = 0.99
    """Share of the Jacobian's energy that decides on the number of components."""
    max_components: Advanced[int] = 24
    """At most so many components of each group, if their number is not given."""
    count: int = 48
    """At most so many parts: of all components the strongest, by how much they change and how little elsewhere."""
    max_alike: Advanced[float] = 0.7
    """A component is no part of its own if the |cosine| of its map with a stronger one's is larger."""
    sparsity: Advanced[float] = 0.05
    """Share of a typical pixel's answer that is not worth a part of its own (alpha); more gives smaller parts."""
    decorrelation: Advanced[float] = 0.3
    """Weight on directions that are alike (beta), relative to their mean energy."""
    evenness: Advanced[float] = 0.5
    """How far pixels are made to vary alike, from 0 to 1, lest hairlines and jaws outweigh eyes and lips."""
    restarts: Advanced[int] = 2
    """Starts of the factorisation, of which the best is kept."""

    def __post_init__(self) -> None:
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
        """Images behind the parts of a generator; none if no parts are looked for.

        Raises:
            ConfigError: half of those asked for do not determine a gradient.
        """
        if not self.find:
            return 0
        unknown = len(self.groups(num_layers)) * w_dim
        samples = SAMPLES_PER_UNKNOWN * unknown if self.samples is None else self.samples
        if samples // 2 <= unknown + 1:
            raise ConfigError(
                f"half of {samples} samples do not determine {unknown} coefficients, so nobody can tell whether a part "
                f"comes back; give --parts.samples more than {2 * unknown + 3}, or --parts.no-find"
            )
        return samples
