"""DCI, on importances and codes whose answer is known."""

import numpy as np
import pytest

from lineament.errors import ConfigError
from lineament.estimators.dci import dci, lasso_dci, pooled


def test_one_code_for_each_factor_is_perfect() -> None:
    found = dci(np.diag([1.0, 2.0, 5.0]))
    assert found.disentanglement == pytest.approx(1)
    assert found.completeness == pytest.approx(1)
    assert found.best == (0, 1, 2)


def test_even_importance_is_the_worst() -> None:
    found = dci(np.ones((3, 4)))
    assert found.disentanglement == pytest.approx(0)
    assert found.completeness == pytest.approx(0)


def test_two_factors_of_four_give_half() -> None:
    """Entropy of (1/2, 1/2, 0, 0) in units of log 4 is 1/2; a code without importance has no share."""
    found = dci(np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found.of_codes, [0.5, 1.0, 0.0])
    np.testing.assert_allclose(found.shares, [0.4, 0.6, 0.0])
    assert found.disentanglement == pytest.approx(0.8)
    assert found.of_best([0]) == pytest.approx(0.5)
    assert found.of_best([2]) == pytest.approx(1.0)


def test_where_nothing_matters_nothing_is_told_apart() -> None:
    found = dci(np.zeros((3, 2)))
    assert (found.disentanglement, found.completeness) == (pytest.approx(0), pytest.approx(0))


@pytest.mark.parametrize(
    ("matrix", "what"), [(np.ones((1, 3)), "1 directions"), (-np.eye(2), "negative"), (np.eye(2) * np.nan, "negative")]
)
def test_what_cannot_be_scored(matrix: np.ndarray, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        dci(matrix)


def test_the_lasso_finds_planted_codes() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((400, 6))
    pure = codes[:, :3] * [1.0, 5.0, 0.2] + 0.01 * rng.standard_normal((400, 3))
    values, errors = lasso_dci(codes, pure, [0, 1, 2], np.random.default_rng(1))
    assert values == pytest.approx([1, 1, 1, 1], abs=0.05)
    assert (errors < 0.05).all()
    # A rotation by 45 degrees mixes two factors evenly in each of two codes.
    mixed = np.stack([codes[:, 0] + codes[:, 1], codes[:, 0] - codes[:, 1], codes[:, 2]], axis=1)
    values, _ = lasso_dci(codes, mixed, [0, 1], np.random.default_rng(1))
    assert values[3] == pytest.approx(1 - np.log(2) / np.log(3), abs=0.05)
    with pytest.raises(ConfigError, match="39 samples"):
        lasso_dci(codes[:39], pure[:39], [0], rng)


def test_seeds_that_differ_widen_the_interval() -> None:
    one = (np.full(4, 0.5), np.full(4, 0.01))
    alone = pooled([one])
    assert alone.local.high - alone.local.low == pytest.approx(2 * 1.96 * 0.01)
    both = pooled([one, (np.full(4, 0.7), np.full(4, 0.01))])
    assert both.local.value == pytest.approx(0.6)
    assert both.local.high - both.local.low > 0.5
