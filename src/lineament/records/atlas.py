"""The atlas: the directions found in one generator, with names, units and evidence."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.records.direction import Direction, require_finite
from lineament.records.parts import Localization

SCHEMA_VERSION = 4


@dataclass(frozen=True, eq=False)
class Atlas:
    """All directions found in one generator, with the data to use, check and repeat them.

    Attributes:
        directions: the scalar semantics (pose and light); unique by name, also among the parts.
        w_mean, w_cov: mean and covariance of the sampled w, after truncation.
        num_samples, num_held_out: samples used for the fit, and for its R^2.
        seed: of the samples.
        truncation: psi at which w was sampled; 1 is no truncation.
        generator_fingerprint, decomposer_fingerprint: SHA-256 of their weights.
        generator: facts for people and checks, such as resolution, w_dim and num_layers; JSON values.
        lineament_version: release that made the atlas.
        created: ISO 8601 date or time.
        provenance: anything else worth keeping; JSON values.
        local: the parts of the face, each a direction too; None if none were looked for.
        schema_version: of the file's layout.
    """

    directions: tuple[Direction, ...]
    w_mean: Float[np.ndarray, " d"]
    w_cov: Float[np.ndarray, "d d"]
    num_samples: int
    num_held_out: int
    seed: int
    truncation: float
    generator_fingerprint: str
    decomposer_fingerprint: str
    generator: dict[str, Any]
    lineament_version: str
    created: str
    provenance: dict[str, Any] = field(default_factory=dict)
    local: Localization | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        d = self.w_mean.size
        if self.w_mean.shape != (d,) or self.w_cov.shape != (d, d):
            raise ShapeError(f"w_mean {self.w_mean.shape} and w_cov {self.w_cov.shape} do not fit; expected (d) (d, d)")
        require_finite("the statistics of w", self.w_mean, self.w_cov)
        if not np.allclose(self.w_cov, self.w_cov.T, rtol=1e-6, atol=1e-12):
            raise ShapeError("w_cov is not symmetric, expected a covariance; compute it again")
        for direction in self.all_directions:
            if direction.gradient.shape != (d,):
                raise ShapeError(f"{direction.name} has width {direction.gradient.size}, expected {d} as w_mean")
            if direction.layer_steps is not None and len(direction.layer_steps) != self.num_layers:
                rows = len(direction.layer_steps)
                raise ShapeError(f"{direction.name} moves {rows} layers, but the generator has {self.num_layers}")
        counts = Counter(direction.name for direction in self.all_directions)
        if repeated := sorted(name for name, count in counts.items() if count > 1):
            raise ConfigError(f"directions {repeated} occur twice; give each its own name")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            raise ConfigError(f"created is {self.created!r}, expected an ISO 8601 date such as 2025-01-31") from error

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalar semantics, in order."""
        return tuple(direction.name for direction in self.directions)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts, in order."""
        return self.local.names if self.local else ()

    @property
    def all_directions(self) -> tuple[Direction, ...]:
        """The scalar semantics and then the parts."""
        return self.directions + (tuple(part.direction for part in self.local.parts) if self.local else ())

    def __getitem__(self, name: str) -> Direction:
        """As `direction`, but with a KeyError for what there is not."""
        try:
            return self.direction(name)
        except ConfigError as error:
            raise KeyError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self.part_names

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.all_directions)

    def __len__(self) -> int:
        return len(self.all_directions)

    @property
    def w_dim(self) -> int:
        """Width of w."""
        return self.w_mean.size

    @property
    def num_layers(self) -> int:
        """Layers of the generator that take a w each.

        Raises:
            ConfigError: the atlas does not say.
        """
        count = self.generator.get("num_layers")
        if not isinstance(count, int) or count < 1:
            raise ConfigError("the atlas does not say how many layers its generator has; run discover again")
        return count

    def of_grown(self, fingerprint: str, num_layers: int, resolution: int) -> "Atlas":
        """The atlas for a generator that grew from this one: its new layers move as the last one did.

        Args:
            fingerprint: of the grown generator.
            num_layers: its layers, more than here.
            resolution: of its images, in pixels.
        """
        before = self.num_layers
        return replace(
            self,
            directions=tuple(direction.with_more_layers(before, num_layers) for direction in self.directions),
            local=None if self.local is None else self.local.with_more_layers(before, num_layers),
            generator_fingerprint=fingerprint,
            generator=self.generator | {"num_layers": num_layers, "resolution": resolution},
        )

    def layers_alike(self) -> "Atlas":
        """The atlas with the same step in all layers for pose and light, from their gradients; bare steps stay.

        These steps are not calibrated: the calibration was measured with the other steps.
        """

        def alike(one: Direction) -> Direction:
            own = one.layer_steps is not None and not one.is_bare_step
            return replace(one, layer_steps=None, calibration=()) if own else one

        return replace(self, directions=tuple(map(alike, self.directions)))

    def moved_together(self, names: Iterable[str]) -> "Atlas":
        """The atlas for editing these directions together.

        Steady steps of pose and light do not hold semantics that have no steady step (shifts follow the head). If one
        of those is edited too, all semantics use the same step in all layers, so that one linear system separates them.
        """
        scalars = [one for one in self.directions if one.name in set(names) and not one.is_bare_step]
        steady = [one.layer_steps is not None for one in scalars]
        return self.layers_alike() if any(steady) and not all(steady) else self

    def direction(self, name: str) -> Direction:
        """The direction of that name.

        Raises:
            ConfigError: there is none; the message lists the names and suggests the closest.
        """
        for direction in self.all_directions:
            if direction.name == name:
                return direction
        names = self.names + self.part_names
        close = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"no direction {name!r} in this atlas, which has {', '.join(names) or 'none'}{hint}")

    def gradients(self, names: tuple[str, ...] | None = None) -> Float[np.ndarray, "m d"]:
        """The gradients of the named directions (default the scalar semantics), one row each."""
        chosen = self.names if names is None else names
        return np.array([self.direction(name).gradient for name in chosen]).reshape(len(chosen), self.w_dim)
