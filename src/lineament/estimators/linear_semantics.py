"""Scalar semantics as linear functions of w, by least squares."""

import warnings

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators._params import Params
from lineament.estimators.moments import StreamingMoments
from lineament.records.bounds import check_bounds


class LinearSemantics(Params):
    """Least squares of scalar semantics on w, from second moments alone.

    Convention:
        A row of ``coef_`` is the gradient v of one semantic, a covector in the semantic's unit per unit of w. It is
        not the direction to move along; `lineament.estimators.steps` turns it into one.

    Directions of w whose variance is below ``w_dim * 2.2e-16`` of the largest count as absent: the solution there is
    zero (pseudo-inverse), and ``rank_`` is the number of remaining ones. The tolerance is on eigenvalues, so directions
    of less than about 1e-7 of the largest standard deviation cannot be told apart from rounding.

    Args:
        ridge: penalty on |v|^2 in units of the mean eigenvalue of ``w_cov_``, so that the scale of w does not matter.

    Attributes:
        coef_: gradients, "m d".
        intercept_: predictions at w = 0, " m".
        standard_error_: of ``coef_``, "m d", for independent homoscedastic residuals; infinite with too few samples.
        residual_std_: standard deviation of the residuals, " m", corrected for the fitted parameters.
        r2_: in-sample share of the variance explained, " m"; 0 for a constant semantic.
        w_mean_, w_cov_: mean " d" and covariance "d d" of w.
        rank_: number of directions of w that were used.
        converged_: False if samples or rank do not determine the gradients; `fit` then warns.
        n_samples_seen_, n_features_in_: sample count, and width of w.
        moments_: the accumulated moments.

    Source:
        Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021:
        min_v ||dY - dW v||^2, with deviations from the mean; the ridge is ours.
    """

    coef_: Float[np.ndarray, "m d"]
    intercept_: Float[np.ndarray, " m"]
    standard_error_: Float[np.ndarray, "m d"]
    residual_std_: Float[np.ndarray, " m"]
    r2_: Float[np.ndarray, " m"]
    w_mean_: Float[np.ndarray, " d"]
    w_cov_: Float[np.ndarray, "d d"]
    rank_: int
    converged_: bool
    n_samples_seen_: int
    n_features_in_: int
    moments_: StreamingMoments

    def __init__(self, ridge: float = 0.0) -> None:
        self.ridge = ridge

    def fit(self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n m"]) -> "LinearSemantics":
        """Fit to these samples, forgetting earlier ones; raises and warns as `fit_moments` does."""
        return self.fit_moments(StreamingMoments().update(W, Y))

    def partial_fit(self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n m"]) -> "LinearSemantics":
        """Add a batch and solve again; never warns, since more may follow: see ``converged_``."""
        moments = self.moments_ if hasattr(self, "moments_") else StreamingMoments()
        self._solve(moments + StreamingMoments().update(W, Y))
        return self

    def fit_moments(self, moments: StreamingMoments) -> "LinearSemantics":
        """Fit to accumulated moments.

        Raises:
            ConfigError: fewer than two samples, or a negative ridge.

        Warns:
            RuntimeWarning: the samples do not determine the gradients (see ``converged_``).
        """
        self._solve(moments + StreamingMoments())
        if not self.converged_:
            warnings.warn(
                f"{self.n_samples_seen_} samples of rank {self.rank_} do not determine {self.n_features_in_} "
                f"coefficients; take more than {self.n_features_in_ + 1} samples, or a ridge",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def predict(self, W: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n m"]:
        """The semantics of each w, in their units."""
        self._check_fitted(W.shape[-1])
        return W @ self.coef_.T + self.intercept_

    def score(self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
        """R^2 of each semantic on these samples; see `score_moments`."""
        return self.score_moments(StreamingMoments().update(W, Y))

    def score_moments(self, moments: StreamingMoments) -> Float[np.ndarray, " m"]:
        """R^2 of each semantic on (held-out) samples, from their moments alone.

        Returns:
            At most 1, and negative if worse than the samples' own mean; 0 for a semantic that is constant there.
        """
        self._check_fitted(len(moments.w_mean))
        if len(moments.y_mean) != len(self.coef_):
            raise ShapeError(f"y has {len(moments.y_mean)} semantics, expected {len(self.coef_)} as in the fit")
        bias = moments.y_mean - self.intercept_ - self.coef_ @ moments.w_mean
        unexplained = _residual_squares(self.coef_, moments) + moments.count * bias**2
        return _r2(unexplained, moments)

    def _check_fitted(self, width: int) -> None:
        if not hasattr(self, "coef_"):
            raise ConfigError("this LinearSemantics is not fitted; call fit first")
        if width != self.n_features_in_:
            raise ShapeError(f"w has {width} columns, expected {self.n_features_in_} as in the fit")

    def _solve(self, moments: StreamingMoments) -> None:
        check_bounds(self, "ridge", least=0)
        if moments.count < 2:
            raise ConfigError(f"a fit needs at least 2 samples, got {moments.count}; add samples")
        d = len(moments.w_mean)
        values, vectors = np.linalg.eigh(moments.ww)
        kept = values > max(values[-1], 0.0) * d * np.finfo(np.float64).eps
        values, vectors = values[kept], vectors[:, kept]
        penalty = self.ridge * float(np.trace(moments.ww)) / d
        # (Sigma + penalty I)^-1 = vectors diag(1 / (values + penalty)) vectors'
        weights = 1.0 / (values + penalty)
        coef = ((vectors * weights) @ (vectors.T @ moments.wy)).T
        unexplained = _residual_squares(coef, moments)
        freedom = moments.count - 1 - float((values * weights).sum())
        # Without degrees of freedom the residuals are zero whatever the noise: the error is unknown, not small.
        determined = freedom > 1e-9 * moments.count
        variance = unexplained / freedom if determined else np.full(len(coef), np.inf)
        spread = ((vectors * weights) ** 2 * values).sum(axis=1)
        self.coef_ = coef
        self.intercept_ = moments.y_mean - coef @ moments.w_mean
        self.residual_std_ = np.sqrt(variance)
        # Zero spread (a direction of w that never varied) stays zero, where infinity times zero would be NaN.
        self.standard_error_ = np.sqrt(np.where(spread > 0, np.outer(variance, np.where(spread > 0, spread, 1.0)), 0.0))
        self.r2_ = _r2(unexplained, moments)
        self.w_mean_, self.w_cov_ = moments.w_mean.copy(), moments.w_cov
        self.rank_ = int(kept.sum())
        self.converged_ = bool(determined and (self.rank_ == d or self.ridge > 0))
        self.n_samples_seen_, self.n_features_in_ = moments.count, d
        self.moments_ = moments


def _residual_squares(coef: np.ndarray, moments: StreamingMoments) -> np.ndarray:
    """Sum of squares of y - coef w about its mean: yy - 2 v.wy + v' ww v, clipped where rounding makes it negative."""
    cross = (coef * moments.wy.T).sum(axis=1)
    quadratic = ((coef @ moments.ww) * coef).sum(axis=1)
    return np.maximum(np.diagonal(moments.yy) - 2 * cross + quadratic, 0.0)


def _r2(unexplained: np.ndarray, moments: StreamingMoments) -> np.ndarray:
    total = np.diagonal(moments.yy)
    # A constant column leaves rounding of its mean, not exact zero.
    varies = total > moments.count * (np.finfo(np.float64).eps * np.abs(moments.y_mean)) ** 2
    return np.where(varies, 1.0 - unexplained / np.where(varies, total, 1.0), 0.0)
