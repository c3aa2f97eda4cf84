"""Least squares on moments against two other solvers, planted truths and closed forms."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.moments import StreamingMoments


def world(n: int, d: int = 8, m: int = 3, *, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Correlated w with a mean, planted gradients, independent noise: w, y, gradients, intercepts."""
    rng = np.random.default_rng(1)
    mixing, gradients, offset = rng.normal(size=(d, d)), rng.normal(size=(m, d)), rng.normal(size=m) * 5
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, d)) @ mixing + 3
    return w, w @ gradients.T + offset + noise * rng.normal(size=(n, m)), gradients, offset


def test_agrees_with_scikit_learn_and_lstsq() -> None:
    w, y, _, _ = world(300)
    ours, theirs = LinearSemantics().fit(w, y), LinearRegression().fit(w, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    np.testing.assert_allclose(ours.predict(w), theirs.predict(w), atol=1e-8)
    solution = np.linalg.lstsq(np.hstack([w, np.ones((300, 1))]), y, rcond=None)[0]
    np.testing.assert_allclose(ours.coef_, solution[:-1].T, atol=1e-9)
    np.testing.assert_allclose(ours.r2_, r2_score(y, theirs.predict(w), multioutput="raw_values"), atol=1e-10)
    assert ours.converged_
    assert (ours.rank_, ours.n_samples_seen_, ours.n_features_in_) == (8, 300, 8)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_ridge_agrees_with_scikit_learn(ridge: float) -> None:
    w, y, _, _ = world(200)
    alpha = ridge * np.cov(w.T).trace() / 8 * (len(w) - 1)
    theirs = Ridge(alpha=alpha).fit(w, y)
    ours = LinearSemantics(ridge=ridge).fit(w, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)


def test_ridge_is_free_of_scale() -> None:
    w, y, _, _ = world(200)
    small, large = LinearSemantics(0.5).fit(w, y), LinearSemantics(0.5).fit(1000 * w, y)
    np.testing.assert_allclose(large.coef_ * 1000, small.coef_, rtol=1e-9)


def test_planted_gradients_are_exact_without_noise() -> None:
    w, y, gradients, offset = world(50, noise=0.0)
    fit = LinearSemantics().fit(w, y)
    np.testing.assert_allclose(fit.coef_, gradients, atol=1e-9)
    np.testing.assert_allclose(fit.intercept_, offset, atol=1e-8)
    np.testing.assert_allclose(fit.r2_, 1.0, atol=1e-12)


def test_standard_errors_are_calibrated() -> None:
    # Over independent repetitions, (estimate - truth) / standard error is close to standard normal.
    scores, residuals = [], []
    for seed in range(300):
        w, y, gradients, _ = world(60, noise=2.0, seed=seed + 10)
        fit = LinearSemantics().fit(w, y)
        scores.append((fit.coef_ - gradients) / fit.standard_error_)
        residuals.append(fit.residual_std_**2)
    z = np.array(scores)
    # 300 x 24 scores, correlated only within a repetition; t with 51 degrees of freedom has a variance of 1.04.
    assert np.mean(z**2) == pytest.approx(51 / 49, abs=0.05)
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.945, abs=0.012)
    assert np.mean(residuals) == pytest.approx(4.0, abs=0.1)  # unbiased: four standard errors of the mean


def test_standard_error_closed_form() -> None:
    # One regressor: se^2 = s^2 / sum (w - mean)^2.
    w, y, _, _ = world(40, d=1, m=1)
    fit = LinearSemantics().fit(w, y)
    residual = y - fit.predict(w)
    variance = (residual**2).sum() / 38
    assert fit.residual_std_[0] ** 2 == pytest.approx(variance)
    assert fit.standard_error_[0, 0] ** 2 == pytest.approx(variance / ((w - w.mean()) ** 2).sum())


def test_batches_moments_and_whole_agree() -> None:
    w, y, _, _ = world(400)
    whole, parts = LinearSemantics().fit(w, y), LinearSemantics()
    for start in range(0, 400, 37):
        parts.partial_fit(w[start : start + 37], y[start : start + 37])
    merged = LinearSemantics().fit_moments(StreamingMoments().update(w[::2], y[::2]).merge(whole_part(w, y)))
    for other in (parts, merged):
        for name in ("coef_", "intercept_", "standard_error_", "residual_std_", "r2_", "w_mean_", "w_cov_"):
            np.testing.assert_allclose(getattr(other, name), getattr(whole, name), atol=1e-9, err_msg=name)
        assert other.n_samples_seen_ == 400


def whole_part(w: np.ndarray, y: np.ndarray) -> StreamingMoments:
    return StreamingMoments().update(w[1::2], y[1::2])


def test_the_fit_keeps_its_own_copy_of_the_moments() -> None:
    w, y, _, _ = world(100)
    moments = StreamingMoments().update(w, y)
    fit = LinearSemantics().fit_moments(moments)
    fit.partial_fit(w, y)
    assert moments.count == 100
    moments.update(w, y)
    assert fit.n_samples_seen_ == fit.moments_.count == 200


def test_held_out_score_from_samples_and_from_moments() -> None:
    w, y, _, _ = world(500)
    fit = LinearSemantics().fit(w[:300], y[:300])
    expected = r2_score(y[300:], fit.predict(w[300:]), multioutput="raw_values")
    np.testing.assert_allclose(fit.score(w[300:], y[300:]), expected, atol=1e-11)
    np.testing.assert_allclose(fit.score_moments(StreamingMoments().update(w[300:], y[300:])), expected, atol=1e-11)
    np.testing.assert_allclose(fit.score(w[:300], y[:300]), fit.r2_, atol=1e-11)
    # A shifted held-out set is charged for its bias, as scikit-learn does.
    shifted = r2_score(y[300:] + 9, fit.predict(w[300:]), multioutput="raw_values")
    np.testing.assert_allclose(fit.score(w[300:], y[300:] + 9), shifted, atol=1e-10)
    assert (shifted < expected).all()


def test_noise_has_no_held_out_r2() -> None:
    rng = np.random.default_rng(0)
    w, y = rng.normal(size=(2000, 5)), rng.normal(size=(2000, 2))
    fit = LinearSemantics().fit(w[:1000], y[:1000])
    assert (fit.r2_ >= 0).all()
    np.testing.assert_allclose(fit.score(w[1000:], y[1000:]), 0, atol=0.03)


def test_a_constant_semantic_scores_zero() -> None:
    w, y, _, _ = world(100)
    y[:, 1] = 0.1
    fit = LinearSemantics().fit(w, y)
    assert fit.r2_[1] == fit.score(w, y)[1] == 0
    np.testing.assert_allclose(fit.coef_[1], 0, atol=1e-14)
    assert fit.r2_[0] > 0.9


@pytest.mark.parametrize("n", [3, 8, 9])
def test_too_few_samples_warn_and_say_so(n: int) -> None:
    w, y, _, _ = world(n)
    with pytest.warns(RuntimeWarning, match=f"{n} samples of rank .* take more than 9 samples"):
        fit = LinearSemantics().fit(w, y)
    assert not fit.converged_
    assert np.isinf(fit.residual_std_).all()
    assert not np.isnan(fit.standard_error_).any()
    np.testing.assert_allclose(fit.predict(w), y, atol=1e-7)  # it interpolates
    assert LinearSemantics(ridge=0.1).fit(w, y).converged_


def test_partial_fit_does_not_warn_on_the_way() -> None:
    w, y, _, _ = world(20)
    fit = LinearSemantics().partial_fit(w[:4], y[:4])
    assert not fit.converged_
    assert fit.partial_fit(w[4:], y[4:]).converged_


def test_rank_deficiency_gives_the_smallest_gradient() -> None:
    w, y, _, _ = world(200)
    doubled = np.hstack([w, w[:, :2], np.ones((200, 1))])
    with pytest.warns(RuntimeWarning, match="rank 8 do not determine 11"):
        fit = LinearSemantics().fit(doubled, y)
    assert fit.rank_ == 8
    centred = doubled - doubled.mean(axis=0)
    smallest = (np.linalg.pinv(centred) @ (y - y.mean(axis=0))).T
    np.testing.assert_allclose(fit.coef_, smallest, atol=1e-8)
    assert np.isfinite(fit.standard_error_).all()
    np.testing.assert_allclose(fit.standard_error_[:, -1], 0, atol=1e-9)


def test_w_that_never_varies() -> None:
    with pytest.warns(RuntimeWarning, match="rank 0"):
        fit = LinearSemantics(ridge=0.0).fit(np.ones((10, 3)), np.arange(10.0)[:, None])
    np.testing.assert_array_equal(fit.coef_, 0)
    np.testing.assert_allclose(fit.intercept_, 4.5)


def test_misuse() -> None:
    w, y, _, _ = world(30)
    with pytest.raises(ConfigError, match="call fit first"):
        LinearSemantics().predict(w)
    with pytest.raises(ConfigError, match="ridge is -1"):
        LinearSemantics(ridge=-1.0).fit(w, y)
    with pytest.raises(ConfigError, match="ridge is nan"):
        LinearSemantics(ridge=float("nan")).fit(w, y)
    with pytest.raises(ConfigError, match="at least 2 samples, got 1"):
        LinearSemantics().fit(w[:1], y[:1])
    fit = LinearSemantics().fit(w, y)
    with pytest.raises(ShapeError, match="w has 7 columns, expected 8"):
        fit.predict(w[:, :7])
    with pytest.raises(ShapeError, match="y has 2 semantics, expected 3"):
        fit.score(w, y[:, :2])
    with pytest.raises(ShapeError, match="y holds NaN"):
        fit.fit(w, np.full_like(y, np.nan))
