"""Edit faces by requested amounts, write a picture or an animation, and measure the effect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lineament import __version__
from lineament.directions.editor import FaceEditor, extrapolation_warnings, load_editor, requested_changes, some
from lineament.directions.steps import step_length
from lineament.engine.console import console, number, progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError
from lineament.faces.carrying import LEAST_SEEN
from lineament.faces.subjects import NUM_FIRST, Subjects, parse_seeds, photographed, sampled
from lineament.ops.pixels import to_uint8
from lineament.records.atlas import Atlas
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.edit import EditConfig
from lineament.store.atlas import atlas_fingerprint
from lineament.store.pictures import check_size, enlarge, save_png, tile
from lineament.store.video import need_ffmpeg, save_animation

REACHED = 0.6
"""Share of an asked change below which a face is named."""


@dataclass(frozen=True)
class EditResult:
    """The requested and the achieved changes of every face.

    Attributes:
        path: the picture or animation.
        atlas: the directions that were used.
        names: the edited semantics.
        faces: seeds, or names of photographs.
        kind: whether the faces are seeds or photographs.
        before: values before the edit, measured, or from the linear model where there is no decomposer.
        requested: requested changes.
        achieved: changes after the edit, from the same source as ``before``.
        side_effects: median change of the semantics that were not edited, by name; empty if not measured.
        lengths: lengths of the steps, in standard deviations of w.
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
            parts.append(f"median change of the other semantics: {', '.join(effects)}")
        return [*parts, str(self.path)]


def strip(
    editor: FaceEditor,
    subjects: Subjects,
    names: Sequence[str],
    changes: Float[np.ndarray, "n m"],
    fractions: Float[np.ndarray, "k m"],
    *,
    pasted: bool = True,
) -> list[UInt8[np.ndarray, "n h w 3"]]:
    """Pictures of all faces, for each row of fractions of the edits."""
    pictures = []
    with progress_bar(disable=len(fractions) * len(subjects.ws) < 64) as bar:
        task = bar.add_task("editing faces", total=len(fractions), note="")
        for fraction in fractions:
            pictures.append(to_uint8(editor.shown(subjects, names, changes * fraction, pasted=pasted)))
            bar.advance(task)
    return pictures


def picture_fractions(steps: int, symmetric: bool) -> list[float]:
    """Fractions of the edit in the columns of a picture: from 0 to 1, or from -1 to 1 if symmetric."""
    return np.linspace(-1.0 if symmetric else 0.0, 1.0, (2 if symmetric else 1) * steps + 1).tolist()


def animation_fractions(frames: int, symmetric: bool) -> list[float]:
    """Fractions of the edit in the frames of an endless loop, slower at its ends.

    They go from 0 to 1 and back; if symmetric, on to -1 and back.
    """
    turns = [2 * math.pi * k / frames for k in range(frames)]
    return [math.sin(t) if symmetric else (1 - math.cos(t)) / 2 for t in turns]


def recipe_of(config: EditConfig, editor: FaceEditor, subjects: Subjects, names: Sequence[str]) -> dict[str, str]:
    """Everything that is needed to make a picture again, as text for its file."""
    _, held = editor.used(names)
    recipe = {
        "Software": f"Lineament {__version__}",
        "lineament:edits": " ".join(config.edits),
        "lineament:faces": f"{','.join(map(str, subjects.numbers))}, {subjects.origin}",
        "lineament:step": "plain" if config.plain else f"calibrated, holding {','.join(held) or 'nothing'}",
        "lineament:like": editor.like,
        "lineament:layers": config.layers or "each direction's own",
        "lineament:atlas": f"{atlas_fingerprint(editor.atlas)} for generator {editor.atlas.generator_fingerprint}, "
        f"decomposer {editor.atlas.decomposer_fingerprint}",
    }
    if subjects.photographs is not None:
        recipe["lineament:paste-back"] = str(config.paste_back)
    return recipe


def check_picture_size(config: EditConfig, resolution: int, count: int) -> None:
    """Refuse pictures that are too large, before any is drawn.

    Raises:
        ConfigError: more pixels than `lineament.store.pictures.MAX_PIXELS`, or a longer side than its `MAX_SIDE_PX`.
    """
    side, columns = resolution * config.scale, math.ceil(math.sqrt(count))
    if config.out.suffix.lower() == ".png":
        columns = (2 if config.symmetric else 1) * config.steps + 1
        check_size(side * columns, side * count * (columns if config.grid else 1))
    else:
        check_size(side * columns, side * -(-count // columns), config.frames)


def _write(
    config: EditConfig, editor: FaceEditor, subjects: Subjects, names: Sequence[str], changes: Float[np.ndarray, "n m"]
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
    # Enlarge before tiling; otherwise neighbouring pictures would bleed into each other.
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


def unreached(
    editor: FaceEditor,
    names: Sequence[str],
    changes: Float[np.ndarray, "n m"],
    achieved: Float[np.ndarray, "n m"],
    seen: Float[np.ndarray, " n"],
    subjects: Subjects,
) -> list[str]:
    """Lines on the faces that did not get what was asked, and why; only where a decomposer measured them."""
    lines = []
    hidden = [name for name, share in zip(subjects.names, seen, strict=True) if share < LEAST_SEEN]
    if hidden:
        lines.append(
            f"less than {LEAST_SEEN:.0%} of the turned face was visible before in "
            f"{some(hidden, subjects.names, subjects.kind)}: the generator's image is taken"
        )
    for k, name in enumerate(names):
        if editor.decomposer is None or name not in SEMANTIC_NAMES:
            continue
        least = REACHED * np.abs(changes[:, k])
        short = np.sign(changes[:, k]) * achieved[:, k] < least
        worth = np.abs(changes[:, k]) > 0.1 * editor.atlas.direction(name).std
        faces = [face for face, one in zip(subjects.names, short & worth, strict=True) if one]
        if faces:
            which = some(faces, subjects.names, subjects.kind)
            lines.append(f"{name} reached less than {REACHED:.0%} of what was asked in {which}")
    return lines


def _subjects(config: EditConfig, editor: FaceEditor) -> Subjects:
    numbers = None if config.seeds is None else parse_seeds(config.seeds)
    if config.photographs is None:
        truncation = config.truncation or editor.atlas.truncation
        if config.truncation_cutoff is not None:
            editor.generator.truncation_cutoff = config.truncation_cutoff or None
        return sampled(editor.generator, range(NUM_FIRST) if numbers is None else numbers, config.run_seed, truncation)
    return photographed(editor.generator, config.photographs, numbers, str(config.generator or "the shipped generator"))


@writes("out")
@torch.no_grad()
def run(config: EditConfig) -> EditResult:
    """Edit, write the picture, measure.

    Returns:
        The requested and the achieved changes of every face.

    Raises:
        ConfigError: an edit cannot be read, is unknown to the atlas, or contradicts what is to be held.
        MismatchError: the files do not belong together.
        StorageError: the picture cannot be written.
    """
    relative, absolute = parse_edits(config.edits)
    if config.out.suffix.lower() == ".mp4":
        need_ffmpeg()  # a missing extra is reported before the work begins
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
        like=config.way,
    )
    atlas, generator = editor.atlas, editor.generator
    for name in names:
        atlas.direction(name)  # an unknown name ends here, with a hint
    subjects = _subjects(config, editor)
    check_picture_size(config, generator.config.resolution, len(subjects.ws))
    ws = subjects.ws
    untouched = editor.before(subjects, pasted=config.paste_back)
    watched = (*names, *(name for name in atlas.names if name not in names)) if editor.decomposer else names
    before = editor.values(ws, untouched, watched)
    changes = requested_changes(relative, absolute, before[:, : len(names)])
    steps = editor.steps(names, changes)
    targets = before[:, : len(names)] + changes
    for line in extrapolation_warnings(atlas, names, targets, subjects.names, subjects.kind):
        console.print(f"warning: {line}", soft_wrap=True, markup=False)
    edited, seen = editor.shown_and_seen(subjects, names, changes, pasted=config.paste_back)
    after = editor.values(ws, edited, watched, steps)
    for line in unreached(editor, names, changes, (after - before)[:, : len(names)], seen, subjects):
        console.print(f"warning: {line}", soft_wrap=True, markup=False)
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
        ConfigError: an edit is not of the form name=number, or a name is given twice.
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
