"""SeFa against planted style weights and the definition of its maximum."""

import numpy as np
import pytest

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.sefa import SeFa


def test_planted_weights_give_their_own_directions() -> None:
    # Of rows of unit length along orthogonal axes, an eigenvalue counts the rows along its axis.
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    counts = (7, 4, 2, 1, 0)
    rng = np.random.default_rng(1)
    rows = np.concatenate([np.outer(rng.normal(size=n), axis) for n, axis in zip(counts, axes, strict=True)])
    fit = SeFa(5).fit([rows[:6], rows[6:]])
    np.testing.assert_allclose(fit.eigenvalues_, counts, atol=1e-12)
    np.testing.assert_allclose(np.abs(fit.components_ @ axes.T), np.eye(5), atol=1e-7)
    assert (fit.n_samples_seen_, fit.n_features_in_) == (0, 5)


def test_components_maximise_the_change_of_the_styles() -> None:
    rng = np.random.default_rng(2)
    layers = [rng.normal(size=(30, 8)) * np.linspace(3, 0.1, 8), rng.normal(size=(12, 8))]
    fit = SeFa(3).fit(layers)
    a = np.concatenate(layers)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    change = np.square(a @ fit.components_.T).sum(axis=0)
    np.testing.assert_allclose(change, fit.eigenvalues_, rtol=1e-10)
    assert (np.diff(change) < 0).all()
    others = rng.normal(size=(1000, 8))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert np.square(a @ others.T).sum(axis=0).max() < change[0]
    # Each further component is the best of those that are orthogonal to the ones before it.
    np.testing.assert_allclose(fit.components_ @ fit.components_.T, np.eye(3), atol=1e-12)
    others -= others @ fit.components_[:1].T @ fit.components_[:1]
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert np.square(a @ others.T).sum(axis=0).max() < change[1]


def test_only_the_directions_of_the_weights_count() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(20, 6))
    scaled = weights * rng.uniform(0.1, 10, size=(20, 1))
    with_dead = np.concatenate([scaled, np.zeros((4, 6))])
    plain, other = SeFa(6).fit([weights]), SeFa(6).fit([with_dead])
    np.testing.assert_allclose(other.components_, plain.components_, atol=1e-9)
    np.testing.assert_allclose(other.eigenvalues_.sum(), 20)
    largest = plain.components_[np.arange(6), np.abs(plain.components_).argmax(axis=1)]
    assert (largest > 0).all()


def test_bad_input() -> None:
    weights = np.random.default_rng(4).normal(size=(20, 6))
    with pytest.raises(ConfigError, match="choose at least one layer"):
        SeFa().fit([])
    with pytest.raises(ConfigError, match="32 components were asked for, expected 1 to 6"):
        SeFa().fit([weights])
    with pytest.raises(ConfigError, match="all style weights are zero"):
        SeFa(2).fit([0 * weights])
    with pytest.raises(ShapeError, match=r"widths \[5, 6\]"):
        SeFa(2).fit([weights, weights[:, :5]])
    with pytest.raises(ShapeError, match="NaN"):
        SeFa(2).fit([weights * np.nan])
