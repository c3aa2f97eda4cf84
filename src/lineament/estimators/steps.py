"""The geometry of edits: from a wanted change of semantics to a step in w, and how far a step really goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.records.direction import check_knots

MAX_INFLATION = 1e4  # maximum growth of a step's squared length by holding the others; beyond it, edits are refused
MIN_END_SLOPE = 0.2  # share of the mean slope of its side; a saturated end would otherwise ask for endless steps


def mahalanobis_step(
    A: Float[np.ndarray, "m d"],
    cov: Float[np.ndarray, "d d"],
    dy: Float[np.ndarray, " m"],
    *,
    ridge: float = 0.0,
    names: Sequence[str] | None = None,
) -> Float[np.ndarray, " d"]:
    """The most probable step that changes the semantics ``A w`` by ``dy``: Sigma A' (A Sigma A')^-1 dy.

    Convention:
        Rows with ``dy = 0`` are held fixed; leave a row out to let it follow its correlations.

    Args:
        A: gradients, one row per semantic.
        cov: covariance of w.
        dy: wanted changes, in the semantics' units.
        ridge: added to the diagonal of the semantics' correlation matrix. Above 0, nearly collinear semantics are
            accepted and ``dy`` is met only approximately.
        names: of the rows, for messages.

    Returns:
        The step of the smallest Mahalanobis norm; linear in ``dy``.

    Raises:
        ConfigError: a semantic does not depend on w, or holding the others fixed leaves it almost no freedom.
    """
    labels = list(names) if names is not None else [f"semantic {i}" for i in range(len(A))]
    pulled = cov @ A.T
    gram = A @ pulled
    variances = np.diagonal(gram)
    still = np.flatnonzero(~(variances > 0))
    if len(still):
        raise ConfigError(f"{labels[still[0]]} does not vary with w, so no step changes or holds it; leave it out")
    scale = 1 / np.sqrt(variances)  # units cancel: a semantic in degrees and one in fractions weigh the same
    correlation = gram * np.outer(scale, scale)
    if ridge <= 0:
        _refuse_collinear(correlation, labels)
    solution = np.linalg.solve(correlation + ridge * np.eye(len(A)), dy * scale)
    return pulled @ (solution * scale)


def mahalanobis_norm(dw: Float[np.ndarray, "n d"], cov: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " n"]:
    """Length of steps in standard deviations of w: sqrt(dw' Sigma^-1 dw).

    Returns:
        Non-negative; infinite for a step that leaves the span of a singular covariance.
    """
    values, vectors = np.linalg.eigh(cov)
    kept = values > max(values[-1], 0.0) * len(cov) * np.finfo(np.float64).eps
    coordinates = dw @ vectors
    outside = np.linalg.norm(coordinates[:, ~kept], axis=1)
    inside = np.sqrt((coordinates[:, kept] ** 2 / values[kept]).sum(axis=1))
    return np.where(outside > 1e-6 * np.linalg.norm(dw, axis=1), np.inf, inside)


def told_apart(A: Float[np.ndarray, "m d"], cov: Float[np.ndarray, "d d"], target: int) -> list[int]:
    """Rows of the target and of the semantics that can be held with it, in order; those that follow from the others are
    left out."""
    gram = A @ cov @ A.T
    scale = 1 / np.sqrt(np.maximum(np.diagonal(gram), np.finfo(np.float64).tiny))
    correlation, rows = gram * np.outer(scale, scale), list(range(len(A)))
    while len(rows) > 1:
        inflation, _ = _inflation(correlation[np.ix_(rows, rows)])
        if inflation.max() <= MAX_INFLATION:
            break
        inflation[rows.index(target)] = -1.0
        del rows[int(np.argmax(inflation))]
    return rows


def _inflation(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Growth of the squared length of each semantic's step by holding the others; and eigenvectors, smallest first."""
    values, vectors = np.linalg.eigh(correlation)
    # Diagonal of the inverse; the floor keeps exactly singular matrices finite.
    return (vectors**2 / np.maximum(values, 1e-15)).sum(axis=1), vectors


def _refuse_collinear(correlation: np.ndarray, labels: Sequence[str]) -> None:
    """Raise unless every semantic keeps some freedom when the others are held (its variance inflation is bounded)."""
    inflation, vectors = _inflation(correlation)
    worst = int(np.argmax(inflation))
    if inflation[worst] <= MAX_INFLATION:
        return
    # The combination that hardly varies is the null vector; its two largest entries are the two to separate.
    tied = np.abs(vectors[:, 0])
    partner = int(np.argsort(np.where(np.arange(len(tied)) == worst, -1.0, tied))[-1])
    raise ConfigError(
        f"{labels[worst]} and {labels[partner]} are nearly collinear (correlation "
        f"{correlation[worst, partner]:+.4f} with {len(labels)} semantics changed or held): one cannot move while the "
        f"other is set on its own; drop {labels[worst]} or {labels[partner]} from the edit"
    )


@dataclass(frozen=True)
class StepCalibration:
    """A monotone map between the linear step taken and the change of a semantic that it achieves.

    Convention:
        A linear step t is the change that the linear model promises, in the semantic's unit. Piecewise linear
        through ``knots``, always through (0, 0). Beyond both ends it is a straight line with the slope of the end
        segment (but at least `MIN_END_SLOPE` of its side's mean slope). The two sides may differ.

    Attributes:
        knots: pairs (linear step, measured change), both strictly rising; empty means the identity.

    Raises:
        ConfigError: the knots do not rise or do not contain (0, 0).
    """

    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        check_knots(self.knots)

    @classmethod
    def fit(cls, steps: Float[np.ndarray, " n"], measured: Float[np.ndarray, " n"]) -> "StepCalibration":
        """Fit to measured pairs, in any order; repeated steps are averaged.

        Each side of zero is made monotone by pooling adjacent violators; a pool becomes one knot. A side whose changes
        all have the wrong sign counts as not measured; if both sides do, the result is the identity.

        Args:
            steps: linear steps taken.
            measured: median change seen at each.

        Raises:
            ShapeError: NaN or infinity among the values.
        """
        if not (np.isfinite(steps).all() and np.isfinite(measured).all()):
            raise ShapeError("steps or measured changes hold NaN or infinity, expected finite numbers; leave them out")
        right, left = steps > 0, steps < 0
        rising = _pooled_knots(steps[right], measured[right])
        falling = _pooled_knots(-steps[left], -measured[left])
        if not rising and not falling:
            return cls()
        return cls((*((-t, -y) for t, y in reversed(falling)), (0.0, 0.0), *rising))

    def step_to_measured(self, t: float) -> float:
        """The change to expect from a linear step."""
        return self._follow(t, 0)

    def requested_to_step(self, y: float) -> float:
        """The linear step that achieves a requested change; the inverse of `step_to_measured`."""
        return self._follow(y, 1)

    def _follow(self, x: float, source: int) -> float:
        if len(self.knots) < 2:
            return float(x)
        xs = [knot[source] for knot in self.knots]
        ys = [knot[1 - source] for knot in self.knots]
        low, high = self._end_slopes()
        if source:
            low, high = 1 / low, 1 / high
        if x < xs[0]:
            return ys[0] + (x - xs[0]) * low
        if x > xs[-1]:
            return ys[-1] + (x - xs[-1]) * high
        return float(np.interp(x, xs, ys))

    def _end_slopes(self) -> tuple[float, float]:
        slopes = []
        for end, neighbour in ((0, 1), (-1, -2)):
            (t, y), (t_next, y_next) = self.knots[end], self.knots[neighbour]
            slope = (y - y_next) / (t - t_next)
            slopes.append(max(slope, MIN_END_SLOPE * y / t) if t else slope)
        return slopes[0], slopes[1]


def _pooled_knots(steps: np.ndarray, measured: np.ndarray) -> list[tuple[float, float]]:
    """Monotone regression (pool adjacent violators) on positive steps; pools of non-positive change are dropped."""
    pools: list[tuple[float, float, int]] = []  # mean step, mean change, size
    for t in np.unique(steps):
        same = measured[steps == t]
        pools.append((float(t), float(same.mean()), len(same)))
        while len(pools) > 1 and pools[-1][1] <= pools[-2][1]:
            (t_a, y_a, n_a), (t_b, y_b, n_b) = pools[-2:]
            total = n_a + n_b
            pools[-2:] = [((t_a * n_a + t_b * n_b) / total, (y_a * n_a + y_b * n_b) / total, total)]
    return [(t, y) for t, y, _ in pools if math.isfinite(y) and y > 0]
