"""Edit generated faces by requested amounts: a picture or an animation, and what the edit was measured to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from lineament import __version__
from lineament.errors import ConfigError, InputError, MismatchError
from lineament.estimators.part_scores import PartReader
from lineament.networks.decomposer import Decomposer
from lineament.networks.generator import Generator
from lineament.ops.seeding import latents
from lineament.recipes.console import console, progress_bar
from lineament.recipes.devices import Devices, make_fabric
from lineament.recipes.editing import (
    HOLDABLE,
    affordable_hold,
    calibrated_step,
    linear_change,
    linear_step,
    measure,
    measure_parts,
    parse_edits,
    step_length,
    synthesize_edited,
)
from lineament.recipes.inspect_file import number
from lineament.recipes.loading import look_as_in
from lineament.recipes.models import load_decomposer, network_fingerprint
from lineament.recipes.open_checkpoint import open_generator
from lineament.recipes.shipped import PAIR, Pair, shipped_path
from lineament.records.atlas import Atlas
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.store.atlas import check_atlas_matches, load_atlas
from lineament.store.pictures import check_size, enlarge, save_png, tile, to_uint8
from lineament.store.tensors import short_fingerprint
from lineament.store.video import ANIMATION_SUFFIXES, save_animation

MAX_SEEDS = 4096


def _split_names(text: str) -> tuple[str, ...]:
    return () if text in ("", "none") else tuple(name.strip() for name in text.split(","))


_CommaSeparated = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME,NAME,...|none|auto",
    instance_from_str=lambda words: None if words[0].strip() == "auto" else _split_names(words[0]),
    is_instance=lambda value: value is None or isinstance(value, tuple),
    str_from_instance=lambda names: ["auto" if names is None else ",".join(names) or "none"],
)


@dataclass(frozen=True)
class EditConfig:
    """Edit generated faces by requested amounts, in the atlas's units; without files, the shipped ones are used.

    An edit is name=number. With a sign it is a change: yaw=+20 turns every face by 20 degrees. Without a sign, or
    after @, it is a value to reach: yaw=0 and yaw=@-20 turn every face to 0 and to -20 degrees. What is not edited is
    held (see --hold). The table on standard output says what was asked and what the decomposer measures afterwards.

    Example: ``lineament edit --atlas found/atlas.safetensors --seeds 0-7 yaw=+20 light_x=-0.5 --out faces.png``
    """

    edits: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME=NUMBER ...", help_behavior_hint="(at least one)"),
    ]
    """What to change, such as yaw=+20 or light_x=-0.5; `lineament inspect` lists an atlas's names."""
    out: Path = Path("edited.png")
    """Picture (.png) or animation (.gif, .webp, .mp4)."""
    atlas: Path | None = None
    """Atlas; the shipped one if not given."""
    generator: Path | None = None
    """The atlas's generator; the shipped one if not given."""
    decomposer: Path | None = None
    """The atlas's decomposer, to measure with; the shipped one if not given and if it is the atlas's."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 learned from photographs, renders64 from renders."""
    seeds: str = "0-7"
    """Which faces: numbers and ranges, such as 0-7,12."""
    run_seed: int = 0
    """Seed of the run whose images --seeds counts; image i of a run depends on (run_seed, i) alone."""
    truncation: float | None = None
    """Truncation of the faces; the atlas's if not given."""
    steps: int = 1
    """Pictures from none to the full edit, beside the unedited face."""
    symmetric: bool = False
    """From minus the edit to plus the edit, instead of from none."""
    hold: Annotated[tuple[str, ...] | None, _CommaSeparated] = None
    """What to keep as it is while editing; auto keeps all that can be kept without leaving the region of faces."""
    plain: bool = False
    """Take the shortest step in w (the textbook's v / v'v): nothing held, not calibrated. For comparison."""
    layers: str | None = None
    """Edit w at these layers of the generator only, such as 4-9 (coarse ones come first); if not given, at those of
    each direction. Less follows, and less is achieved: the sizes of steps are those of all layers."""
    frames: int = 48
    """Pictures of an animation, from none to the full edit and back."""
    fps: float = 24.0
    """Pictures per second of an animation."""
    scale: int = 2
    """Whole factor by which faces are enlarged."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if not self.edits:
            raise ConfigError("no edit was given; add one such as yaw=+20")
        for name, least in (("steps", 1), ("frames", 2), ("scale", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.truncation is not None and not 0 < self.truncation <= 1:
            raise ConfigError(f"truncation is {self.truncation}, expected above 0 and at most 1")
        if not 0 < self.fps <= 100:
            raise ConfigError(f"fps is {self.fps}, expected above 0 and at most 100")
        if self.out.suffix.lower() not in (".png", *ANIMATION_SUFFIXES):
            raise ConfigError(f"--out is {self.out}, expected a name in .png, {', '.join(ANIMATION_SUFFIXES)}")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")


def parse_seeds(text: str, what: str = "seeds") -> list[int]:
    """Read numbers and ranges such as ``0-7,12``, in the order given.

    Raises:
        ConfigError: something else, a falling range, or too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"{what} are {text!r}, expected numbers and ranges such as 0-7,12")
        low, high = int(first), int(last or first)
        if high < low or high - low >= MAX_SEEDS or high >= 1 << 63:
            raise ConfigError(f"{what} {part.strip()!r}: expected a rising range of at most {MAX_SEEDS} numbers")
        seeds += range(low, high + 1)
    if len(seeds) > MAX_SEEDS:
        raise ConfigError(f"{len(seeds)} {what}, expected at most {MAX_SEEDS}; edit them in parts")
    return seeds


@dataclass(frozen=True)
class EditResult:
    """What was asked of every face, and what it did.

    Attributes:
        path: the picture or animation.
        atlas: whose directions were used.
        names: the edited semantics.
        seeds: the faces.
        before: present values; measured, or the linear model's where there is no decomposer.
        requested: changes.
        achieved: changes after the edit.
        side_effects: median change of what was not edited, by name; empty if not measured.
        lengths: of the steps, in standard deviations of w.
        measured: whether a decomposer measured ``before`` and ``achieved``.
    """

    path: Path
    atlas: Atlas
    names: tuple[str, ...]
    seeds: list[int]
    before: Float[np.ndarray, "n m"]
    requested: Float[np.ndarray, "n m"]
    achieved: Float[np.ndarray, "n m"]
    side_effects: dict[str, float]
    lengths: Float[np.ndarray, " n"]
    measured: bool

    def table(self) -> Table:
        """One row per face."""
        verb = "measured" if self.measured else "linear"
        title = "Requested and measured changes" if self.measured else "Requested changes and the linear model's"
        table = Table(title=title, title_justify="left")
        table.add_column("seed", justify="right", style="bold")
        for name in self.names:
            unit = self.atlas.direction(name).unit
            table.add_column(Text(f"{name}\n[{unit}]"), justify="right", no_wrap=True)
            table.add_column("\nasked", justify="right", no_wrap=True)
            table.add_column(f"\n{verb}", justify="right", no_wrap=True)
        table.add_column(Text("step\n[sd of w]"), justify="right", no_wrap=True)
        for i, seed in enumerate(self.seeds):
            cells = [
                text
                for k in range(len(self.names))
                for text in (
                    number(self.before[i, k]),
                    number(self.requested[i, k], sign=True),
                    number(self.achieved[i, k], sign=True),
                )
            ]
            table.add_row(str(seed), *cells, f"{self.lengths[i]:.2f}")
        if len(self.seeds) > 1:
            table.add_section()
            middle = [np.median(a, axis=0) for a in (self.before, self.requested, self.achieved)]
            cells = [
                text
                for k in range(len(self.names))
                for text in (number(middle[0][k]), number(middle[1][k], sign=True), number(middle[2][k], sign=True))
            ]
            table.add_row("median", *cells, f"{np.median(self.lengths):.2f}")
        return table

    def renderables(self) -> list[RenderableType]:
        """For standard output: the table, the side effects, the path."""
        parts: list[RenderableType] = [self.table()]
        if self.side_effects:
            units = {name: self.atlas.direction(name).unit for name in self.side_effects}
            effects = (f"{k} {number(v, sign=True)} {units[k]}" for k, v in self.side_effects.items())
            parts.append(f"median change of what was not asked: {', '.join(effects)}")
        return [*parts, str(self.path)]


@dataclass(frozen=True)
class Editor:
    """An atlas, its generator and, if at hand, its decomposer."""

    atlas: Atlas
    generator: Generator
    decomposer: Decomposer | None
    hold: tuple[str, ...] | None
    plain: bool
    layers: tuple[int, ...] | None = None

    def values(
        self,
        w: Float[Tensor, "n d"],
        images: Float[Tensor, "n 3 h w"],
        names: Sequence[str],
        step: Float[np.ndarray, "n l d"] | None = None,
    ) -> Float[np.ndarray, "n m"]:
        """Values of the named directions: measured on the images, or else read off w and the step taken from there."""
        means = np.array([self.atlas.direction(name).mean for name in names])
        values = means + (w.double().cpu().numpy() - self.atlas.w_mean) @ self.atlas.gradients(tuple(names)).T
        if step is not None:
            values += linear_change(self.atlas, names, step)
        if self.decomposer is not None:
            measured = measure(self.decomposer, images)
            for k, name in enumerate(names):
                if name in SEMANTIC_NAMES:
                    values[:, k] = measured[:, SEMANTIC_NAMES.index(name)]
            columns = [k for k, name in enumerate(names) if name in self.atlas.part_names]
            if columns and self.atlas.local is not None:
                scores = measure_parts(self.decomposer, PartReader(self.atlas.local), images)
                values[:, columns] = scores[:, [self.atlas.part_names.index(names[k]) for k in columns]]
        return values

    def steps(self, names: Sequence[str], changes: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n l d"]:
        """Steps in w for every face's changes."""
        hold = affordable_hold(self.atlas, names) if self.hold is None else self.hold
        return np.stack([self._step(dict(zip(names, row.tolist(), strict=True)), hold) for row in changes])

    def _step(self, changes: dict[str, float], hold: Sequence[str]) -> np.ndarray:
        if self.plain:
            return linear_step(self.atlas, changes, (), layers=self.layers, plain=True)
        return calibrated_step(self.atlas, changes, hold, layers=self.layers)

    def edited(
        self, w: Float[Tensor, "n d"], names: Sequence[str], changes: Float[np.ndarray, "n m"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Images after the changes."""
        return synthesize_edited(self.generator, w, self.steps(names, changes))


def load_editor(config: EditConfig, device: torch.device) -> Editor:
    """The files of an edit, checked against each other.

    Raises:
        MismatchError: the generator or the named decomposer is not the atlas's.
    """
    atlas = load_atlas(config.atlas or shipped_path("atlas.safetensors", config.pair))
    generator_path = config.generator or shipped_path("generator.safetensors", config.pair)
    generator = open_generator(generator_path, device)
    name = generator_path if config.generator else "the shipped generator (name yours by --generator)"
    check_atlas_matches(atlas, network_fingerprint(generator), name)
    for name in config.hold or ():
        if name not in HOLDABLE:
            atlas.direction(name)
    if config.hold is not None and not config.plain:
        console.print("note: steps were calibrated with --hold auto; another one changes their size", soft_wrap=True)
    decomposer = _find_decomposer(config, atlas, device)
    look_as_in(atlas, generator, decomposer)
    layers = None if config.layers is None else tuple(parse_seeds(config.layers, what="layers"))
    if layers and max(layers) >= generator.num_ws:
        raise ConfigError(f"layers are {config.layers}, expected some of 0-{generator.num_ws - 1}, the generator's")
    return Editor(atlas, generator, decomposer, config.hold, config.plain, layers)


def _find_decomposer(config: EditConfig, atlas: Atlas, device: torch.device) -> Decomposer | None:
    if config.decomposer is not None:
        decomposer = load_decomposer(config.decomposer, device)
        if network_fingerprint(decomposer) != atlas.decomposer_fingerprint:
            raise MismatchError(
                f"the atlas was made with decomposer {short_fingerprint(atlas.decomposer_fingerprint)}, but "
                f"{config.decomposer} is {short_fingerprint(network_fingerprint(decomposer))}; name the atlas's own, "
                "or none to read values off w"
            )
        return decomposer
    try:
        decomposer = load_decomposer(shipped_path("decomposer.safetensors", config.pair), device)
    except InputError:
        decomposer = None
    if decomposer is not None and network_fingerprint(decomposer) == atlas.decomposer_fingerprint:
        return decomposer
    console.print(
        "no --decomposer of this atlas: values are read off w by the linear model, not measured (its changes are "
        "larger than asked where the calibration lengthens the step)",
        soft_wrap=True,
    )
    return None


def requested_changes(
    relative: dict[str, float], absolute: dict[str, float], present: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, "n m"]:
    """Changes of every face, for relative edits first and absolute ones after, in the order of ``present``."""
    changes = np.tile([*relative.values(), *absolute.values()], (len(present), 1)).astype(np.float64)
    changes[:, len(relative) :] -= present[:, len(relative) :]
    return changes


def extrapolation_warnings(
    atlas: Atlas, names: Sequence[str], targets: Float[np.ndarray, "n m"], seeds: Sequence[int]
) -> list[str]:
    """One line for every semantic that leaves the range seen in some face."""
    lines = []
    for k, name in enumerate(names):
        span = atlas.direction(name).range_seen
        outside = [s for s, y in zip(seeds, targets[:, k], strict=True) if not span.minimum <= y <= span.maximum]
        if outside:
            shown = ", ".join(map(str, outside[:8])) + (", …" if len(outside) > 8 else "")
            seen = f"{number(span.minimum)} to {number(span.maximum)} {atlas.direction(name).unit}"
            count = f"{len(outside)} of {len(seeds)} faces (seeds {shown})"
            lines.append(f"{name} leaves the range seen, {seen}, in {count}: an extrapolation")
    return lines


def strip(
    editor: Editor,
    w: Float[Tensor, "n d"],
    names: Sequence[str],
    changes: Float[np.ndarray, "n m"],
    fractions: Sequence[float],
) -> list[UInt8[np.ndarray, "n h w 3"]]:
    """All faces at every fraction of the edit."""
    pictures = []
    with progress_bar(disable=len(fractions) * len(w) < 64) as bar:
        task = bar.add_task("editing faces", total=len(fractions), note="")
        for fraction in fractions:
            pictures.append(to_uint8(editor.edited(w, names, changes * fraction)))
            bar.advance(task)
    return pictures


def picture_fractions(steps: int, symmetric: bool) -> list[float]:
    """Columns of a picture: from none, or from minus the edit, to the full edit."""
    return np.linspace(-1.0 if symmetric else 0.0, 1.0, (2 if symmetric else 1) * steps + 1).tolist()


def animation_fractions(frames: int, symmetric: bool) -> list[float]:
    """An endless loop, eased at its ends: from none to the full edit and back, or on to minus the edit and back."""
    turns = [2 * math.pi * k / frames for k in range(frames)]
    return [math.sin(t) if symmetric else (1 - math.cos(t)) / 2 for t in turns]


def _write(config: EditConfig, editor: Editor, w: Tensor, names: Sequence[str], changes: np.ndarray) -> None:
    held = affordable_hold(editor.atlas, names) if config.hold is None else config.hold
    recipe = {
        "Software": f"Lineament {__version__}",
        "lineament:edits": " ".join(config.edits),
        "lineament:seeds": f"{config.seeds} of run {config.run_seed}",
        "lineament:truncation": f"{config.truncation or editor.atlas.truncation:g}",
        "lineament:step": "plain" if config.plain else f"calibrated, holding {','.join(held) or 'nothing'}",
        "lineament:layers": config.layers or "each direction's own",
        "lineament:atlas": f"generator {editor.atlas.generator_fingerprint} decomposer "
        f"{editor.atlas.decomposer_fingerprint} of {editor.atlas.created}",
    }
    still = config.out.suffix.lower() == ".png"
    if still:
        fractions = picture_fractions(config.steps, config.symmetric)
    else:
        fractions = animation_fractions(config.frames, config.symmetric)
    columns = len(fractions) if still else math.ceil(math.sqrt(len(w)))
    side = editor.generator.config.resolution * config.scale
    check_size(side * columns, side * (len(w) if still else -(-len(w) // columns)), 1 if still else len(fractions))
    # Enlarged before they are put side by side: else neighbours would bleed into each other.
    faces = [[enlarge(face, config.scale) for face in row] for row in strip(editor, w, names, changes, fractions)]
    if still:
        rows = [column[i] for i in range(len(w)) for column in faces]
        save_png(config.out, tile(np.stack(rows), columns), text=recipe)
    else:
        frames = np.stack([tile(np.stack(row), columns) for row in faces])
        save_animation(config.out, frames, fps=config.fps, comment="; ".join(f"{k} {v}" for k, v in recipe.items()))


@torch.no_grad()
def run(config: EditConfig) -> EditResult:
    """Edit, write the picture, measure.

    Returns:
        What was asked and what was achieved, for every face.

    Raises:
        ConfigError: an edit cannot be read, is unknown to the atlas, or contradicts what is held.
        MismatchError: the files do not belong together.
        StorageError: the picture cannot be written.
    """
    relative, absolute = parse_edits(config.edits)
    names = (*relative, *absolute)
    seeds = parse_seeds(config.seeds)
    editor = load_editor(config, make_fabric(config.devices).device)
    atlas, generator = editor.atlas, editor.generator
    for name in names:
        atlas.direction(name)  # an unknown name ends here, with a hint
    z = latents(config.run_seed, seeds, generator.config.z_dim).to(generator.mapping.w_avg.device)
    w = generator.map(z, config.truncation or atlas.truncation)
    untouched = synthesize_edited(generator, w)
    watched = (*names, *(name for name in atlas.names if name not in names)) if editor.decomposer else names
    before = editor.values(w, untouched, watched)
    changes = requested_changes(relative, absolute, before[:, : len(names)])
    for line in extrapolation_warnings(atlas, names, before[:, : len(names)] + changes, seeds):
        console.print(f"warning: {line}", soft_wrap=True)
    steps = editor.steps(names, changes)
    after = editor.values(w, synthesize_edited(generator, w, steps), watched, steps)
    _write(config, editor, w, names, changes)
    effects = np.median(after - before, axis=0)
    return EditResult(
        path=config.out,
        atlas=atlas,
        names=names,
        seeds=seeds,
        before=before[:, : len(names)],
        requested=changes,
        achieved=(after - before)[:, : len(names)],
        side_effects={name: float(effects[k]) for k, name in enumerate(watched) if name not in names},
        lengths=np.array([step_length(step, atlas.w_cov) for step in steps]),
        measured=editor.decomposer is not None,
    )
