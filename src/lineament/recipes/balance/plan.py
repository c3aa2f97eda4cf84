"""The target distribution of a balanced folder, and the images that are missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lineament.errors import ConfigError, DataError
from lineament.estimators.histograms import Grid, smallest_size, total_variation, water_fill
from lineament.settings.balance import read_bins, read_spans
from lineament.store.distribution import read_distribution

SPARE_VARIATION = 0.6
"""Share of the allowed variation that a plan uses up; the rest is for images whose measured values miss the plan."""

PERCENTILES = (1.0, 99.0)
"""Percentiles of the images' values that bound the histogram if no range is given; outliers would stretch it."""


@dataclass(frozen=True, eq=False)
class Goal:
    """A histogram, its target, and the number of images to add.

    Attributes:
        grid: the bins.
        target: the target in words.
        shares: the target's share of images in each bin.
        counts: number of originals in each bin.
        outside: number of originals in no bin.
        added: number of images to make for each bin.
    """

    grid: Grid
    target: str
    shares: Float[np.ndarray, " b"]
    counts: Int[np.ndarray, " b"]
    outside: int
    added: Int[np.ndarray, " b"]

    @property
    def size(self) -> int:
        """Number of images in the end."""
        return int(self.counts.sum() + self.added.sum()) + self.outside

    def variation(self, extra: Int[np.ndarray, " b"] | None = None) -> float:
        """Total variation distance of the originals, with ``extra`` images added to the bins, from the target."""
        return total_variation(self.counts if extra is None else self.counts + extra, self.shares, self.outside)

    def facts(self) -> dict[str, Any]:
        """Contents for the plan's file."""
        return {
            "edges": {n: edges.tolist() for n, edges in zip(self.grid.names, self.grid.edges, strict=True)},
            "target": self.target,
            "shares": self.shares.tolist(),
            "originals": self.counts.tolist(),
            "outside": self.outside,
            "to_make": self.added.tolist(),
            "total_variation_before": round(self.variation(), 6),
            "total_variation_planned": round(self.variation(self.added), 6),
        }


def make_grid(names: tuple[str, ...], values: Float[np.ndarray, "n m"], spans: str | None, bins: str) -> Grid:
    """Bins of equal width over the given spans, or between `PERCENTILES` of the values."""
    if spans is not None:
        return Grid.regular(names, read_spans(spans, names), read_bins(bins, names))
    low, high = np.percentile(values, PERCENTILES, axis=0)
    if not (high > low).all():
        still = names[int(np.argmin(high > low))]
        raise DataError(f"all images have nearly the same {still}; give the wanted values by --range")
    found = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Grid.regular(names, found, read_bins(bins, names))


def uniform_goal(grid: Grid) -> tuple[Float[np.ndarray, " b"], str]:
    """Uniform target: each bin's share is proportional to its size."""
    low, high = grid.bounds(np.arange(grid.num_bins))
    sizes = np.prod(high - low, axis=1)
    return sizes / sizes.sum(), "uniform"


def file_goal(path: Path, names: tuple[str, ...]) -> tuple[Grid, Float[np.ndarray, " b"], str]:
    """Target from a file with a distribution, with its own bins.

    Raises:
        ConfigError: the distribution is of other semantics.
    """
    found, edges, shares = read_distribution(path)
    if sorted(found) != sorted(names):
        raise ConfigError(f"{path} is a distribution of {', '.join(found)}, but --semantics are {', '.join(names)}")
    order = [found.index(name) for name in names]
    return Grid(names, tuple(edges[i] for i in order)), shares.transpose(order).ravel(), path.name


def images_goal(grid: Grid, values: Float[np.ndarray, "n m"], name: str) -> tuple[Float[np.ndarray, " b"], str]:
    """Target from the histogram of other images.

    Raises:
        DataError: none of these images is within the bins.
    """
    counts = grid.counts(values)
    if not counts.sum():
        raise DataError(f"no image of {name} is within --range; widen it")
    return counts / counts.sum(), f"as {name}"


def set_goal(
    grid: Grid,
    target: str,
    shares: Float[np.ndarray, " b"],
    values: Float[np.ndarray, "n m"],
    count: int | None,
    max_variation: float,
) -> Goal:
    """Plan how many images to add to each bin.

    Args:
        grid: the bins.
        target: the target in words.
        shares: the target's share of images in each bin.
        values: values of the originals, which are all kept.
        count: number of images in the end; if None, the fewest that meet the target.
        max_variation: largest total variation distance from the target.

    Raises:
        ConfigError: ``count`` is less than the number of originals, or the target cannot be met.
    """
    counts = grid.counts(values)
    outside = len(values) - int(counts.sum())
    if count is None:
        count = smallest_size(counts, shares, outside, SPARE_VARIATION * max_variation)
    if count < len(values):
        raise ConfigError(f"count is {count}, but the {len(values)} images at hand are all kept; ask for more")
    return Goal(grid, target, shares, counts, outside, water_fill(counts, shares, count - len(values)))
