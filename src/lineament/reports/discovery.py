"""The report of a discovery: one HTML file in which every number and every picture is computed."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament import __version__
from lineament.directions.calibrate import calibration_slope
from lineament.directions.steps import affordable_hold, calibrated_step, step_length
from lineament.engine.console import number, progress_bar
from lineament.faces.measure import measure, synthesize_edited
from lineament.faces.samples import REPORT
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_uint8
from lineament.ops.render import render
from lineament.ops.seeding import latents
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction
from lineament.records.parts import Part
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.reports.figures import ROW_NAMES, TURN_DEG, decomposition_pictures
from lineament.reports.page import data_uri, write_page
from lineament.reports.parts import SDS, example_part, part_context
from lineament.store.tensors import short_fingerprint

NUM_SAMPLES, NUM_DECOMPOSED, NUM_STRIPS, NUM_EVALUATED = 40, 8, 4, 32
UNIT_SIGNS = {"deg": "°", "% width": "\N{THIN SPACE}%"}
ROW_NOTES = {
    "image": "the generator's image",
    "reconstruction": "rendered from the parts below; white outside the face's oval",
    "relief": "the depth alone, as a plaster cast lit from above left",
    "normals": "where the surface faces",
    "albedo": "colour without light",
    "shading": "light without colour",
    "frontal": "the same face from the front, under its own light",
    "from its left": f"turned by {TURN_DEG:g}° one way",
    "from its right": f"turned by {TURN_DEG:g}° the other way",
}
HEROES = ("yaw", "light_x")
# Limits at which the report adds a warning.
LOW_R2, LOW_SIGN, SLOPE_BAND, HIGH_LEAK, LONG_STEP = 0.5, 0.95, (0.75, 1.25), 0.5, 4.0


def nice_step(largest: float) -> float:
    """The largest round number up to ``largest``."""
    power = 10.0 ** math.floor(math.log10(largest))
    return max(m for m in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0) if m * power <= largest * (1 + 1e-9)) * power


def requested_values(direction: Direction) -> list[float]:
    """Seven round requests from about -2 to +2 standard deviations; for yaw, tens of degrees if it spans 30."""
    if direction.std <= 0:
        return [float(k) for k in range(-3, 4)]
    step = nice_step(2 * direction.std / 3)
    if direction.name == "yaw" and direction.std * 2.5 >= 30 > 3 * step:
        step = 10.0
    return [round(k * step, 10) for k in range(-3, 4)]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Effects of calibrated edits along one direction, on faces that no fit has used.

    Attributes:
        direction: the direction.
        requested: requested changes, in its unit, with 0 in the middle.
        before: measured values of the unedited faces.
        changes: measured changes, one row per face.
        effects: median change of every semantic at every request.
        pictures: the first faces at every request.
        length: length of the step for one sd, in standard deviations of w; 1 if w determines the semantic linearly and
            nothing is held.
        held: semantics that the step holds.
        raw: linear steps, and their median achieved change before calibration.
    """

    direction: Direction
    requested: list[float]
    before: Float[np.ndarray, " n"]
    changes: Float[np.ndarray, "n k"]
    effects: Float[np.ndarray, "k m"]
    pictures: list[list[str]]
    length: float
    held: tuple[str, ...]
    raw: list[tuple[float, float]] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """The unit as written after a number."""
        return UNIT_SIGNS.get(self.direction.unit, "")

    @property
    def decimals(self) -> int:
        """Number of decimals for a measured change."""
        return max(0, 1 - math.floor(math.log10(max(self.requested[-1] / 3, 1e-9))))

    @property
    def median(self) -> list[float]:
        """Median measured change at every request."""
        return np.median(self.changes, axis=0).tolist()

    @property
    def quartiles(self) -> tuple[list[float], list[float]]:
        """First and third quartile of the measured change at every request."""
        low, high = np.percentile(self.changes, [25, 75], axis=0)
        return low.tolist(), high.tolist()

    @property
    def slope(self) -> float:
        """Slope of the median measured change over the request, by least squares through the origin."""
        asked, got = np.array(self.requested), np.array(self.median)
        return float(asked @ got / (asked @ asked))

    @property
    def right_sign(self) -> float:
        """Share of edits whose measured change has the requested sign."""
        asked = np.array(self.requested)
        return float((np.sign(self.changes) == np.sign(asked))[:, asked != 0].mean())

    @property
    def monotone(self) -> float:
        """Share of faces whose measured value rises from every request to the next."""
        return float((np.diff(self.changes, axis=1) > 0).all(axis=1).mean())

    @property
    def error(self) -> float:
        """Median absolute difference between measured and requested change, over all edits."""
        asked = np.array(self.requested)
        return float(np.median(np.abs(self.changes - asked)[:, asked != 0]))


def evaluate(
    atlas: Atlas,
    generator: Generator,
    decomposer: Decomposer,
    w: Float[Tensor, "n d"],
    before: Float[np.ndarray, "n m"],
    direction: Direction,
    raw: list[tuple[float, float]],
) -> Evaluation:
    """Edit every face by every requested change and measure the effect."""
    index = SEMANTIC_NAMES.index(direction.name)
    requested = requested_values(direction)
    after, pictures = [], []
    for change in requested:
        step = calibrated_step(atlas, {direction.name: change})
        images = synthesize_edited(generator, w, step)
        after.append(measure(decomposer, images) - before)
        pictures.append([data_uri(image) for image in to_uint8(images[:NUM_STRIPS])])
    changes = np.stack(after, axis=1)
    one_sd = calibrated_step(atlas, {direction.name: direction.std})
    return Evaluation(
        direction=direction,
        requested=requested,
        before=before[:, index],
        changes=changes[:, :, index],
        effects=np.median(changes, axis=0),
        pictures=[list(row) for row in zip(*pictures, strict=True)],
        length=step_length(one_sd, atlas.w_cov),
        held=affordable_hold(atlas, (direction.name,)),
        raw=raw,
    )


def leakage(evaluations: Sequence[Evaluation], atlas: Atlas) -> Float[np.ndarray, "k m"]:
    """Change of every semantic of the atlas (columns) per requested one of the edited semantic (rows), both in sd."""
    columns = [SEMANTIC_NAMES.index(d.name) for d in atlas.directions if d.name in SEMANTIC_NAMES]
    stds = np.array([d.std for d in atlas.directions if d.name in SEMANTIC_NAMES])
    rows = []
    for e in evaluations:
        asked = np.array(e.requested)
        per_unit = asked @ e.effects[:, columns] / (asked @ asked)
        rows.append(per_unit * e.direction.std / np.where(stds > 0, stds, 1))
    return np.array(rows).reshape(len(evaluations), len(columns))


PLOT_W, PLOT_H, PLOT_MARGIN = 260.0, 200.0, 34.0


def plot_points(e: Evaluation) -> dict[str, Any]:
    """Plot of measured over requested changes, as coordinates of an SVG of PLOT_W x PLOT_H."""
    limit = e.requested[-1] * 1.08
    low, high = e.quartiles
    top = max(limit, *(abs(v) for v in (*low, *high))) * 1.02

    def at(x: float, y: float) -> str:
        px = PLOT_MARGIN + (x / limit + 1) / 2 * (PLOT_W - PLOT_MARGIN - 6)
        py = 6 + (1 - y / top) / 2 * (PLOT_H - PLOT_MARGIN - 6)
        return f"{px:.1f},{py:.1f}"

    def line(xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(at(x, y) for x, y in zip(xs, ys, strict=True))

    inside = [(x, y) for x, y in e.raw if abs(x) <= limit and abs(y) <= top]
    return {
        "band": line([*e.requested, *e.requested[::-1]], [*low, *high[::-1]]),
        "median": line(e.requested, e.median),
        "dots": [at(x, y).split(",") for x, y in zip(e.requested, e.median, strict=True)],
        "identity": line([-limit, limit], [-limit, limit]),
        "raw": line([x for x, _ in inside], [y for _, y in inside]) if len(inside) > 1 else "",
        "x_ticks": [(at(x, -top).split(",")[0], f"{x:+g}" if x else "0") for x in e.requested[::2]],
        "y_ticks": [(at(0.0, y).split(",")[1], f"{y:+g}" if y else "0") for y in e.requested[::2]],
        "zero": at(0.0, 0.0).split(","),
    }


def caveats(
    evaluations: Sequence[Evaluation], leaks: Float[np.ndarray, "k m"], names: Sequence[str]
) -> dict[str, list[str]]:
    """Weaknesses of each semantic, from the numbers of this atlas alone."""
    found: dict[str, list[str]] = {}
    for e, row in zip(evaluations, leaks, strict=True):
        lines = found[e.direction.name] = []
        if e.direction.r2 < LOW_R2:
            lines.append(
                f"a straight line in w explains only {max(e.direction.r2, 0.0):.0%} of its variation (R² "
                f"{e.direction.r2:.2f}), so the slider is right on average, but often wrong for a single face"
            )
        if not SLOPE_BAND[0] <= e.slope <= SLOPE_BAND[1]:
            lines.append(f"the median measured change is {e.slope:.2f} of the requested one, even after calibration")
        if e.right_sign < LOW_SIGN:
            lines.append(f"{1 - e.right_sign:.0%} of the edits have the wrong sign in the measurement")
        if e.length > LONG_STEP:
            lines.append(f"one sd needs a step of {e.length:.1f} sd of w, far from the generator's training latents")
        others = [(n, v) for n, v in zip(names, row, strict=True) if n != e.direction.name and abs(v) > HIGH_LEAK]
        if others:
            listed = ", ".join(f"{n} by {number(v, sign=True)} sd" for n, v in others)
            lines.append(f"one requested sd also moves {listed}")
    return {name: lines for name, lines in found.items() if lines}


def _commands(
    path: Path, evaluations: Sequence[Evaluation], parts: Sequence[Part], files: dict[str, Path | None]
) -> list[tuple[str, str]]:
    """Example commands for this atlas, each with an explanation."""
    atlas = shlex.quote(str(path.with_name("atlas.safetensors")))
    given = " ".join(f"--{name} {shlex.quote(str(file))}" for name, file in files.items() if file)
    base = f"lineament edit --atlas {atlas}" + (f" {given}" if given else "")
    edits = [f"{e.direction.name}={e.requested[-2]:+g}" for e in evaluations]
    absolute = f"{evaluations[0].direction.name}={abs(evaluations[0].requested[-2]):g}"
    local = []
    if parts:
        part = f"{example_part(parts).name}={SDS:+g}"
        local = [
            (f"{base} --seeds 0-3 --steps 3 --symmetric {part} --out part.png", "a part of the face, either way"),
            (f"{base} --seeds 0-7 {part} {edits[0]} --out both.png", "a part and pose or light, in one step"),
        ]
    return [
        (f"{base} --seeds 0-7 {edits[0]} --out faces.png", "eight faces before and after, and a table of what changed"),
        (f"{base} --seeds 0-3 --steps 3 --symmetric {' '.join(edits[-2:])} --out strip.png", "two at once, as a strip"),
        (f"{base} --seeds 0-8 --symmetric {edits[0]} --out turn.mp4", "an animation"),
        (f"{base} --seeds 5 {absolute} --out five.png", "a number without a sign is the value to reach, not a change"),
        *local,
        (f"lineament inspect {atlas}", "a description of the file"),
    ]


def _pixel_error(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> float:
    """Mean absolute difference between images and reconstructions where a surface is seen; the full range is 1."""
    rendering = render(decomposer(images), decomposer.camera)
    mask = rendering.recon_mask[:, None].to(images)
    error = (rendering.recon_image - images).abs().mean(dim=1, keepdim=True) * mask
    return float(error.sum() / mask.sum().clamp_min(1)) / 2


@torch.no_grad()
def write_report(
    path: Path,
    atlas: Atlas,
    generator: Generator,
    decomposer: Decomposer,
    calibrations: Sequence[Any],
    *,
    J: Float[np.ndarray, "p d"] | None = None,
    generator_path: Path | None = None,
    decomposer_path: Path | None = None,
) -> None:
    """Compute and write the report.

    Args:
        path: the HTML file; the atlas is expected beside it as atlas.safetensors.
        atlas: calibrated directions.
        generator: the generator of the directions.
        decomposer: the decomposer that measured them.
        calibrations: effects of steps before calibration (`lineament.recipes.discover.Calibration`).
        J: Jacobian of the pixels with one w for all layers, for the semantic field of an atlas with parts; None leaves
            the field out.
        generator_path, decomposer_path: paths of the files for the report's commands; None for the shipped networks.

    Raises:
        StorageError: the report cannot be written.
    """
    device = generator.mapping.w_avg.device
    numbers = range(REPORT, REPORT + max(NUM_SAMPLES, NUM_EVALUATED))
    w = generator.map(latents(atlas.seed, numbers, generator.config.z_dim).to(device), atlas.truncation)
    images = synthesize_edited(generator, w)
    small = decomposer.shown(images)
    before = measure(decomposer, images[:NUM_EVALUATED])
    raw = {
        c.name: list(zip(c.steps.tolist(), np.median(c.changes, axis=0).tolist(), strict=True)) for c in calibrations
    }
    evaluations: list[Evaluation] = []
    with progress_bar() as bar:
        task = bar.add_task("writing report", total=len(atlas.directions), note="")
        for direction in atlas.directions:
            if direction.name in SEMANTIC_NAMES:
                points = sorted([*raw.get(direction.name, []), (0.0, 0.0)])
                evaluations.append(evaluate(atlas, generator, decomposer, w[:NUM_EVALUATED], before, direction, points))
            bar.update(task, advance=1, note=direction.name)
    leaks = leakage(evaluations, atlas)
    names = [e.direction.name for e in evaluations]
    parts = decomposition_pictures(decomposer, small[:NUM_DECOMPOSED])
    by_error = sorted(evaluations, key=lambda e: e.error / max(e.direction.std, 1e-12))
    angles = [e for e in by_error if e.direction.unit == "deg"]
    rest = [e for e in by_error if e not in angles]
    # Show yaw and light_x first, which most readers look for; if one failed, the best of its kind.
    best = [
        next((e for e in kind if e.direction.name in HEROES and e.direction.r2 >= LOW_R2), kind[0])
        for kind in (angles, rest)
        if kind
    ]
    parts_found = atlas.local.parts if atlas.local else ()
    context = {
        "atlas": atlas,
        "local": part_context(atlas, generator, decomposer, w, images, J),
        "evaluations": evaluations,
        "best": best,
        "samples": [data_uri(image) for image in to_uint8(images[:NUM_SAMPLES])],
        "rows": [
            (name, ROW_NOTES.get(name, ""), [data_uri(p) for p in to_uint8(part.clamp(-1, 1))])
            for name, part in zip(ROW_NAMES, parts, strict=True)
        ],
        "plots": {e.direction.name: plot_points(e) for e in evaluations},
        "linear": {e.direction.name: calibration_slope(e.direction) for e in evaluations},
        "leaks": leaks.tolist(),
        "names": names,
        "caveats": caveats(evaluations, leaks, names),
        "commands": _commands(
            path, evaluations, parts_found, {"generator": generator_path, "decomposer": decomposer_path}
        ),
        "pixel_error": _pixel_error(decomposer, small[:NUM_EVALUATED]),
        "first_number": numbers[0],
        "counts": {"samples": NUM_SAMPLES, "strips": NUM_STRIPS, "evaluated": NUM_EVALUATED},
        "low_r2": LOW_R2,
        "plot_size": (PLOT_W, PLOT_H, PLOT_MARGIN),
        "versions": {"Lineament": __version__, "torch": torch.__version__, "NumPy": np.__version__},
        "generator_parameters": sum(p.numel() for p in generator.parameters()),
        "decomposer_parameters": sum(p.numel() for p in decomposer.parameters()),
        "decomposer_resolution": decomposer.config.resolution,
        "top_r2": max(evaluations, key=lambda e: e.direction.r2).direction,
        "median_r2": float(np.median([e.direction.r2 for e in evaluations])),
        "median_slope": float(np.median([e.slope for e in evaluations])),
    }
    filters = {
        "number": number,
        "signed": lambda v: number(v, sign=True),
        "short": short_fingerprint,
        "fixed": _fixed,
    }
    write_page(path, "report.html.j2", context, filters)


def _fixed(value: float, decimals: int, sign: bool = True) -> str:
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")
