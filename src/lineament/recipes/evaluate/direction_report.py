"""The HTML report of a comparison of directions: edits of all methods side by side, and their effect on attributes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lineament.faces.labelled import MIN_R2
from lineament.ops.pixels import to_uint8
from lineament.recipes.evaluate.direction_bench import MAIN, Bench
from lineament.recipes.evaluate.direction_scores import IDENTITY_LIMIT, Measured
from lineament.recipes.evaluate.direction_tables import DirectionsReport, interval
from lineament.reports.page import webp_uri, write_page

STRIP = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Steps of a strip, in units of the step that moves the target by one standard deviation."""

NUM_STRIP_FACES = 2
DARK = 0.6
"""Leakage from which a cell has the darkest colour."""


def write_direction_report(path: Path, bench: Bench, report: DirectionsReport, measured: Sequence[Measured]) -> None:
    """Write the page.

    Args:
        path: the HTML file; it needs no other file.
        bench: holds the faces.
        report: the numbers.
        measured: the first seed of every method, in the report's order.

    Raises:
        StorageError: the file cannot be written.
    """
    main = [name for name in MAIN if name in report.names]
    context = {
        "report": report,
        "main": main,
        "strips": {name: strips_of(bench, report, measured, name) for name in main},
        "steps": STRIP,
        "matrices": [matrix_of(report, number) for number in range(len(report.methods))],
        "limits": {"r2": MIN_R2, "identity": IDENTITY_LIMIT, "dark": DARK},
    }
    write_page(path, "directions.html.j2", context, {"interval": interval})


def strips_of(
    bench: Bench, report: DirectionsReport, measured: Sequence[Measured], name: str
) -> list[tuple[str, str, list[list[str]]]]:
    """For every method that moves the attribute: its name, its leakage, and pictures of some faces."""
    rows = []
    for scores, one in zip(report.methods, measured, strict=True):
        if name in one.chosen and name in scores.attributes:
            chosen = one.chosen[name]
            step = chosen.amount * one.found.steps[chosen.index]
            moves = np.array(STRIP)[:, None, None] * step
            pictures = [
                [webp_uri(image) for image in to_uint8(bench.images(number, moves))]
                for number in range(min(NUM_STRIP_FACES, report.settings["faces"]))
            ]
            rows.append((scores.name, interval(scores.attributes[name].leakage), pictures))
    return rows


def matrix_of(report: DirectionsReport, number: int) -> dict[str, Any]:
    """A method's re-scoring matrix as rows of cells with opacity and number; the target itself is 1 by definition."""
    method = report.methods[number]
    rows = []
    for name in report.names:
        if scores := method.attributes.get(name):
            cells = [
                (min(value / DARK, 1.0) if np.isfinite(value) else 1.0, f"{value:.2f}", other == name)
                for other, value in zip(report.names, scores.row, strict=True)
            ]
            rows.append((name, scores.direction if not scores.by_name else "", cells))
    return {"name": method.name, "rows": rows}
