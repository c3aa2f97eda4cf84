"""Localized semantics: a Jacobian as sparse maps times directions."""

import warnings

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators import _sparse_solver as solver
from lineament.estimators._params import Params
from lineament.estimators._rotations import least_absolute_rotation, varimax
from lineament.estimators._sparse_solver import Solution
from lineament.ops.seeding import philox
from lineament.records.bounds import check_bounds

EXPLORED_ROWS = 8192  # rows on which starts are compared, so that their cost does not grow with the image
ROUNDS = 2  # rounds of rotation and alternation from each start
SHORT_RUN = 8  # alternations in a round


class SparseFactors(Params):
    """min over U, V of |J - U V'|^2 + alpha_ |U|_1 + beta_ sum_{i != j} (v_i'v_j)^2, with unit columns of V.

    Convention:
        U holds the maps, V the directions. J is neither centred nor scaled. Components are ordered by
        ``explained_variance_ratio_``, largest first, and the entry of largest absolute value in a column of U is
        positive. Scaling J by c > 0 does not change V and scales U by c.

    Args:
        n_components: number of components. A share between 0 and 1 takes as many as J'J has leading eigenvalues that
            hold this share of |J|^2 (as in scikit-learn's PCA). "auto" takes as many as it has eigenvalues above
            (1 + sqrt(d / p))^2 of their mean, at least one, at most ``max_components``. This is the largest eigenvalue
            of a matrix of J's size and energy without any structure (parallel analysis in the limit of Marchenko and
            Pastur). Weaker components do not count even if the noise is weaker still, so that the number stays bounded
            for a spectrum that merely decays.
        max_components: bound on "auto" and on the number that a share gives.
        alpha: sparsity, relative: ``alpha_`` = 2 alpha s, so that codes shrink by the fraction alpha of s, the norm of
            a typical row of J within its k leading directions: s^2 = sum |r|^4 / sum |r|^2 over rows r. Rows that do
            not move with w do not change s.
        beta: decorrelation, relative: ``beta_`` = beta times the mean energy of the k leading directions.
        max_iter: maximum number of alternations of the final run.
        tol: the final run ends when five alternations lower the objective by less than this fraction.
        n_restarts: starts that are tried on part of the rows; the best is continued on all rows. The first is the SVD,
            rotated to sparsity; the others rotate it from random positions.
        random_state: seed of the rows tried and of the random starts.

    Attributes:
        U_: sparse maps, "p k", in J's precision.
        V_: unit directions, "d k", in float64.
        components_: ``V_.T``.
        explained_variance_ratio_: rise of the squared error if a component were left out and nothing else changed, as
            a share of |J|^2, " k". The shares need not add up.
        objective_: values of the objective, one per alternation and one for the last codes; they never rise, up to
            rounding.
        converged_: False if ``max_iter`` was hit; `fit` then warns.
        n_components_: number of components kept; fewer than asked for if some stayed empty, of which `fit` warns.
        n_iter_: alternations of the final run.
        alpha_, beta_: absolute weights.
        rank_: rank of J.
        n_features_in_: width of J.

    Source:
        Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021. The solver, the
        relative weights and the number of components are ours.
    """

    U_: Float[np.ndarray, "p k"]
    V_: Float[np.ndarray, "d k"]
    components_: Float[np.ndarray, "k d"]
    explained_variance_ratio_: Float[np.ndarray, " k"]
    objective_: list[float]
    converged_: bool
    n_components_: int
    n_iter_: int
    alpha_: float
    beta_: float
    rank_: int
    n_features_in_: int

    def __init__(
        self,
        n_components: int | float | str = "auto",
        *,
        max_components: int = 64,
        alpha: float = 0.02,
        beta: float = 0.03,
        max_iter: int = 200,
        tol: float = 1e-4,
        n_restarts: int = 2,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.max_components = max_components
        self.alpha = alpha
        self.beta = beta
        self.max_iter = max_iter
        self.tol = tol
        self.n_restarts = n_restarts
        self.random_state = random_state

    def fit(self, J: Float[np.ndarray, "p d"]) -> "SparseFactors":
        """Factorise J, forgetting earlier fits.

        Raises:
            ShapeError: J is not a matrix of finite numbers, or is zero.
            ConfigError: a setting out of its range, fewer than two rows, more components than J has rank, or an alpha
                so large that U is zero.

        Warns:
            RuntimeWarning: the fit did not converge, or components stayed empty and were dropped.
        """
        self._check_settings()
        values, vectors, energy = _spectrum(J)
        self.rank_, self.n_features_in_ = len(values), J.shape[1]
        k = self._number_of_components(values, energy, J.shape)
        # Starts need only the leading directions of J; twice k leaves room beside the strongest.
        leading = vectors[: min(2 * k, len(values))]
        scores = solver.project(J, leading)
        norms = np.square(scores[:k], dtype=np.float64).sum(axis=0)
        self.alpha_ = 2 * self.alpha * float(np.sqrt(np.square(norms).sum() / norms.sum()))
        self.beta_ = self.beta * float(values[:k].mean())
        start = self._best_start(scores, norms, k) @ leading
        del scores
        found = solver.alternate(J, energy, start, self.alpha_, self.beta_, self.max_iter, self.tol)
        self._keep(solver.finish_codes(J, energy, found, self.alpha_, self.beta_), energy)
        return self

    def fit_transform(self, J: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "p k"]:
        """Factorise J; returns ``U_``."""
        return self.fit(J).U_

    def transform(self, J: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "p k"]:
        """The codes that minimise the objective for these rows, with the directions and ``alpha_`` of the fit."""
        if not hasattr(self, "V_"):
            raise ConfigError("this SparseFactors is not fitted; call fit first")
        if J.shape[1] != self.n_features_in_:
            raise ShapeError(
                f"J has {J.shape[1]} columns, expected {self.n_features_in_} as in the fit; use the same w"
            )
        return sparse_codes(J, self.V_, self.alpha_)

    def _check_settings(self) -> None:
        count = self.n_components
        is_share = isinstance(count, float) and 0 < count < 1
        if count != "auto" and not is_share and (not isinstance(count, (int, np.integer)) or count < 1):
            raise ConfigError(
                f'n_components is {count!r}, expected "auto", a share between 0 and 1, or at least 1; change it'
            )
        check_bounds(self, "max_components", "max_iter", "n_restarts", least=1)
        for name in ("alpha", "beta", "tol"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more; change it")

    def _number_of_components(self, values: np.ndarray, energy: float, shape: tuple[int, ...]) -> int:
        if self.n_components == "auto":
            p, d = shape
            threshold = energy / d * (1 + np.sqrt(d / p)) ** 2
            return min(max(int((values > threshold).sum()), 1), self.max_components)
        if isinstance(self.n_components, float):
            held = np.cumsum(values) / energy
            return min(int((held < self.n_components).sum()) + 1, len(values), self.max_components)
        if int(self.n_components) > len(values):
            raise ConfigError(
                f"n_components is {self.n_components}, expected at most the rank of J, {len(values)}; "
                "ask for fewer, or take a J of more samples"
            )
        return int(self.n_components)

    def _best_start(self, scores: np.ndarray, norms: np.ndarray, k: int) -> np.ndarray:
        """The best of the starts, as unit rows "k m" within the leading directions."""
        rows = np.flatnonzero(norms)
        if len(rows) > EXPLORED_ROWS:
            rows = np.sort(philox(self.random_state, 0, 0).choice(rows, EXPLORED_ROWS, replace=False))
        part = np.ascontiguousarray(scores[:, rows].T)
        energy = float(np.square(part, dtype=np.float64).sum())
        # The error is smaller on fewer rows; the decorrelation is scaled down with it.
        beta = self.beta_ * energy / float(np.square(scores, dtype=np.float64).sum())
        best: Solution | None = None
        for restart in range(self.n_restarts):
            V = np.eye(k, part.shape[1])
            if restart:
                V = np.linalg.qr(philox(self.random_state, 1, restart).standard_normal((k, k)))[0] @ V
            V = varimax(solver.project(part, V)) @ V
            for _ in range(ROUNDS):  # found directions are a better start for a rotation than principal ones
                left, _, right = np.linalg.svd(V, full_matrices=False)
                V = left @ right
                V = least_absolute_rotation(solver.project(part, V)) @ V
                found = solver.alternate(part, energy, V, self.alpha_, beta, SHORT_RUN, self.tol)
                V = found.V
                if best is None or found.objective[-1] < best.objective[-1]:
                    best = found
        assert best is not None
        return best.V

    def _keep(self, found: Solution, energy: float) -> None:
        U, V = found.U, found.V
        alive = U.any(axis=1)
        if not alive.any():
            raise ConfigError(
                f"alpha is {self.alpha}, which leaves no entry of U; expected less, try {self.alpha / 10:g}"
            )
        asked = len(V)
        U, V = U[alive], V[alive]
        if len(V) < asked:
            warnings.warn(
                f"{asked - len(V)} of {asked} components stayed empty and were dropped; lower alpha or n_components",
                RuntimeWarning,
                stacklevel=3,
            )
        self.objective_, self.converged_, self.n_iter_ = found.objective, found.converged, len(found.objective) - 1
        if not self.converged_:
            warnings.warn(
                f"the objective still fell after {self.n_iter_} alternations; raise max_iter or tol",
                RuntimeWarning,
                stacklevel=3,
            )
        uu, uj = found.uu[np.ix_(alive, alive)], found.uj[alive]
        # |R + u v'|^2 - |R|^2 = 2 u'R v + |u|^2, where R is the residual.
        rise = 2 * ((uj * V).sum(axis=1) - (uu * (V @ V.T)).sum(axis=1)) + np.diagonal(uu)
        order = np.argsort(-rise, kind="stable")
        U, V = U[order], V[order]
        signs = np.sign(U[np.arange(len(U)), np.abs(U).argmax(axis=1)])
        U *= signs[:, None]
        self.U_, self.V_ = U.T, (V * signs[:, None]).T
        self.components_ = self.V_.T
        self.explained_variance_ratio_ = rise[order] / energy
        self.n_components_ = len(V)


def sparse_codes(J: Float[np.ndarray, "p d"], V: Float[np.ndarray, "d k"], alpha: float) -> Float[np.ndarray, "p k"]:
    """The U that minimises |J - U V'|^2 + alpha |U|_1 for given unit directions, in J's precision."""
    scores = solver.project(J, V.T)
    U = np.zeros_like(scores)
    solver.update_codes(U, scores, V.T, alpha, num_sweeps=1000, tol=1e-6 * float(np.abs(scores).max(initial=0)))
    return U.T


def _spectrum(J: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Non-zero eigenvalues of J'J, largest first, their eigenvectors as rows, and |J|^2; raises on unusable J."""
    if J.ndim != 2 or J.dtype not in (np.float32, np.float64):
        raise ShapeError(f"J is {J.dtype} of shape {J.shape}, expected float32 or float64 of two axes; convert it")
    if len(J) < 2:
        raise ConfigError(f"a factorisation needs at least 2 rows, got {len(J)}; add pixels")
    gram = solver.gram(J)
    energy = float(np.trace(gram))
    if not np.isfinite(energy):
        row = next(i for i, values in enumerate(J) if not np.isfinite(values).all())
        raise ShapeError(f"J holds NaN or infinity, first in row {row}, expected finite numbers; leave it out")
    if energy == 0:
        raise ShapeError("J is zero everywhere, expected maps that move with w; take other maps or more samples")
    values, vectors = np.linalg.eigh(gram)
    # Singular values below the rounding of J's entries are noise, not directions of J.
    noise = max(4 * J.shape[1] * np.finfo(np.float64).eps, (4 * float(np.finfo(J.dtype).eps)) ** 2)
    kept = values > noise * values[-1]
    return values[kept][::-1], vectors[:, kept].T[::-1], energy
