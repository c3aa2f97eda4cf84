"""Rows of the benchmarks' table, and functions that measure seconds."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchRow:
    """One figure of merit and what it compares.

    Attributes:
        name: what was measured.
        seconds: seconds that it took.
        against: what it is compared with.
        against_seconds: seconds of the other side; None if no times are compared.
        ratio: the figure: seconds of the other side over ``seconds``, or as ``against`` says.
        wanted: goal for the ratio; empty if there is none.
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
    """Seconds of a single run of the action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
