"""InterFaceGAN against separable planes, a maximal margin in closed form, and the published projections."""

import numpy as np
import pytest

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.interfacegan import InterFaceGAN, all_conditional, conditional_normal


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_the_normal_is_that_of_the_widest_margin() -> None:
    # Two classes on two parallel lines: the widest margin is orthogonal to these, wherever their means lie.
    rng = np.random.default_rng(0)
    along, across = unit(np.array([1.0, 2.0, 0.0])), unit(np.array([-2.0, 1.0, 0.0]))
    positive = rng.uniform(-1, 2, (50, 1)) * along + 3 * across
    negative = rng.uniform(-2, 1, (50, 1)) * along - 3 * across
    w = np.concatenate([positive, negative])
    y = np.repeat([[1.0], [0.0]], 50, axis=0)
    fit = InterFaceGAN(share=0.5).fit(w, y)
    np.testing.assert_allclose(fit.normals_, across[None], atol=1e-3)
    np.testing.assert_allclose(fit.accuracy_, 1.0)
    np.testing.assert_array_equal(fit.steps_, fit.normals_)
    assert (fit.n_samples_seen_, fit.n_features_in_) == (100, 3)


def test_planted_gradients_are_found_from_the_extremes() -> None:
    rng = np.random.default_rng(1)
    w = rng.normal(size=(4000, 6)) + 5
    gradients = rng.normal(size=(2, 6))
    y = w @ gradients.T + 0.1 * rng.normal(size=(4000, 2))
    fit = InterFaceGAN(share=0.1).fit(w, y)
    for normal, gradient in zip(fit.normals_, gradients, strict=True):
        assert normal @ unit(gradient) > 0.98
        assert np.linalg.norm(normal) == pytest.approx(1)
    assert (fit.accuracy_ > 0.98).all()
    # Labels count by their order alone.
    again = InterFaceGAN(share=0.1).fit(w, np.exp(y / 5))
    np.testing.assert_array_equal(again.normals_, fit.normals_)


def test_of_the_samples_only_the_share_is_looked_at() -> None:
    rng = np.random.default_rng(2)
    w, y = rng.normal(size=(1000, 4)), np.arange(1000.0)[:, None]
    spoilt = w.copy()
    spoilt[20:980] = 1e6
    fit, other = (InterFaceGAN().fit(x, y) for x in (w, spoilt))
    np.testing.assert_array_equal(fit.normals_, other.normals_)


def test_conditional_normals_leave_the_conditions_alone() -> None:
    rng = np.random.default_rng(3)
    n = np.array([unit(row) for row in rng.normal(size=(4, 7))])
    one = conditional_normal(n[0], n[1:2])
    np.testing.assert_allclose(one, unit(n[0] - (n[0] @ n[1]) * n[1]), atol=1e-12)  # as published
    c = n[1] @ n[2]  # two conditions, as in the released program
    a = (n[0] @ n[1] - n[0] @ n[2] * c) / (1 - c**2)
    b = (n[0] @ n[2] - n[0] @ n[1] * c) / (1 - c**2)
    np.testing.assert_allclose(conditional_normal(n[0], n[1:3]), unit(n[0] - a * n[1] - b * n[2]), atol=1e-12)
    three = conditional_normal(n[0], n[1:])
    np.testing.assert_allclose(n[1:] @ three, 0, atol=1e-12)
    assert three @ n[0] > 0
    # Conditions that say the same twice are no obstacle.
    np.testing.assert_allclose(conditional_normal(n[0], n[[1, 1]]), one, atol=1e-12)
    with pytest.raises(ConfigError, match="lies in the span"):
        conditional_normal(n[1] + n[2], n[1:3])


def test_conditional_fit() -> None:
    rng = np.random.default_rng(4)
    w = rng.normal(size=(2000, 5))
    shared = rng.normal(size=5)
    gradients = np.array([unit(shared + 0.5 * rng.normal(size=5)) for _ in range(3)])
    fit = InterFaceGAN(share=0.1, conditional=True).fit(w, w @ gradients.T, ["a", "b", "c"])
    effects = fit.normals_ @ fit.steps_.T
    np.testing.assert_allclose(effects - np.diag(np.diag(effects)), 0, atol=1e-9)
    assert (np.diag(effects) > 0).all()
    with pytest.raises(ConfigError, match=r"a: InterFaceGAN: the direction lies in the span"):
        all_conditional(np.stack([fit.normals_[0], -fit.normals_[0]]), ["a", "b"])


def test_bad_input() -> None:
    rng = np.random.default_rng(5)
    w = rng.normal(size=(100, 4))
    y = w[:, :1]
    with pytest.raises(ConfigError, match="labels of smile are of one class"):
        InterFaceGAN(share=0.2).fit(w, np.zeros((100, 1)), ["smile"])
    rare = (np.arange(100) < 5)[:, None].astype(float)
    with pytest.raises(ConfigError, match="attribute 0 are of no two classes of that size"):
        InterFaceGAN(share=0.2).fit(w, rare)
    with pytest.raises(ConfigError, match=r"0.02 of 100 samples leaves 1 of either class"):
        InterFaceGAN().fit(w, y)
    with pytest.raises(ConfigError, match="3 samples, expected at least 4"):
        InterFaceGAN().fit(w[:3], y[:3])
    with pytest.raises(ConfigError, match=r"share 0\.6"):
        InterFaceGAN(share=0.6).fit(w, y)
    with pytest.raises(ShapeError, match="99 labels for 100 samples"):
        InterFaceGAN().fit(w, y[:99])
    with pytest.raises(ShapeError, match="labels: NaN"):
        InterFaceGAN().fit(w, y * np.nan)
