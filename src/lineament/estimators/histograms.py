"""Histograms of one or several semantics, and the images that a histogram lacks to match a target.

Convention (all of this module):
    A grid cuts the values of each semantic into bins; the joint bins are numbered with the last semantic running
    fastest. Shares are those of a target, one per joint bin, with sum 1. Values beyond the grid are in no bin; the
    target wants no such images.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lineament.errors import ConfigError, ShapeError

MAX_BINS = 1000
"""Maximum number of joint bins; with more, the counts of ten thousand images would be mostly chance."""

MAX_GROWTH = 100
"""Maximum growth of a balanced set if no size is given; larger sets must be asked for by --count."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Bins of one or several semantics.

    Attributes:
        names: of the semantics.
        edges: of the bins of each, rising; a bin includes its lower edge, the last bin both edges.

    Raises:
        ConfigError: edges that do not rise, or too many joint bins.
    """

    names: tuple[str, ...]
    edges: tuple[Float[np.ndarray, " _"], ...]

    def __post_init__(self) -> None:
        for name, edges in zip(self.names, self.edges, strict=True):
            if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
                raise ConfigError(f"the edges of the bins of {name} are {edges.tolist()}, expected rising numbers")
        if self.num_bins > MAX_BINS:
            raise ConfigError(
                f"{' x '.join(map(str, self.shape))} bins are {self.num_bins}, expected at most {MAX_BINS}; "
                "ask for fewer bins or fewer semantics"
            )

    @classmethod
    def regular(cls, names: tuple[str, ...], spans: tuple[tuple[float, float], ...], bins: tuple[int, ...]) -> "Grid":
        """Bins of equal width from the lower to the upper end of each span."""
        return cls(names, tuple(np.linspace(low, high, n + 1) for (low, high), n in zip(spans, bins, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins of each semantic."""
        return tuple(len(edges) - 1 for edges in self.edges)

    @property
    def num_bins(self) -> int:
        """Joint bins."""
        return math.prod(self.shape)

    def locate(self, values: Float[np.ndarray, "n m"]) -> Int[np.ndarray, " n"]:
        """The joint bin of each row of values; -1 where one of them is beyond the grid, or is NaN."""
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ShapeError(f"values have shape {values.shape}, expected (n, {len(self.names)}): {self.names}")
        flat, inside = np.zeros(len(values), np.int64), np.ones(len(values), bool)
        for column, edges in zip(values.T, self.edges, strict=True):
            found = np.searchsorted(edges, column, side="right") - 1
            found[column == edges[-1]] = len(edges) - 2
            inside &= (found >= 0) & (found < len(edges) - 1) & ~np.isnan(column)
            flat = flat * (len(edges) - 1) + found
        return np.where(inside, flat, -1)

    def counts(self, values: Float[np.ndarray, "n m"]) -> Int[np.ndarray, " b"]:
        """Rows of values in each joint bin."""
        bins = self.locate(values)
        return np.bincount(bins[bins >= 0], minlength=self.num_bins)

    def bounds(self, bins: Int[np.ndarray, " k"]) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, "k m"]]:
        """Lower and upper edges of joint bins."""
        own = np.unravel_index(bins, self.shape)
        low = [edges[:-1][i] for edges, i in zip(self.edges, own, strict=True)]
        high = [edges[1:][i] for edges, i in zip(self.edges, own, strict=True)]
        return np.stack(low, axis=1), np.stack(high, axis=1)

    def middles(self) -> Float[np.ndarray, "b m"]:
        """The middle of every joint bin."""
        low, high = self.bounds(np.arange(self.num_bins))
        return (low + high) / 2

    def marginal(self, joint: Float[np.ndarray, " b"] | Int[np.ndarray, " b"], name: str) -> np.ndarray:
        """Sums over the bins of all other semantics."""
        axis = self.names.index(name)
        return joint.reshape(self.shape).sum(axis=tuple(i for i in range(len(self.shape)) if i != axis))


def total_variation(counts: Int[np.ndarray, " b"], shares: Float[np.ndarray, " b"], outside: int = 0) -> float:
    """Half the sum of the absolute differences of the shares: the share of images that would have to change their bin.

    Args:
        counts: images in each bin.
        shares: the target's.
        outside: images in no bin.
    """
    size = int(counts.sum()) + outside
    if size == 0:
        return 1.0
    return float((np.abs(counts / size - shares).sum() + outside / size) / 2)


def water_fill(counts: Int[np.ndarray, " b"], shares: Float[np.ndarray, " b"], added: int) -> Int[np.ndarray, " b"]:
    """Distribute ``added`` images so that the emptiest bins rise together, each relative to its share.

    If no bin is too full for the new size, this meets the target. Otherwise no distribution comes nearer to it, and
    this one treats all other bins alike.

    Returns:
        Images to add to each bin; their sum is ``added``.
    """
    wanted = np.flatnonzero(shares > 0)
    ratios = counts[wanted] / shares[wanted]
    order = wanted[np.argsort(ratios, kind="stable")]
    level, held, share = 0.0, 0, 0.0
    for position, bin_ in enumerate(order):
        held, share = held + int(counts[bin_]), share + float(shares[bin_])
        level = (held + added) / share
        if position + 1 == len(order) or level <= counts[order[position + 1]] / shares[order[position + 1]]:
            break
    exact = np.maximum(np.where(shares > 0, level * shares - counts, 0.0), 0.0)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    # Images left over by rounding go to the largest remainders, the first ones among equals.
    rest = added - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[:rest]] += 1
    return whole


def smallest_size(
    counts: Int[np.ndarray, " b"], shares: Float[np.ndarray, " b"], outside: int, max_variation: float
) -> int:
    """The smallest number of images, including those at hand, that meets the target within a total variation.

    Raises:
        ConfigError: more than `MAX_GROWTH` times those at hand.
    """

    def variation(size: int) -> float:
        added = water_fill(counts, shares, size - outside - int(counts.sum()))
        return total_variation(counts + added, shares, outside)

    low = int(counts.sum()) + outside
    if variation(low) <= max_variation:
        return low
    high, most = low + 1, MAX_GROWTH * max(low, 1)
    while variation(high) > max_variation:
        low, high = high, 2 * high
        if high > most:
            beyond = outside + int(counts[shares == 0].sum())
            raise ConfigError(
                f"the target cannot be met within {max_variation:g} by fewer than {most} images, as the "
                f"{int(counts.sum()) + outside} originals are all kept and {beyond} of them lie where it wants none; "
                "widen --range, choose another --target, or say how many images to end with by --count"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if variation(middle) <= max_variation else (middle, high)
    return high


def importance_weights(
    bins: Int[np.ndarray, " n"], counts: Int[np.ndarray, " b"], shares: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " n"]:
    """Weights that give a histogram the target's shares; their mean over the images is 1, and 0 excludes an image.

    If the target wants images in a bin that has none, no weight helps; the other bins then share its part.
    """
    ratio = np.where(counts > 0, shares / np.maximum(counts, 1), 0.0)
    weights = np.where(bins >= 0, ratio[bins], 0.0)
    total = weights.sum()
    return weights * (len(bins) / total) if total > 0 else np.zeros(len(bins))
