"""Compare our sparse factorisation with scikit-learn's in one run, on a matrix with known factors."""

import importlib
import tracemalloc
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.rows import BenchRow, seconds_of
from lineament.errors import ConfigError
from lineament.estimators.sparse_factors import SparseFactors, sparse_codes
from lineament.records.bounds import check_bounds

QUICK = "SparseFactors, one start and one alternation"
LARGE_SIDE, LARGE_COUNT, LARGE_BYTES = 256, 64, 4e9
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class BenchFactorsConfig:
    """Size of the matrix to factorise: maps with one depth and three colour channels, made from known factors."""

    side: int = 64
    """Side of the maps in pixels."""
    w_dim: int = 512
    """Width of w."""
    count: int = 48
    """Number of known components in the matrix."""
    num_passes: int | None = None
    """Number of passes of scikit-learn's solvers over the matrix; their own stopping rules if not given. With 10 their
    objective is lower, and they take minutes."""
    large: bool = False
    """Also factorise the Jacobian of a face of 256 px into 64 components, and measure memory. This takes a minute."""

    def __post_init__(self) -> None:
        for name, least in (("side", 8), ("w_dim", 2), ("count", 1), ("num_passes", 1)):
            check_bounds(self, name, least=least, group="factors.")


@dataclass(frozen=True)
class PlantedJacobian:
    """A matrix J = U V' + noise, with its true factors."""

    J: Float[np.ndarray, "p d"]
    U: Float[np.ndarray, "p k"]
    V: Float[np.ndarray, "d k"]


@dataclass(frozen=True)
class FactorRun:
    """Result of one solver.

    Attributes:
        name: the solver.
        seconds: seconds of its whole fit.
        objective: the objective of its factors, scaled to unit directions.
        refitted: the objective after U was refitted optimally for these directions.
        undecorrelated: the objective without the decorrelation term, which scikit-learn does not have.
        recovery: mean absolute cosine with the planted directions after matching.
    """

    name: str
    seconds: float
    objective: float
    refitted: float
    undecorrelated: float
    recovery: float


def planted_jacobian(
    *,
    side: int = 64,
    num_channels: int = 4,
    d: int = 512,
    k: int = 48,
    noise: float = 0.02,
    seed: int = 0,
    shared: bool = False,
) -> PlantedJacobian:
    """Gaussian bumps of random place, size and height, each times a random unit direction, plus white noise.

    Args:
        side: side of the square maps, in pixels; the bumps scale with it.
        num_channels: number of stacked maps, so that p = num_channels * side^2.
        d: width of w.
        k: number of components.
        noise: standard deviation of the noise; the bumps are between 1 and 3 high.
        seed: seed of everything random.
        shared: whether a bump lies in all channels, with random weights, instead of in one. Bumps then overlap about
            four times as much, and are half as high on average.

    Returns:
        The matrix in float32, and its factors in float64.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] * (64 / side)
    V = rng.standard_normal((d, k))
    V /= np.linalg.norm(V, axis=0)
    maps = np.zeros((k, num_channels, side, side))
    for i in range(k):
        (at_y, at_x), size = rng.uniform(4, 60, 2), rng.uniform(2, 5)
        bump = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * size**2))
        bump[bump < 0.01] = 0
        weights = np.zeros(num_channels)
        weights[i % num_channels] = 2
        if shared:
            weights = rng.standard_normal(num_channels)
            weights /= np.sqrt(np.square(weights).mean())
        maps[i] = weights[:, None, None] * bump * rng.uniform(0.5, 1.5)
    U = maps.reshape(k, -1).T
    J = np.empty((len(U), d), np.float32)
    for start in range(0, len(U), BLOCK_ROWS):
        block = U[start : start + BLOCK_ROWS]
        J[start : start + BLOCK_ROWS] = block @ V.T + noise * rng.standard_normal((len(block), d))
    return PlantedJacobian(J, U, V)


def matched_cosines(V: Float[np.ndarray, "d k"], truth: Float[np.ndarray, "d m"]) -> Float[np.ndarray, " n"]:
    """Absolute cosines of unit directions with true ones, matched one to one so that their sum is largest."""
    linear_sum_assignment = _imported("scipy.optimize").linear_sum_assignment
    cosines = np.abs(V.T @ truth)
    return cosines[linear_sum_assignment(-cosines)]


def compare_factors(planted: PlantedJacobian, *, num_passes: int | None = 10) -> list[FactorRun]:
    """Run ours (whole and quick), MiniBatchDictionaryLearning and MiniBatchSparsePCA on the same matrix and objective.

    Args:
        planted: the matrix and its factors.
        num_passes: passes of scikit-learn's solvers over their samples; None uses their own stopping rules, which stop
            earlier and at a higher objective.

    Returns:
        One run each, in that order.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    J = planted.J
    decomposition = _imported("sklearn.decomposition")
    k = planted.V.shape[1]
    fits = {"SparseFactors": SparseFactors(k), QUICK: SparseFactors(k, n_restarts=1, max_iter=1, tol=0.0)}
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about convergence: passes are limited on purpose
        for name, ours in fits.items():
            seconds = seconds_of(lambda ours=ours: ours.fit(J))
            runs.append(_judged(name, seconds, ours.U_, ours.V_, ours, planted))
        ours = fits["SparseFactors"]
        # scikit-learn halves the squared error, so its alpha is half of ours.
        common: dict[str, Any] = {"n_components": k, "alpha": ours.alpha_ / 2, "random_state": 0}
        if num_passes:
            common |= {"max_iter": num_passes, "tol": 0.0, "max_no_improvement": None}
        dictionary = decomposition.MiniBatchDictionaryLearning(
            **common, transform_algorithm="lasso_cd", transform_alpha=ours.alpha_ / 2
        )
        seconds = seconds_of(lambda: dictionary.fit(J))
        U, V = dictionary.transform(J), dictionary.components_.T
        runs.append(_judged(type(dictionary).__name__, seconds, U, V, ours, planted))
        # Its components are the sparse side, so it gets the transpose: columns of J are its samples. It subtracts
        # their mean, which is almost zero for directions without a preferred sign.
        flipped = np.ascontiguousarray(J.T)
        sparse_pca = decomposition.MiniBatchSparsePCA(**common, batch_size=32)
        seconds = seconds_of(lambda: sparse_pca.fit(flipped))
        U, V = sparse_pca.components_.T, sparse_pca.transform(flipped)
        runs.append(_judged(type(sparse_pca).__name__, seconds, U, V, ours, planted))
    return runs


def bench_all_factors(config: BenchFactorsConfig, *, compare: bool) -> list[BenchRow]:
    """Recovery of planted factors; if asked, also the comparison with scikit-learn and the large matrix."""
    planted = planted_jacobian(side=config.side, d=config.w_dim, k=config.count)
    rows = [bench_recovery(planted)]
    if compare:
        rows += bench_factors(planted, num_passes=config.num_passes)
    if config.large:
        rows.append(bench_large_factors(LARGE_SIDE, config.w_dim, LARGE_COUNT))
    return rows


def bench_recovery(planted: PlantedJacobian) -> BenchRow:
    """How well the planted directions are found."""
    ours = SparseFactors(planted.V.shape[1])
    seconds = seconds_of(lambda: ours.fit(planted.J))
    cosine = float(matched_cosines(ours.V_, planted.V).mean())
    return BenchRow(_size(planted), seconds, "mean |cosine| with the planted", None, cosine, "at least 0.98")


def bench_large_factors(side: int, d: int, k: int) -> BenchRow:
    """Peak memory of a factorisation, including the matrix itself."""
    tracemalloc.start()
    try:
        planted = planted_jacobian(side=side, d=d, k=k)
        tracemalloc.reset_peak()
        seconds = seconds_of(lambda: SparseFactors(k).fit(planted.J))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    against = f"{peak / 1e9:.3g} GB at the peak, of {LARGE_BYTES / 1e9:.0f}"
    return BenchRow(_size(planted), seconds, against, None, peak / LARGE_BYTES, "below 1")


def _size(planted: PlantedJacobian) -> str:
    p, d = planted.J.shape
    return f"{planted.V.shape[1]} sparse factors of {p} x {d}"


def bench_factors(planted: PlantedJacobian | None = None, *, num_passes: int | None = 10) -> list[BenchRow]:
    """Seconds of ours until its objective is below theirs, and of whole fits; each name shows what its run reached."""
    planted = planted or planted_jacobian()
    whole, quick, *others = compare_factors(planted, num_passes=num_passes)
    size = _size(planted)
    rows = []
    for run in others:
        # If the quick run is below their objective, its time is an upper bound of the time to reach that.
        first = quick if quick.objective <= min(run.objective, run.refitted) else whole
        for ours, wanted in ((first, "at least 10"), (whole, "")):
            name, against = (f"{r.name}, {_reached(r)}" for r in (ours, run))
            rows.append(
                BenchRow(f"{size}, {name}", ours.seconds, against, run.seconds, run.seconds / ours.seconds, wanted)
            )
    return rows


def _reached(run: FactorRun) -> str:
    return f"objective {run.objective:.0f} (U refitted {run.refitted:.0f}), recovery {run.recovery:.3f}"


def _judged(
    name: str, seconds: float, U: np.ndarray, V: np.ndarray, ours: SparseFactors, planted: PlantedJacobian
) -> FactorRun:
    """Our objective for factors of any scale; the scale of V is moved to U."""
    lengths = np.linalg.norm(V, axis=0)
    kept = lengths > 0
    U, V = U[:, kept] * lengths[kept], V[:, kept] / lengths[kept]
    refitted = sparse_codes(planted.J, V, ours.alpha_)
    lasso = factor_objective(planted.J, U, V, ours.alpha_, 0.0)
    whole = [factor_objective(planted.J, codes, V, ours.alpha_, ours.beta_) for codes in (U, refitted)]
    return FactorRun(name, seconds, whole[0], whole[1], lasso, float(matched_cosines(V, planted.V).mean()))


def factor_objective(
    J: Float[np.ndarray, "p d"], U: Float[np.ndarray, "p k"], V: Float[np.ndarray, "d k"], alpha: float, beta: float
) -> float:
    """The objective computed from its definition, without the solver's shortcuts."""
    cosines = V.T @ V
    decorrelation = np.square(cosines - np.diag(np.diagonal(cosines))).sum()
    return float(np.square(J - U @ V.T).sum() + alpha * np.abs(U).sum() + beta * decorrelation)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the comparison needs scikit-learn, but {module} cannot be imported ({error}); "
            "install it: pip install scikit-learn"
        ) from error
