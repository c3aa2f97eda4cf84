"""Results of a comparison of directions: tables, and whether our goals are reached."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from lineament.estimators.direction_measures import IntervalEstimate
from lineament.recipes.evaluate.direction_bench import MAIN
from lineament.recipes.evaluate.direction_methods import OURS, OURS_AGAIN
from lineament.recipes.evaluate.direction_scores import MethodScores


@dataclass(frozen=True)
class DirectionsReport:
    """All results of a comparison.

    Attributes:
        methods: scores of the methods, in the order of the tables.
        names: names of the attributes.
        local: names of the attributes of a part of the face.
        r2: the judge's R^2 on held-out renders, for each attribute.
        stds: standard deviation of each attribute over unedited faces, in the truth's units.
        settings: faces, seeds and so on.
        goals: sentences, and whether they hold among the methods that were compared.
        left_out: methods that do not work on this generator, and why.
    """

    methods: tuple[MethodScores, ...]
    names: tuple[str, ...]
    local: tuple[str, ...]
    r2: tuple[float, ...]
    stds: tuple[float, ...]
    settings: dict[str, Any]
    goals: tuple[tuple[str, bool], ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def renderables(self) -> list[Any]:
        """Tables for the terminal."""
        s = self.settings
        head = (
            f"{s['faces']} faces of seed {s['seed']}, truncation {s['truncation']:g}, {len(self.names)} attributes, "
            f"95 % intervals over faces and {s['seeds']} seeds; the judge labels, and chooses among unnamed directions"
        )
        tables = [self._leakage_table(), *(self._main_table(name) for name in MAIN if name in self.names)]
        goals = [f"{'yes' if held else 'NO '}  {text}" for text, held in self.goals]
        absent = [f"left out, so not in any goal: {name} ({reason})" for name, reason in self.left_out.items()]
        return [head, *tables, self._set_table(), self._attribute_table(), *goals, *absent]

    def _leakage_table(self) -> Table:
        main = [name for name in MAIN if name in self.names]
        table = Table(title="Leakage: change of the other attributes, sd per sd of the target")
        table.add_column("method")
        for heading in (*main, "median of all", "of local ones"):
            table.add_column(heading, justify="right")
        for m in self.methods:
            leaks = {name: one.leakage.value for name, one in m.attributes.items()}
            cells = [interval(m.attributes[name].leakage) if name in m.attributes else "–" for name in main]
            for chosen in (self.names, self.local):
                known = [leaks[name] for name in chosen if name in leaks]
                cells.append(f"{float(np.median(known)):.3f} ({len(known)})" if known else "–")
            table.add_row(m.name, *cells)
        return table

    def _main_table(self, name: str) -> Table:
        table = Table(title=f"{name} (1 sd = {self.stds[self.names.index(name)]:.3g})")
        table.add_column("method")
        for heading in ("direction", "linearity", "mean-AD", "max-AD", "range, sd", "identity", "error", "of mean"):
            table.add_column(heading, justify="left" if heading == "direction" else "right")
        for m in self.methods:
            if one := m.attributes.get(name):
                numbers = (one.linearity, one.mean_ad, one.max_ad, one.range_sd, one.identity)
                errors = (one.error, one.error_of_mean)
                table.add_row(m.name, one.direction, *map(interval, numbers), *map(interval, errors))
        return table

    def _set_table(self) -> Table:
        table = Table(title="All directions of a method together, and what they cost")
        table.add_column("method")
        for heading in ("directions", "disentangled", "local ones", "complete", "informative", "labels", "judged"):
            table.add_column(heading, justify="right")
        table.add_column("samples", justify="right")
        table.add_column("seconds", justify="right")
        for m in self.methods:
            d = m.dci
            dci = (d.disentanglement, d.local, d.completeness, d.informativeness) if d else (None,) * 4
            counts = (f"{m.labels:,}", f"{m.judged:,}", f"{m.samples:,}", f"{m.seconds:.1f}" if m.seconds else "–")
            table.add_row(m.name, str(m.directions), *map(interval, dci), *counts)
        return table

    def _attribute_table(self) -> Table:
        table = Table(title="Leakage by attribute; the judge's R² on renders in brackets, * a part of the face")
        table.add_column("attribute")
        for m in self.methods:
            table.add_column(m.name, justify="right")
        for name, r2 in zip(self.names, self.r2, strict=True):
            cells = (m.attributes.get(name) for m in self.methods)
            star = "*" if name in self.local else ""
            table.add_row(f"{name}{star} ({r2:.2f})", *(f"{c.leakage.value:.3f}" if c else "–" for c in cells))
        return table


def interval(estimate: IntervalEstimate | None) -> str:
    """A number and its interval; a dash for none."""
    if estimate is None:
        return "–"
    return f"{estimate.value:.3g} ({estimate.low:.3g}–{estimate.high:.3g})"


def goals_of(methods: tuple[MethodScores, ...]) -> tuple[tuple[str, bool], ...]:
    """The goals of our directions, and whether they are reached."""
    by_name = {m.name: m for m in methods}
    ours, peers = by_name.get(OURS), [m for m in methods if m.peer]
    bounds = [m for m in methods if m.name.startswith("supervised")]
    rivals = [m for m in methods if m.name.startswith("InterFaceGAN")]
    goals: list[tuple[str, bool]] = []
    if ours is None:
        return ()
    for name in MAIN:
        if name not in ours.attributes:
            continue
        own = ours.attributes[name]
        for kind, group, factor in (("unsupervised peer", peers, 0.5), ("supervised bound", bounds, 1.1)):
            able = [(m.attributes[name].leakage.value, m.name) for m in group if name in m.attributes]
            if able:
                best, who = min(able)
                text = f"{name}: leakage {own.leakage.value:.3f} is at most {factor:g} times that of the best {kind} "
                goals.append(
                    (
                        f"{text}({who}: {best:.3f}, ratio {own.leakage.value / best:.2f})",
                        own.leakage.value <= factor * best,
                    )
                )
        able = [(m.attributes[name].range_sd, m.name) for m in rivals if name in m.attributes]
        ranges = [(r.value, who) for r, who in able if r is not None]
        if ranges and own.range_sd is not None:
            best, who = max(ranges)
            reach = own.range_sd.value
            goals.append((f"{name}: usable range {reach:.2f} sd is at least that of {who} ({best:.2f})", reach >= best))
    yaw = ours.attributes.get("yaw")
    if yaw is not None and yaw.error is not None and yaw.error_of_mean is not None:
        numbers = f"{yaw.error.value:.2f}° (of the mean face {yaw.error_of_mean.value:.2f}°)"
        goals.append((f"yaw: calibration error {numbers} is below 3°", yaw.error.value < 3))
    rivals_dci = [(m.dci.local, m.name) for m in peers if m.dci is not None]
    if ours.dci is not None and rivals_dci:
        best, who = max(rivals_dci, key=lambda pair: pair[0].value)
        text = f"local attributes: disentanglement {interval(ours.dci.local)} is above {who}'s {interval(best)}, apart"
        goals.append((text, ours.dci.local.low > best.high))
    if (again := by_name.get(OURS_AGAIN)) is not None:
        goals += [faster(again, m) for m in methods if m.seconds and m.name.startswith(("InterFaceGAN", "GANSpace"))]
    return tuple(goals)


def faster(ours: MethodScores, other: MethodScores) -> tuple[str, bool]:
    """Whether ours is faster and leaks no more than the other method, or is slower and leaks less."""
    shared = [name for name in MAIN if name in ours.attributes and name in other.attributes]
    mine, theirs = (
        float(np.mean([m.attributes[name].leakage.value for name in shared])) if shared else float("inf")
        for m in (ours, other)
    )
    text = f"{ours.name} take {ours.seconds:.1f} s to leak {mine:.3f}; {other.name} {other.seconds:.1f} s, {theirs:.3f}"
    if ours.seconds >= other.seconds and theirs > mine:
        return f"{text}: faster, but leaks more", True
    return text, ours.seconds < other.seconds and mine <= theirs


def plain(value: Any) -> Any:
    """The value for JSON, which has neither NaN nor infinity; those become None."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
