"""Means and covariances of a stream, in memory that does not grow with it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError

CHUNK_ROWS = 4096  # rows centred at a time, which bounds the float64 copies of a large batch

_STATE_NAMES = ("count", "w_mean", "y_mean", "ww", "wy", "yy")


class StreamingMoments:
    """Count, means and centred second moments of paired samples (w, y), in float64.

    Batches may be of any size and come in any order or from several processes: up to rounding, the result depends
    on the samples alone.

    Attributes:
        count: number of samples seen.
        w_mean, y_mean: means, " d" and " m"; empty before the first sample.
        ww, wy, yy: sums of centred products, "d d", "d m" and "m m".

    Source:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979,
        equation 2.1, here for matrices.
    """

    def __init__(self) -> None:
        self.count = 0
        self.w_mean: Float[np.ndarray, " d"] = np.zeros(0)
        self.y_mean: Float[np.ndarray, " m"] = np.zeros(0)
        self.ww: Float[np.ndarray, "d d"] = np.zeros((0, 0))
        self.wy: Float[np.ndarray, "d m"] = np.zeros((0, 0))
        self.yy: Float[np.ndarray, "m m"] = np.zeros((0, 0))

    def update(self, w: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n m"]) -> "StreamingMoments":
        """Add a batch.

        Raises:
            ShapeError: the arrays are not paired, changed their width, or hold NaN or infinity; nothing is added.
        """
        check_pair(w, y)
        if self.count:
            self._check_widths(w.shape[1], y.shape[1])
        for start in range(0, len(w), CHUNK_ROWS):
            # Centred before multiplying: E[ww'] - mean mean' would lose the digits that a large mean takes up.
            w_rows = w[start : start + CHUNK_ROWS].astype(np.float64)
            y_rows = y[start : start + CHUNK_ROWS].astype(np.float64)
            w_mean, y_mean = w_rows.mean(axis=0), y_rows.mean(axis=0)
            w_rows -= w_mean
            y_rows -= y_mean
            self._combine(len(w_rows), w_mean, y_mean, w_rows.T @ w_rows, w_rows.T @ y_rows, y_rows.T @ y_rows)
        return self

    def merge(self, other: "StreamingMoments") -> "StreamingMoments":
        """Add all samples of another accumulator.

        Raises:
            ShapeError: the other has seen samples of other widths.
        """
        if other.count:
            if self.count:
                self._check_widths(len(other.w_mean), len(other.y_mean))
            self._combine(other.count, other.w_mean, other.y_mean, other.ww, other.wy, other.yy)
        return self

    def __add__(self, other: "StreamingMoments") -> "StreamingMoments":
        return StreamingMoments().merge(self).merge(other)

    @property
    def w_cov(self) -> Float[np.ndarray, "d d"]:
        """Covariance of w, divisor n - 1; needs two samples."""
        return self.ww / self._degrees_of_freedom()

    @property
    def y_cov(self) -> Float[np.ndarray, "m m"]:
        """Covariance of y, divisor n - 1; needs two samples."""
        return self.yy / self._degrees_of_freedom()

    def to_dict(self) -> dict[str, np.ndarray]:
        """The state as arrays, to continue later; the inverse of `from_dict`."""
        return {name: np.array(getattr(self, name)) for name in _STATE_NAMES}

    @classmethod
    def from_dict(cls, state: Mapping[str, np.ndarray]) -> "StreamingMoments":
        """Restore what `to_dict` gave; other entries are ignored.

        Raises:
            ShapeError: an array is missing or does not fit the others.
        """
        d, m = np.size(state.get("w_mean", ())), np.size(state.get("y_mean", ()))
        count = np.shape(state["count"]) if np.size(state.get("count", ())) == 1 else ()  # one number of any shape
        check_state(state, {"count": count, "w_mean": (d,), "y_mean": (m,), "ww": (d, d), "wy": (d, m), "yy": (m, m)})
        moments = cls()
        moments.count = int(np.asarray(state["count"]).item())
        for name in _STATE_NAMES[1:]:
            setattr(moments, name, np.array(state[name], dtype=np.float64))
        return moments

    def _check_widths(self, d: int, m: int) -> None:
        check_widths({"w": (d, len(self.w_mean)), "y": (m, len(self.y_mean))})

    def _degrees_of_freedom(self) -> int:
        if self.count < 2:
            raise ConfigError(f"a covariance needs at least 2 samples, got {self.count}; add samples first")
        return self.count - 1

    def _combine(
        self, count: int, w_mean: np.ndarray, y_mean: np.ndarray, ww: np.ndarray, wy: np.ndarray, yy: np.ndarray
    ) -> None:
        if not self.count:
            self.count = count
            self.w_mean, self.y_mean = w_mean.copy(), y_mean.copy()
            self.ww, self.wy, self.yy = ww.copy(), wy.copy(), yy.copy()
            return
        total = self.count + count
        w_gap, y_gap = w_mean - self.w_mean, y_mean - self.y_mean
        # M_ab = M_a + M_b + gap gap' n_a n_b / (n_a + n_b)
        factor = self.count * count / total
        self.ww += ww + factor * np.outer(w_gap, w_gap)
        self.wy += wy + factor * np.outer(w_gap, y_gap)
        self.yy += yy + factor * np.outer(y_gap, y_gap)
        self.w_mean += w_gap * (count / total)
        self.y_mean += y_gap * (count / total)
        self.count = total


def check_pair(w: np.ndarray, y: np.ndarray) -> None:
    """Raise ShapeError, naming the culprit, unless w and y are paired rows of finite numbers."""
    for name, array, shape in (("w", w, "(samples, latent width)"), ("y", y, "(samples, semantics)")):
        if array.ndim != 2:
            raise ShapeError(f"{name} has shape {array.shape}, expected two axes {shape}; reshape it")
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise ShapeError(f"{name} holds NaN or infinity, first in row {row}, expected finite numbers; leave it out")
    if len(w) != len(y):
        raise ShapeError(f"w has {len(w)} rows and y has {len(y)}, expected one y for each w; pair them")


def check_widths(widths: Mapping[str, tuple[int, int]]) -> None:
    """Raise ShapeError unless samples have as many columns as before; values are (columns now, columns before)."""
    for name, (got, expected) in widths.items():
        if got != expected:
            raise ShapeError(f"{name} has {got} columns, but the samples so far had {expected}; do not mix sources")


def check_state(state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ShapeError unless saved moments have all arrays with these names and shapes."""
    missing = [name for name in shapes if name not in state]
    if missing:
        raise ShapeError(f"the saved moments lack {', '.join(missing)}; start the accumulation anew")
    for name, expected in shapes.items():
        if np.shape(state[name]) != expected:
            raise ShapeError(
                f"the saved moments do not fit together: {name} has shape {np.shape(state[name])}, "
                f"expected {expected}; start the accumulation anew"
            )
