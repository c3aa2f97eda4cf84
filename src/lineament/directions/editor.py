"""Edit a generator's faces with an atlas: steps, images, and values before and after."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer, network_fingerprint
from lineament.checkpoints.pairs import look_as_in
from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.directions.steps import HOLDABLE, affordable_hold, calibrated_step, linear_change, linear_step
from lineament.engine.console import console, number
from lineament.errors import ConfigError, InputError, MismatchError
from lineament.estimators.part_scores import PartReader
from lineament.faces.carrying import FaceCarrier
from lineament.faces.measure import measure, measure_parts, synthesize_edited
from lineament.faces.subjects import Subjects
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.paste_back import paste_back
from lineament.records.atlas import Atlas
from lineament.records.like import Like
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.store.atlas import load_atlas
from lineament.store.tensors import short_fingerprint

MOST_RANGES = 100
"""Largest change, as a multiple of the width of the range seen. Beyond 3, pictures of the shipped generator show no
face any more, and beyond 20 they hardly change; more is a mistake. Some directions of other tools vary little in the
generator's own faces, so that the limit is not lower."""


@dataclass(frozen=True)
class FaceEditor:
    """An atlas with its generator and, if available, its decomposer; and how to edit with them.

    Attributes:
        hold: names to hold fixed; None holds all that can be held (`affordable_hold`).
        plain: take the shortest step in the Euclidean sense, which holds nothing and is not calibrated.
        layers: move w at these layers only; None moves the layers of each direction.
        like: how pose and light are edited, see `lineament.records.like`.
    """

    atlas: Atlas
    generator: Generator
    decomposer: Decomposer | None
    hold: tuple[str, ...] | None
    plain: bool
    layers: tuple[int, ...] | None = None
    like: Like = "linear"
    _last: list[tuple[Subjects, object, FaceCarrier]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def values(
        self,
        w: Float[Tensor, "n d"] | Float[Tensor, "n l d"],
        images: Float[Tensor, "n 3 h w"],
        names: Sequence[str],
        step: Float[np.ndarray, "n s d"] | None = None,
    ) -> Float[np.ndarray, "n m"]:
        """Values of the named directions, in the atlas's units.

        They are measured on the images if there is a decomposer. Without one, and for imported directions, the linear
        model predicts them from w and ``step``.
        """
        w = w.mean(dim=1) if w.ndim == 3 else w
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
        """The step in w of each face, from its changes in the atlas's units; one row if all layers move alike.

        Raises:
            ConfigError: a change of more than `MOST_RANGES` times the range seen.
        """
        check_amounts(self.atlas, names, changes)
        atlas, hold = self.used(names)
        return np.stack([self._step(atlas, dict(zip(names, row.tolist(), strict=True)), hold) for row in changes])

    def used(self, names: Sequence[str]) -> tuple[Atlas, tuple[str, ...]]:
        """The atlas used to edit these directions, and the names that are held fixed.

        The steady steps of an atlas hold a fixed set of semantics at fixed layers. If other names to hold, other layers
        or plain steps are chosen, pose and light use the same step in all layers instead.
        """
        own = self.hold is None and not self.plain and self.layers is None
        atlas = self.atlas if own else self.atlas.layers_alike()
        return atlas, affordable_hold(atlas, names) if self.hold is None else self.hold

    def _step(self, atlas: Atlas, changes: dict[str, float], hold: Sequence[str]) -> np.ndarray:
        if self.plain:
            return linear_step(atlas, changes, (), layers=self.layers, plain=True)
        return calibrated_step(atlas, changes, hold, layers=self.layers)

    def edited(
        self,
        w: Float[Tensor, "n d"] | Float[Tensor, "n l d"],
        names: Sequence[str],
        changes: Float[np.ndarray, "n m"],
    ) -> Float[Tensor, "n 3 h w"]:
        """Images after the changes."""
        return synthesize_edited(self.generator, w, self.steps(names, changes))

    def shown(
        self, subjects: Subjects, names: Sequence[str], changes: Float[np.ndarray, "n m"], *, pasted: bool
    ) -> Float[Tensor, "n 3 h w"]:
        """Images after the changes. With ``pasted``, details of photographs that their inversions miss are put back."""
        return self.shown_and_seen(subjects, names, changes, pasted=pasted)[0]

    def shown_and_seen(
        self, subjects: Subjects, names: Sequence[str], changes: Float[np.ndarray, "n m"], *, pasted: bool
    ) -> tuple[Float[Tensor, "n 3 h w"], Float[np.ndarray, " n"]]:
        """Images after the changes as `shown`, and the share of each new face that its picture showed before.

        The share is 1 where nothing is carried; below `LEAST_SEEN` the image is the linear edit's.
        """
        images = self._drawn(subjects, names, changes, pasted=pasted)
        carried = [name for name in names if name in SEMANTIC_NAMES]
        columns = {name: changes[:, i] for i, name in enumerate(names)}
        if self.decomposer is None or self.like == "linear" or not any(columns[name].any() for name in carried):
            return images, np.ones(len(images))
        others = [name for name in names if name not in carried]
        still = np.stack([columns[name] for name in others], axis=1) if others else changes[:, :0]
        carrier = self._carrier(self.decomposer, subjects, others, still, pasted=pasted)
        return carrier.edit(images, {name: columns[name] for name in carried})

    def _carrier(
        self,
        decomposer: Decomposer,
        subjects: Subjects,
        names: Sequence[str],
        changes: Float[np.ndarray, "n m"],
        *,
        pasted: bool,
    ) -> FaceCarrier:
        """The faces after changes that are not carried, taken apart; kept for the next frame of an animation."""
        key = tuple(names), changes.tobytes(), pasted
        if self._last and self._last[0][0] is subjects and self._last[0][1] == key:
            return self._last[0][2]
        carrier = FaceCarrier(decomposer, self._drawn(subjects, names, changes, pasted=pasted))
        self._last[:] = [(subjects, key, carrier)]
        return carrier

    def before(self, subjects: Subjects, *, pasted: bool) -> Float[Tensor, "n 3 h w"]:
        """Images before any change: photographs themselves if ``pasted``."""
        return self._drawn(subjects, (), np.zeros((len(subjects.ws), 0)), pasted=pasted)

    def _drawn(
        self, subjects: Subjects, names: Sequence[str], changes: Float[np.ndarray, "n m"], *, pasted: bool
    ) -> Float[Tensor, "n 3 h w"]:
        """Images by the generator alone, with the missing details of photographs put back."""
        photographs = subjects.photographs if pasted else None
        if not names and photographs is not None:
            return photographs
        images = synthesize_edited(self.generator, subjects.ws, self.steps(names, changes) if names else None)
        return put_back(self.generator, images, subjects.ws, photographs)


def put_back(
    generator: Generator,
    images: Float[Tensor, "n 3 h w"],
    ws: Float[Tensor, "n d"] | Float[Tensor, "n l d"],
    photographs: Float[Tensor, "n 3 h w"] | None,
) -> Float[Tensor, "n 3 h w"]:
    """Edited images with the details of photographs that their inversions ``ws`` miss; as they are without any."""
    return images if photographs is None else paste_back(images, synthesize_edited(generator, ws), photographs)


def load_editor(
    atlas_path: Path | None,
    generator_path: Path | None,
    decomposer_path: Path | None,
    pair: Pair,
    device: torch.device,
    *,
    hold: tuple[str, ...] | None = None,
    plain: bool = False,
    layers: tuple[int, ...] | None = None,
    like: Like = "linear",
) -> FaceEditor:
    """Load the files of an edit and check that they belong together; files that are not named are the shipped ones.

    Raises:
        MismatchError: the atlas was made with another generator, or with another decomposer than the named one.
        ConfigError: a name to hold or a layer does not exist.
    """
    atlas = load_atlas(atlas_path or shipped_path("atlas.safetensors", pair))
    path = generator_path or shipped_path("generator.safetensors", pair)
    generator = open_generator(path, device)
    name = path if generator_path else "the shipped generator (name yours by --generator)"
    atlas = atlas_for(atlas, generator, name)
    for held in hold or ():
        if held not in HOLDABLE:
            atlas.direction(held)
    if (hold is not None or layers is not None) and not plain:
        console.print(
            "note: steps with --hold or --layers are not calibrated; their size is approximate", soft_wrap=True
        )
    decomposer = find_decomposer(decomposer_path, pair, atlas, device)
    look_as_in(atlas, generator, decomposer)
    if layers and max(layers) >= generator.num_ws:
        raise ConfigError(
            f"layer {max(layers)} was asked for, expected some of 0-{generator.num_ws - 1}, the generator's"
        )
    return FaceEditor(atlas, generator, decomposer, hold, plain, layers, like if decomposer else "linear")


def find_decomposer(path: Path | None, pair: Pair, atlas: Atlas, device: torch.device) -> Decomposer | None:
    """The named decomposer, or the shipped one if the atlas was made with it; else None, with a note on the console.

    Raises:
        MismatchError: the atlas was made with another decomposer than the named one.
    """
    if path is not None:
        decomposer = load_decomposer(path, device)
        if network_fingerprint(decomposer) != atlas.decomposer_fingerprint:
            raise MismatchError(
                f"the atlas was made with decomposer {short_fingerprint(atlas.decomposer_fingerprint)}, but "
                f"{path} is {short_fingerprint(network_fingerprint(decomposer))}; name the atlas's own, "
                "or none to read values off w"
            )
        return decomposer
    try:
        decomposer = load_decomposer(shipped_path("decomposer.safetensors", pair), device)
    except InputError:
        decomposer = None
    if decomposer is not None and network_fingerprint(decomposer) == atlas.decomposer_fingerprint:
        return decomposer
    console.print(
        "no --decomposer of this atlas: values are read off w by the linear model, not measured (where the calibration "
        "lengthens a step, they show a larger change than requested)",
        soft_wrap=True,
    )
    return None


def requested_changes(
    relative: dict[str, float], absolute: dict[str, float], present: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, "n m"]:
    """Changes of every face, one column per edit: relative edits first, then absolute ones, as in ``present``.

    The change of an absolute edit is its value minus the present value.
    """
    changes = np.tile([*relative.values(), *absolute.values()], (len(present), 1)).astype(np.float64)
    changes[:, len(relative) :] -= present[:, len(relative) :]
    return changes


def check_amounts(atlas: Atlas, names: Sequence[str], changes: Float[np.ndarray, "n m"]) -> None:
    """Refuse changes that lead far outside of everything that the generator has learned.

    Raises:
        ConfigError: a change of more than `MOST_RANGES` times the width of the range seen.
    """
    for name, change in zip(names, np.abs(changes).max(axis=0, initial=0.0).tolist(), strict=True):
        direction = atlas.direction(name)
        span = direction.range_seen
        most = MOST_RANGES * max(span.maximum - span.minimum, direction.std)
        if not change <= most:
            raise ConfigError(
                f"{name} would change by {change:.3g} {direction.unit}, expected at most {most:.3g}, {MOST_RANGES} "
                f"times the range seen ({number(span.minimum)} to {number(span.maximum)}); give a smaller number"
            )


def extrapolation_warnings(
    atlas: Atlas,
    names: Sequence[str],
    targets: Float[np.ndarray, "n m"],
    faces: Sequence[object],
    kind: str = "seed",
) -> list[str]:
    """One line for every direction whose target value is outside of the range seen, for at least one face."""
    lines = []
    for k, name in enumerate(names):
        span = atlas.direction(name).range_seen
        outside = [s for s, y in zip(faces, targets[:, k], strict=True) if not span.minimum <= y <= span.maximum]
        if outside:
            seen = f"{number(span.minimum)} to {number(span.maximum)} {atlas.direction(name).unit}"
            lines.append(f"{name} leaves the range seen, {seen}, in {some(outside, faces, kind)}: an extrapolation")
    return lines


def some(chosen: Sequence[object], faces: Sequence[object], kind: str) -> str:
    """Some of the faces, as text: how many, and the first of them."""
    shown = ", ".join(map(str, chosen[:8])) + (", …" if len(chosen) > 8 else "")
    return f"{len(chosen)} of {len(faces)} faces ({kind}s {shown})"
