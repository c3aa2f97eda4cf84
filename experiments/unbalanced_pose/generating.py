"""Our pictures: pictures of the lopsided set are inverted and turned (or relit) to values that are rare in it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from lineament.checkpoints.pairs import load_pair, look_as_in
from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.directions.steps import affordable_hold, calibrated_step
from lineament.faces.measure import measure, synthesize_edited
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.seeding import philox
from lineament.recipes.invert import invert
from lineament.records.atlas import Atlas
from lineament.records.inversion_settings import InversionSettings
from lineament.records.inversions import Inversions
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.invert import InvertConfig
from lineament.store.atlas import load_atlas
from lineament.store.atomic import write_bytes_atomic
from lineament.store.inversions import load_inversions

from .arms import Arm
from .renders import Imbalance
from .sets import Labelled, together
from .training import Kind
from .turning import turned

PAIR: Pair = "renders64"

BATCH = 32

_SOURCES, _PLAN = 3, 5


@dataclass(frozen=True)
class Generation:
    """How pictures for rare values are made."""

    sources: int = 1680
    """Number of pictures of the training set that are inverted."""
    uses: int = 2
    """How often each of them may be the source of a picture with a rare value."""
    common: float = 0.5
    """Number of pictures made for common values, as a share of those made for rare ones. Without them, traces of the
    generator in a picture would show that its value is rare."""
    farthest: float = 0.6
    """Largest change for a common value, as a share of the reach."""
    corrections: int = 1
    """How often the step to a picture is corrected by its measured error."""
    tolerance: float = 0.2
    """Largest difference between the measured and the wanted value, as a share of the reach."""
    inversion: InversionSettings = field(default_factory=lambda: InversionSettings(steps=30))
    """How the sources are inverted."""
    seed: int = 0
    """Seed of the choice of sources and values."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The value that each picture to be made should show, and its source."""

    sources: Int[np.ndarray, " n"]
    targets: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Line:
    """Converts the decomposer's measurements to labels: offset + slope * measured."""

    offset: float
    slope: float

    def measured(self, value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The measurement that belongs to a label's value."""
        return (value - self.offset) / self.slope

    def label(self, measured: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The label's value that belongs to a measurement."""
        return self.offset + self.slope * measured


def fit_line(measured: Float[np.ndarray, " n"], labels: Float[np.ndarray, " n"]) -> Line:
    """Least squares over the labelled pictures of the training set."""
    slope, offset = np.polyfit(measured, labels, 1)
    return Line(float(offset), float(slope))


def plan(
    values: Float[np.ndarray, " n"], usable: Bool[np.ndarray, " n"], imbalance: Imbalance, settings: Generation
) -> Plan:
    """Fill the rare values beyond the edge, on both sides, as densely as the common ones; add some common values, too.

    Each rare value comes from a source on the same side, in order; in one dimension this is the least total change.
    """
    random = philox(settings.seed, _PLAN, 0)
    rare = imbalance.rare(values)
    width = imbalance.reach - imbalance.edge
    wanted = round((~rare).sum() / (2 * imbalance.edge) * width)
    sources, targets = [], []
    for side in (-1.0, 1.0):
        own = np.flatnonzero(usable & ~rare & (values * side > 0))
        missing = min(wanted - int((rare & (values * side > 0)).sum()), settings.uses * len(own))
        chosen = np.concatenate([random.permutation(own) for _ in range(settings.uses)])[:missing]
        sources.append(chosen[np.argsort(np.abs(values[chosen]), kind="stable")])
        targets.append(side * (imbalance.edge + width * (np.arange(missing) + random.random(missing)) / missing))
    count = round(settings.common * sum(map(len, sources)))
    chosen = random.choice(np.flatnonzero(usable & ~rare), count)
    target = imbalance.edge * (2 * random.random(count) - 1)
    near = np.abs(target - values[chosen]) <= settings.farthest * imbalance.reach
    return Plan(np.concatenate([*sources, chosen[near]]), np.concatenate([*targets, target[near]]))


@dataclass(frozen=True, eq=False)
class Tools:
    """A generator, a decomposer that measures its pictures, and the atlas of its directions."""

    generator: Generator
    decomposer: Decomposer
    atlas: Atlas

    @classmethod
    def shipped(cls) -> "Tools":
        """The shipped ones, trained on renders that do not occur in the experiment."""
        generator, decomposer = load_pair(None, None, PAIR, torch.device("cpu"))
        atlas = load_atlas(shipped_path("atlas.safetensors", PAIR))
        look_as_in(atlas, generator, decomposer)
        return cls(generator, decomposer, atlas)


@dataclass(frozen=True, eq=False)
class Made:
    """Generated pictures, with and without the photographs' own pixels, and whether they pass.

    Attributes:
        images: pictures with the photographs laid over them.
        plain: pictures as the generator draws them.
        items: their indices in the plan.
        measured: values that the decomposer measures in ``images``, on the labels' scale.
        passed, plain_passed: whether the measured value is near enough to the wanted one.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    plain: UInt8[np.ndarray, "n h w 3"]
    items: Int[np.ndarray, " n"]
    measured: Float[np.ndarray, " n"]
    passed: Bool[np.ndarray, " n"]
    plain_passed: Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Our pictures that passed: with the photographs' own pixels, and as the generator draws them."""

    laid: Labelled
    plain: Labelled

    def shown(self, arm: Arm, kind: Kind) -> Labelled:
        """The pictures that an arm adds to the lopsided set.

        On the validation pictures, an angle was learned better from both kinds than from either, and identity from
        pictures with the photographs' own pixels alone.
        """
        if arm == "generator alone":
            return self.plain
        return together(self.laid, self.plain) if kind == "regression" else self.laid


def generated_pictures(folder: Path, lopsided: Labelled, imbalance: Imbalance, settings: Generation) -> Pictures:
    """Our pictures that passed; the results are kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made.npz"
    if not path.exists():
        inversions = inverted(folder, lopsided, imbalance, settings)
        place = {name: i for i, name in enumerate(lopsided.names)}
        at = np.array([place[name] for name in inversions.names])
        ws = np.zeros((len(lopsided), *inversions.ws.shape[1:]), np.float32)
        ws[at] = inversions.ws
        usable = np.zeros(len(lopsided), bool)
        usable[at] = inversions.good()
        tools, name = Tools.shipped(), imbalance.semantic
        line = fit_line(measured(tools.decomposer, lopsided.images, name), lopsided.labels[name])
        todo = plan(lopsided.labels[name], usable, imbalance, settings)
        batches = list(make(tools, lopsided, ws, todo, line, imbalance, settings))
        arrays = {f.name: np.concatenate([getattr(made, f.name) for made in batches]) for f in fields(Made)}
        arrays |= {"sources": todo.sources, "targets": todo.targets, "line": np.array([line.offset, line.slope])}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        write_bytes_atomic(path, file.getvalue())
    with np.load(path, allow_pickle=False) as found:
        return Pictures(
            _labelled(found, "images", "passed", lopsided, imbalance),
            _labelled(found, "plain", "plain_passed", lopsided, imbalance),
        )


def _labelled(found: Any, images: str, passed: str, lopsided: Labelled, imbalance: Imbalance) -> Labelled:
    """Generated pictures that passed, with the wanted label and the person of their source."""
    use = found[passed]
    sources = found["sources"][use]
    names = tuple(f"made-{i}" for i in np.flatnonzero(use))
    labels = {imbalance.semantic: found["targets"][use]}
    return Labelled(names, found[images][use], labels, lopsided.people[sources], sources)


def inverted(folder: Path, lopsided: Labelled, imbalance: Imbalance, settings: Generation) -> Inversions:
    """Latents of some common pictures; resumes where it was stopped."""
    out = folder / "inversions.safetensors"
    if not out.exists():
        sources = folder / "sources"
        sources.mkdir(exist_ok=True)
        common = np.flatnonzero(~imbalance.rare(lopsided.labels[imbalance.semantic]))
        for i in philox(settings.seed, _SOURCES, 0).permutation(common)[: settings.sources]:
            # Write a picture only once: if it were rewritten, a resumed inversion would take it for changed.
            if not (sources / lopsided.names[i]).exists():
                file = io.BytesIO()
                Image.fromarray(lopsided.images[i]).save(file, "png")
                write_bytes_atomic(sources / lopsided.names[i], file.getvalue())
        invert(InvertConfig(sources, out, pair=PAIR, fit=settings.inversion, batch_size=BATCH))
    return load_inversions(out)


def measured(decomposer: Decomposer, images: UInt8[np.ndarray, "n h w 3"], name: str) -> Float[np.ndarray, " n"]:
    """One semantic of the pictures, measured by the decomposer."""
    column = SEMANTIC_NAMES.index(name)
    parts = [measure(decomposer, to_tensor(images[i : i + 256]))[:, column] for i in range(0, len(images), 256)]
    return np.concatenate(parts)


@torch.no_grad()
def make(
    tools: Tools,
    photographs: Labelled,
    ws: Float[np.ndarray, "n l d"],
    todo: Plan,
    line: Line,
    imbalance: Imbalance,
    settings: Generation,
) -> Iterator[Made]:
    """Carry out a plan, batch by batch.

    Convention:
        The requested change is the change of the label, converted to the decomposer's scale by the line. So a picture
        starts at its own true label.

    Args:
        tools: generator, decomposer, atlas.
        photographs: the training set.
        ws: inversions of its pictures, at least of the sources.
        todo: the plan.
        line: conversion between measurements and labels.
        imbalance: the values that are rare.
        settings: how the pictures are made.
    """
    name = imbalance.semantic
    hold, column = affordable_hold(tools.atlas, (name,)), SEMANTIC_NAMES.index(name)
    near = settings.tolerance * imbalance.reach / abs(line.slope)
    for start in range(0, len(todo.sources), BATCH):
        items = np.arange(start, min(start + BATCH, len(todo.sources)))
        sources, targets = todo.sources[items], todo.targets[items]
        photos, w = to_tensor(photographs.images[sources]), torch.from_numpy(ws[sources])
        change = (targets - photographs.labels[name][sources]) / line.slope
        wanted = measure(tools.decomposer, photos)[:, column] + change
        ask, edited, found = change, photos, wanted
        for turn in range(settings.corrections + 1):
            if turn:
                ask = ask + np.clip(wanted - found, -np.abs(change) / 2, np.abs(change) / 2)
            steps = np.stack([calibrated_step(tools.atlas, {name: float(a)}, hold) for a in ask])
            edited = synthesize_edited(tools.generator, w, steps)
            found = measure(tools.decomposer, edited)[:, column]
        before = synthesize_edited(tools.generator, w)
        images = with_photograph(tools.decomposer, photos, before, edited, name, change)
        laid = measure(tools.decomposer, images)[:, column]
        yield Made(
            to_uint8(images),
            to_uint8(edited),
            items,
            line.label(laid),
            passed=np.abs(laid - wanted) <= near,
            plain_passed=np.abs(found - wanted) <= near,
        )


def with_photograph(
    decomposer: Decomposer,
    photos: Float[Tensor, "n 3 h w"],
    before: Float[Tensor, "n 3 h w"],
    edited: Float[Tensor, "n 3 h w"],
    name: str,
    change: Float[np.ndarray, " n"],
) -> Float[Tensor, "n 3 h w"]:
    """Lay the photograph's own pixels over the edited picture where they are still visible.

    For a turned head, the turned depth tells where they are visible. For another light all of them are kept, and the
    change of the generator's picture is added.
    """
    if name != "yaw":
        return (photos + edited - before).clamp(-1, 1)
    parts = decomposer(photos)
    view = parts.view.clone()
    view[:, 1] += torch.from_numpy(np.deg2rad(change)).float()
    return turned(photos, parts, view, decomposer.camera).over(edited, photos - before)
