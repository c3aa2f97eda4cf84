"""Fill the bins in rounds, until enough images pass."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from lineament.engine.work import Piece, Work
from lineament.estimators.balancing import Transport, plan_transport
from lineament.estimators.histograms import water_fill
from lineament.ops.seeding import philox
from lineament.recipes.balance.generation import DRIFTED, FAR, MAX_OFFSET, MISSED, Limits, Maker, corrected, make_piece
from lineament.recipes.balance.plan import Goal
from lineament.recipes.balance.sources import SourceFaces

MAX_ROUNDS = 6
"""Largest number of rounds; images that are then missing stay missing."""

CLOSE_ENOUGH = 0.005
"""Share of all images that may be missing at the end: the last few would need another round."""

LEAST_ACCEPTED = 0.25
"""Smallest assumed share of images that pass; so a round makes at most 1 / 0.25 = 4 times the missing images."""

_STREAM_ITEMS = 22


@dataclass(frozen=True, eq=False)
class Candidates:
    """All images that were planned, in the order of their numbers, including those that could not be made.

    Attributes:
        source: number of the source face.
        start: values of the source face.
        wanted, aim, measured: values; ``measured`` is NaN where nothing was made.
        bin: bin of the measured values; -1 beyond the grid.
        drift, distance, length: as from `Maker.make`; NaN where nothing was made.
        faults: as from `Maker.make`.
        reason: why nothing was made; empty if an image was made.
        round, batch, place: where the image was made; ``place`` is -1 where nothing was made.
    """

    source: Int[np.ndarray, " n"]
    start: Float[np.ndarray, "n m"]
    wanted: Float[np.ndarray, "n m"]
    aim: Float[np.ndarray, "n m"]
    measured: Float[np.ndarray, "n m"]
    bin: Int[np.ndarray, " n"]
    drift: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    faults: Int[np.ndarray, " n"]
    reason: list[str]
    round: Int[np.ndarray, " n"]
    batch: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.source)

    @property
    def passed(self) -> Bool[np.ndarray, " n"]:
        """Images that were made and keep all limits."""
        return (self.place >= 0) & (self.faults == 0)

    def chosen(self, added: Int[np.ndarray, " b"]) -> Bool[np.ndarray, " n"]:
        """Images for the folder: for each bin the first that passed, up to ``added``."""
        chosen = np.zeros(len(self), bool)
        for bin_ in np.flatnonzero(added):
            chosen[np.flatnonzero(self.passed & (self.bin == bin_))[: added[bin_]]] = True
        return chosen

    def reasons(self, added: Int[np.ndarray, " b"]) -> list[str]:
        """Why each image is not in the folder; empty for images in it."""
        found = list(self.reason)
        words = {
            MISSED: "measured too far from requested",
            DRIFTED: "identity drifted",
            FAR: "latents far from the generator's mean",
        }
        for i, taken in enumerate(self.chosen(added)):
            if not found[i] and not taken:
                faults = [text for flag, text in words.items() if self.faults[i] & flag]
                found[i] = " and ".join(faults) or "passed, but its bin is full"
        return found


def joined(parts: list[Candidates]) -> Candidates:
    """Candidates of several rounds."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Candidates.__dataclass_fields__
        if name != "reason"
    }
    return Candidates(**columns, reason=[text for part in parts for text in part.reason])


def picture_stage(round_: int) -> str:
    """Name of the work that made the images of a round."""
    return f"images-{round_}"


def fill(
    work: Work,
    goal: Goal,
    faces: SourceFaces,
    maker: Maker,
    limits: Limits,
    first: Transport,
    offset: Float[np.ndarray, "b m"],
    max_uses: int,
    seed: int,
    batch: int,
    facts: Mapping[str, str],
) -> Candidates:
    """Make images until the bins are full.

    Every round is planned only from the results of earlier rounds, so that interruptions and the number of processes do
    not change it. Within a round an image depends only on its number: its batch always holds the same images.

    Args:
        work: keeps finished results.
        goal: the bins and the images to add.
        faces: the sources.
        maker: makes and checks images.
        limits: limits that images must keep.
        first: the plan of the first round.
        offset: added to the aims of each bin.
        max_uses: how often a source may be used.
        seed: seed of the plan and the order.
        batch: number of images that are made together.
        facts: text written into every image.
    """
    rounds: list[Candidates] = []
    begun = np.zeros(goal.grid.num_bins, np.int64)
    uses = np.zeros(len(faces.values), np.int64)
    fresh, again = first, _nothing(goal)
    for round_ in range(MAX_ROUNDS):
        if round_:
            again, asked = second_chances(goal, joined(rounds), rounds[-1], limits)
            capacity = np.where(faces.usable(), np.maximum(max_uses - uses, 0), 0)
            if asked.sum() > capacity.sum():
                asked = water_fill(np.zeros_like(asked), asked / asked.sum(), int(capacity.sum()))
            values, grid, cost = faces.values, goal.grid, maker.extrapolation
            fresh = plan_transport(values, capacity, grid, asked, cost, seed + round_, begun)
        begun += np.bincount(fresh.bin, minlength=len(begun))
        uses += np.bincount(fresh.source, minlength=len(uses))
        tasks = _shuffled(_together(Tasks.of(fresh, offset), again), seed, round_)
        if not len(tasks):
            break
        faces.prepare(work, tasks.source, f"inversions-{round_}")
        made = _made(work, round_, goal, faces, maker, limits, tasks, batch, dict(facts))
        rounds.append(made)
        new = (made.place >= 0) & tasks.is_new
        offset = corrected(offset, tasks.bin[new], made.wanted[new], made.measured[new], limits.tolerance)
        missing = goal.added.sum() - joined(rounds).chosen(goal.added).sum()
        if missing <= CLOSE_ENOUGH * goal.size:
            break
    return joined(rounds) if rounds else _empty(len(goal.grid.names))


@dataclass(frozen=True, eq=False)
class Tasks:
    """Images to make in one round.

    Attributes:
        source: number of the face to change.
        bin: the bin to fill.
        wanted: values that the image should show.
        aim: values that the step is computed for.
        is_new: whether this is a first attempt.
    """

    source: Int[np.ndarray, " k"]
    bin: Int[np.ndarray, " k"]
    wanted: Float[np.ndarray, "k m"]
    aim: Float[np.ndarray, "k m"]
    is_new: Bool[np.ndarray, " k"]

    @classmethod
    def of(cls, plan: Transport, offset: Float[np.ndarray, "b m"]) -> "Tasks":
        """First attempts by a plan."""
        return cls(plan.source, plan.bin, plan.wanted, plan.wanted + offset[plan.bin], np.ones(len(plan), bool))

    def __len__(self) -> int:
        return len(self.source)

    def part(self, numbers: Int[np.ndarray, " j"]) -> "Tasks":
        """The tasks with these numbers."""
        return Tasks(*(getattr(self, name)[numbers] for name in Tasks.__dataclass_fields__))


def _together(a: Tasks, b: Tasks) -> Tasks:
    return Tasks(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in Tasks.__dataclass_fields__))


def _shuffled(tasks: Tasks, seed: int, round_: int) -> Tasks:
    """The tasks in random order, so that an unfinished run holds a random sample of them."""
    return tasks.part(philox(seed, _STREAM_ITEMS, round_).permutation(len(tasks)))


def _nothing(goal: Goal) -> Tasks:
    rows, whole = np.zeros((0, len(goal.grid.names))), np.zeros(0, np.int64)
    return Tasks(whole, whole, rows, rows, np.zeros(0, bool))


def _made(
    work: Work,
    round_: int,
    goal: Goal,
    faces: SourceFaces,
    maker: Maker,
    limits: Limits,
    tasks: Tasks,
    batch: int,
    facts: dict[str, str],
) -> Candidates:
    """Make the images of one round."""
    n, m = tasks.wanted.shape
    reason = [faces.reasons.get(int(source), "") for source in tasks.source]
    live = np.flatnonzero([not text for text in reason])
    parts = [live[start : start + batch] for start in range(0, len(live), batch)]

    def piece(index: int) -> Piece:
        own = tasks.part(parts[index])
        return make_piece(maker, faces, own.source, own.wanted, own.aim, limits, facts)

    columns = {"measured": (n, m), "drift": (n,), "distance": (n,), "length": (n,)}
    found: dict[str, np.ndarray] = {name: np.full(shape, np.nan) for name, shape in columns.items()}
    faults, where, place = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, -1)
    label = "making images" if not round_ else f"making images, round {round_ + 1}"
    pieces = work.do(picture_stage(round_), len(parts), piece, label=label, images=len(live))
    for index, (own, (arrays, _)) in enumerate(zip(parts, pieces, strict=True)):
        for name, column in found.items():
            column[own] = arrays[name]
        faults[own], where[own], place[own] = arrays["faults"], index, np.arange(len(own))
    return Candidates(
        source=tasks.source,
        start=faces.values[tasks.source],
        wanted=tasks.wanted,
        aim=tasks.aim,
        bin=goal.grid.locate(found["measured"]),
        faults=faults,
        reason=reason,
        round=np.full(n, round_),
        batch=where,
        place=place,
        **found,
    )


def second_chances(
    goal: Goal, so_far: Candidates, last: Candidates, limits: Limits
) -> tuple[Tasks, Int[np.ndarray, " b"]]:
    """Second attempts at images of the last round that only missed their values; and new images to make for each bin.

    The error of the first attempt is known. The second attempt from the same source corrects its aim by this error, and
    passes far more often than a first attempt.
    """
    grid = goal.grid
    have = np.bincount(so_far.bin[so_far.chosen(goal.added)], minlength=grid.num_bins)
    wanted = grid.locate(so_far.wanted)
    good = np.bincount(wanted[so_far.passed], minlength=grid.num_bins)
    share = np.clip(good / np.maximum(np.bincount(wanted, minlength=grid.num_bins), 1), LEAST_ACCEPTED, 1.0)
    asked = np.ceil((goal.added - have) / share).astype(np.int64)
    aim = last.aim + last.wanted - last.measured
    bins = grid.locate(last.wanted)
    near = (np.abs(aim - last.wanted) <= MAX_OFFSET * limits.tolerance).all(axis=1)
    missed = (last.place >= 0) & (last.faults == MISSED) & near
    again = [np.flatnonzero(missed & (bins == bin_))[: goal.added[bin_] - have[bin_]] for bin_ in np.flatnonzero(asked)]
    own = np.concatenate([np.zeros(0, np.int64), *again])
    asked = np.maximum(asked - np.ceil(np.bincount(bins[own], minlength=grid.num_bins) / share).astype(np.int64), 0)
    return Tasks(last.source[own], bins[own], last.wanted[own], aim[own], np.zeros(len(own), bool)), asked


def _empty(m: int) -> Candidates:
    none, rows, whole = np.zeros(0), np.zeros((0, m)), np.zeros(0, np.int64)
    return Candidates(whole, rows, rows, rows, rows, whole, none, none, none, whole, [], whole, whole, whole)


def without_unreachable(goal: Goal, bins: Int[np.ndarray, " k"]) -> Goal:
    """The goal without images for some bins."""
    added = goal.added.copy()
    added[bins] = 0
    return replace(goal, added=added)
