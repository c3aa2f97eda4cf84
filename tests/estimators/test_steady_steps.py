"""Steps that leave the maps alone: against what is known of small linear worlds."""

import numpy as np
import pytest

from lineament.errors import ConfigError, DataError, ShapeError
from lineament.estimators.pixel_jacobian import PixelJacobian, kind_scales
from lineament.estimators.steady_steps import mean_square_change, steady_steps
from lineament.estimators.steps import mahalanobis_step

RNG = np.random.default_rng(0)
PIXELS, WIDTH = 30, 6


def spread(width: int) -> np.ndarray:
    root = RNG.normal(size=(width, width))
    return root @ root.T / width


@pytest.fixture(scope="module")
def world() -> tuple[PixelJacobian, np.ndarray]:
    coef = RNG.normal(size=(4 * PIXELS, WIDTH)) * np.repeat([0.1, 2.0], [PIXELS, 3 * PIXELS])[:, None]
    w = RNG.normal(size=(500, WIDTH))
    return PixelJacobian().partial_fit(w, w @ coef.T + 3).solve(), coef


def test_the_change_is_that_of_the_maps_in_their_standard_deviations(world: tuple[PixelJacobian, np.ndarray]) -> None:
    jacobian, coef = world
    everywhere = np.ones(4 * PIXELS, bool)
    step = RNG.normal(size=WIDTH)
    moved = coef @ step
    depth, albedo = slice(0, PIXELS), slice(PIXELS, None)
    scales = kind_scales(jacobian.y_std_, everywhere)
    expected = ((moved[depth] / scales["depth"]) ** 2).mean() + ((moved[albedo] / scales["albedo"]) ** 2).mean()
    assert step @ mean_square_change(jacobian, everywhere) @ step == pytest.approx(expected, rel=1e-5)


def test_pixels_outside_of_the_mask_do_not_count(world: tuple[PixelJacobian, np.ndarray]) -> None:
    jacobian, _ = world
    mask = np.tile(np.arange(PIXELS) < 3, 4)
    rank = np.linalg.matrix_rank(mean_square_change(jacobian, mask), tol=1e-6)
    assert rank == WIDTH  # 12 rows
    few = np.tile(np.arange(PIXELS) < 1, 4)
    assert np.linalg.matrix_rank(mean_square_change(jacobian, few), tol=1e-6) == 4


def test_without_weight_it_is_the_most_probable_step() -> None:
    gradients, cov = RNG.normal(size=(3, 8)), spread(8)
    steps = steady_steps(gradients, cov, spread(8), 0.0)
    for i, wanted in enumerate(np.eye(3)):
        np.testing.assert_allclose(steps[i], mahalanobis_step(gradients, cov, wanted), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1e4])
def test_each_raises_its_own_semantic_by_one_and_no_other(weight: float) -> None:
    gradients = RNG.normal(size=(3, 8))
    steps = steady_steps(gradients, spread(8), spread(8), weight)
    np.testing.assert_allclose(steps @ gradients.T, np.eye(3), atol=1e-8)


def test_no_other_step_costs_less() -> None:
    gradients, cov, change, weight = RNG.normal(size=(2, 7)), spread(7), spread(7), 5.0
    cost = np.linalg.inv(cov) + weight * change
    best = steady_steps(gradients, cov, change, weight)[0]
    free = np.linalg.svd(gradients)[2][2:]  # moves that change no semantic
    for move in free:
        for sign in (-1e-3, 1e-3):
            other = best + sign * move
            assert other @ cost @ other > best @ cost @ best


def test_more_weight_changes_the_maps_less() -> None:
    gradients, cov, change = RNG.normal(size=(2, 7)), spread(7), spread(7)
    disturbed = [
        float(step @ change @ step)
        for weight in (0.0, 1.0, 100.0)
        for step in steady_steps(gradients, cov, change, weight)[:1]
    ]
    assert disturbed[0] > disturbed[1] > disturbed[2]


def test_directions_in_which_w_does_not_vary_stay_unused() -> None:
    cov = np.diag([1.0, 1.0, 1.0, 0.0])
    steps = steady_steps(RNG.normal(size=(2, 4)), cov, spread(4), 10.0)
    np.testing.assert_allclose(steps[:, 3], 0.0, atol=1e-12)


def test_what_cannot_be_is_refused(world: tuple[PixelJacobian, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="nearly collinear"):
        steady_steps(np.ones((2, 4)), np.eye(4), np.eye(4), 1.0, names=("yaw", "pitch"))
    with pytest.raises(ShapeError, match="120 outputs"):
        mean_square_change(world[0], np.ones(5, bool))
    w = RNG.normal(size=(50, 2))
    flat = PixelJacobian().partial_fit(w, np.concatenate([np.ones((50, 2)), RNG.normal(size=(50, 6))], axis=1)).solve()
    with pytest.raises(DataError, match="depth is the same"):
        mean_square_change(flat, np.ones(8, bool))
