"""Plan which images to change by how much, so that a histogram is filled with the least total extrapolation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array

from lineament.errors import ConfigError
from lineament.estimators.histograms import Grid
from lineament.ops.seeding import philox

BEYOND_PENALTY = 1.0
"""Cost added to the length of a change for every standard deviation by which it leaves the range seen."""

MAX_ARCS = 200_000
"""Maximum number of pairs (group of sources, group of wanted values) in the linear program: plans then take seconds."""

FINENESS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""Sizes of the groups to try, in bins; the finest that `MAX_ARCS` allows is used."""

MAX_ASSIGNED = 400
"""Images of a bin that are matched exactly with their values at a time, if there are several semantics."""

_STREAM_ORDER, _STREAM_VALUES = 20, 21


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """The cost of changing a face from one set of values to another.

    Attributes:
        metric: M, so that a change c of the values takes a step of sqrt(c' M c) standard deviations of w.
        low, high: ends of the range of values seen when the directions were found.
        std: standard deviation of the values, the unit of distances beyond that range.
    """

    metric: Float[np.ndarray, "m m"]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]
    std: Float[np.ndarray, " m"]

    def cost(self, values: Float[np.ndarray, "*n m"], wanted: Float[np.ndarray, "*k m"]) -> Float[np.ndarray, "*r"]:
        """Length of the step in standard deviations of w, plus the penalty for going further beyond the range seen."""
        change = wanted - values
        length = np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", change, self.metric, change), 0.0))
        further = np.maximum(self._beyond(wanted) - self._beyond(values), 0.0)
        return length + BEYOND_PENALTY * further.sum(axis=-1)

    def _beyond(self, values: np.ndarray) -> np.ndarray:
        return (np.maximum(self.low - values, 0.0) + np.maximum(values - self.high, 0.0)) / self.std


@dataclass(frozen=True, eq=False)
class Transport:
    """Which images to make from which sources: one entry for each image to be made.

    Attributes:
        source: index of the image that is changed.
        bin: joint bin that the new image fills.
        wanted: values of the new image.
        cost: extrapolation of each change.
    """

    source: Int[np.ndarray, " k"]
    bin: Int[np.ndarray, " k"]
    wanted: Float[np.ndarray, "k m"]
    cost: Float[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.source)


def plan_transport(
    values: Float[np.ndarray, "n m"],
    capacity: Int[np.ndarray, " n"],
    grid: Grid,
    gap: Int[np.ndarray, " b"],
    extrapolation: Extrapolation,
    seed: int,
    begun: Int[np.ndarray, " b"] | None = None,
) -> Transport:
    """Fill every bin's gap with the least total extrapolation, using no source more often than its capacity allows.

    Wanted values are spread evenly within each bin. Choosing a source for each value is a transport problem. It is
    solved exactly as a linear program (its vertices are whole numbers) between groups of nearly equal sources and of
    nearly equal values, as small as a program of `MAX_ARCS` pairs allows. Then the values of each bin are matched anew
    with its sources: in order for one semantic, by assignment for several.

    Args:
        values: of the sources.
        capacity: how often each source may be used.
        grid: the bins.
        gap: images to make for each joint bin.
        extrapolation: the cost of a change.
        seed: of the choice among equals and of the values within bins.
        begun: number of images planned for each bin before; their values are not used again.

    Raises:
        ConfigError: the sources' total capacity does not fill the gap.
    """
    total = int(gap.sum())
    if int(capacity.sum()) < total:
        raise ConfigError(
            f"{total} images are to be made, but {int((capacity > 0).sum())} usable sources may give only "
            f"{int(capacity.sum())}; allow more by --max-uses, ask for fewer by --count, or offer more images"
        )
    begun = np.zeros(grid.num_bins, np.int64) if begun is None else begun
    bins = np.repeat(np.arange(grid.num_bins), gap)
    starts = [range(int(begun[b]), int(begun[b] + gap[b])) for b in range(grid.num_bins)]
    wanted = np.concatenate([spread(grid, b, numbers, seed) for b, numbers in enumerate(starts)])
    usable = np.flatnonzero(capacity > 0)
    order = usable[philox(seed, _STREAM_ORDER, 0).permutation(len(usable))]
    source = np.zeros(total, np.int64)
    if total:
        source = _assigned(values, order, capacity, wanted, grid, extrapolation)
    for bin_ in np.flatnonzero(gap):
        own = np.flatnonzero(bins == bin_)
        source[own] = source[own[_matched(wanted[own], values[source[own]], extrapolation)]]
    return Transport(source, bins, wanted, extrapolation.cost(values[source], wanted))


def _assigned(
    values: np.ndarray,
    order: np.ndarray,
    capacity: np.ndarray,
    wanted: np.ndarray,
    grid: Grid,
    extrapolation: Extrapolation,
) -> Int[np.ndarray, " k"]:
    """A source for every wanted value, exact between groups of nearly equal sources and of nearly equal values."""
    ours, theirs = _groups(values[order], wanted, grid)
    centres, asked = _means(values[order], ours), _means(wanted, theirs)
    supply = np.bincount(ours, weights=capacity[order]).round().astype(np.int64)
    flow = _flow(extrapolation.cost(centres[:, None], asked[None]), supply, np.bincount(theirs))
    source = np.empty(len(wanted), np.int64)
    places = [np.flatnonzero(theirs == k) for k in range(len(asked))]
    taken = np.zeros(len(asked), np.int64)
    for g in np.flatnonzero(flow.any(axis=1)):
        slots = _turns(order[ours == g], capacity, int(flow[g].sum()))
        for k, part in zip(np.flatnonzero(flow[g]), np.split(slots, np.cumsum(flow[g][flow[g] > 0])[:-1]), strict=True):
            source[places[k][taken[k] : taken[k] + len(part)]] = part
            taken[k] += len(part)
    return source


def spread(grid: Grid, bin_: int, numbers: range, seed: int) -> Float[np.ndarray, "k m"]:
    """Values within a bin for its images with these numbers, evenly spread however many there are.

    Source: Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018 (the sequence R_d).
    """
    m = len(grid.names)
    phi = 2.0
    for _ in range(40):  # the root of x^(m + 1) = x + 1
        phi = (1 + phi) ** (1 / (m + 1))
    shift = philox(seed, _STREAM_VALUES, bin_).random(m)
    steps = np.arange(numbers.start, numbers.stop)[:, None] * phi ** -np.arange(1.0, m + 1)
    low, high = grid.bounds(np.array([bin_]))
    return low + (high - low) * ((shift + steps) % 1.0)


def _groups(values: np.ndarray, wanted: np.ndarray, grid: Grid) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " k"]]:
    """Group indices of nearly equal sources and of nearly equal values, as fine as `MAX_ARCS` allows."""
    widths = np.array([np.diff(edges).mean() for edges in grid.edges])
    found = []
    for size in FINENESS:
        found = [_cells(points, widths * size) for points in (values, wanted)]
        if np.prod([groups.max() + 1 for groups in found]) <= MAX_ARCS:
            break
    return found[0], found[1]


def _cells(points: np.ndarray, size: np.ndarray) -> Int[np.ndarray, " n"]:
    _, groups = np.unique(np.floor(points / size).astype(np.int64), axis=0, return_inverse=True)
    return groups.ravel()


def _means(points: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, "g m"]:
    counts = np.bincount(groups)
    return np.stack([np.bincount(groups, weights=column) / counts for column in points.T], axis=1)


def _flow(cost: np.ndarray, supply: np.ndarray, demand: np.ndarray) -> Int[np.ndarray, "g b"]:
    """The cheapest transport: min <F, C>, where rows sum to at most the supply and columns to the demand."""
    g, b = cost.shape
    arcs = np.arange(g * b)
    ones = np.ones(g * b)
    found = linprog(
        cost.ravel(),
        A_ub=coo_array((ones, (arcs // b, arcs)), shape=(g, g * b)).tocsr(),
        b_ub=supply,
        A_eq=coo_array((ones, (arcs % b, arcs)), shape=(b, g * b)).tocsr(),
        b_eq=demand,
        method="highs-ds",
    )
    assert found.status == 0, found.message  # there is enough supply, so a cheapest transport exists
    flow = np.rint(found.x).astype(np.int64).reshape(g, b)
    assert (flow.sum(axis=0) == demand).all()
    assert (flow.sum(axis=1) <= supply).all()
    return flow


def _turns(members: np.ndarray, capacity: np.ndarray, count: int) -> Int[np.ndarray, " k"]:
    """The members in turn: each once, then those with a capacity of two or more again, and so on."""
    turns: list[np.ndarray] = []
    taken, turn = 0, 0
    while taken < count:
        again = members[capacity[members] > turn]
        turns.append(again[: count - taken])
        taken, turn = taken + len(turns[-1]), turn + 1
    return np.concatenate(turns) if turns else np.zeros(0, np.int64)


def _matched(wanted: np.ndarray, values: np.ndarray, extrapolation: Extrapolation) -> Int[np.ndarray, " k"]:
    """For each wanted value the index of its source."""
    match = np.empty(len(wanted), np.int64)
    by_wanted, by_value = np.argsort(wanted[:, 0], kind="stable"), np.argsort(values[:, 0], kind="stable")
    if wanted.shape[1] == 1:
        match[by_wanted] = by_value
        return match
    for start in range(0, len(wanted), MAX_ASSIGNED):
        ours, theirs = by_wanted[start : start + MAX_ASSIGNED], by_value[start : start + MAX_ASSIGNED]
        rows, columns = linear_sum_assignment(extrapolation.cost(values[theirs][None], wanted[ours][:, None]))
        match[ours[rows]] = theirs[columns]
    return match
