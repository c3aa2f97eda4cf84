import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.histograms import Grid, importance_weights, smallest_size, total_variation, water_fill


def grid_1d(low: float = -4.0, high: float = 4.0, bins: int = 4) -> Grid:
    return Grid.regular(("yaw",), ((low, high),), (bins,))


def test_a_bin_holds_its_lower_edge_and_the_last_one_both() -> None:
    values = np.array([[-4.0], [-2.0], [-2.0001], [3.9], [4.0], [4.0001], [-5.0], [np.nan]])
    assert grid_1d().locate(values).tolist() == [0, 1, 0, 3, 3, -1, -1, -1]


def test_joint_bins_run_fastest_in_the_last_semantic() -> None:
    grid = Grid(("yaw", "light_x"), (np.array([0.0, 1, 2]), np.array([0.0, 1, 2, 3])))
    values = np.array([[0.5, 0.5], [0.5, 2.5], [1.5, 0.5], [1.5, 3.5]])
    assert grid.locate(values).tolist() == [0, 2, 3, -1]
    counts = grid.counts(values)
    assert counts.tolist() == [1, 0, 1, 1, 0, 0]
    assert grid.marginal(counts, "yaw").tolist() == [2, 1]
    assert grid.marginal(counts, "light_x").tolist() == [2, 0, 1]
    low, high = grid.bounds(np.array([5]))
    assert (low.tolist(), high.tolist()) == ([[1, 2]], [[2, 3]])
    assert (grid.locate(grid.middles()) == np.arange(6)).all()


def test_edges_must_rise_and_bins_be_few_enough() -> None:
    with pytest.raises(ConfigError, match="edges of the bins of yaw"):
        Grid(("yaw",), (np.array([0.0, 0.0, 1.0]),))
    with pytest.raises(ConfigError, match="expected at most 1000"):
        Grid.regular(("a", "b"), ((0.0, 1.0),) * 2, (40, 40))
    with pytest.raises(ShapeError, match="yaw"):
        grid_1d().locate(np.zeros((3, 2)))


def test_total_variation_by_hand() -> None:
    shares = np.full(4, 0.25)
    assert total_variation(np.array([2, 2, 2, 2]), shares) == 0
    assert total_variation(np.array([8, 0, 0, 0]), shares) == pytest.approx(0.75)
    # half of the images are elsewhere, the other half is as wanted
    assert total_variation(np.array([1, 1, 1, 1]), shares, outside=4) == pytest.approx(0.5)
    assert total_variation(np.zeros(4, np.int64), shares) == 1


def test_the_emptiest_bins_rise_together() -> None:
    counts, shares = np.array([10, 0, 4, 100]), np.full(4, 0.25)
    assert water_fill(counts, shares, 6).tolist() == [0, 5, 1, 0]
    assert water_fill(counts, shares, 28).tolist() == [4, 14, 10, 0]
    assert water_fill(counts, shares, 286).tolist() == [90, 100, 96, 0]
    uneven = water_fill(np.zeros(3, np.int64), np.array([0.5, 0.5, 0.0]), 7)
    assert sorted(uneven.tolist()) == [0, 3, 4]
    assert uneven[2] == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=6),
    st.lists(st.floats(0, 1), min_size=2, max_size=6),
    st.integers(0, 200),
    st.integers(0, 2**32 - 1),
)
def test_no_other_filling_comes_nearer(counts: list[int], weights: list[float], added: int, seed: int) -> None:
    size = min(len(counts), len(weights))
    have, shares = np.array(counts[:size]), np.array(weights[:size]) + 1e-3
    shares /= shares.sum()
    filled = water_fill(have, shares, added)
    assert filled.sum() == added
    assert (filled >= 0).all()
    other = np.random.default_rng(seed).multinomial(added, shares)
    total = have.sum() + added
    best, theirs = total_variation(have + filled, shares), total_variation(have + other, shares)
    assert best <= theirs + (size / total if total else 0)  # but for rounding


def test_the_smallest_size_meets_the_target_and_one_less_does_not() -> None:
    counts, shares = np.array([100, 10, 1]), np.full(3, 1 / 3)
    size = smallest_size(counts, shares, 0, 0.05)

    def variation(size: int) -> float:
        return total_variation(counts + water_fill(counts, shares, size - 111), shares)

    assert variation(size) <= 0.05 < variation(size - 1)
    assert smallest_size(np.array([5, 5]), np.array([0.5, 0.5]), 0, 0.05) == 10
    # images where the target wants none can only be diluted
    diluted = smallest_size(np.array([5, 5, 10]), np.array([0.5, 0.5, 0.0]), 0, 0.1)
    assert diluted == 100
    with pytest.raises(ConfigError, match="20 of them lie where it wants none"):
        smallest_size(np.array([0, 20]), np.array([1.0, 0.0]), 0, 0.001)


def test_weights_balance_without_a_single_new_image() -> None:
    grid = grid_1d()
    values = np.array([[-3.0]] * 8 + [[-1.0]] * 2 + [[1.0]] * 5 + [[9.0]])
    counts, shares = grid.counts(values), np.array([0.25, 0.25, 0.5, 0.0])
    bins = grid.locate(values)
    weights = importance_weights(bins, counts, shares)
    assert weights.mean() == pytest.approx(1)
    assert weights[-1] == 0
    weighted = np.bincount(bins[:-1], weights[:-1], minlength=4)
    np.testing.assert_allclose(weighted / weighted.sum(), shares)
    assert importance_weights(np.array([-1]), np.zeros(4, np.int64), shares).tolist() == [0]
