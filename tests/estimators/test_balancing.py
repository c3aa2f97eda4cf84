import time

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from lineament.errors import ConfigError
from lineament.estimators.balancing import Extrapolation, plan_transport, spread
from lineament.estimators.histograms import Grid, smallest_size, water_fill


def cost_of(m: int, *, reach: float = 100.0) -> Extrapolation:
    return Extrapolation(np.eye(m) / 100, np.full(m, -reach), np.full(m, reach), np.full(m, 10.0))


def lopsided(n: int, m: int = 1, seed: int = 0) -> np.ndarray:
    return 8.0 * np.random.default_rng(seed).standard_normal((n, m))


def test_costs_by_hand() -> None:
    cost = Extrapolation(np.array([[0.04]]), np.array([-20.0]), np.array([20.0]), np.array([5.0]))
    # 10 degrees at a fifth of a standard deviation each; nothing beyond the range
    assert cost.cost(np.array([[5.0]]), np.array([[15.0]])) == pytest.approx(2)
    # 10 beyond is 2 standard deviations more
    assert cost.cost(np.array([[20.0]]), np.array([[30.0]])) == pytest.approx(4)
    # who is out there already pays for what is added, and nothing for coming back
    assert cost.cost(np.array([[25.0]]), np.array([[30.0]])) == pytest.approx(2)
    assert cost.cost(np.array([[30.0]]), np.array([[20.0]])) == pytest.approx(2)


@pytest.mark.parametrize("m", [1, 2])
def test_the_gap_is_filled_and_nobody_is_used_too_often(m: int) -> None:
    values = lopsided(500, m)
    grid = Grid.regular(("yaw", "pitch")[:m], ((-20.0, 20.0),) * m, (8, 3)[:m])
    gap = water_fill(grid.counts(values), np.full(grid.num_bins, 1 / grid.num_bins), 700)
    capacity = np.random.default_rng(1).integers(0, 7, 500)
    plan = plan_transport(values, capacity, grid, gap, cost_of(m), seed=3)
    assert (np.bincount(plan.bin, minlength=grid.num_bins) == gap).all()
    assert (np.bincount(plan.source, minlength=500) <= capacity).all()
    assert (grid.locate(plan.wanted) == plan.bin).all()
    np.testing.assert_allclose(plan.cost, cost_of(m).cost(values[plan.source], plan.wanted))


@pytest.mark.parametrize("m", [1, 2])
def test_no_more_extrapolation_than_the_exact_assignment(m: int) -> None:
    values = lopsided(60, m)
    grid = Grid.regular(("yaw", "pitch")[:m], ((-20.0, 20.0),) * m, (6, 2)[:m])
    gap = water_fill(grid.counts(values), np.full(grid.num_bins, 1 / grid.num_bins), 80)
    plan = plan_transport(values, np.full(60, 3), grid, gap, cost_of(m), seed=0)
    slots = np.repeat(np.arange(60), 3)
    exact = cost_of(m).cost(values[slots][:, None], plan.wanted[None])
    rows, columns = linear_sum_assignment(exact)
    assert plan.cost.sum() <= 1.1 * exact[rows, columns].sum() + 0.2
    worse = plan_transport(values[::-1], np.full(60, 3), grid, gap, cost_of(m), seed=0)
    assert worse.cost.sum() == pytest.approx(plan.cost.sum(), rel=0.05)  # the order of the sources says nothing


def test_in_one_dimension_within_a_bin_the_order_is_kept() -> None:
    values = lopsided(200)
    grid = Grid.regular(("yaw",), ((-20.0, 20.0),), (5,))
    gap = np.array([50, 0, 0, 0, 40])
    plan = plan_transport(values, np.full(200, 1), grid, gap, cost_of(1), seed=0)
    for bin_ in (0, 4):
        own = plan.bin == bin_
        order = np.argsort(values[plan.source[own], 0])
        assert (np.diff(plan.wanted[own][order, 0]) > 0).all()
    # the lower end is filled from the lower sources
    assert values[plan.source[plan.bin == 0]].max() < values[plan.source[plan.bin == 4]].min()
    assert len(set(plan.source.tolist())) == 90


def test_leaving_the_range_seen_costs() -> None:
    """Two bins at the same distance, one of them beyond the range: the mean source goes where it is known."""
    values, grid = np.array([[0.0]] * 10), Grid.regular(("yaw",), ((-30.0, 30.0),), (3,))
    free, bound = cost_of(1), Extrapolation(np.eye(1) / 100, np.array([-100.0]), np.array([10.0]), np.array([10.0]))
    gap = np.array([5, 0, 5])
    one, other = (plan_transport(values, np.ones(10, np.int64), grid, gap, c, seed=0).cost for c in (free, bound))
    assert other.sum() > one.sum()


def test_the_same_seed_gives_the_same_plan_and_later_rounds_ask_for_other_values() -> None:
    values, grid = lopsided(100), Grid.regular(("yaw",), ((-20.0, 20.0),), (4,))
    gap, capacity = np.array([20, 0, 0, 10]), np.full(100, 2)
    plans = [plan_transport(values, capacity, grid, gap, cost_of(1), seed=s) for s in (1, 1, 2)]
    assert (plans[0].source == plans[1].source).all()
    assert (plans[0].wanted == plans[1].wanted).all()
    assert (plans[0].wanted != plans[2].wanted).any()
    later = plan_transport(values, capacity, grid, gap, cost_of(1), seed=1, begun=gap)
    assert not set(later.wanted[:, 0].tolist()) & set(plans[0].wanted[:, 0].tolist())


def test_values_are_spread_evenly_however_many() -> None:
    grid = Grid.regular(("yaw", "pitch"), ((0.0, 1.0), (5.0, 7.0)), (1, 1))
    for count in (10, 64, 500):
        values = spread(grid, 0, range(count), seed=7)
        for column, (low, high) in zip(values.T, ((0, 1), (5, 7)), strict=True):
            quantiles = np.sort((column - low) / (high - low))
            assert np.abs(quantiles - (np.arange(count) + 0.5) / count).max() < 3 / count + 0.01
    parts = np.concatenate([spread(grid, 0, range(4), 7), spread(grid, 0, range(4, 10), 7)])
    np.testing.assert_array_equal(parts, spread(grid, 0, range(10), 7))


def test_nothing_to_do_and_too_little_to_do_it_with() -> None:
    values, grid = lopsided(10), Grid.regular(("yaw",), ((-20.0, 20.0),), (4,))
    assert len(plan_transport(values, np.ones(10, np.int64), grid, np.zeros(4, np.int64), cost_of(1), 0)) == 0
    assert len(plan_transport(values[:0], np.ones(0, np.int64), grid, np.zeros(4, np.int64), cost_of(1), 0)) == 0
    with pytest.raises(ConfigError, match="30 images are to be made, but 10 usable sources may give only 20"):
        plan_transport(values, np.full(10, 2), grid, np.array([30, 0, 0, 0]), cost_of(1), 0)


def test_ten_thousand_images_are_planned_in_seconds() -> None:
    values = lopsided(10_000)
    grid = Grid.regular(("yaw",), ((-25.0, 25.0),), (10,))
    counts = grid.counts(values)
    shares = np.full(10, 0.1)
    gap = water_fill(counts, shares, smallest_size(counts, shares, 0, 0.03) - int(counts.sum()))
    started = time.perf_counter()
    plan = plan_transport(values, np.full(10_000, 4), grid, gap, cost_of(1), seed=0)
    assert len(plan) > 5_000
    assert time.perf_counter() - started < 10
