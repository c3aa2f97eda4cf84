"""The upper bound and the floor."""

import numpy as np
import pytest

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.random_directions import RandomDirections
from lineament.estimators.steps import mahalanobis_norm
from lineament.estimators.supervised_directions import SupervisedDirections


def world(n: int = 500, d: int = 6, m: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2
    gradients = rng.normal(size=(m, d))
    return w, w @ gradients.T + 3, gradients


def test_supervised_steps_change_their_own_label_by_one_and_no_other() -> None:
    w, y, gradients = world()
    fit = SupervisedDirections().fit(w, y)
    np.testing.assert_allclose(gradients @ fit.steps_.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(fit.model_.coef_, gradients, atol=1e-9)
    assert (fit.n_samples_seen_, fit.n_features_in_) == (500, 6)


def test_supervised_steps_that_hold_nothing_are_the_shortest() -> None:
    w, y, gradients = world()
    free, held = SupervisedDirections(hold=False).fit(w, y), SupervisedDirections().fit(w, y)
    np.testing.assert_allclose((gradients * free.steps_).sum(axis=1), 1.0, rtol=1e-9)
    cov = np.cov(w.T)
    lengths = mahalanobis_norm(free.steps_, cov)
    np.testing.assert_allclose(lengths, 1 / np.sqrt(np.einsum("md,de,me->m", gradients, cov, gradients)), rtol=1e-9)
    assert (mahalanobis_norm(held.steps_, cov) > lengths).all()


def test_shares_whose_sum_is_one_do_not_hold_each_other_all() -> None:
    w, y, gradients = world()
    shares = np.column_stack([y, 1 - y[:, 0] - y[:, 1]])  # the last follows from the first two
    fit = SupervisedDirections().fit(w, shares)
    all_gradients = np.concatenate([gradients, -gradients[:1] - gradients[1:2]])
    changes = all_gradients @ fit.steps_.T
    np.testing.assert_allclose(np.diagonal(changes), 1.0, atol=1e-6)
    np.testing.assert_allclose(changes[[0, 1, 3], 2], 0.0, atol=1e-6)  # what is apart from them holds all of them
    np.testing.assert_allclose(changes[2, [0, 1, 3]], 0.0, atol=1e-6)
    for one in (0, 1, 3):
        others = [other for other in (0, 1, 3) if other != one]
        assert sorted(np.abs(changes[others, one]).round(6)) == [0, 1]  # one of them gives what this takes


def test_labels_that_always_change_together_share_their_direction() -> None:
    w, y, _ = world()
    fit = SupervisedDirections().fit(w, y[:, [0, 0]], ["yaw", "turn"])
    np.testing.assert_allclose(fit.steps_[0], fit.steps_[1])


def test_supervised_bad_input() -> None:
    w, y, _ = world()
    with pytest.raises(ConfigError, match="7 samples, expected at least 8"):
        SupervisedDirections().fit(w[:7], y[:7])
    with pytest.raises(ConfigError, match="age is the same on every sample"):
        SupervisedDirections().fit(w, np.column_stack([y[:, 0], np.ones(500)]), ["yaw", "age"])
    with pytest.raises(ShapeError, match="499 labels for 500 samples"):
        SupervisedDirections().fit(w, y[1:])
    with pytest.raises(ShapeError, match="NaN"):
        SupervisedDirections().fit(w, y * np.inf)


def test_random_directions_are_even_and_a_function_of_seed_and_number() -> None:
    w, _, _ = world()
    fit = RandomDirections(2000, seed=1).fit(w)
    np.testing.assert_allclose(np.linalg.norm(fit.components_, axis=1), 1.0)
    # On the sphere in six dimensions every coordinate has mean 0 and mean square 1/6.
    np.testing.assert_allclose(fit.components_.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(fit.components_.T @ fit.components_ / 2000, np.eye(6) / 6, atol=0.02)
    np.testing.assert_allclose(fit.stdev_, (w @ fit.components_.T).std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(fit.steps_, fit.stdev_[:, None] * fit.components_)
    fewer = RandomDirections(3, seed=1).fit(w[:50])
    np.testing.assert_array_equal(fewer.components_, fit.components_[:3])
    assert not np.allclose(RandomDirections(3, seed=2).fit(w).components_, fewer.components_)
    with pytest.raises(ConfigError, match="1 samples, expected at least 2"):
        RandomDirections(3).fit(w[:1])
