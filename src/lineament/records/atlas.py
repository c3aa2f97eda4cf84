"""The atlas: what was learned about one generator, as directions with names, units and evidence."""

import difflib
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SeenRange:
    """What values of a semantic the samples showed, in its unit: extremes and percentiles."""

    minimum: float
    p1: float
    median: float
    p99: float
    maximum: float

    def __post_init__(self) -> None:
        values = (self.minimum, self.p1, self.median, self.p99, self.maximum)
        if not all(math.isfinite(v) for v in values) or list(values) != sorted(values):
            raise ConfigError(f"a seen range must be finite and rise, got {values}; measure it again")


@dataclass(frozen=True, eq=False)
class Direction:
    """One semantic as a direction in w.

    Attributes:
        name: the word for the command line.
        unit: of a value and of a requested change.
        sign: what a positive value does, as a sentence.
        description: one line for tables.
        gradient: v, the change of the semantic per unit of w (a covector).
        step: the move in w per one unit of the semantic, Sigma v / (v' Sigma v), so that ``gradient @ step == 1``.
        standard_error: of the gradient.
        r2: share of the variance explained on held-out samples.
        residual_std: standard deviation of what w does not explain linearly, in the unit.
        mean, std: of the semantic over the samples, in the unit.
        range_seen: of the semantic over the samples.
        layers: indices of the generator's layers at which the step is applied; None for all.
        calibration: knots (linear step, measured change) of `lineament.estimators.steps.StepCalibration`; empty
            for the identity.
    """

    name: str
    unit: str
    sign: str
    description: str
    gradient: Float[np.ndarray, " d"]
    step: Float[np.ndarray, " d"]
    standard_error: Float[np.ndarray, " d"]
    r2: float
    residual_std: float
    mean: float
    std: float
    range_seen: SeenRange
    layers: tuple[int, ...] | None = None
    calibration: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        shapes = {self.gradient.shape, self.step.shape, self.standard_error.shape}
        if len(shapes) != 1 or self.gradient.ndim != 1:
            raise ShapeError(f"{self.name}: gradient, step and standard error have shapes {shapes}, expected one width")
        _require_finite(self.name, self.gradient, self.step, self.standard_error)
        _require_finite(self.name, np.array([self.r2, self.residual_std, self.mean, self.std]))
        moved = float(self.gradient @ self.step)
        if abs(moved - 1) > 1e-3:
            raise ConfigError(
                f"{self.name}: its step changes the semantic by {moved:.4g}, expected 1; divide the step by it"
            )
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ConfigError(f"{self.name}: layers are {self.layers}, expected indices from 0, or None for all")


@dataclass(frozen=True, eq=False)
class Atlas:
    """All directions found in one generator, with what is needed to use, check and repeat them.

    Attributes:
        directions: unique by name.
        w_mean, w_cov: of the w that were sampled, after truncation.
        num_samples, num_held_out: used for the fit, and for its R^2.
        seed: of the samples.
        truncation: psi at which w was sampled; 1 is none.
        generator_fingerprint, decomposer_fingerprint: SHA-256 of their weights.
        generator: facts for people and checks, such as resolution, w_dim and num_layers; JSON values.
        lineament_version: release that made the atlas.
        created: ISO 8601 date or time.
        provenance: anything else worth keeping; JSON values.
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
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        d = self.w_mean.size
        if self.w_mean.shape != (d,) or self.w_cov.shape != (d, d):
            raise ShapeError(f"w_mean {self.w_mean.shape} and w_cov {self.w_cov.shape} do not fit; expected (d) (d, d)")
        _require_finite("the statistics of w", self.w_mean, self.w_cov)
        if not np.allclose(self.w_cov, self.w_cov.T, rtol=1e-6, atol=1e-12):
            raise ShapeError("w_cov is not symmetric, expected a covariance; compute it again")
        for direction in self.directions:
            if direction.gradient.shape != (d,):
                raise ShapeError(f"{direction.name} has width {direction.gradient.size}, expected {d} as w_mean")
        repeated = {name for name in self.names if self.names.count(name) > 1}
        if repeated:
            raise ConfigError(f"directions {sorted(repeated)} occur twice; give each its own name")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            raise ConfigError(f"created is {self.created!r}, expected an ISO 8601 date such as 2025-01-31") from error

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the directions, in order."""
        return tuple(direction.name for direction in self.directions)

    @property
    def w_dim(self) -> int:
        """Width of w."""
        return self.w_mean.size

    def direction(self, name: str) -> Direction:
        """The direction of that name.

        Raises:
            ConfigError: there is none; the message lists the names and suggests the closest.
        """
        for direction in self.directions:
            if direction.name == name:
                return direction
        close = difflib.get_close_matches(name.lower(), self.names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"no direction {name!r} in this atlas, which has {', '.join(self.names) or 'none'}{hint}")

    def gradients(self, names: tuple[str, ...] | None = None) -> Float[np.ndarray, "m d"]:
        """The gradients of the named directions (default all), one row each."""
        chosen = self.names if names is None else names
        return np.array([self.direction(name).gradient for name in chosen]).reshape(len(chosen), self.w_dim)


def _require_finite(what: str, *arrays: np.ndarray) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ShapeError(f"{what}: NaN or infinity among the numbers, expected finite ones; take more samples")
