"""What every benchmark gives: rows of a table, and the seconds in them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchRow:
    """One number of merit and what it compares.

    Attributes:
        name: what was done.
        seconds: that it took.
        against: what it is held against.
        against_seconds: that the other side took; None where it is not a matter of time.
        ratio: the number itself: of the two times, or as ``against`` says.
        wanted: of the ratio; empty where nothing is.
    """

    name: str
    seconds: float
    against: str
    against_seconds: float | None
    ratio: float
    wanted: str


def in_turns(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each action, run in turns after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            taken = seconds_of(action)
            if turn:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes once."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
