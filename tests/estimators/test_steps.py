"""Steps in w: what they change, what they keep, that none is shorter; and the calibration of their length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.steps import (
    MIN_END_SLOPE,
    StepCalibration,
    mahalanobis_norm,
    mahalanobis_step,
)


def world(d: int = 7, m: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return rng.normal(size=(m, d)), root @ root.T, rng


def test_one_semantic_by_hand() -> None:
    # Sigma = diag(4, 1), v = (1, 1): Sigma v / (v' Sigma v) = (4, 1) / 5.
    step = mahalanobis_step(np.ones((1, 2)), np.diag([4.0, 1.0]), np.array([10.0]))
    np.testing.assert_allclose(step, [8.0, 2.0])
    # Its length is dy / sqrt(v' Sigma v) standard deviations.
    assert mahalanobis_norm(step[None], np.diag([4.0, 1.0]))[0] == pytest.approx(10 / np.sqrt(5))


def test_spherical_covariance_gives_the_euclidean_step() -> None:
    gradients, _, _ = world()
    step = mahalanobis_step(gradients[:1], 2.5 * np.eye(7), np.array([3.0]))
    np.testing.assert_allclose(step, 3.0 * gradients[0] / (gradients[0] @ gradients[0]))


def test_all_semantics_change_as_asked_and_held_ones_stay() -> None:
    gradients, cov, _ = world()
    dy = np.array([15.0, 0.0, -0.3])
    np.testing.assert_allclose(gradients @ mahalanobis_step(gradients, cov, dy), dy, atol=1e-10)


def test_no_step_with_the_same_effect_is_shorter() -> None:
    gradients, cov, rng = world()
    dy = np.array([1.0, 0.0, 2.0])
    step = mahalanobis_step(gradients, cov, dy)
    null = np.linalg.svd(gradients)[2][3:]  # moves that change none of the three
    others = step + rng.normal(size=(50, 4)) @ null
    np.testing.assert_allclose(others @ gradients.T, np.tile(dy, (50, 1)), atol=1e-9)
    assert (mahalanobis_norm(others, cov) > mahalanobis_norm(step[None], cov)).all()


def test_holding_more_never_shortens() -> None:
    gradients, cov, _ = world()
    lengths = [mahalanobis_norm(mahalanobis_step(gradients[:k], cov, np.eye(k)[0])[None], cov)[0] for k in range(1, 4)]
    assert lengths == sorted(lengths)


def test_the_step_does_not_depend_on_the_coordinates_of_w_nor_on_units() -> None:
    gradients, cov, rng = world()
    change, units = rng.normal(size=(7, 7)), np.array([1e-6, 1.0, 1e6])
    dy = np.array([1.0, 0.0, 2.0])
    step = mahalanobis_step(gradients, cov, dy)
    moved = mahalanobis_step(gradients @ np.linalg.inv(change), change @ cov @ change.T, dy)
    np.testing.assert_allclose(moved, change @ step, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(mahalanobis_step(gradients * units[:, None], cov, dy * units), step, rtol=1e-8)


def test_the_most_probable_step_is_the_conditional_mean() -> None:
    # For Gaussian w the step equals E[dw | A dw = dy], here by regressing w on its semantics.
    gradients, cov, rng = world()
    w = rng.multivariate_normal(np.zeros(7), cov, size=50_000)
    slopes = np.linalg.lstsq(w @ gradients.T, w, rcond=None)[0]
    dy = np.array([2.0, 0.0, 1.0])
    np.testing.assert_allclose(dy @ slopes, mahalanobis_step(gradients, cov, dy), atol=0.05)


def test_nearly_collinear_semantics_are_named() -> None:
    gradients, cov, _ = world()
    gradients[2] = 3 * gradients[0] + 1e-5 * gradients[2]
    dy = np.array([1.0, 0.0, 0.0])
    with pytest.raises(ConfigError, match=r"(yaw and shift|shift and yaw) are nearly collinear .*; drop"):
        mahalanobis_step(gradients, cov, dy, names=["yaw", "light", "shift"])
    with pytest.raises(ConfigError, match=r"semantic [02] and semantic [02]"):
        mahalanobis_step(gradients[[0, 1, 2]], cov, dy)
    step = mahalanobis_step(gradients, cov, np.array([1.0, 0.0, 3.0]), ridge=1e-3)
    np.testing.assert_allclose(gradients @ step, [1.0, 0.0, 3.0], atol=0.02)
    gradients[2] = gradients[0]  # exactly singular
    with pytest.raises(ConfigError, match="nearly collinear"):
        mahalanobis_step(gradients, cov, dy)


def test_more_semantics_than_w_has_directions() -> None:
    gradients, cov, _ = world(d=2, m=3)
    with pytest.raises(ConfigError, match="nearly collinear"):
        mahalanobis_step(gradients, cov, np.ones(3))


def test_a_semantic_that_w_does_not_move_is_named() -> None:
    gradients, cov, _ = world()
    gradients[1] = 0
    with pytest.raises(ConfigError, match="roll does not vary with w"):
        mahalanobis_step(gradients, cov, np.ones(3), names=["yaw", "roll", "pitch"])


def test_norm_against_the_inverse_and_outside_the_span() -> None:
    _, cov, rng = world()
    steps = rng.normal(size=(5, 7))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", steps, np.linalg.inv(cov), steps))
    np.testing.assert_allclose(mahalanobis_norm(steps, cov), expected, rtol=1e-8)
    flat = np.diag([4.0, 0.0])
    np.testing.assert_allclose(mahalanobis_norm(np.array([[2.0, 0.0], [0.0, 0.0], [2.0, 1.0]]), flat), [1, 0, np.inf])


def test_nothing_measured_is_the_identity() -> None:
    for calibration in (
        StepCalibration(),
        StepCalibration.fit(np.zeros(0), np.zeros(0)),
        StepCalibration(((0.0, 0.0),)),
    ):
        assert calibration.requested_to_step(-7.5) == calibration.step_to_measured(-7.5) == -7.5
        assert {y for _, y in calibration.knots} <= {0.0}


def test_calibration_by_hand() -> None:
    calibration = StepCalibration.fit(np.array([10.0, -10.0, 20.0]), np.array([8.0, -5.0, 12.0]))
    assert calibration.knots == ((-10.0, -5.0), (0.0, 0.0), (10.0, 8.0), (20.0, 12.0))
    assert (calibration.knots[0][1], calibration.knots[-1][1]) == (-5.0, 12.0)
    for step, change in [(0.0, 0.0), (5.0, 4.0), (15.0, 10.0), (-4.0, -2.0), (30.0, 16.0), (-20.0, -10.0)]:
        assert calibration.step_to_measured(step) == pytest.approx(change)
        assert calibration.requested_to_step(change) == pytest.approx(step)


def test_one_side_measured_extends_to_the_other() -> None:
    calibration = StepCalibration.fit(np.array([5.0]), np.array([4.0]))
    assert calibration.step_to_measured(-10.0) == pytest.approx(-8.0)
    # An answer of the wrong sign throughout is no measurement.
    assert StepCalibration.fit(np.array([5.0, -5.0]), np.array([4.0, 1.0])) == calibration
    assert StepCalibration.fit(np.array([5.0, -5.0]), np.array([-4.0, 1.0])) == StepCalibration()


def test_a_saturated_end_does_not_ask_for_endless_steps() -> None:
    calibration = StepCalibration.fit(np.array([10.0, 20.0]), np.array([10.0, 10.001]))
    slope = MIN_END_SLOPE * 10.001 / 20
    assert calibration.requested_to_step(11.001) == pytest.approx(20 + 1 / slope)
    assert calibration.step_to_measured(20 + 1 / slope) == pytest.approx(11.001)


def test_violators_are_pooled_as_isotonic_regression_does() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1.0, 41.0)
    measured = 5 + 0.3 * steps + rng.normal(size=40) * 2
    calibration = StepCalibration.fit(steps, measured)
    theirs = IsotonicRegression().fit_transform(steps, measured)
    np.testing.assert_allclose([y for _, y in calibration.knots[1:]], np.unique(theirs.round(12)), atol=1e-9)
    for step, change in calibration.knots[1:]:
        pool = steps[np.isclose(theirs, change)]
        assert step == pytest.approx(pool.mean())
    order = rng.permutation(40)
    assert StepCalibration.fit(steps[order], measured[order]) == calibration


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), max_size=8),
    st.floats(-100, 100),
    st.floats(-100, 100),
)
def test_calibration_rises_is_inverted_and_keeps_zero(pairs: list[tuple[int, int]], a: float, b: float) -> None:
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    calibration = StepCalibration.fit(table[:, 0], table[:, 1])
    assert calibration.requested_to_step(0.0) == calibration.step_to_measured(0.0) == 0
    assert calibration.step_to_measured(calibration.requested_to_step(a)) == pytest.approx(a, abs=1e-9)
    low, high = sorted((a, b))
    assert calibration.step_to_measured(low) <= calibration.step_to_measured(high)
    assert StepCalibration(calibration.knots) == calibration


def test_bad_calibrations_are_refused() -> None:
    for knots in (((0.0, 0.0), (1.0, 0.0)), ((1.0, 1.0), (0.0, 0.0)), ((0.0, 0.0), (float("nan"), 1.0))):
        with pytest.raises(ConfigError, match="must rise"):
            StepCalibration(knots)
    with pytest.raises(ConfigError, match=r"contain \(0, 0\)"):
        StepCalibration(((1.0, 1.0), (2.0, 2.0)))
    with pytest.raises(ShapeError, match="NaN or infinity"):
        StepCalibration.fit(np.array([1.0]), np.array([np.nan]))
