"""The measures of directions, on changes whose answer is known."""

import numpy as np
import pytest

from lineament.errors import ConfigError
from lineament.estimators.direction_measures import (
    attribute_dependencies,
    bootstrap,
    calibration_errors,
    leakages,
    linearity,
    mean_of_others,
    moved,
    ratio_of_means,
    smallest_leakage,
    usable_range,
    weighted_mean,
)

AMOUNTS = np.array([-1.0, 1.0])


def even(num: int) -> np.ndarray:
    return np.full((1, num), 1 / num)


def planted(effects: list[float], faces: int = 5, noise: float = 0.0) -> np.ndarray:
    """Changes n s m of an edit that moves every attribute by its effect per unit."""
    rng = np.random.default_rng(0)
    return AMOUNTS[None, :, None] * np.array(effects) + noise * rng.standard_normal((faces, 2, len(effects)))


def test_leakage_is_per_standard_deviation_of_the_target() -> None:
    rows = leakages(planted([2.0, 0.5, -1.0]), AMOUNTS, 0)
    np.testing.assert_allclose(rows(even(5))[0], [1.0, 0.25, 0.5])
    assert mean_of_others(rows, 0)(even(5))[0] == pytest.approx(0.375)


def test_leakage_does_not_cancel_between_faces_that_answer_oppositely() -> None:
    changes = planted([1.0, 0.4], faces=4)
    changes[::2, :, 1] *= -1
    np.testing.assert_allclose(leakages(changes, AMOUNTS, 0)(even(4))[0], [1.0, 0.4])


def test_leakage_of_an_edit_that_goes_the_wrong_way_is_infinite() -> None:
    assert np.isinf(leakages(planted([-1.0, 0.1]), AMOUNTS, 0)(even(5))).all()
    assert moved(planted([-1.0, 0.1]), AMOUNTS, 0) == pytest.approx(-1)


def test_a_line_explains_all_of_a_line_and_nothing_of_a_constant() -> None:
    amounts = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    values = np.stack([3 * amounts + 1, np.zeros(5), amounts**2])
    np.testing.assert_allclose(linearity(amounts, values), [1, 0, 0], atol=1e-12)
    # y = (0, 1, 0): slope 0; y = (0, 0, 1): r = 1/2 / sqrt(2/3 * 1/3 * 3 * 3 / 9 ...) has r^2 = 3/4.
    assert linearity(np.array([0.0, 1.0, 2.0]), np.array([[0.0, 0.0, 1.0]]))[0] == pytest.approx(0.75)
    with pytest.raises(ConfigError, match="three amounts"):
        linearity(amounts[:2], values[:, :2])


def test_calibration_tells_scatter_from_bias() -> None:
    asked = np.array([-10.0, 10.0])
    judged = asked + np.array([[4.0], [-4.0]])  # one face too far right, one too far left
    error, of_mean = calibration_errors(asked, judged)
    assert error(even(2))[0] == pytest.approx(4)
    assert of_mean(even(2))[0] == pytest.approx(0)
    short = calibration_errors(asked, np.array([[-7.0, 7.0], [-7.0, 7.0]]))
    assert [statistic(even(2))[0] for statistic in short] == pytest.approx([3, 3])


def test_attribute_dependency_looks_at_images_of_the_same_effect() -> None:
    # The second amount overshoots: an effect of 2 is not counted, whatever leaks there.
    changes = np.array([[[1.0, 0.2, -0.4], [2.0, 9.0, 9.0]], [[-1.1, 0.0, 0.6], [3.0, 9.0, 9.0]]])
    mean, largest = attribute_dependencies(changes, 0)
    assert mean(even(2))[0] == pytest.approx((0.3 + 0.3) / 2)
    assert largest(even(2))[0] == pytest.approx((0.4 + 0.6) / 2)
    nowhere, _ = attribute_dependencies(changes, 0, at=9.0)
    assert np.isnan(nowhere(even(2))[0])


def test_the_range_ends_where_a_limit_is_passed() -> None:
    effects = np.array([[0.0, 1.0, 2.0, 3.0]])
    identity, score = np.array([[0.0, 0.4, 0.8, 1.2]]), np.zeros((1, 4))
    assert usable_range(effects, [identity, score])(np.ones((1, 1)))[0] == pytest.approx(2.5)
    assert usable_range(effects, [score])(np.ones((1, 1)))[0] == pytest.approx(3)
    assert usable_range(effects, [identity, 2 * identity])(np.ones((1, 1)))[0] == pytest.approx(1.25)
    # What was reached before an effect falls again counts.
    assert usable_range(np.array([[0.0, 2.0, 1.0, 0.5]]), [identity])(np.ones((1, 1)))[0] == pytest.approx(2)


def test_the_least_leaking_direction_is_found_whatever_its_sign() -> None:
    changes = np.stack([planted([1.0, 0.9]), planted([-0.5, 0.05]), planted([0.01, 0.0])])
    assert smallest_leakage(changes, AMOUNTS, 0, 0.1) == 1
    assert smallest_leakage(changes, AMOUNTS, 0, 0.001) == 2
    assert smallest_leakage(changes, AMOUNTS, 0, 5.0) is None


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        found = bootstrap([weighted_mean(rng.normal(3.0, 1.0, 40))], 40, rng)
        hits += found.low <= 3.0 <= found.high
        assert found.low <= found.value <= found.high
    assert 178 <= hits <= 199  # 95 % of 200, give or take


def test_seeds_widen_an_interval() -> None:
    values = np.random.default_rng(2).normal(size=30)
    one = bootstrap([weighted_mean(values)], 30, np.random.default_rng(0))
    far = bootstrap([weighted_mean(values + shift) for shift in (-5.0, 0.0, 5.0)], 30, np.random.default_rng(0))
    assert far.value == pytest.approx(one.value)
    assert far.high - far.low > 3 * (one.high - one.low)


def test_a_draw_that_is_infinite_does_not_spoil_the_interval() -> None:
    own = np.array([1.0, -0.9])
    found = bootstrap([leakages(own[:, None, None] * AMOUNTS[:, None], AMOUNTS, 0)], 2, np.random.default_rng(0))
    assert not np.isnan(found.high)


def test_a_ratio_is_one_of_means() -> None:
    assert ratio_of_means(np.array([1.0, 3.0]), np.array([0.0, 2.0]))(even(2))[0] == pytest.approx(2)
