"""The pixel Jacobian: least squares of very many outputs, in memory or on disk, and what is taken out of it."""

from pathlib import Path

import numpy as np
import pytest

from lineament.errors import ConfigError, DataError, ShapeError, StorageError
from lineament.estimators import pixel_jacobian
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.pixel_jacobian import PixelJacobian, agreement, kind_scales, kind_slices, remove_span
from lineament.estimators.steps import mahalanobis_step

SOLVED = ("coef_", "intercept_", "noise_", "r2_", "y_std_", "constant_", "w_mean_", "w_cov_", "rank_")


def samples(n: int = 200, d: int = 6, p: int = 40, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated w and noisy maps linear in it."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3.0
    y = w @ rng.normal(size=(d, p)) + rng.normal(size=(n, p)) * np.linspace(0.1, 2, p) - 5.0
    return w, y


def assert_same(left: PixelJacobian, right: PixelJacobian, rtol: float = 1e-6) -> None:
    assert left.n_samples_seen_ == right.n_samples_seen_
    for name in SOLVED:
        value = np.asarray(getattr(left, name), dtype=np.float64)
        scale = np.abs(value).max()
        np.testing.assert_allclose(getattr(right, name), value, rtol=rtol, atol=rtol * scale, err_msg=name)


@pytest.mark.parametrize("block", [7, 1 << 21])
def test_is_ordinary_least_squares(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_jacobian, "BLOCK_VALUES", block)
    w, y = samples()
    fit = PixelJacobian().partial_fit(w, y).solve()
    solution, squares, *_ = np.linalg.lstsq(np.hstack([w, np.ones((200, 1))]), y, rcond=None)
    assert fit.coef_.dtype == np.float32
    np.testing.assert_allclose(fit.coef_, solution[:-1].T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fit.intercept_, solution[-1], rtol=1e-9)
    np.testing.assert_allclose(fit.noise_, np.sqrt(squares / (200 - 7)), rtol=1e-9)
    np.testing.assert_allclose(fit.r2_, 1 - squares / (200 * y.var(axis=0)), rtol=1e-9)
    np.testing.assert_allclose(fit.y_std_, y.std(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(fit.w_cov_, np.cov(w.T), rtol=1e-9)
    assert (fit.rank_, fit.n_samples_seen_, fit.n_features_in_) == (6, 200, 6)


def test_agrees_with_the_scalar_regression() -> None:
    w, y = samples(p=4)
    scalar = LinearSemantics().fit(w, y)
    fit = PixelJacobian().partial_fit(w, y).solve()
    for name, rtol in (("coef_", 1e-5), ("intercept_", 1e-9), ("r2_", 1e-9)):
        np.testing.assert_allclose(getattr(fit, name), getattr(scalar, name), rtol=rtol, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(fit.noise_, scalar.residual_std_, rtol=1e-9)
    np.testing.assert_allclose(fit.standard_error(), scalar.standard_error_, rtol=1e-9)
    np.testing.assert_allclose(fit.standard_error(slice(1, 3)), scalar.standard_error_[1:3], rtol=1e-9)


@pytest.mark.parametrize("batch", [1, 13, 150])
def test_batch_size_does_not_matter(batch: int) -> None:
    w, y = samples()
    parts = PixelJacobian()
    for start in range(0, len(w), batch):
        parts.partial_fit(w[start : start + batch], y[start : start + batch])
    assert_same(PixelJacobian().partial_fit(w, y).solve(), parts.solve())


def test_merging_is_one_pass() -> None:
    w, y = samples()
    merged = PixelJacobian()
    for i in range(3):
        merged.merge(PixelJacobian().partial_fit(w[i::3], y[i::3]))
    merged.merge(PixelJacobian())
    assert_same(PixelJacobian().partial_fit(w, y).solve(), merged.solve())


def test_a_large_mean_does_not_cost_digits() -> None:
    # Small shares of the mean count as constant, so the mean stays below a million standard deviations.
    w, y = samples()
    far = PixelJacobian()
    for start in range(0, 200, 20):
        far.partial_fit(w[start : start + 20] + 1e6, y[start : start + 20] + 1e5)
    near = PixelJacobian().partial_fit(w, y).solve()
    np.testing.assert_allclose(far.solve().coef_, near.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(far.noise_, near.noise_, rtol=1e-6)


def test_single_precision_is_accumulated_in_double() -> None:
    w, y = (array.astype(np.float32) for array in samples())
    single = PixelJacobian().partial_fit(w, y).solve()
    double = PixelJacobian().partial_fit(w.astype(np.float64), y.astype(np.float64)).solve()
    np.testing.assert_array_equal(single.coef_, double.coef_)


def test_going_on_from_a_saved_state_gives_the_same_bits() -> None:
    w, y = samples()
    whole = PixelJacobian().partial_fit(w[:90], y[:90])
    saved = {name: array.copy() for name, array in whole.to_dict().items()}
    whole.partial_fit(w[90:], y[90:]).solve()
    again = PixelJacobian.from_dict(saved).partial_fit(w[90:], y[90:]).solve()
    for name in SOLVED:
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
    empty = PixelJacobian.from_dict(PixelJacobian().to_dict())
    assert_same(empty.partial_fit(w, y).solve(), whole)


@pytest.mark.parametrize("name", ["pixel_mean", "pixel_squares", "pixel_cross"])
def test_a_damaged_state_is_refused(name: str) -> None:
    state = PixelJacobian().partial_fit(*samples()).to_dict()
    with pytest.raises(ShapeError, match=f"lack {name}; start"):
        PixelJacobian.from_dict({k: v for k, v in state.items() if k != name})
    with pytest.raises(ShapeError, match="do not fit together"):
        PixelJacobian.from_dict(state | {name: state[name][1:]})


def test_on_disk_is_as_in_memory_and_leaves_nothing(tmp_path: Path) -> None:
    w, y = samples()
    disk = PixelJacobian(max_bytes=8 * 6 * 40 - 1, scratch=tmp_path)
    for start in range(0, 200, 60):
        disk.partial_fit(w[start : start + 60], y[start : start + 60])
    again = PixelJacobian.from_dict(disk.to_dict(), max_bytes=0, scratch=tmp_path).solve()
    memory = PixelJacobian(max_bytes=8 * 6 * 40).partial_fit(w, y).solve()
    assert_same(memory, disk.solve())
    for name in SOLVED:
        np.testing.assert_array_equal(getattr(again, name), getattr(disk, name), err_msg=name)
    assert isinstance(disk.coef_, np.memmap)
    assert not isinstance(memory.coef_, np.memmap)
    assert not list(tmp_path.iterdir())  # nameless: nothing is left by a kill


def test_no_room(tmp_path: Path) -> None:
    w, y = samples()
    with pytest.raises(ConfigError, match="take 1920 bytes, more than the 1000 allowed in memory; name a scratch"):
        PixelJacobian(max_bytes=1000).partial_fit(w, y)
    with pytest.raises(StorageError, match="cannot keep 1920 bytes in the scratch folder"):
        PixelJacobian(max_bytes=1000, scratch=tmp_path / "none").partial_fit(w, y)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_too_few_samples(n: int) -> None:
    w, y = samples(n)
    with pytest.raises(ConfigError, match=f"{n} samples do not determine the .* take more than"):
        PixelJacobian().partial_fit(w, y).solve()


def test_bad_batches_add_nothing() -> None:
    w, y = samples()
    fit = PixelJacobian().partial_fit(w, y)
    before = {name: array.copy() for name, array in fit.to_dict().items()}
    spoilt = y.copy()
    spoilt[3, 5] = np.nan
    with pytest.raises(ShapeError, match="y holds NaN or infinity, first in row 3"):
        fit.partial_fit(w, spoilt)
    with pytest.raises(ShapeError, match="y has 39 columns, but the samples so far had 40"):
        fit.partial_fit(w, y[:, 1:])
    with pytest.raises(ShapeError, match="w has 5 columns, but the samples so far had 6"):
        fit.merge(PixelJacobian().partial_fit(w[:, 1:], y))
    for name, array in fit.to_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_constant_outputs_get_zero_rows() -> None:
    w, y = samples()
    y[:, 4] = 0.0
    y[:, 9] = 1.04 + 1e-8 * y[:, 9]
    fit = PixelJacobian().partial_fit(w, y).solve()
    np.testing.assert_array_equal(np.flatnonzero(fit.constant_), [4, 9])
    assert not fit.coef_[[4, 9]].any()
    assert not fit.r2_[[4, 9]].any()
    assert fit.r2_.sum() > 30
    np.testing.assert_allclose(fit.intercept_[[4, 9]], y[:, [4, 9]].mean(axis=0), rtol=1e-12)
    with pytest.raises(DataError, match="all 40 depth and albedo values are the same on every face"):
        PixelJacobian().partial_fit(w, np.full_like(y, 0.3)).solve()


def test_directions_that_never_vary_get_zero() -> None:
    w, y = samples()
    w = np.hstack([w, np.full((200, 1), 2.0)])
    fit = PixelJacobian().partial_fit(w, y).solve()
    assert fit.rank_ == 6
    assert not fit.coef_[:, 6].any()
    np.testing.assert_allclose(fit.coef_[:, :6], PixelJacobian().partial_fit(w[:, :6], y).solve().coef_, rtol=1e-5)


def test_new_samples_take_the_solution_away() -> None:
    w, y = samples()
    fit = PixelJacobian().partial_fit(w, y).solve().partial_fit(w, y)
    assert not hasattr(fit, "coef_")
    with pytest.raises(ConfigError, match="call solve first"):
        fit.standard_error()


# ---- taking pose and light out ----


def planted(seed: int = 0, p: int = 30, d: int = 8, m: int = 3) -> tuple[np.ndarray, ...]:
    """Covariance S, semantics A, and J = B A + C with C S A' = 0."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    S, A = root @ root.T, rng.normal(size=(m, d)) * np.array([[100.0], [1.0], [0.01]])
    # C's rows are spanned by the complement of S A'.
    complement = np.linalg.svd(A @ S)[2][m:]
    C = rng.normal(size=(p, d - m)) @ complement
    return S, A, rng.normal(size=(p, m)) @ A + C, C


def test_remove_span_leaves_exactly_the_rest() -> None:
    S, A, J, C = planted()
    rest = remove_span(J, A, S)
    np.testing.assert_allclose(rest, C, atol=1e-9 * np.abs(J).max())
    np.testing.assert_allclose(rest @ S @ A.T, 0, atol=1e-8 * np.abs(J @ S @ A.T).max())
    np.testing.assert_allclose(remove_span(rest, A, S), rest, atol=1e-9 * np.abs(J).max())
    # A Mahalanobis step along what is left changes no semantic.
    assert np.abs(A @ mahalanobis_step(rest[:1], S, np.array([1.0]))).max() < 1e-9 * np.abs(A).max()
    single = remove_span(J.astype(np.float32), A, S)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, C, atol=1e-4 * np.abs(J).max())


def test_remove_span_is_plain_in_whitened_coordinates() -> None:
    S, A, J, _ = planted(1)
    root = np.linalg.cholesky(S)  # w = root x with x white: gradients in x are rows times root
    plain = remove_span(J @ root, A @ root, np.eye(8))
    np.testing.assert_allclose(remove_span(J, A, S) @ root, plain, atol=1e-9 * np.abs(plain).max())
    basis = np.linalg.qr((A @ root).T)[0]
    np.testing.assert_allclose(plain, J @ root - J @ root @ basis @ basis.T, atol=1e-9 * np.abs(plain).max())


def test_remove_span_is_the_regression_on_the_semantics() -> None:
    rng = np.random.default_rng(2)
    _, A, J, _ = planted(2)
    w = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8))
    w -= w.mean(axis=0)
    y = w @ J.T
    residual = y - w @ A.T @ np.linalg.lstsq(w @ A.T, y, rcond=None)[0]
    np.testing.assert_allclose(w @ remove_span(J, A, np.cov(w.T)).T, residual, atol=1e-8 * np.abs(y).max())


def test_repeated_and_dead_semantics_change_nothing() -> None:
    S, A, J, C = planted()
    more = np.vstack([A, A[:1] + A[1:2], np.zeros((1, 8))])
    np.testing.assert_allclose(remove_span(J, more, S), C, atol=1e-8 * np.abs(J).max())


# ---- units and comparison ----


def test_kinds_in_their_own_units() -> None:
    std = np.concatenate([np.full(400, 0.01), np.full(1200, 0.2)])
    mask = np.ones(1600, dtype=bool)
    mask[:40] = False
    std[:40] = 5.0  # outside of the mask
    std[40:42] = 1.0  # half a hundredth of the pixels must not set the unit
    scales = kind_scales(std, mask)
    assert scales == {"depth": pytest.approx(0.01), "albedo": pytest.approx(0.2)}
    # The scale of a kind follows its unit.
    std[kind_slices(1600)["depth"]] *= 1000
    assert kind_scales(std, mask)["depth"] == pytest.approx(10.0)
    with pytest.raises(DataError, match="the albedo is the same on every face"):
        kind_scales(np.concatenate([np.ones(400), np.zeros(1200)]), mask)
    with pytest.raises(ShapeError, match="expected 4 per pixel"):
        kind_slices(41)


def test_agreement() -> None:
    S, _, J, _ = planted(p=40)
    mask = np.arange(40) % 5 > 0
    same = agreement(J, 3 * J, mask, S)
    assert same == {"depth": pytest.approx(1), "albedo": pytest.approx(1), "all": pytest.approx(1)}
    other = J.copy()
    other[:10] *= -1
    other[~mask] = 1e6
    # Whatever its unit, a kind is half of the whole.
    other[:10] *= 1e3
    assert agreement(J, other, mask) == {
        "depth": pytest.approx(-1), "albedo": pytest.approx(1), "all": pytest.approx(0, abs=1e-12)
    }  # fmt: skip
    assert agreement(J, 0 * J, mask)["all"] == 0
    # With a covariance it is the correlation of the predicted changes.
    rng = np.random.default_rng(3)
    noisy = J + rng.normal(size=J.shape)
    w = rng.normal(size=(100_000, 8)) @ np.linalg.cholesky(S).T
    left, right = ((w @ K[10:][mask[10:]].T).ravel() for K in (J, noisy))
    expected = left @ right / np.sqrt((left @ left) * (right @ right))
    assert agreement(J, noisy, mask, S)["albedo"] == pytest.approx(expected, abs=5e-3)
