"""One semantic as a direction in w, with its unit and its evidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class SeenRange:
    """Extremes and percentiles of a semantic over the samples, in its unit."""

    minimum: float
    p1: float
    median: float
    p99: float
    maximum: float

    def __post_init__(self) -> None:
        values = (self.minimum, self.p1, self.median, self.p99, self.maximum)
        if not all(math.isfinite(v) for v in values) or list(values) != sorted(values):
            raise ConfigError(f"a seen range must be finite and rise, got {values}; measure it again")


def check_knots(knots: Sequence[tuple[float, float]]) -> None:
    """Check the knots of a calibration: pairs (linear step, measured change); none stand for the identity.

    Raises:
        ConfigError: the knots are not finite, do not rise in both columns or do not contain (0, 0).
    """
    for before, after in pairwise(knots):
        if not (before[0] < after[0] and before[1] < after[1]):
            raise ConfigError(f"calibration knots must rise in both columns, got {before} and {after}; measure again")
    if not all(math.isfinite(number) for knot in knots for number in knot):
        raise ConfigError("calibration knots must be finite; measure again")
    if knots and (0.0, 0.0) not in knots:
        raise ConfigError(f"calibration knots must contain (0, 0), got {knots!s:.200}; measure again")


@dataclass(frozen=True, eq=False)
class Direction:
    """One semantic as a direction in w.

    Attributes:
        name: used on the command line.
        unit: of a value and of a requested change.
        sign: what a positive value does, as a sentence.
        description: one line for tables.
        gradient: v, the change of the semantic per unit of w (a covector).
        step: the move in w per one unit of the semantic, Sigma v / (v' Sigma v), so that ``gradient @ step == 1``.
        standard_error: of the gradient.
        r2: share of the variance explained on held-out samples.
        residual_std: standard deviation of the residual of the linear fit on w, in the unit.
        mean, std: of the semantic over the samples, in the unit.
        range_seen: of the semantic over the samples.
        layers: indices of the generator's layers at which the step is applied; None for all.
        calibration: knots (linear step, measured change) of `lineament.estimators.steps.StepCalibration`; empty
            for the identity.
        layer_steps: the move of every layer per unit, which edits use unchanged, whatever else they hold. It comes
            from another method or tool, or from `lineament.estimators.steady_steps`. None if edits follow from the
            gradient.
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
    layer_steps: Float[np.ndarray, "l d"] | None = None

    def __post_init__(self) -> None:
        shapes = {self.gradient.shape, self.step.shape, self.standard_error.shape}
        if len(shapes) != 1 or self.gradient.ndim != 1:
            raise ShapeError(f"{self.name}: gradient, step and standard error have shapes {shapes}, expected one width")
        require_finite(self.name, self.gradient, self.step, self.standard_error)
        require_finite(self.name, np.array([self.r2, self.residual_std, self.mean, self.std]))
        moved = float(self.gradient @ self.step)
        if not abs(moved - 1) <= 1e-3:
            raise ConfigError(
                f"{self.name}: its step changes the semantic by {moved:.4g}, expected 1; divide the step by it"
            )
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ConfigError(f"{self.name}: layers are {self.layers}, expected indices from 0, or None for all")
        if self.layer_steps is not None:
            if self.layer_steps.shape[1:] != self.gradient.shape or not self.layer_steps.any():
                raise ShapeError(
                    f"{self.name}: layer steps of shape {self.layer_steps.shape}, expected a row of width "
                    f"{self.gradient.size} for every layer, not all of them zero"
                )
            require_finite(self.name, self.layer_steps)

    @property
    def is_bare_step(self) -> bool:
        """Whether it is a step of another method or tool without a fitted gradient: it cannot be held, and it holds
        nothing else fixed."""
        return self.layer_steps is not None and not self.standard_error.any()

    def with_more_layers(self, before: int, count: int) -> "Direction":
        """The direction after a growth from ``before`` to ``count`` layers: new layers move as the last one did."""
        steps = self.layer_steps
        if steps is not None:
            steps = np.vstack([steps, np.repeat(steps[-1:], count - before, axis=0)])
        return replace(self, layers=with_more_layers(self.layers, before, count), layer_steps=steps)


def with_more_layers(layers: tuple[int, ...] | None, before: int, count: int) -> tuple[int, ...] | None:
    """Layer indices after a growth from ``before`` to ``count`` layers: new layers join if the last one is chosen."""
    if layers is None or before - 1 not in layers:
        return layers
    return (*layers, *range(before, count))


def require_finite(what: str, *arrays: np.ndarray) -> None:
    """Raise `ShapeError` if a number is NaN or infinite."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise ShapeError(f"{what}: NaN or infinity among the numbers, expected finite ones; take more samples")
