"""Sparse factors: recovery of planted ones, each step against a slow twin, limits, and what is refused."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import FastICA
from sklearn.linear_model import Lasso

from benchmarks.factors import (
    QUICK,
    FactorRun,
    PlantedJacobian,
    bench_factors,
    compare_factors,
    factor_objective,
    matched_cosines,
    planted_jacobian,
)
from lineament.errors import ConfigError, ShapeError
from lineament.estimators import _sparse_solver as solver
from lineament.estimators._rotations import least_absolute_rotation, varimax
from lineament.estimators.sparse_factors import SparseFactors, sparse_codes


@pytest.fixture(scope="module")
def planted() -> PlantedJacobian:
    return planted_jacobian(side=32, num_channels=4, d=64, k=12)


@pytest.fixture(scope="module")
def fitted(planted: PlantedJacobian) -> SparseFactors:
    return SparseFactors(12).fit(planted.J)


def small(p: int = 300, d: int = 12, k: int = 4, seed: int = 0) -> np.ndarray:
    """A matrix of low rank and noise, in float64."""
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((p, k)) * (rng.random((p, k)) < 0.2)
    return U @ rng.standard_normal((k, d)) + 0.02 * rng.standard_normal((p, d))


def unit_rows(rng: np.random.Generator, k: int, d: int) -> np.ndarray:
    V = rng.standard_normal((k, d))
    return V / np.linalg.norm(V, axis=1, keepdims=True)


# ---- the whole fit -------------------------------------------------------------------------------------------------


def test_planted_factors_are_recovered(planted: PlantedJacobian, fitted: SparseFactors) -> None:
    assert matched_cosines(fitted.V_, planted.V).mean() > 0.98
    # Maps too, which no orthogonal method gets: compare a singular value decomposition.
    right = np.linalg.svd(planted.J, full_matrices=False)[2]
    assert matched_cosines(right[:12].T, planted.V).mean() < 0.85
    cosines = fitted.V_.T @ planted.V
    mine = cosines.shape[0] * [0]
    for i in range(12):
        truth = planted.U[:, np.abs(cosines[i]).argmax()]
        mine[i] = abs(np.corrcoef(fitted.U_[:, i], truth)[0, 1])
    assert np.median(mine) > 0.95
    assert (fitted.U_ != 0).mean() < 0.2


def test_objective_never_rises_and_is_the_one_written_down(planted: PlantedJacobian, fitted: SparseFactors) -> None:
    path = np.array(fitted.objective_)
    assert (np.diff(path) <= 1e-6 * path[0]).all()
    assert path[-1] < path[0]
    assert fitted.converged_
    assert fitted.n_iter_ == len(path) - 1
    J, U = planted.J.astype(np.float64), fitted.U_.astype(np.float64)
    assert path[-1] == pytest.approx(factor_objective(J, U, fitted.V_, fitted.alpha_, fitted.beta_), rel=1e-5)


def test_shapes_types_order_and_signs(planted: PlantedJacobian, fitted: SparseFactors) -> None:
    assert fitted.U_.shape == (4096, 12)
    assert fitted.U_.dtype == np.float32
    assert (fitted.V_.shape, fitted.V_.dtype) == ((64, 12), np.float64)
    np.testing.assert_array_equal(fitted.components_, fitted.V_.T)
    np.testing.assert_allclose(np.linalg.norm(fitted.V_, axis=0), 1, atol=1e-12)
    assert (np.diff(fitted.explained_variance_ratio_) <= 0).all()
    peaks = np.abs(fitted.U_).argmax(axis=0)
    assert (fitted.U_[peaks, np.arange(12)] > 0).all()
    assert (fitted.rank_, fitted.n_features_in_, fitted.n_components_) == (64, 64, 12)
    # The share of a component is what the squared error rises by without it.
    J = planted.J.astype(np.float64)
    residual = J - fitted.U_ @ fitted.V_.T
    for i in (0, 11):
        without = residual + np.outer(fitted.U_[:, i], fitted.V_[:, i])
        rise = (np.square(without).sum() - np.square(residual).sum()) / np.square(J).sum()
        assert fitted.explained_variance_ratio_[i] == pytest.approx(rise, rel=1e-3)


def test_same_seed_same_bits(planted: PlantedJacobian, fitted: SparseFactors) -> None:
    again = SparseFactors(12).fit(planted.J)
    np.testing.assert_array_equal(again.U_, fitted.U_)
    np.testing.assert_array_equal(again.V_, fitted.V_)


@pytest.mark.parametrize("scale", [1e-4, 3.7, 1e5])
def test_scale_equivariance(scale: float) -> None:
    J = small()
    plain, scaled = SparseFactors(4).fit(J), SparseFactors(4).fit(scale * J)
    np.testing.assert_allclose(scaled.V_, plain.V_, atol=1e-7)
    np.testing.assert_allclose(scaled.U_ / scale, plain.U_, atol=1e-7)
    assert scaled.alpha_ == pytest.approx(scale * plain.alpha_)
    assert scaled.beta_ == pytest.approx(scale**2 * plain.beta_)


def test_rotating_w_rotates_the_directions() -> None:
    J = small()
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    plain, turned = SparseFactors(4, tol=1e-7).fit(J), SparseFactors(4, tol=1e-7).fit(J @ turn.T)
    np.testing.assert_allclose(turned.V_, turn @ plain.V_, atol=1e-4)


def test_zero_rows_and_columns_change_nothing_else() -> None:
    J = small()
    wide = np.zeros((400, 14))
    wide[:300, :12] = J
    plain, padded = SparseFactors(4).fit(J), SparseFactors(4).fit(wide)
    np.testing.assert_allclose(padded.V_[:12], plain.V_, atol=1e-8)
    assert not padded.V_[12:].any()
    assert not padded.U_[300:].any()


def test_without_penalties_the_span_is_that_of_the_svd() -> None:
    J = small(k=6)
    fit = SparseFactors(3, alpha=1e-7, beta=0.0, tol=1e-9, max_iter=3000).fit(J)
    values, right = np.linalg.svd(J, full_matrices=False)[1:]
    assert fit.objective_[-1] == pytest.approx(np.square(values[3:]).sum(), rel=1e-4)
    cosines = np.linalg.svd(np.linalg.qr(fit.V_)[0].T @ right[:3].T)[1]
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_strong_decorrelation_makes_directions_orthogonal() -> None:
    rng = np.random.default_rng(0)
    V = unit_rows(rng, 3, 8)
    V[1] = 0.8 * V[0] + 0.6 * V[1]
    U = rng.standard_normal((500, 3)) * (rng.random((500, 3)) < 0.2)
    J = U @ (V / np.linalg.norm(V, axis=1, keepdims=True))
    loose, tight = SparseFactors(3, beta=0.0).fit(J), SparseFactors(3, beta=100.0, max_iter=1000).fit(J)
    assert solver.coherence(tight.V_.T) < 1e-3 < 0.1 < solver.coherence(loose.V_.T)


def test_more_restarts_are_never_worse_on_the_rows_they_are_compared_on() -> None:
    # All rows are compared here, and the runs end alike, so that the final objective follows.
    J = small(p=400, d=20, k=12, seed=3)
    finals = [SparseFactors(12, n_restarts=n, tol=1e-6, max_iter=2000).fit(J).objective_[-1] for n in (1, 4)]
    assert finals[1] <= finals[0] * (1 + 1e-3)


def test_number_of_components_by_parallel_analysis(planted: PlantedJacobian) -> None:
    # The twin: singular values above the largest of white noise of the same size and energy.
    rng = np.random.default_rng(0)
    J = planted.J
    noise = rng.standard_normal(J.shape)
    noise *= np.linalg.norm(J) / np.linalg.norm(noise)
    above = np.linalg.svd(J, compute_uv=False) > np.linalg.svd(noise, compute_uv=False)[0]
    fit = SparseFactors(n_restarts=1).fit(J)
    assert abs(fit.n_components_ - int(above.sum())) <= 1
    assert 9 <= fit.n_components_ <= 12
    assert SparseFactors(max_components=5, n_restarts=1).fit(J).n_components_ == 5
    assert SparseFactors().fit(rng.standard_normal((2000, 20))).n_components_ == 1


def test_more_rows_than_a_block_and_than_are_explored(monkeypatch: pytest.MonkeyPatch) -> None:
    J = small()
    whole = SparseFactors(4, tol=1e-8, max_iter=500).fit(J)
    monkeypatch.setattr(solver, "BLOCK_ROWS", 128)
    monkeypatch.setattr("lineament.estimators.sparse_factors.EXPLORED_ROWS", 200)
    blocks = SparseFactors(4, tol=1e-8, max_iter=500).fit(J)
    np.testing.assert_allclose(blocks.V_, whole.V_, atol=1e-4)
    np.testing.assert_allclose(blocks.U_, whole.U_, atol=1e-3)


def test_scikit_learn_conventions(planted: PlantedJacobian, fitted: SparseFactors) -> None:
    copy = clone(SparseFactors(5, alpha=0.2))
    assert isinstance(copy, SparseFactors)
    assert copy.set_params(beta=0.5) is copy
    assert copy.get_params() == SparseFactors(5, alpha=0.2, beta=0.5).get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]
    with pytest.raises(ConfigError, match="no parameter gamma"):
        copy.set_params(gamma=1)
    np.testing.assert_allclose(fitted.transform(planted.J), fitted.U_, atol=1e-3)
    J = small()
    estimator = SparseFactors(4)
    np.testing.assert_array_equal(estimator.fit_transform(J), estimator.U_)


# ---- its steps -----------------------------------------------------------------------------------------------------


def test_codes_agree_with_scikit_learns_lasso() -> None:
    J, alpha = small(p=40), 0.3
    V = unit_rows(np.random.default_rng(5), 4, 12)
    # scikit-learn divides the squared error by 2 n, where n is the width of J.
    lasso = Lasso(alpha=alpha / (2 * 12), fit_intercept=False, tol=1e-10, max_iter=100_000).fit(V.T, J.T)
    np.testing.assert_allclose(sparse_codes(J, V.T, alpha), lasso.coef_, atol=1e-5)


def test_codes_agree_with_many_small_proximal_steps() -> None:
    J, alpha = small(p=50), 0.5
    V = unit_rows(np.random.default_rng(6), 6, 12)
    U, size = np.zeros((50, 6)), 1 / float(np.linalg.norm(V, 2)) ** 2
    for _ in range(5000):
        U = solver.soft(U - size * (U @ V - J) @ V.T, size * alpha / 2)
    np.testing.assert_allclose(sparse_codes(J, V.T, alpha), U, atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(2, 6), st.floats(0, 1e3))
def test_no_step_raises_the_objective(seed: int, k: int, d: int, beta: float) -> None:
    rng = np.random.default_rng(seed)
    J, V, alpha = rng.standard_normal((30, d)), unit_rows(rng, k, d), 0.5
    U = rng.standard_normal((k, 30))
    energy = float(np.square(J).sum())
    before = factor_objective(J, U.T, V.T, alpha, beta)
    assert solver.objective(energy, *solver.code_moments(J, U), U, V, alpha, beta) == pytest.approx(before)
    solver.update_codes(U, solver.project(J, V), V, alpha, num_sweeps=1)
    between = factor_objective(J, U.T, V.T, alpha, beta)
    V = solver.update_directions(V, *solver.code_moments(J, U), beta)
    after = factor_objective(J, U.T, V.T, alpha, beta)
    assert after <= between * (1 + 1e-10) <= before * (1 + 1e-10) ** 2
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1, atol=1e-12)


def test_directions_settle_where_the_sphere_has_no_slope() -> None:
    rng = np.random.default_rng(0)
    J, V, U = rng.standard_normal((200, 7)), unit_rows(rng, 3, 7), rng.standard_normal((3, 200))
    uu, uj = solver.code_moments(J, U)
    for _ in range(3000):
        V = solver.update_directions(V, uu, uj, 50.0)
    gradient = 2 * (uu @ V - uj) + 4 * 50.0 * (V @ V.T - np.eye(3)) @ V
    along = (gradient * V).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient, along * V, atol=1e-4 * np.abs(gradient).max())


def test_an_empty_component_comes_back_if_it_helps() -> None:
    J = small(k=3)
    V = unit_rows(np.random.default_rng(0), 3, 12)
    found = solver.alternate(J, float(np.square(J).sum()), V, 0.1, 0.0, 300, 1e-8)
    U, V = found.U.copy(), found.V.copy()
    U[1] = 0
    args = (0.1, 0.0)
    before = factor_objective(J, U.T, V.T, *args)
    assert solver.revive(J, U, V, solver.project(J, V), 1, *args)
    assert factor_objective(J, U.T, V.T, *args) < before
    assert U[1].any()
    assert np.linalg.norm(V[1]) == pytest.approx(1)
    # Not where nothing is left to explain, nor where it would cost more than it explains.
    assert not solver.revive(0 * J, 0 * U, V, 0 * U, 1, *args)
    U[1], V[1] = 0, np.linalg.svd(np.delete(V, 1, axis=0))[2][-1]
    assert not solver.revive(J, U, V, solver.project(J, V), 1, 0.1, 1e9)


def test_rotations_unmix_sparse_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 2000)) * (rng.random((5, 2000)) < 0.1)
    mixing = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    for rotation in (varimax(mixing @ X, 100), least_absolute_rotation(mixing @ X)):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-10)
        assert np.abs(rotation @ mixing).max(axis=1).min() > 0.95
        assert np.abs(rotation @ mixing @ X).sum() < np.abs(mixing @ X).sum()
    theirs = FastICA(whiten="unit-variance", random_state=0, tol=1e-3).fit((mixing @ X).T).components_
    assert np.abs(unit_rows_of(theirs) @ varimax(mixing @ X, 100).T).max(axis=1).min() > 0.95


def unit_rows_of(A: np.ndarray) -> np.ndarray:
    return A / np.linalg.norm(A, axis=1, keepdims=True)


# ---- what is refused, and said ---------------------------------------------------------------------------------------


def test_unusable_matrices() -> None:
    J = small()
    for bad in (np.nan, np.inf):
        broken = J.copy()
        broken[7, 3] = bad
        with pytest.raises(ShapeError, match="first in row 7"):
            SparseFactors(2).fit(broken)
    with pytest.raises(ShapeError, match="zero everywhere"):
        SparseFactors(2).fit(0 * J)
    with pytest.raises(ConfigError, match="at least 2 rows, got 1"):
        SparseFactors(2).fit(J[:1])
    with pytest.raises(ShapeError, match="float16"):
        SparseFactors(2).fit(J.astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_components_than_rank(dtype: type) -> None:
    rng = np.random.default_rng(0)
    J = (rng.standard_normal((500, 5)) @ rng.standard_normal((5, 40))).astype(dtype)
    with pytest.raises(ConfigError, match="n_components is 6, expected at most the rank of J, 5"):
        SparseFactors(6).fit(J)
    assert SparseFactors(5, tol=1e-2).fit(J).rank_ == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components is 0"),
        ({"n_components": "all"}, "n_components is 'all'"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"n_restarts": 0}, "n_restarts is 0"),
    ],
)
def test_settings_out_of_range(params: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SparseFactors().set_params(**params).fit(small())


def test_alpha_that_empties_everything_or_something() -> None:
    with pytest.raises(ConfigError, match="leaves no entry of U"):
        SparseFactors(4, alpha=50.0).fit(small())
    J = small(k=2)
    with pytest.warns(RuntimeWarning, match="2 of 4 components stayed empty"):
        fit = SparseFactors(4, alpha=0.3).fit(J)
    assert fit.n_components_ == 2
    assert fit.U_.any(axis=0).all()


def test_unfinished_and_unfitted_say_so() -> None:
    with pytest.warns(RuntimeWarning, match="still fell after 2 alternations"):
        fit = SparseFactors(4, max_iter=2).fit(small())
    assert not fit.converged_
    with pytest.raises(ShapeError, match="J has 11 columns, expected 12"):
        fit.transform(small()[:, :11])
    with pytest.raises(ConfigError, match="not fitted"):
        SparseFactors(4).transform(small())


# ---- the comparison --------------------------------------------------------------------------------------------------


def test_comparison_judges_all_by_the_same_objective() -> None:
    planted = planted_jacobian(side=12, num_channels=2, d=16, k=3)
    runs = compare_factors(planted, num_passes=2)
    assert [run.name for run in runs] == ["SparseFactors", QUICK, "MiniBatchDictionaryLearning", "MiniBatchSparsePCA"]
    for run in runs:
        assert run.refitted <= run.objective * (1 + 1e-6)
        assert run.undecorrelated <= run.objective
        assert 0 < run.recovery <= 1
        assert runs[0].objective <= run.refitted * 1.001


def test_bench_rows_name_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, seconds: float, objective: float) -> FactorRun:
        return FactorRun(name, seconds, objective, objective, objective, 0.5)

    runs = [run("whole", 2.0, 10.0), run("quick", 1.0, 11.0), run("slow", 30.0, 12.0), run("good", 30.0, 10.5)]
    monkeypatch.setattr("benchmarks.factors.compare_factors", lambda planted, num_passes: runs)
    rows = bench_factors(planted_jacobian(side=8, d=6, k=2))
    assert [row.ratio for row in rows] == [30, 15, 15, 15]
    assert "2 sparse factors of 256 x 6, quick, objective 11" in rows[0].name
    assert "whole" in rows[2].name  # the quick run did not get below this one
    assert [row.wanted for row in rows] == ["at least 10", ""] * 2


def test_comparison_without_scikit_learn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ConfigError, match="needs scikit-learn"):
        compare_factors(planted_jacobian(side=8, d=6, k=2))


def test_planted_worlds_are_what_they_say() -> None:
    for shared in (False, True):
        world = planted_jacobian(side=16, num_channels=3, d=10, k=4, noise=0.0, shared=shared)
        np.testing.assert_allclose(world.J, world.U @ world.V.T, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(world.V, axis=0), 1)
        channels = (world.U.reshape(3, 256, 4) != 0).any(axis=1).sum(axis=0)
        np.testing.assert_array_equal(channels, 3 if shared else 1)


@pytest.mark.parametrize(("share", "count"), [(0.5, 1), (0.9, 2), (0.999, 3)])
def test_a_share_of_the_energy_sets_the_number(share: float, count: int) -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (40, 6))
    J = left * np.sqrt([0.8, 0.15, 0.05]) @ right.T
    assert SparseFactors(share, alpha=1e-4).fit(J).n_components_ == count
    assert SparseFactors(share, alpha=1e-4, max_components=1).fit(J).n_components_ == 1
