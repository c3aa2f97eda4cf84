"""GANSpace against planted covariances, and against the published regression written out."""

import numpy as np
import pytest

from lineament.errors import ConfigError, ShapeError
from lineament.estimators import _peers
from lineament.estimators.ganspace import GANSpaceActivations, GANSpaceW


def planted(n: int, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples whose covariance is exactly that of the axes (orthonormal rows) and deviations returned."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    deviations = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.25])[:d]
    z = rng.normal(size=(n, d))
    z -= z.mean(axis=0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T  # now the sample covariance is the identity
    return (z * deviations) @ axes + 7.0, axes, deviations


def test_components_of_w_are_the_planted_axes() -> None:
    w, axes, deviations = planted(400)
    fit = GANSpaceW(3).fit(w)
    np.testing.assert_allclose(np.abs(fit.components_ @ axes.T), np.eye(6)[:3], atol=1e-9)
    np.testing.assert_allclose(fit.stdev_, deviations[:3], rtol=1e-9)
    np.testing.assert_allclose(fit.var_ratio_, deviations[:3] ** 2 / (deviations**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(fit.mean_, w.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fit.steps_, fit.stdev_[:, None] * fit.components_, rtol=1e-15)
    assert (fit.n_samples_seen_, fit.n_features_in_) == (400, 6)


def test_activations_that_are_linear_in_w_lead_back_to_its_axes() -> None:
    # A rotation of w into more dimensions keeps its components; those of the activations are the axes, rotated.
    w, axes, deviations = planted(500)
    rng = np.random.default_rng(3)
    embedding = np.linalg.qr(rng.normal(size=(20, 6)))[0].T
    fit = GANSpaceActivations(4).fit(w @ embedding - 2.0, w)
    np.testing.assert_allclose(np.abs(fit.components_ @ axes.T), np.eye(6)[:4], atol=1e-6)
    np.testing.assert_allclose(np.abs(fit.activation_components_ @ (axes @ embedding).T), np.eye(6)[:4], atol=1e-6)
    np.testing.assert_allclose(fit.activation_stdev_, deviations[:4], rtol=1e-6)
    np.testing.assert_allclose(fit.stdev_, deviations[:4] * np.sqrt(499 / 500), rtol=1e-6)


def test_regression_is_the_published_one() -> None:
    # Activations that are not linear in w: rows of U that minimise ||U x - w||, at unit length.
    w, _, _ = planted(800, seed=5)
    rng = np.random.default_rng(6)
    activations = np.tanh(w @ rng.normal(size=(6, 15)) / 10) + 0.1 * rng.normal(size=(800, 15))
    fit = GANSpaceActivations(3).fit(activations, w)
    centred = activations - activations.mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    x = centred @ vt[:3].T / (s[:3] / np.sqrt(799))
    u = np.linalg.solve(x.T @ x, x.T @ w)  # the normal equations, one row for each component
    expected = u / np.linalg.norm(u, axis=1, keepdims=True)
    cosines = (fit.components_ * expected).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-6)
    np.testing.assert_allclose(fit.stdev_, (w @ expected.T).std(axis=0), rtol=1e-5)
    # A direction has its activation's sign: moving along it raises that component's coordinate.
    raised = np.corrcoef(((w - w.mean(axis=0)) @ fit.components_[0]), centred @ fit.activation_components_[0])[0, 1]
    assert raised > 0.5


def test_the_same_samples_give_the_same_bytes() -> None:
    w, _, _ = planted(300)
    activations = np.random.default_rng(0).normal(size=(300, 40)) + w[:, :1]
    first, second = (GANSpaceActivations(5).fit(activations, w) for _ in range(2))
    np.testing.assert_array_equal(first.steps_, second.steps_)


def test_bad_input() -> None:
    w, _, _ = planted(10)
    with pytest.raises(ConfigError, match="3 samples, expected at least 4; take more"):
        GANSpaceW(3).fit(w[:3])
    with pytest.raises(ConfigError, match="7 components were asked for, expected 1 to 6"):
        GANSpaceW(7).fit(w)
    with pytest.raises(ConfigError, match="does not vary along all components"):
        GANSpaceW(3).fit(np.outer(np.arange(10.0), np.ones(6)))
    with pytest.raises(ShapeError, match="NaN"):
        GANSpaceW(3).fit(np.where(np.eye(10, 6) > 0, np.nan, w))
    with pytest.raises(ShapeError, match="9 activations for 10 w"):
        GANSpaceActivations(3).fit(w[:9], w)
    with pytest.raises(ConfigError, match="4 components were asked for, expected 1 to 2"):
        GANSpaceActivations(4).fit(w[:, :2], w)


def test_a_missing_scikit_learn_is_named() -> None:
    with pytest.raises(ConfigError, match=r"scikit-learn is not installed .* pip install 'lineament\[peers\]'"):
        _peers.scikit_learn("no_such_module")
