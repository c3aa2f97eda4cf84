"""Tables of results, with intervals over networks and over the people of the test set."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from lineament.ops.seeding import philox
from lineament.store.atomic import write_text_atomic

from .arms import ARMS, ORACLES

RESAMPLES = 200
"""Number of bootstrap draws of the test set's people."""

_BOOTSTRAP = 6


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """As a cell of a table."""
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Row:
    """One arm of a task.

    Attributes:
        arm: name of the arm.
        networks: number of networks.
        rare: error on the rare values, with the interval over networks.
        people: the same error averaged over networks, with the interval over draws of the test set's people.
        others: further errors, averaged over the networks.
        cut: reduction of the error relative to "as is", with the interval over draws of people; None for "as is".
        closed: closed share of the gap between "as is" and the upper bound; None if one of them is missing.
    """

    arm: str
    networks: int
    rare: Interval
    people: Interval
    others: dict[str, float]
    cut: Interval | None
    closed: float | None


def over_networks(errors: Sequence[float]) -> Interval:
    """Mean and Student's 95 % interval."""
    mean, n = float(np.mean(errors)), len(errors)
    half = float(student.ppf(0.975, n - 1) * np.std(errors, ddof=1) / np.sqrt(n)) if n > 1 else float("inf")
    return Interval(mean, mean - half, mean + half)


def over_people(mean: float, draws: Float[np.ndarray, " r"]) -> Interval:
    """The mean with the 95 % percentile interval of the bootstrap."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def draws_of_people(people: int) -> Float[np.ndarray, "r people"]:
    """How often each person is drawn in every resample; the same for all arms."""
    return (
        np.stack([philox(0, _BOOTSTRAP, r).multinomial(people, np.full(people, 1 / people)) for r in range(RESAMPLES)])
        * 1.0
    )


def table_of(results: Sequence[dict[str, Any]], metric: str) -> list[Row]:
    """All arms of one task, in the order of `ARMS`.

    Args:
        results: results of the networks; each has ``arm``, ``errors``, and ``draws``: the metric for every resample.
        metric: name of the main error.
    """
    of = {arm: [result for result in results if result["arm"] == arm] for arm in ARMS}
    of = {arm: found for arm, found in of.items() if found}
    mean = {arm: float(np.mean([r["errors"][metric] for r in found])) for arm, found in of.items()}
    draws = {arm: np.mean([r["draws"] for r in found], axis=0) for arm, found in of.items()}
    gap = mean["as is"] - mean["upper bound"] if {"as is", "upper bound"} <= set(mean) else None
    rows = []
    for arm, found in of.items():
        errors = {name: float(np.mean([r["errors"][name] for r in found])) for name in found[0]["errors"]}
        cut = None
        if arm != "as is" and "as is" in mean:
            cut = over_people(1 - mean[arm] / mean["as is"], 1 - draws[arm] / draws["as is"])
        rows.append(
            Row(
                arm,
                len(found),
                over_networks([r["errors"][metric] for r in found]),
                over_people(mean[arm], draws[arm]),
                {name: error for name, error in errors.items() if name != metric},
                cut,
                None if not gap else (mean["as is"] - mean[arm]) / gap,
            )
        )
    return rows


def verdict(rows: Sequence[Row], arm: str) -> dict[str, Any]:
    """Numbers for the goal: 30 % less error than "as is", and an interval below all arms but ours and the oracles."""
    by = {row.arm: row for row in rows}
    own = by[arm]
    rivals = [row for row in rows if row.arm not in (arm, *ORACLES) and not row.arm.startswith(("ours", "generator"))]
    return {
        "cut": None if own.cut is None else own.cut.mean,
        "closed": own.closed,
        "apart from": [row.arm for row in rivals if own.rare.high < row.rare.low],
        "not apart from": [row.arm for row in rivals if not own.rare.high < row.rare.low],
    }


def markdown(rows: Sequence[Row], digits: int) -> str:
    """The table as Markdown."""
    names = list(rows[0].others)
    head = [
        "arm",
        "networks",
        "rare: mean [95 % over networks]",
        "[95 % over people]",
        *names,
        "cut [95 % over people]",
        "gap closed",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cut = "" if row.cut is None else f"{row.cut.mean:.0%} [{row.cut.low:.0%}, {row.cut.high:.0%}]"
        cells = [
            row.arm,
            str(row.networks),
            row.rare.text(digits),
            f"[{row.people.low:.{digits}f}, {row.people.high:.{digits}f}]",
        ]
        cells += [f"{row.others[name]:.{digits}f}" for name in names]
        cells += [cut, "" if row.closed is None else f"{row.closed:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def save(folder: Path, name: str, rows: Sequence[Row], digits: int) -> None:
    """Write a task's table as Markdown and JSON."""
    write_text_atomic(folder / f"{name}.md", markdown(rows, digits))
    plain = [json.loads(json.dumps(row, default=lambda part: part.__dict__)) for row in rows]
    write_text_atomic(folder / f"{name}.json", json.dumps(plain, indent=1))
