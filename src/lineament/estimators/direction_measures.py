"""Measures of the quality of a direction, computed from a judge's readings alone, without a network.

Convention:
    ``changes`` are readings of an edited face less those of the same face before, n faces x s amounts x m attributes,
    in standard deviations of each attribute over unedited faces. A statistic takes weights of the faces, "b n" with
    rows that sum to 1, and gives one value a row, so that `bootstrap` can resample the faces. A ratio is always the
    ratio of two means over faces. The mean of the faces' ratios would be infinite if an edit does nothing on one face.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import ConfigError

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""From weights "b n" to values "b" or "b m"."""

NUM_DRAWS = 1000
"""Number of bootstrap draws for an interval."""

TINY = 1e-9


@dataclass(frozen=True)
class IntervalEstimate:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistics: Sequence[Statistic], num_faces: int, rng: np.random.Generator, level: float = 0.95
) -> IntervalEstimate:
    """A statistic and its interval over faces and, if there are several, over seeds.

    Args:
        statistics: one for every seed of a method, on the same faces; only one for a method without randomness.
        num_faces: number of faces that every statistic weighs.
        rng: resamples faces and seeds.
        level: of the interval.

    Returns:
        The mean over the seeds with equal weights of all faces, and the percentiles of the draws. Within a draw all
        seeds use the same faces.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
    """
    even = np.full((1, num_faces), 1 / num_faces)
    value = float(np.mean([statistic(even)[0] for statistic in statistics]))
    weights = rng.multinomial(num_faces, even[0], NUM_DRAWS) / num_faces
    draws = np.array([statistic(weights) for statistic in statistics])
    g = len(statistics)
    if g > 1:
        of_seeds = rng.multinomial(g, np.full(g, 1 / g), NUM_DRAWS) / g
        draws = np.einsum("bg,gb->b", of_seeds, draws)
    else:
        draws = draws[0]
    # A draw may be infinite, so the quantile must not interpolate between draws.
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return IntervalEstimate(value, float(low), float(high))


def linearity(amounts: Float[np.ndarray, " s"], values: Float[np.ndarray, "n s"]) -> Float[np.ndarray, " n"]:
    """R^2 of the judge's value against the step, separately for each face.

    Returns:
        Share of the variance that a straight line through the face's values explains, 0 to 1; 0 for a face on which
        nothing changes.

    Raises:
        ConfigError: fewer than three amounts; a line always fits two.
    """
    if len(amounts) < 3:
        raise ConfigError(f"linearity needs three amounts or more, got {len(amounts)}; measure more")
    x, y = amounts - amounts.mean(), values - values.mean(axis=1, keepdims=True)
    total = (y**2).sum(axis=1)
    return np.where(total > TINY, (y @ x) ** 2 / np.maximum(total * (x @ x), TINY), 0.0)


def moved(changes: Float[np.ndarray, "n s m"], amounts: Float[np.ndarray, " s"], target: int) -> np.ndarray:
    """Change of the target in the direction of the edit on every face, mean over the amounts: "n"."""
    return (changes[:, :, target] * np.sign(amounts)).mean(axis=1)


def leakages(changes: Float[np.ndarray, "n s m"], amounts: Float[np.ndarray, " s"], target: int) -> Statistic:
    """Mean absolute change of every attribute, in its standard deviations, per one standard deviation of the target.

    Returns:
        A statistic with one value for each attribute: a row of the re-scoring matrix. It is infinite if the target
        does not change in the direction of the edit.

    Source:
        The re-scoring of Shen et al., "InterFaceGAN", TPAMI 2020, section 4.3, where it is the signed mean change of a
        classifier's score. Deviations: absolute, so that changes of opposite sign on two faces do not cancel; and in
        standard deviations per standard deviation of the target, so that neither an attribute's unit nor the length of
        a method's step matters.
    """
    own, all_ = moved(changes, amounts, target), np.abs(changes).mean(axis=1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        reached = weights @ own
        ratios = (weights @ all_) / np.where(reached > TINY, reached, TINY)[:, None]
        return np.where(reached[:, None] > TINY, ratios, np.inf)

    return statistic


def mean_of_others(rows: Statistic, target: int) -> Statistic:
    """The mean over all attributes but the target of a statistic that has one value for each."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.delete(rows(weights), target, axis=1).mean(axis=1)

    return statistic


def weighted_mean(values: Float[np.ndarray, " n"]) -> Statistic:
    """The mean over the faces."""
    return lambda weights: weights @ values


def ratio_of_means(values: Float[np.ndarray, " n"], others: Float[np.ndarray, " n"]) -> Statistic:
    """One mean over the faces divided by another."""
    return lambda weights: (weights @ values) / np.maximum(weights @ others, TINY)


def calibration_errors(asked: Float[np.ndarray, " s"], judged: Float[np.ndarray, "n s"]) -> tuple[Statistic, Statistic]:
    """Errors of the measured change against the requested one, in the attribute's own unit.

    ``judged`` are changes: reading after less reading before on the same face. So a constant offset between two frames
    of labels (such as which pose counts as looking straight) cancels; a difference of scale does not.

    Returns:
        The mean absolute error over faces and amounts, which includes differences between faces and the judge's
        errors; and the mean over the amounts of the absolute error of the mean change, which does not.
    """
    errors = np.abs(judged - asked).mean(axis=1)

    def of_means(weights: np.ndarray) -> np.ndarray:
        return np.abs(weights @ judged - asked).mean(axis=1)

    return weighted_mean(errors), of_means


def attribute_dependencies(
    changes: Float[np.ndarray, "n s m"], target: int, *, at: float = 1.0, width: float = 0.5
) -> tuple[Statistic, Statistic]:
    """Mean and largest absolute change of the other attributes on images whose target changed by ``at``.

    `leakages` compares images of the same step; this compares images with the same effect, whatever step it took.

    Returns:
        Statistics mean-AD and max-AD, in standard deviations; NaN if a draw has no such image.

    Source: Wu, Lischinski, Shechtman, "StyleSpace Analysis", CVPR 2021, the attribute dependency: E of the mean, and of
    the maximum, over the other attributes of |change of l_i| / sigma(l_i), at a change of the target in units of
    sigma(l_t). Deviation: the judge reads values and no logits.
    """
    chosen = np.abs(np.abs(changes[:, :, target]) - at) <= width / 2
    others = np.abs(np.delete(changes, target, axis=2))

    def over(values: np.ndarray) -> Statistic:
        top, count = (values * chosen).sum(axis=1), chosen.sum(axis=1)

        def statistic(weights: np.ndarray) -> np.ndarray:
            counted = weights @ count
            return np.where(counted > TINY, (weights @ top) / np.maximum(counted, TINY), np.nan)

        return statistic

    return over(others.mean(axis=2)), over(others.max(axis=2))


def usable_range(effects: Float[np.ndarray, "n s"], spent: Sequence[Float[np.ndarray, "n s"]]) -> Statistic:
    """The mean effect on the target at the largest step at which no limited quantity, in the mean, exceeds its limit.

    Args:
        effects: on the target, at rising amounts from 0 on.
        spent: each limited quantity at the same amounts, as a share of its limit; 1 is the limit.

    Returns:
        A statistic, interpolated between two amounts; the largest effect if no limit is exceeded. The mean effect need
        not rise with the amount; the largest one reached before a limit counts.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        effect = weights @ effects
        level = np.max([weights @ one for one in spent], axis=0)
        best = np.maximum.accumulate(effect, axis=1)
        over: Bool[np.ndarray, "b s"] = level > 1
        first = np.where(over.any(axis=1), over.argmax(axis=1), -1)
        rows = np.arange(len(effect))
        before = np.maximum(first - 1, 0)
        gap = np.maximum(level[rows, first] - level[rows, before], TINY)
        share = np.clip((1 - level[rows, before]) / gap, 0, 1)
        crossing = effect[rows, before] + share * (effect[rows, first] - effect[rows, before])
        reached = np.where(first > 0, np.maximum(crossing, best[rows, before]), 0.0)
        return np.where(first < 0, best[:, -1], reached)

    return statistic


def smallest_leakage(
    changes: Float[np.ndarray, "k n s m"],
    amounts: Float[np.ndarray, " s"],
    target: int,
    least: float,
) -> int | None:
    """Find the direction with the least leakage among those that move the target by ``least`` standard deviations.

    The sign of a direction is arbitrary, so it may move the target either way.

    Returns:
        Its index; None if no direction moves the target that far.
    """
    even = np.full((1, changes.shape[1]), 1 / changes.shape[1])
    found: list[tuple[float, int]] = []
    for i, one in enumerate(changes):
        sign = 1.0 if moved(one, amounts, target).mean() >= 0 else -1.0
        if sign * moved(one, amounts, target).mean() >= least:
            found.append((float(mean_of_others(leakages(one, sign * amounts, target), target)(even)[0]), i))
    return min(found)[1] if found else None
