"""Ours: the lopsided set's own pictures, inverted and turned (or relit) to where the set has few."""

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
    """Pictures of the training set that are inverted."""
    uses: int = 2
    """How often one of them may be the source of a picture with a rare value."""
    common: float = 0.5
    """Pictures made for common values, as a share of those made for rare ones: else whatever betrays a generated
    picture would say that its value is a rare one."""
    farthest: float = 0.6
    """Largest change, as a share of the reach, on the way to a common value."""
    corrections: int = 1
    """How often a generated picture that missed its value is asked for again."""
    tolerance: float = 0.2
    """Largest difference of the measured from the wanted value, as a share of the reach."""
    inversion: InversionSettings = field(default_factory=lambda: InversionSettings(steps=30))
    """How the sources are inverted."""
    seed: int = 0
    """Of the choice of sources and values."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Which picture is to show which value."""

    sources: Int[np.ndarray, " n"]
    targets: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Line:
    """What a label says, from what the decomposer measures: offset + slope * measured."""

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
    """Fill what lies beyond the edge, on either side, as densely as the common values are; and some common ones, too.

    A rare value comes from a source on the same side, in order: in one dimension no other plan moves less.
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
    """A generator, what reads its pictures, and its directions."""

    generator: Generator
    decomposer: Decomposer
    atlas: Atlas

    @classmethod
    def shipped(cls) -> "Tools":
        """Those that learned from renders; other ones than the experiment's."""
        generator, decomposer = load_pair(None, None, PAIR, torch.device("cpu"))
        atlas = load_atlas(shipped_path("atlas.safetensors", PAIR))
        look_as_in(atlas, generator, decomposer)
        return cls(generator, decomposer, atlas)


@dataclass(frozen=True, eq=False)
class Made:
    """Generated pictures: with the photographs' own pixels and without, what they should show, and which pass.

    Attributes:
        images: with the photographs laid over.
        plain: as the generator draws them.
        items: their places in the plan.
        measured: what the decomposer measures of ``images``, on the labels' scale.
        passed, plain_passed: whether that is near enough to what was wanted.
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
        """What an arm adds to the lopsided set.

        An angle is learned better from both than from either; who somebody is, from the photographs' own pixels
        alone. So it was on the validation pictures.
        """
        if arm == "generator alone":
            return self.plain
        return together(self.laid, self.plain) if kind == "regression" else self.laid


def generated_pictures(folder: Path, lopsided: Labelled, imbalance: Imbalance, settings: Generation) -> Pictures:
    """Our pictures; kept in the folder."""
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
    """Generated pictures that passed, with the label that was wanted and their source's person."""
    use = found[passed]
    sources = found["sources"][use]
    names = tuple(f"made-{i}" for i in np.flatnonzero(use))
    labels = {imbalance.semantic: found["targets"][use]}
    return Labelled(names, found[images][use], labels, lopsided.people[sources], sources)


def inverted(folder: Path, lopsided: Labelled, imbalance: Imbalance, settings: Generation) -> Inversions:
    """Latents of some common pictures; runs on where it was stopped."""
    out = folder / "inversions.safetensors"
    if not out.exists():
        sources = folder / "sources"
        sources.mkdir(exist_ok=True)
        common = np.flatnonzero(~imbalance.rare(lopsided.labels[imbalance.semantic]))
        for i in philox(settings.seed, _SOURCES, 0).permutation(common)[: settings.sources]:
            # Once: a picture that is written again looks changed to a work that was stopped in the middle.
            if not (sources / lopsided.names[i]).exists():
                file = io.BytesIO()
                Image.fromarray(lopsided.images[i]).save(file, "png")
                write_bytes_atomic(sources / lopsided.names[i], file.getvalue())
        invert(InvertConfig(sources, out, pair=PAIR, fit=settings.inversion, batch_size=BATCH))
    return load_inversions(out)


def measured(decomposer: Decomposer, images: UInt8[np.ndarray, "n h w 3"], name: str) -> Float[np.ndarray, " n"]:
    """One semantic of pictures, by the decomposer."""
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
        The change that is asked for is the label's change, translated to the decomposer's scale by the line; a picture
        thus starts at its own true label.

    Args:
        tools: generator, decomposer, atlas.
        photographs: the training set.
        ws: its inversions, of those pictures at least that are sources.
        todo: the plan.
        line: between measurements and labels.
        imbalance: what is rare.
        settings: how.
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
    """The photograph's own pixels, where they are still to be seen.

    A turned head keeps them where the turned depth says so; under another light all stay, and change as the
    generator's picture changes.
    """
    if name != "yaw":
        return (photos + edited - before).clamp(-1, 1)
    parts = decomposer(photos)
    view = parts.view.clone()
    view[:, 1] += torch.from_numpy(np.deg2rad(change)).float()
    return turned(photos, parts, view, decomposer.camera).over(edited, photos - before)
