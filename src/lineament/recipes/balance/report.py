"""The report of a balanced folder: one HTML file with histograms, rejected images with reasons, and examples."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.console import RenderableType
from rich.table import Table

from lineament.engine.console import number
from lineament.engine.work import Work
from lineament.estimators.histograms import Grid, total_variation
from lineament.recipes.balance.output import Balanced, generated_file, generated_files
from lineament.reports.page import data_uri, write_page
from lineament.store.images import decode_image

CHART_W, CHART_H, CHART_MARGIN = 520.0, 190.0, 26.0
MAX_LISTED = 200
"""Largest number of skipped files that the report lists; the manifest has them all."""


@dataclass(frozen=True)
class BinRow:
    """One bin of one semantic: images before, in the target and after; images made for it, and how many passed."""

    low: float
    high: float
    before: int
    target: float
    after: int
    passed: int
    made: int

    @property
    def label(self) -> str:
        """The bin's edges."""
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Summary:
    """Summary of a manifest.

    Attributes:
        names: names of the semantics.
        bins: bins of each semantic, summed over the other semantics.
        originals, generated, made, passed, skipped: numbers of images. ``made`` were drawn, ``passed`` kept all limits,
            ``generated`` are in the folder.
        before, after: total variation distance from the target.
        reasons: number of rejected items by reason.
        skipped_files: reason for each skipped file.
        most_used: how often the most used source was used.
        step: median length of the steps of generated images, in standard deviations of w.
        error: median absolute difference between requested and measured values of all images made, by name.
    """

    names: tuple[str, ...]
    bins: dict[str, list[BinRow]]
    originals: int
    generated: int
    made: int
    passed: int
    skipped: int
    before: float
    after: float
    reasons: dict[str, int]
    skipped_files: dict[str, str]
    most_used: int
    step: float
    error: dict[str, float]

    @property
    def pass_rate(self) -> float:
        """Share of the images made that kept all limits."""
        return self.passed / self.made if self.made else 1.0

    def renderables(self) -> list[RenderableType]:
        """Tables for the terminal."""
        parts: list[RenderableType] = []
        for name, rows in self.bins.items():
            table = Table(title=f"{name}: images per bin", title_justify="left")
            for heading in ("from", "to", "before", "target", "after", "passed / made"):
                table.add_column(heading, justify="right")
            for row in rows:
                cells = (number(row.low), number(row.high), str(row.before), f"{row.target:.0f}", str(row.after))
                table.add_row(*cells, f"{row.passed} / {row.made}")
            parts.append(table)
        lines = [
            f"{self.originals} originals kept, {self.generated} images generated, {self.skipped} files skipped",
            f"total variation from the target {self.before:.3f} before, {self.after:.3f} after",
            f"{self.pass_rate:.1%} of {self.made} images made passed the checks; median step {self.step:.2f} sd of w",
            *(f"{count} rejected: {reason}" for reason, count in self.reasons.items()),
        ]
        return [*parts, *lines]


def summarise(columns: Mapping[str, Sequence[Any]], plan: Mapping[str, Any]) -> Summary:
    """Summarise a manifest and its plan."""
    edges = {name: np.array(values) for name, values in plan["goal"]["edges"].items()}
    grid = Grid(tuple(edges), tuple(edges.values()))
    shares = np.array(plan["goal"]["shares"])
    kind = np.array(columns["kind"], dtype=object)
    measured = np.stack([np.array(columns[f"measured_{n}"], dtype=np.float64) for n in grid.names], axis=1)
    wanted = np.stack([np.array(columns[f"requested_{n}"], dtype=np.float64) for n in grid.names], axis=1)
    original, generated = kind == "original", kind == "generated"
    made = ~original & ~np.isnan(measured).any(axis=1)
    full = np.array([reason is not None and reason.startswith("passed") for reason in columns["reason"]], dtype=bool)
    passed = generated | full
    before, after = grid.counts(measured[original]), grid.counts(measured[original | generated])
    size = int(original.sum() + generated.sum())
    counts = {"made": grid.counts(wanted[made]), "passed": grid.counts(wanted[passed])}
    bins = {}
    for name in grid.names:
        b, t, a, m, p = (
            grid.marginal(values, name) for values in (before, shares * size, after, counts["made"], counts["passed"])
        )
        bins[name] = [
            BinRow(float(lo), float(hi), int(b[i]), float(t[i]), int(a[i]), int(p[i]), int(m[i]))
            for i, (lo, hi) in enumerate(zip(edges[name][:-1], edges[name][1:], strict=True))
        ]
    reasons = Counter(r.partition(" (")[0] for r, k in zip(columns["reason"], kind, strict=True) if k == "rejected")
    skipped = [i for i, k in enumerate(kind) if k == "skipped"]
    uses = Counter(s for s, k in zip(columns["source"], kind, strict=True) if k == "generated")
    lengths = np.array([v for v, g in zip(columns["length"], generated, strict=True) if g], dtype=np.float64)
    misses = np.abs(measured - wanted)[made]
    return Summary(
        names=grid.names,
        bins=bins,
        originals=int(original.sum()),
        generated=int(generated.sum()),
        made=int(made.sum()),
        passed=int(passed.sum()),
        skipped=len(skipped),
        before=total_variation(before, shares, int(original.sum() - before.sum())),
        after=total_variation(after, shares, size - int(after.sum())),
        reasons=dict(reasons.most_common()),
        skipped_files={str(columns["source"][i]): str(columns["reason"][i]) for i in skipped},
        most_used=max(uses.values(), default=0),
        step=float(np.median(lengths)) if len(lengths) else 0.0,
        error={n: float(np.median(misses[:, j])) if len(misses) else 0.0 for j, n in enumerate(grid.names)},
    )


@dataclass(frozen=True, eq=False)
class Example:
    """A generated image, and the image it was made from; None if it was made from a sample."""

    caption: str
    after: UInt8[np.ndarray, "h w 3"]
    before: UInt8[np.ndarray, "h2 w2 3"] | None = None


def chart(rows: Sequence[BinRow]) -> dict[str, Any]:
    """Bars before and after, and the target's line, as coordinates of an SVG of CHART_W x CHART_H."""
    top = max([*(max(row.before, row.after) for row in rows), *(row.target for row in rows), 1.0]) * 1.05
    floor = CHART_H - CHART_MARGIN
    width = CHART_W / len(rows)

    def y(value: int | float) -> float:
        return round(floor * (1 - value / top), 1)

    bars = []
    for i, row in enumerate(rows):
        left = i * width
        bars.append(
            {
                "x": round(left + 0.1 * width, 1),
                "w": round(0.8 * width, 1),
                "before": {"y": y(row.before), "h": round(floor - y(row.before), 1)},
                "after": {"y": y(row.after), "h": round(floor - y(row.after), 1)},
                "x1": round(left, 1),
                "x2": round(left + width, 1),
                "target": y(row.target),
                "row": row,
            }
        )
    every = max(len(rows) // 10, 1)
    labels = [
        (round(i * width, 1), number(row.low), "start" if i == 0 else "middle")
        for i, row in enumerate(rows)
        if i % every == 0
    ]
    return {"bars": bars, "labels": [*labels, (CHART_W, number(rows[-1].high), "end")], "floor": floor}


def write_report(
    path: Path, summary: Summary, plan: Mapping[str, Any], examples: Sequence[Example], units: Mapping[str, str]
) -> None:
    """Write the page atomically. It holds no date or time, so that the same folder gives the same bytes."""
    context = {
        "summary": summary,
        "plan": plan,
        "charts": {name: chart(rows) for name, rows in summary.bins.items()},
        "size": (CHART_W, CHART_H),
        "examples": [
            {
                "caption": example.caption,
                "after": data_uri(example.after),
                "before": None if example.before is None else data_uri(example.before),
            }
            for example in examples
        ],
        "units": units,
        "listed": list(summary.skipped_files.items())[:MAX_LISTED],
        "unlisted": max(len(summary.skipped_files) - MAX_LISTED, 0),
    }
    write_page(path, "balance.html.j2", context, {"short": number})


MAX_EXAMPLES = 24


def examples_of(
    balanced: Balanced, work: Work, resolution: int, read: Callable[[str], UInt8[np.ndarray, "h w 3"]]
) -> list[Example]:
    """Some generated images, evenly spread over their values, with their sources."""
    made, goal = balanced.candidates, balanced.goal
    chosen = np.flatnonzero(made.chosen(goal.added))
    if not len(chosen):
        return []
    by_value = chosen[np.lexsort(made.measured[chosen].T[::-1])]
    picked = by_value[np.linspace(0, len(by_value) - 1, min(MAX_EXAMPLES, len(by_value))).round().astype(int)]
    files = dict(generated_files(balanced, work, np.sort(picked).tolist()))
    examples = []
    for item in picked:
        words = ", ".join(
            f"{name} {number(made.start[item, j])} → {number(made.measured[item, j])}"
            for j, name in enumerate(goal.grid.names)
        )
        before = read(balanced.faces.names[int(made.source[item])]) if balanced.faces.keeps_identity else None
        examples.append(Example(words, decode_image(files[generated_file(int(item))], resolution), before))
    return examples
