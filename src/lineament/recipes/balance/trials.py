"""Try a plan before images are made: whether its bins can be reached, where to aim, and what it costs."""

import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from rich.console import RenderableType
from rich.table import Table

from lineament.engine.console import console, number
from lineament.engine.work import Piece
from lineament.errors import ConfigError
from lineament.estimators.balancing import Transport
from lineament.recipes.balance.generation import Limits, Maker, corrected
from lineament.recipes.balance.networks import Networks
from lineament.recipes.balance.plan import Goal
from lineament.recipes.balance.rounds import LEAST_ACCEPTED, without_unreachable
from lineament.recipes.balance.sources import Originals, Samples, SourceFaces
from lineament.settings.balance import BalanceConfig

TRIALS_PER_BIN, MAX_TRIAL_BINS, TRIAL_FACES = 24, 64, 2048
MIN_ACCEPTED = 0.1
"""Smallest share of accepted trials of a bin; with fewer the generator cannot reach it."""

NUM_PEOPLE = 128
"""Number of faces from which the distance between two people is computed."""


def run_trials(
    maker: Maker, faces: SourceFaces, pool: Samples, items: Transport, num_bins: int, limits: Limits, batch: int
) -> Piece:
    """Try a plan on samples before images are made: whether its bins can be reached, and where to aim.

    For some planned images of each bin, samples similar to their sources are changed in the same way, twice. The median
    error of the first try corrects the aim of the second. This is needed because large steps achieve less than
    requested, and the calibration of an atlas ends at the range of its samples.

    Returns:
        For each bin: number of trials, share accepted (-1 if not tried), offset of the aim and median measured values;
        also the distance between two people, and seconds per image.
    """
    filled = np.unique(items.bin)
    tried = filled[np.linspace(0, len(filled) - 1, min(len(filled), MAX_TRIAL_BINS)).round().astype(int)]
    picks = [np.flatnonzero(items.bin == bin_) for bin_ in tried]
    picks = [own[np.linspace(0, len(own) - 1, min(len(own), TRIALS_PER_BIN)).round().astype(int)] for own in picks]
    picked = np.concatenate(picks) if picks else np.zeros(0, np.int64)
    planned, wanted, bins = faces.values[items.source[picked]], items.wanted[picked], items.bin[picked]
    change = planned[:, None] - pool.values[None]
    like = np.einsum("nki,ij,nkj->nk", change, maker.extrapolation.metric, change).argmin(axis=1)
    people = _people_apart(maker, pool, batch)
    judge = Limits(limits.tolerance, limits.identity_drift, limits.distance, people)
    trial = _Bases(maker, pool, np.unique(like), batch, measured=faces.keeps_identity)
    source = np.searchsorted(np.unique(like), like)
    m = wanted.shape[1]
    offset, median = np.zeros((num_bins, m)), np.zeros((num_bins, m))
    accepted, trials = np.full(num_bins, -1.0), np.bincount(bins, minlength=num_bins)
    seconds = 0.0
    for _ in range(2):
        parts = []
        started = time.perf_counter()
        for first in range(0, len(picked), batch):
            own = slice(first, first + batch)
            aim = wanted[own] + offset[bins[own]]
            parts.append(maker.make(trial, source[own], wanted[own], aim, judge)[0])
        seconds = time.perf_counter() - started
        judged = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]} if parts else {}
        for bin_ in tried:
            own = bins == bin_
            accepted[bin_] = float((judged["faults"][own] == 0).mean())
            median[bin_] = np.median(judged["measured"][own], axis=0)
        offset = corrected(offset, bins, wanted, judged["measured"], limits.tolerance) if parts else offset
    arrays = {"trials": trials, "accepted": accepted, "offset": offset, "median": median}
    return arrays, {"people": people, "seconds": seconds / max(len(picked), 1)}


class _Bases(SourceFaces):
    """Samples as the sources of trials; ``measured`` if the plan's sources are measured, too."""

    def __init__(self, maker: Maker, pool: Samples, numbers: np.ndarray, batch: int, *, measured: bool) -> None:
        self.keeps_identity, self.names, self.reasons = measured, [], {}
        self._pool, self._numbers = pool, numbers
        self.values, self._codes = pool.values[numbers], np.zeros((len(numbers), 0), np.float32)
        if measured and len(numbers):
            self.values, self._codes = _looked(maker, pool, numbers, batch)

    def ws(self, numbers: Int[np.ndarray, " k"]) -> torch.Tensor:
        return self._pool.ws(self._numbers[numbers])

    def codes(self, numbers: Int[np.ndarray, " k"]) -> np.ndarray:
        return self._codes[numbers]


@torch.inference_mode()
def _looked(maker: Maker, faces: SourceFaces, numbers: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and codes of unchanged faces."""
    parts = [numbers[first : first + batch] for first in range(0, len(numbers), batch)]
    looks = [maker.meter.look(maker.generator.synthesize(faces.ws(p)).clamp(-1, 1), identity=True) for p in parts]
    values, codes = zip(*looks, strict=True)
    return np.concatenate(values), np.concatenate(codes)


def _people_apart(maker: Maker, pool: Samples, batch: int) -> float:
    """Median distance between the codes of two people."""
    _, codes = _looked(maker, pool, np.arange(min(NUM_PEOPLE, len(pool.values))), batch)
    return max(float(np.median(np.linalg.norm(codes - np.roll(codes, 1, axis=0), axis=1))), 1e-12)


def check_reach(
    config: BalanceConfig, networks: Networks, goal: Goal, trials: dict[str, np.ndarray], *, lead: bool
) -> Goal:
    """The goal without unreachable bins, or an error if the target needs them.

    Raises:
        ConfigError: the target cannot be met without these bins; the message says how far the generator reaches.
    """
    accepted = trials["accepted"]
    bad = np.flatnonzero((accepted >= 0) & (accepted < MIN_ACCEPTED) & (goal.added > 0))
    if not len(bad):
        return goal
    low, high = goal.grid.bounds(bad[:1])
    where = ", ".join(f"{name} {number(low[0, j])} to {number(high[0, j])}" for j, name in enumerate(goal.grid.names))
    tried, good = accepted >= 0, accepted >= MIN_ACCEPTED
    reach = []
    for j, name in enumerate(goal.grid.names):
        seen = networks.atlas.direction(name).range_seen
        medians = trials["median"][tried, j]
        text = f"{name} {number(medians.min())} to {number(medians.max())} (medians of trials"
        reach.append(f"{text}; samples of the atlas showed {number(seen.minimum)} to {number(seen.maximum)})")
    message = (
        f"{len(bad)} of {int(tried.sum())} bins are beyond what the generator can reach: of the trials for {where} "
        f"only {accepted[bad[0]]:.0%} kept to all limits. It reached {' and '.join(reach)}"
    )
    if goal.added[bad].sum() > config.max_variation * goal.size or not good.any():
        raise ConfigError(f"{message}; ask for less by --range, or allow more by --tolerance and --max-identity-drift")
    if lead:
        console.print(f"warning: {message}; nothing is made for them", soft_wrap=True)
    return without_unreachable(goal, bad)


def cost_lines(
    config: BalanceConfig,
    goal: Goal,
    originals: Originals,
    first: Transport,
    trials: dict[str, np.ndarray],
    seconds: float,
    seconds_so_far: dict[str, float],
    networks: Networks,
    read: Callable[[str], np.ndarray],
) -> list[RenderableType]:
    """Report of a dry run: the histogram, the plan and the cost."""
    tried = trials["accepted"] >= 0
    accepted = np.where(tried, trials["accepted"], trials["accepted"][tried].mean() if tried.any() else 1.0)
    parts: list[RenderableType] = []
    for name in goal.grid.names:
        table = Table(title=f"{name}: images per bin, planned", title_justify="left")
        for heading in ("from", "to", "now", "target", "to make"):
            table.add_column(heading, justify="right")
        edges = goal.grid.edges[goal.grid.names.index(name)]
        now, target, make = (goal.grid.marginal(v, name) for v in (goal.counts, goal.shares * goal.size, goal.added))
        for i in range(len(now)):
            cells = (number(edges[i]), number(edges[i + 1]), str(now[i]), f"{target[i]:.0f}", str(make[i]))
            table.add_row(*cells)
        parts.append(table)
    total = int(goal.added.sum())
    share = np.clip(accepted[goal.grid.locate(first.wanted)], LEAST_ACCEPTED, 1.0) if total else np.ones(1)
    make = int(np.ceil((1 / share).sum())) if total else 0
    used = len(np.unique(first.source))
    cost = make * seconds
    lines = [
        f"{len(originals.names)} originals, {goal.outside} of them beyond the bins, {len(originals.skipped)} files "
        f"unusable; {total} images to make, {goal.size} in the end",
        f"total variation from the target {goal.variation():.3f} now, {goal.variation(goal.added):.3f} planned",
        f"mean extrapolation {float(first.cost.mean()) if total else 0.0:.2f} sd of w; {used} sources, each used at "
        f"most {int(np.bincount(first.source).max()) if total else 0} times",
        f"expected: {total / max(make, 1):.0%} pass, so about {make} are made in {_duration(cost)} at "
        f"{seconds * 1000:.1f} ms each on one process",
    ]
    if config.source == "photographs" and config.inversions is None and total:
        each = networks.seconds_per_inversion(config, read, [originals.names[i] for i in np.unique(first.source)[:4]])
        lines.append(f"inverting {used} images first takes about {_duration(each * used)} at {each:.2f} s each")
    took = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds_so_far.items())
    return [*parts, *lines, f"this dry run: {took}; nothing was written"]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
