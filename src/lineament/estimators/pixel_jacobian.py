"""The pixel Jacobian: how depth and albedo of every canonical pixel respond to w, by streaming least squares.

Convention (all of this module):
    The p outputs are the canonical depth of h w pixels and then their albedo, 3 h w values; a row of a Jacobian is the
    gradient of one of them, a covector in w (see `lineament.estimators.steps`).
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import ConfigError, DataError, ShapeError, StorageError
from lineament.estimators._params import Params
from lineament.estimators.moments import StreamingMoments, check_pair, check_state, check_widths

KINDS = ("depth", "albedo")
MAX_BYTES = 2 << 30  # limit for the cross moments of w and the pixels in memory; larger ones are kept on disk
BLOCK_VALUES = 1 << 21  # numbers in the float64 copy of a block of pixels
MIN_RELATIVE_STD = 1e-6
"""A pixel that varies by less than this share of its mean counts as constant: single precision resolves no less."""

_STATE_NAMES = ("pixel_mean", "pixel_squares", "pixel_cross")


class PixelJacobian(Params):
    """Least squares of many outputs on w, in memory that holds one "p d" array and never a "p p" one.

    Samples are added by `partial_fit` and `merge`, in any order and of any batch size. `solve` then sets the attributes
    ending in ``_``; adding more samples removes them. Directions of w that never vary get zero (pseudo-inverse).

    Args:
        max_bytes: limit for the moments (float64, 8 p d bytes) in memory. Larger ones, and ``coef_``, are kept in
            unnamed files in `scratch`, which vanish with this object or with the process.
        scratch: folder for them.

    Attributes:
        moments: of w alone; ``moments.count`` samples have been seen.
        coef_: the Jacobian, "p d", float32.
        intercept_: predictions at w = 0, " p".
        noise_: standard deviation of the residuals, " p", corrected for the fitted parameters.
        r2_: in-sample share of the variance explained, " p"; 0 where constant.
        y_std_: standard deviation of the outputs, " p".
        constant_: outputs that do not vary, " p"; their rows are zero.
        w_mean_, w_cov_: mean " d" and covariance "d d" of w.
        rank_: number of directions of w that vary.
        n_samples_seen_, n_features_in_: sample count, and width of w.

    Source:
        Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021: the gradients of
        all pixels, stacked. Moments as in `lineament.estimators.moments`.
    """

    coef_: Float[np.ndarray, "p d"]
    intercept_: Float[np.ndarray, " p"]
    noise_: Float[np.ndarray, " p"]
    r2_: Float[np.ndarray, " p"]
    y_std_: Float[np.ndarray, " p"]
    constant_: Bool[np.ndarray, " p"]
    w_mean_: Float[np.ndarray, " d"]
    w_cov_: Float[np.ndarray, "d d"]
    rank_: int
    n_samples_seen_: int
    n_features_in_: int
    _spread: np.ndarray

    def __init__(self, max_bytes: int = MAX_BYTES, scratch: Path | None = None) -> None:
        self.max_bytes = max_bytes
        self.scratch = scratch
        self.moments = StreamingMoments()
        self._y_mean = np.zeros(0)
        self._yy = np.zeros(0)
        self._wy: np.ndarray = np.zeros((0, 0))  # p d, so that a block of pixels lies in one piece

    def partial_fit(self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n p"]) -> "PixelJacobian":
        """Add a batch.

        Raises:
            ConfigError: the moments exceed ``max_bytes`` and there is no scratch folder.
            ShapeError: not paired, another width than before, or NaN or infinity (the row is named); nothing is added.
            StorageError: the scratch folder is missing or full.
        """
        check_pair(W, Y)
        self._check_widths(W.shape[1], Y.shape[1])
        if not len(W):
            return self
        self._prepare(W.shape[1], Y.shape[1])
        count, share = self.moments.count, len(W) / (self.moments.count + len(W))
        w = W.astype(np.float64)
        w -= self.moments.w_mean if count else w.mean(axis=0)
        for block in self._blocks(max(len(W), W.shape[1])):
            y = Y[:, block].astype(np.float64)
            before = self._y_mean[block].copy() if count else y.mean(axis=0)
            after = before + share * (y.mean(axis=0) - before)
            # sum (y - mean after) (w - mean before)' is what Chan's formula adds, without its product of mean gaps.
            self._yy[block] += ((y - before) * (y - after)).sum(axis=0)
            self._wy[block] += (y - after).T @ w
            self._y_mean[block] = after
        self.moments.update(W, np.empty((len(W), 0)))
        return self

    def merge(self, other: "PixelJacobian") -> "PixelJacobian":
        """Add all samples of another accumulator.

        Raises:
            ConfigError, ShapeError, StorageError: as `partial_fit`.
        """
        added = other.moments.count
        if not added:
            return self
        self._check_widths(len(other.moments.w_mean), len(other._y_mean))
        self._prepare(len(other.moments.w_mean), len(other._y_mean))
        total = self.moments.count + added
        w_gap = other.moments.w_mean - self.moments.w_mean if self.moments.count else np.zeros(len(self._wy.T))
        factor = self.moments.count * added / total
        for block in self._blocks(self._wy.shape[1]):
            y_gap = other._y_mean[block] - self._y_mean[block]
            self._yy[block] += other._yy[block] + factor * y_gap**2
            self._wy[block] += other._wy[block] + factor * np.outer(y_gap, w_gap)
            self._y_mean[block] += y_gap * (added / total)
        self.moments.merge(other.moments)
        return self

    def solve(self) -> "PixelJacobian":
        """Find the Jacobian from the samples added so far.

        Raises:
            ConfigError: too few samples.
            DataError: every output is constant.
        """
        moments, (p, d) = self.moments, self._wy.shape
        if moments.count <= d + 1 or not d:
            raise ConfigError(
                f"{moments.count} samples do not determine the {d} coefficients of a pixel; take more than {d + 1}"
            )
        constant = self._yy <= (moments.count - 1) * (MIN_RELATIVE_STD * self._y_mean) ** 2
        if constant.all():
            raise DataError(f"all {p} depth and albedo values are the same on every face; train the decomposer longer")
        values, vectors = np.linalg.eigh(moments.ww)
        kept = values > max(values[-1], 0.0) * d * np.finfo(np.float64).eps
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        coef = self._array(p, d, np.float32)
        explained, offset = np.zeros(p), np.zeros(p)
        for block in self._blocks(d):
            rows = np.where(constant[block, None], 0.0, self._wy[block] @ inverse)
            explained[block] = (rows * self._wy[block]).sum(axis=1)
            offset[block] = rows @ moments.w_mean
            coef[block] = rows
        unexplained = np.where(constant, 0.0, np.maximum(self._yy - explained, 0.0))
        self.rank_ = int(kept.sum())
        self.coef_ = coef
        self.intercept_ = self._y_mean - offset
        self.noise_ = np.sqrt(unexplained / (moments.count - 1 - self.rank_))
        self.r2_ = np.where(constant, 0.0, 1 - unexplained / np.where(constant, 1.0, self._yy))
        self.y_std_ = np.sqrt(self._yy / (moments.count - 1))
        self.constant_ = constant
        self.w_mean_, self.w_cov_ = moments.w_mean.copy(), moments.w_cov
        self.n_samples_seen_, self.n_features_in_ = moments.count, d
        self._spread = np.sqrt(np.diagonal(inverse))
        return self

    def standard_error(self, pixels: slice = slice(None)) -> Float[np.ndarray, "b d"]:
        """Standard errors of these rows of ``coef_``, for independent homoscedastic residuals.

        Raises:
            ConfigError: not solved since samples were last added.
        """
        if not hasattr(self, "coef_"):
            raise ConfigError("this PixelJacobian has no solution for its samples; call solve first")
        return np.outer(self.noise_[pixels], self._spread)

    def to_dict(self) -> dict[str, np.ndarray]:
        """The state as arrays, to continue later; the inverse of `from_dict`.

        The large arrays are views, not copies: save them before adding more samples.
        """
        return self.moments.to_dict() | dict(zip(_STATE_NAMES, (self._y_mean, self._yy, self._wy), strict=True))

    @classmethod
    def from_dict(
        cls, state: Mapping[str, np.ndarray], max_bytes: int = MAX_BYTES, scratch: Path | None = None
    ) -> "PixelJacobian":
        """Restore what `to_dict` gave.

        Raises:
            ConfigError, StorageError: as `partial_fit`.
            ShapeError: an array is missing or does not fit the others.
        """
        moments = StreamingMoments.from_dict(state)
        d, p = len(moments.w_mean), np.size(state.get("pixel_mean", ()))
        check_state(state, dict(zip(_STATE_NAMES, ((p,), (p,), (p, d)), strict=True)))
        restored = cls(max_bytes, scratch)
        if moments.count:
            restored._prepare(d, p)
            restored._y_mean[:], restored._yy[:], restored._wy[:] = (state[name] for name in _STATE_NAMES)
            restored.moments = moments
        return restored

    def _check_widths(self, d: int, p: int) -> None:
        if self.moments.count:
            check_widths({"w": (d, self._wy.shape[1]), "y": (p, len(self._wy))})

    def _prepare(self, d: int, p: int) -> None:
        """Allocate the moments before the first samples; drop a solution that new samples make outdated."""
        if not self.moments.count:
            self._y_mean, self._yy, self._wy = np.zeros(p), np.zeros(p), self._array(p, d, np.float64)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _array(self, p: int, d: int, dtype: type) -> np.ndarray:
        """Zeros, in memory or on disk, depending on the size of the moments."""
        size, needed = p * d * np.dtype(dtype).itemsize, 8 * p * d
        if needed <= self.max_bytes:
            return np.zeros((p, d), dtype)
        if self.scratch is None:
            raise ConfigError(
                f"the moments of {p} pixel values and {d} latents take {needed} bytes, more than the {self.max_bytes} "
                "allowed in memory; name a scratch folder, or raise the limit"
            )
        try:
            with tempfile.TemporaryFile(dir=self.scratch) as file:
                # Reserve the space: a sparse file meets a full disk only when written to, which kills the process.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                return np.memmap(file, dtype, "w+", shape=(p, d))
        except OSError as error:
            raise StorageError(
                f"cannot keep {size} bytes in the scratch folder {self.scratch}: {error.strerror or error}; "
                "choose a folder with more space"
            ) from error

    def _blocks(self, width: int) -> Iterator[slice]:
        return _pixel_blocks(len(self._wy), width)


def _pixel_blocks(p: int, width: int) -> Iterator[slice]:
    """Blocks of pixels, with ``width`` numbers each, of at most `BLOCK_VALUES` numbers."""
    return row_blocks(p, max(BLOCK_VALUES // width, 1))


def remove_span(
    J: Float[np.ndarray, "p d"], A: Float[np.ndarray, "m d"], w_cov: Float[np.ndarray, "d d"]
) -> Float[np.ndarray, "p d"]:
    """Remove the scalar semantics from every pixel's gradient: J - J S A' (A S A')^-1 A, S the covariance of w.

    This removes the regression of the pixels' changes on those of the semantics, for w of this covariance. The rest is
    uncorrelated with pose and light, and a Mahalanobis step S v along one of its rows v changes none of them
    (A S v = 0). The plain projection J - J A' (A A')^-1 A gives neither: gradients are covectors, and without a metric
    they have no angles. In whitened coordinates the projection used here is the plain one.

    Args:
        J: gradients of the pixels.
        A: gradients of the semantics; a combination of them that does not vary with w removes nothing.
        w_cov: covariance of w.

    Returns:
        The rest of J, in its precision.
    """
    pulled = w_cov @ A.T
    gram = A @ pulled
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    scale = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1.0), 0.0)  # units cancel, as in `mahalanobis_step`
    project = (pulled * scale) @ np.linalg.pinv(gram * np.outer(scale, scale), rcond=1e-10, hermitian=True)
    rest = np.empty_like(J)
    for block in _pixel_blocks(len(J), J.shape[1]):
        rest[block] = J[block] - (J[block] @ project) @ (A * scale[:, None])
    return rest


def kind_slices(p: int) -> dict[str, slice]:
    """Where the outputs of each of `KINDS` lie.

    Raises:
        ShapeError: p values cannot be one of depth and three of albedo per pixel.
    """
    if p % 4:
        raise ShapeError(f"{p} values per face, expected 4 per pixel (depth and albedo); pass maps of both")
    return {"depth": slice(0, p // 4), "albedo": slice(p // 4, p)}


def kind_scales(y_std: Float[np.ndarray, " p"], mask: Bool[np.ndarray, " p"]) -> dict[str, float]:
    """The unit of each kind of map: the root mean square of its pixels' standard deviations within the mask.

    Divided by it, depth and albedo weigh the same in a sum of squares over the mask. Values above the 99th percentile
    are clipped to it, so that a few pixels at the edge of the hair do not set the unit.

    Raises:
        DataError: a kind does not vary within the mask.
    """
    scales = {}
    for kind, part in kind_slices(len(y_std)).items():
        std = y_std[part][mask[part]]
        if not (std > 0).any():
            raise DataError(f"the {kind} is the same on every face within the mask; train the decomposer longer")
        scales[kind] = float(np.sqrt((np.minimum(std, np.quantile(std, 0.99)) ** 2).mean()))
    return scales


def agreement(
    J1: Float[np.ndarray, "p d"],
    J2: Float[np.ndarray, "p d"],
    mask: Bool[np.ndarray, " p"],
    w_cov: Float[np.ndarray, "d d"] | None = None,
) -> dict[str, float]:
    """Cosine of two Jacobians within the mask: of each kind, and 'all', where both kinds weigh the same.

    Args:
        J1: one estimate.
        J2: the other.
        mask: outputs that count.
        w_cov: if given, the cosine of the changes of pixels that they predict for w of this covariance, tr(J1 S J2').
            Without it, directions in which w hardly varies weigh as much as all others, though their error is largest.

    Returns:
        Cosines in [-1, 1]; 0 where one Jacobian is zero.
    """
    products = {}
    for kind, part in kind_slices(len(J1)).items():
        left, right = (J[part][mask[part]].astype(np.float64) for J in (J1, J2))
        left_moved, right_moved = (left, right) if w_cov is None else (left @ w_cov, right @ w_cov)
        dots = np.array([(left_moved * right).sum(), (left_moved * left).sum(), (right_moved * right).sum()])
        size = np.sqrt(dots[1] * dots[2])
        products[kind] = dots / size if size > 0 else np.zeros(3)
    products["all"] = np.sum(list(products.values()), axis=0)
    sizes = {kind: float(np.sqrt(dots[1] * dots[2])) for kind, dots in products.items()}
    return {kind: float(dots[0]) / sizes[kind] if sizes[kind] else 0.0 for kind, dots in products.items()}


def row_blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover ``count`` rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
