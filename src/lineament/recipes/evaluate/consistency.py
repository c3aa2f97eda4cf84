"""Measure whether a decomposer is consistent on faces without known truth, such as photographs.

Without labels, nobody can tell whether a depth or an albedo is right. But a relit face keeps its albedo, a turned head
keeps its shape, a mirror image has the mirrored view and the mirrored maps, and a face rendered from its own parts has
exactly these parts. The change of a part is divided by its difference between two faces: 0 means that the part does not
change, 1 that it changes as much as between two people.

A part that is the same for all faces passes these tests, so they do not suffice alone: see `evaluate_decomposer`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from rich.table import Table
from torch import Tensor

from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer
from lineament.checkpoints.pairs import look_as_in
from lineament.checkpoints.shipped import shipped_path
from lineament.directions.steps import calibrated_step
from lineament.engine.console import console
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError, ImageError
from lineament.faces.decomposer_scores import MeanEstimate, _cell, correlation_of, mean_of, ratio_of
from lineament.faces.measure import synthesize_edited
from lineament.networks.decomposer import NUM_BORDER_COLUMNS, Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor
from lineament.ops.render import render
from lineament.ops.seeding import latents, philox
from lineament.records.atlas import Atlas
from lineament.records.decomposition import Decomposition
from lineament.settings.evaluate_consistency import MIN_FACES, EvaluateConsistencyConfig
from lineament.store.atlas import load_atlas
from lineament.store.atomic import write_text_atomic
from lineament.store.images import ImageSource, ReadingReport, decode_image

_STREAM_PHOTOGRAPHS = 8

_BATCH = 64

LIGHT_STDS = 1.5
"""Size of the relighting, in standard deviations."""

TURN_DEG, RENDERED_DEG = 15.0, 30.0
"""Yaw edit of generated faces, and change of yaw at which faces are rendered from their own parts."""

MAX_ALBEDO_RATIO, MAX_MIRROR_CORRELATION = 1 / 3, -0.98
"""Largest wanted change of the albedo under relighting, over that of the image; largest wanted correlation of yaw, roll
and light_x with those of the mirror image."""


@dataclass(frozen=True)
class ConsistencyRow:
    """A measured number and the largest value it should have; None where it is undefined or has no limit."""

    what: str
    measured: MeanEstimate | None
    at_most: float | None = None


@dataclass(frozen=True)
class ConsistencyReport:
    """All numbers, and what they were measured on: ``edited`` generated faces, and ``faces`` of ``source``."""

    edited: int
    faces: int
    source: str
    rows: tuple[ConsistencyRow, ...]

    def renderables(self) -> list[Any]:
        """A table for the terminal."""
        table = Table(title="Consistency checks")
        table.add_column("check")
        table.add_column("measured", justify="right")
        table.add_column("wanted", justify="right")
        for row in self.rows:
            wanted = "" if row.at_most is None else f"at most {row.at_most:.2f}"
            table.add_row(row.what, _cell(row.measured, 3), wanted)
        edited = f"{self.edited} generated faces relit and turned; " if self.edited else ""
        return [table, f"{edited}{self.faces} faces of {self.source} mirrored and rendered again"]


@dataclass(frozen=True)
class DecomposedFaces:
    """Images as the decomposer takes them, and their decomposition."""

    images: Float[Tensor, "n 3 h w"]
    parts: Decomposition

    @property
    def depth(self) -> Float[Tensor, "n h v"]:
        """Canonical depth without its border columns, which are the same for all faces."""
        return self.parts.canon_depth[:, :, NUM_BORDER_COLUMNS:-NUM_BORDER_COLUMNS]

    @property
    def albedo(self) -> Float[Tensor, "n 3 h w"]:
        """Canonical albedo."""
        return self.parts.canon_albedo


@torch.no_grad()
def look_at(decomposer: Decomposer, images: Float[Tensor, "n 3 h0 w0"]) -> DecomposedFaces:
    """Decompose images: the raw outputs of the networks, not averaged with the mirror image and not made upright."""
    images = decomposer.shown(images)
    said = [decomposer(part) for part in images.split(_BATCH)]
    names = ("canon_depth", "canon_albedo", "view", "light")
    return DecomposedFaces(
        images, Decomposition(*(torch.cat([getattr(parts, name) for parts in said]) for name in names))
    )


def change(a: Float[Tensor, " n *p"], b: Float[Tensor, " n *p"]) -> Float[Tensor, " n"]:
    """Mean absolute difference, face by face."""
    return (a - b).abs().flatten(1).double().mean(dim=1).cpu()


def mean_change(a: Float[Tensor, " n *p"], others: Sequence[Float[Tensor, " n *p"]]) -> Float[Tensor, " n"]:
    """Mean of the changes from ``a`` to each of the others."""
    return torch.stack([change(a, other) for other in others]).mean(dim=0)


def between_faces(maps: Float[Tensor, " n *p"]) -> Float[Tensor, " m"]:
    """Differences of pairs of faces; no face is in two pairs, so that the pairs are independent."""
    half = len(maps) // 2
    return change(maps[:half], maps[half : 2 * half])


def relative_change(changes: Float[Tensor, " n"], maps: Float[Tensor, " n *p"]) -> MeanEstimate | None:
    """Mean change of ``maps`` over the mean difference of two faces; with an odd number, the last face is left out."""
    half = len(maps) // 2
    return ratio_of(changes[: 2 * half].view(2, half).mean(dim=0), between_faces(maps))


def edited_both_ways(
    atlas: Atlas, generator: Generator, decomposer: Decomposer, w: Float[Tensor, "n d"], name: str, size: float
) -> tuple[DecomposedFaces, DecomposedFaces]:
    """The faces ``w``, edited by minus and plus ``size``; everything else that can be held is held."""
    minus, plus = (
        look_at(decomposer, synthesize_edited(generator, w, calibrated_step(atlas, {name: sign * size}), decomposer))
        for sign in (-1.0, 1.0)
    )
    return minus, plus


def edit_scores(
    atlas: Atlas, generator: Generator, decomposer: Decomposer, w: Float[Tensor, "n d"], faces: DecomposedFaces
) -> list[ConsistencyRow]:
    """Consistency when generated faces are relit and turned; ``faces`` are the unedited faces of ``w``."""
    rows = []
    for name in ("light_x", "light_y"):
        if name not in atlas.names:
            continue
        size = LIGHT_STDS * atlas.direction(name).std
        others = edited_both_ways(atlas, generator, decomposer, w, name, size)
        moved = mean_change(faces.albedo, [other.albedo for other in others])
        seen = mean_change(faces.images, [other.images for other in others])
        what = f"{name} ±{LIGHT_STDS:g} sd: change of albedo / change of image"
        rows.append(ConsistencyRow(what, mean_of(moved / seen), MAX_ALBEDO_RATIO))
    strangers = mean_of(between_faces(faces.albedo) / between_faces(faces.images))
    rows.append(ConsistencyRow("two different faces: difference of albedo / difference of image", strangers))
    if "yaw" in atlas.names:
        others = edited_both_ways(atlas, generator, decomposer, w, "yaw", TURN_DEG)
        depth = mean_change(faces.depth, [other.depth for other in others])
        albedo = mean_change(faces.albedo, [other.albedo for other in others])
        rows += _against_strangers(f"yaw edit ±{TURN_DEG:g}°", faces, depth=depth, albedo=albedo)
    return rows


def mirror_scores(decomposer: Decomposer, faces: DecomposedFaces) -> list[ConsistencyRow]:
    """Whether the decomposition of a mirror image is the mirrored decomposition."""
    mirrored = look_at(decomposer, faces.images.flip(3))
    here, there = faces.parts, mirrored.parts
    rows = []
    for name, a, b in (
        ("yaw", here.view[:, 1], there.view[:, 1]),
        ("roll", here.view[:, 2], there.view[:, 2]),
        ("light_x", here.light[:, 2], there.light[:, 2]),
    ):
        fit = correlation_of(b.cpu(), a.cpu())
        what = f"mirror image: correlation of {name} with that of the image"
        rows.append(ConsistencyRow(what, fit and fit[0], MAX_MIRROR_CORRELATION))
    depth, albedo = change(mirrored.depth, faces.depth.flip(2)), change(mirrored.albedo, faces.albedo.flip(3))
    return rows + _against_strangers("mirror image", faces, depth=depth, albedo=albedo)


@torch.no_grad()
def rendered_at(decomposer: Decomposer, parts: Decomposition, yaw_deg: float) -> Float[Tensor, "n 3 h w"]:
    """The faces rendered at another yaw of the canonical frame, everything else unchanged.

    Pixels without a surface get the mean colour of the others, because the warp would show a second, displaced piece
    of the face there.
    """
    view = parts.view.clone()
    view[:, 1] = math.radians(yaw_deg)
    seen = render(replace(parts, view=view), decomposer.camera)
    image, mask = seen.recon_image.clamp(-1, 1), seen.recon_mask[:, None]
    mean = (image * mask).sum(dim=(2, 3), keepdim=True) / mask.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return torch.where(mask, image, mean)


def rendered_scores(decomposer: Decomposer, faces: DecomposedFaces) -> list[ConsistencyRow]:
    """Whether a face rendered from its own parts at another yaw is decomposed into these parts and that yaw.

    The wall at the border of a canonical surface hides a part of the turned face, so this test is harder than a
    photograph would be.
    """
    errors, others = [], []
    for asked in (-RENDERED_DEG, RENDERED_DEG):
        again = look_at(decomposer, rendered_at(decomposer, faces.parts, asked))
        errors.append((torch.rad2deg(again.parts.view[:, 1]) - asked).abs().double().cpu())
        others.append(again.albedo)
    what = f"rendered at yaw ±{RENDERED_DEG:g}°"
    error = mean_of(torch.stack(errors).mean(dim=0))
    albedo = mean_change(faces.albedo, others)
    return [ConsistencyRow(f"{what}: error of the yaw, °", error), *_against_strangers(what, faces, albedo=albedo)]


def _against_strangers(what: str, faces: DecomposedFaces, **changes: Tensor) -> list[ConsistencyRow]:
    return [
        ConsistencyRow(
            f"{what}: change of {name} / difference of two faces", relative_change(values, getattr(faces, name))
        )
        for name, values in changes.items()
    ]


def draw_photographs(path: Path, resolution: int, count: int, seed: int) -> Float[Tensor, "n 3 h w"]:
    """``count`` usable images of a folder or zip, drawn at random; all of them if there are fewer.

    They are not taken in the order of their names, because neighbours there often show one person.

    Raises:
        ImageError: fewer than `MIN_FACES` usable images.
    """
    source, report = ImageSource(path), ReadingReport()
    order = philox(seed, _STREAM_PHOTOGRAPHS, 0).permutation(len(source))
    images: list[np.ndarray] = []
    with source.reader() as read:
        for name in (source.names[i] for i in order):
            try:
                images.append(decode_image(read(name), resolution, report))
            except ImageError as error:
                report.skipped[name] = str(error)
            if len(images) == count:
                break
    for line in report.lines():
        console.print(line, soft_wrap=True, markup=False)
    if len(images) < MIN_FACES:
        raise ImageError(f"{path} has {len(images)} usable image(s), expected at least {MIN_FACES}; give more")
    return to_tensor(np.stack(images))


def score_generated(
    config: EvaluateConsistencyConfig, fabric: Fabric, decomposer: Decomposer
) -> tuple[DecomposedFaces, list[ConsistencyRow]]:
    """Generated faces, and their consistency under edits; raises as `run` does."""
    atlas = load_atlas(config.atlas or shipped_path("atlas.safetensors", config.pair))
    if config.seed == atlas.seed:
        raise ConfigError(f"seed {config.seed} made the atlas; choose another, so that the faces are unseen")
    path = config.generator or shipped_path("generator.safetensors", config.pair)
    generator = open_generator(path, fabric.device)
    atlas = atlas_for(atlas, generator, path)
    look_as_in(atlas, generator, decomposer)
    z = latents(config.seed, range(config.faces), generator.config.z_dim).to(fabric.device)
    with torch.no_grad():
        w = generator.map(z, atlas.truncation)
    faces = look_at(decomposer, synthesize_edited(generator, w, shown_to=decomposer))
    return faces, edit_scores(atlas, generator, decomposer, w, faces)


@writes("out")
def run(config: EvaluateConsistencyConfig) -> ConsistencyReport:
    """Measure a decomposer's consistency.

    Raises:
        MismatchError: the atlas belongs to another generator.
        ConfigError: the seed is the one that made the atlas, so the faces would not be unseen.
        ImageError: too few photographs.
    """
    fabric = make_fabric(config.devices)
    decomposer = load_decomposer(
        config.decomposer or shipped_path("decomposer.safetensors", config.pair), fabric.device
    )
    photographs = None
    if config.images is not None:
        images = draw_photographs(config.images, decomposer.config.resolution, config.faces, config.seed)
        photographs = look_at(decomposer, images.to(fabric.device))
    edited, source = 0, config.images.name if config.images else "the generator"
    if photographs is None or config.atlas is not None:
        generated, rows = score_generated(config, fabric, decomposer)
        edited, faces = len(generated.images), photographs or generated
    else:
        faces, rows = photographs, []
    rows += mirror_scores(decomposer, faces) + rendered_scores(decomposer, faces)
    report = ConsistencyReport(edited, len(faces.images), source, tuple(rows))
    if config.out is not None:
        write_text_atomic(config.out, json.dumps(asdict(report), indent=2) + "\n")
    return report
