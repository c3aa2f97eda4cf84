"""Disentanglement, completeness and informativeness of a set of directions.

Source:
    Eastwood, Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations", ICLR 2018.
    Deviations: a code is the amount by which a direction is moved, drawn at random for all directions at once. The
    factors are the changes of a judge's readings of the image. So the scores measure what directions do, not what they
    predict. Informativeness is R^2 on samples that were not fitted, instead of the root of the unexplained share.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError
from lineament.estimators._peers import scikit_learn
from lineament.estimators.direction_measures import IntervalEstimate

TEST_SHARE = 0.25
"""Share of the samples on which informativeness is measured."""

NUM_REFITS = 50
"""Number of times the samples are resampled for standard errors; each takes a regression for every factor."""


@dataclass(frozen=True, eq=False)
class DCI:
    """Scores of a matrix of importances, one row per direction and one column per factor.

    Attributes:
        of_codes: disentanglement of every direction: 1 if one factor alone depends on it, 0 if all do equally.
        shares: each direction's share of all importance.
        of_factors: completeness of every factor: 1 if it depends on one direction alone.
        best: the direction on which every factor depends most.
    """

    of_codes: Float[np.ndarray, " k"]
    shares: Float[np.ndarray, " k"]
    of_factors: Float[np.ndarray, " m"]
    best: tuple[int, ...]

    @property
    def disentanglement(self) -> float:
        """Mean over the directions, weighted by their shares."""
        return float(self.of_codes @ self.shares)

    @property
    def completeness(self) -> float:
        """Mean over the factors."""
        return float(self.of_factors.mean())

    def of_best(self, factors: Sequence[int]) -> float:
        """Mean over these factors of the disentanglement of the direction on which each depends most."""
        return float(np.mean([self.of_codes[self.best[i]] for i in factors]))


def dci(importances: Float[np.ndarray, "k m"]) -> DCI:
    """Equations 1 to 3: one minus the entropy of each row (each column), relative to the largest possible entropy.

    Raises:
        ConfigError: fewer than two directions or factors, for which the entropy is always zero; or a negative
            importance.
    """
    k, m = importances.shape
    if k < 2 or m < 2:
        raise ConfigError(f"DCI of {k} directions and {m} factors, expected two of each or more; measure more")
    if not (importances >= 0).all():
        raise ConfigError("DCI needs importances that are not negative; take absolute values")
    total = importances.sum()
    rows, columns = importances.sum(axis=1, keepdims=True), importances.sum(axis=0, keepdims=True)
    # A direction (factor) without any importance counts as evenly distributed, and scores 0.
    of_codes = 1 - _entropy(np.where(rows > 0, importances / np.maximum(rows, 1e-300), 1 / m), axis=1) / np.log(m)
    of_factors = 1 - _entropy(np.where(columns > 0, importances / np.maximum(columns, 1e-300), 1 / k), axis=0) / np.log(
        k
    )
    best = tuple(int(i) for i in importances.argmax(axis=0))
    # If all importances are zero, all directions have the same share, and score 0.
    shares = rows[:, 0] / total if total > 0 else np.full(k, 1 / k)
    return DCI(of_codes, shares, of_factors, best)


def _entropy(p: np.ndarray, axis: int) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=axis)


@dataclass(frozen=True)
class DCIScores:
    """Scores with intervals over samples and, if there are several, over seeds.

    Attributes:
        disentanglement, completeness: of all directions and factors.
        informativeness: mean R^2 over the factors, on samples that were not fitted.
        local: mean disentanglement of the directions on which the chosen factors depend most.
    """

    disentanglement: IntervalEstimate
    completeness: IntervalEstimate
    informativeness: IntervalEstimate
    local: IntervalEstimate


def pooled(found: Sequence[tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]]]) -> DCIScores:
    """The scores of several seeds, each with its standard error: their mean, and 1.96 standard errors around it.

    The interval uses the spread of single seeds, not that of their mean, because a user has one seed.
    """
    values, errors = (np.array(part) for part in zip(*found, strict=True))
    spread = values.var(axis=0, ddof=1) if len(values) > 1 else np.zeros(4)
    error = 1.96 * np.sqrt((errors**2).mean(axis=0) + spread)
    mean = values.mean(axis=0)
    rows = zip(mean.tolist(), (mean - error).tolist(), (mean + error).tolist(), strict=True)
    return DCIScores(*(IntervalEstimate(*row) for row in rows))


def lasso_dci(
    codes: Float[np.ndarray, "n k"],
    factors: Float[np.ndarray, "n m"],
    chosen: Sequence[int],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]]:
    """Scores by the lasso, one of the two regressors of the source, with the importance |coefficient|.

    The lasso fits, because directions are linear and readings depend on codes almost linearly. A forest with many weak
    codes finds importance in noise. Codes and factors are first scaled to standard deviation 1. The penalty of every
    factor is found by cross-validation on all training samples, and kept when these are resampled.

    Args:
        codes: how far every direction was moved.
        factors: how the readings changed.
        chosen: indices of the factors for ``local``.
        rng: draws the split and the resampled samples.

    Returns:
        The four numbers of `DCIScores`, and their standard errors over the samples.

    Raises:
        ConfigError: too few samples, or no scikit-learn.
    """
    n = len(codes)
    if n < 40:
        raise ConfigError(f"DCI from {n} samples, expected 40 or more; take more samples")
    linear = scikit_learn("linear_model")
    x, y = ((a - a.mean(axis=0)) / np.maximum(a.std(axis=0), 1e-12) for a in (codes, factors))
    order = rng.permutation(n)
    train, test = order[: int(n * (1 - TEST_SHARE))], order[int(n * (1 - TEST_SHARE)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of convergence at penalties that are not chosen
        penalties = [
            linear.LassoCV(cv=4, alphas=20, random_state=0).fit(x[train], column).alpha_ for column in y[train].T
        ]

    def fit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = x[rows] - x[rows].mean(axis=0), y[rows] - y[rows].mean(axis=0)
        gram = a.T @ a
        models = [
            linear.Lasso(alpha, precompute=gram, fit_intercept=False, max_iter=5000).fit(a, column)
            for alpha, column in zip(penalties, b.T, strict=True)
        ]
        coefs = np.stack([model.coef_ for model in models], axis=1)
        left = (y[test] - y[rows].mean(axis=0)) - (x[test] - x[rows].mean(axis=0)) @ coefs
        return coefs, 1 - (left**2).mean(axis=0) / np.maximum(y[test].var(axis=0), 1e-12)

    def scores(rows: np.ndarray) -> tuple[float, float, float, float]:
        coefs, r2 = fit(rows)
        found = dci(np.abs(coefs))
        return found.disentanglement, found.completeness, float(r2.mean()), found.of_best(chosen)

    draws = [scores(train[rng.integers(len(train), size=len(train))]) for _ in range(NUM_REFITS)]
    # Only the errors come from the draws: repeated samples make each of these fits a little worse than the full one.
    return np.array(scores(train)), np.std(draws, axis=0, ddof=1)
