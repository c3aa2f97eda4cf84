"""Edit faces by requested amounts: a picture or an animation, and what the edit was measured to do."""

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

from lineament import __version__
from lineament.checkpoints.shipped import PAIR, Pair
from lineament.directions.editor import Editor, extrapolation_warnings, load_editor, requested_changes
from lineament.directions.steps import step_length
from lineament.engine.console import console, number, progress_bar
from lineament.engine.devices import Devices, make_fabric
from lineament.errors import ConfigError, InputError
from lineament.faces.measure import synthesize_edited
from lineament.faces.subjects import NUM_FIRST, Subjects, parse_seeds, photographed, sampled
from lineament.ops.pixels import to_uint8
from lineament.records.atlas import Atlas
from lineament.records.bounds import check_bounds
from lineament.store.atlas import atlas_fingerprint
from lineament.store.pictures import check_size, enlarge, save_png, tile
from lineament.store.video import ANIMATION_SUFFIXES, save_animation


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
    """Edit faces by requested amounts, in the atlas's units: a generator's own, or photographs inverted by
    `lineament invert`; without files, the shipped ones are used.

    An edit is name=number. With a sign it is a change: yaw=+20 turns every face by 20 degrees. Without a sign, or
    after @, it is a value to reach: yaw=0 and yaw=@-20 turn every face to 0 and to -20 degrees. What is not edited is
    held (see --hold). The table on standard output says what was asked and what the decomposer measures afterwards.

    Example: ``lineament edit --atlas found/atlas.safetensors --seeds 0-7 yaw=+20 light_x=-0.5 --out faces.png``
    Example: ``lineament edit --photographs inversions.safetensors yaw=0 --out frontal.png``
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
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    photographs: Path | None = None
    """Photographs inverted by `lineament invert`, instead of the generator's own faces."""
    paste_back: bool = True
    """Put back what the inversion of a photograph misses where the edit leaves the image alone, so that an unedited
    photograph returns itself."""
    seeds: str | None = None
    """Which faces: numbers and ranges, such as 0-7,12; of photographs their places in the file. The first eight
    if not given."""
    run_seed: int = 0
    """Seed of the run whose images --seeds counts; image i of a run depends on (run_seed, i) alone."""
    truncation: float | None = None
    """Truncation of the faces; the atlas's if not given."""
    steps: int = 1
    """Pictures from none to the full edit, beside the unedited face."""
    symmetric: bool = False
    """From minus the edit to plus the edit, instead of from none."""
    grid: bool = False
    """Of two edits, a square for each face: the first grows downwards, the second to the right."""
    hold: Annotated[tuple[str, ...] | None, _CommaSeparated] = None
    """What to keep as it is while editing; auto keeps all that can be kept without leaving the region of faces, and
    moves layers apart for it. Named ones are kept by a step that is the same for all layers."""
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
        check_bounds(self, "steps", "scale", least=1)
        check_bounds(self, "frames", least=2)
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "fps", above=0, most=100)
        if self.photographs is not None and self.truncation is not None:
            raise ConfigError("--photographs have their own latents; leave --truncation out")
        if self.grid and (len(self.edits) != 2 or self.out.suffix.lower() != ".png"):
            raise ConfigError(f"--grid takes two edits and a name in .png, got {len(self.edits)} and {self.out}")
        if self.out.suffix.lower() not in (".png", *ANIMATION_SUFFIXES):
            raise ConfigError(f"--out is {self.out}, expected a name in .png, {', '.join(ANIMATION_SUFFIXES)}")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")


@dataclass(frozen=True)
class EditResult:
    """What was asked of every face, and what it did.

    Attributes:
        path: the picture or animation.
        atlas: whose directions were used.
        names: the edited semantics.
        faces: seeds, or names of photographs.
        kind: which of the two.
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
    faces: tuple[str, ...]
    kind: str
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
        table.add_column(self.kind, justify="right", style="bold", overflow="fold")
        for name in self.names:
            unit = self.atlas.direction(name).unit
            table.add_column(Text(f"{name}\n[{unit}]"), justify="right", no_wrap=True)
            table.add_column("\nasked", justify="right", no_wrap=True)
            table.add_column(f"\n{verb}", justify="right", no_wrap=True)
        table.add_column(Text("step\n[sd of w]"), justify="right", no_wrap=True)
        for i, face in enumerate(self.faces):
            cells = [
                text
                for k in range(len(self.names))
                for text in (
                    number(self.before[i, k]),
                    number(self.requested[i, k], sign=True),
                    number(self.achieved[i, k], sign=True),
                )
            ]
            table.add_row(Text(face), *cells, f"{self.lengths[i]:.2f}")
        if len(self.faces) > 1:
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


def strip(
    editor: Editor,
    subjects: Subjects,
    names: Sequence[str],
    changes: Float[np.ndarray, "n m"],
    fractions: Float[np.ndarray, "k m"],
    *,
    pasted: bool = True,
) -> list[UInt8[np.ndarray, "n h w 3"]]:
    """All faces at every set of fractions of the edits."""
    pictures = []
    with progress_bar(disable=len(fractions) * len(subjects.ws) < 64) as bar:
        task = bar.add_task("editing faces", total=len(fractions), note="")
        for fraction in fractions:
            pictures.append(to_uint8(editor.shown(subjects, names, changes * fraction, pasted=pasted)))
            bar.advance(task)
    return pictures


def picture_fractions(steps: int, symmetric: bool) -> list[float]:
    """Columns of a picture: from none, or from minus the edit, to the full edit."""
    return np.linspace(-1.0 if symmetric else 0.0, 1.0, (2 if symmetric else 1) * steps + 1).tolist()


def animation_fractions(frames: int, symmetric: bool) -> list[float]:
    """An endless loop, eased at its ends: from none to the full edit and back, or on to minus the edit and back."""
    turns = [2 * math.pi * k / frames for k in range(frames)]
    return [math.sin(t) if symmetric else (1 - math.cos(t)) / 2 for t in turns]


def recipe_of(config: EditConfig, editor: Editor, subjects: Subjects, names: Sequence[str]) -> dict[str, str]:
    """Everything that is needed to make a picture again, as words to keep in its file."""
    _, held = editor.used(names)
    recipe = {
        "Software": f"Lineament {__version__}",
        "lineament:edits": " ".join(config.edits),
        "lineament:faces": f"{','.join(map(str, subjects.numbers))}, {subjects.origin}",
        "lineament:step": "plain" if config.plain else f"calibrated, holding {','.join(held) or 'nothing'}",
        "lineament:layers": config.layers or "each direction's own",
        "lineament:atlas": f"{atlas_fingerprint(editor.atlas)} for generator {editor.atlas.generator_fingerprint}, "
        f"decomposer {editor.atlas.decomposer_fingerprint}",
    }
    if subjects.photographs is not None:
        recipe["lineament:paste-back"] = str(config.paste_back)
    return recipe


def _write(
    config: EditConfig, editor: Editor, subjects: Subjects, names: Sequence[str], changes: Float[np.ndarray, "n m"]
) -> None:
    recipe, count = recipe_of(config, editor, subjects, names), len(subjects.ws)
    still = config.out.suffix.lower() == ".png"
    if still:
        steps = picture_fractions(config.steps, config.symmetric)
        columns = len(steps)
        pairs = [(a, b) for a in steps for b in steps] if config.grid else [(a,) * len(names) for a in steps]
    else:
        columns = math.ceil(math.sqrt(count))
        pairs = [(a,) * len(names) for a in animation_fractions(config.frames, config.symmetric)]
    side = editor.generator.config.resolution * config.scale
    rows = count * len(pairs) // columns if still else -(-count // columns)
    check_size(side * columns, side * rows, 1 if still else len(pairs))
    # Enlarged before they are put side by side: else neighbours would bleed into each other.
    faces = [
        [enlarge(face, config.scale) for face in row]
        for row in strip(editor, subjects, names, changes, np.array(pairs), pasted=config.paste_back)
    ]
    if still:
        cells = [column[i] for i in range(count) for column in faces]
        save_png(config.out, tile(np.stack(cells), columns), text=recipe)
    else:
        frames = np.stack([tile(np.stack(row), columns) for row in faces])
        save_animation(config.out, frames, fps=config.fps, comment="; ".join(f"{k} {v}" for k, v in recipe.items()))


def _subjects(config: EditConfig, editor: Editor) -> Subjects:
    numbers = None if config.seeds is None else parse_seeds(config.seeds)
    if config.photographs is None:
        truncation = config.truncation or editor.atlas.truncation
        return sampled(editor.generator, range(NUM_FIRST) if numbers is None else numbers, config.run_seed, truncation)
    return photographed(editor.generator, config.photographs, numbers, str(config.generator or "the shipped generator"))


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
    layers = None if config.layers is None else tuple(parse_seeds(config.layers, what="layers"))
    editor = load_editor(
        config.atlas,
        config.generator,
        config.decomposer,
        config.pair,
        make_fabric(config.devices).device,
        hold=config.hold,
        plain=config.plain,
        layers=layers,
    )
    atlas, generator = editor.atlas, editor.generator
    for name in names:
        atlas.direction(name)  # an unknown name ends here, with a hint
    subjects = _subjects(config, editor)
    ws = subjects.ws
    untouched = synthesize_edited(generator, ws)
    watched = (*names, *(name for name in atlas.names if name not in names)) if editor.decomposer else names
    before = editor.values(ws, untouched, watched)
    changes = requested_changes(relative, absolute, before[:, : len(names)])
    targets = before[:, : len(names)] + changes
    for line in extrapolation_warnings(atlas, names, targets, subjects.names, subjects.kind):
        console.print(f"warning: {line}", soft_wrap=True, markup=False)
    steps = editor.steps(names, changes)
    after = editor.values(ws, synthesize_edited(generator, ws, steps), watched, steps)
    _write(config, editor, subjects, names, changes)
    effects = np.median(after - before, axis=0)
    return EditResult(
        path=config.out,
        atlas=atlas,
        names=names,
        faces=subjects.names,
        kind=subjects.kind,
        before=before[:, : len(names)],
        requested=changes,
        achieved=(after - before)[:, : len(names)],
        side_effects={name: float(effects[k]) for k, name in enumerate(watched) if name not in names},
        lengths=np.array([step_length(step, atlas.w_cov) for step in steps]),
        measured=editor.decomposer is not None,
    )


def parse_edits(texts: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Read edits such as ``yaw=+20`` (relative, signed) and ``yaw=20`` or ``yaw=@-20`` (absolute).

    Returns:
        Relative changes and absolute targets by name.

    Raises:
        ConfigError: not of the form name=number, or a name given twice.
    """
    relative: dict[str, float] = {}
    absolute: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        try:
            number = float(value.removeprefix("@"))
        except ValueError:
            number = float("nan")
        if not name or not equals or not np.isfinite(number):
            raise ConfigError(f"{text!r} is not an edit; expected name=number, such as yaw=+20 or light_x=-0.5")
        if name in relative or name in absolute:
            raise ConfigError(f"{name} is given twice; give each semantic once")
        (relative if value[:1] in "+-" else absolute)[name] = number
    return relative, absolute
