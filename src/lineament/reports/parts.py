"""The report's parts of the face: the effect of editing each part, on faces that no fit has used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lineament.directions.steps import affordable_hold, calibrated_step, candidates_to_hold
from lineament.engine.console import progress_bar
from lineament.estimators.part_analysis import cluster_order, cosine_matrix
from lineament.estimators.part_scores import PartReader
from lineament.faces.measure import measure, measure_parts, synthesize_edited
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_uint8
from lineament.ops.resample import shrink
from lineament.records.atlas import Atlas
from lineament.records.parts import MIN_STABILITY, Localization, Part
from lineament.records.semantics import LIGHT_NAMES, POSE_NAMES, SCALAR_SEMANTICS, SEMANTIC_NAMES
from lineament.reports.field import field_context
from lineament.reports.page import PICTURE_PX, webp_uri
from lineament.reports.part_pictures import (
    MAP_PX,
    change_picture,
    grey_face,
    middle_oval,
    signed_maps,
    signed_pictures,
    swatches,
)

NUM_EDITED, NUM_SHOWN = 16, 2
"""Number of faces on which a part is measured, and number of faces that are shown."""
SDS = 2.0
"""Size of the edits of a part, in standard deviations, with both signs."""
WHOLE_FACE = "whole face"


@dataclass(frozen=True)
class Moved:
    """The semantic of pose, or of light, that an edit of a part moves most.

    Attributes:
        name: name of the semantic.
        amount: median absolute change over faces, larger of the two edits, in ``unit``.
        unit: unit of the semantic.
        share: ``amount`` as a share of the semantic's seen range, 1st to 99th percentile.
    """

    name: str
    amount: float
    unit: str
    share: float


@dataclass(frozen=True, eq=False)
class PartEvidence:
    """Effects of editing a part by minus and plus `SDS`, and its pictures.

    Attributes:
        part: the part.
        maps: pictures of its map: depth, colour.
        swatches: real colours behind the two colours in the map of the colour.
        faces: for each face shown, the edits by minus and plus `SDS`.
        change: picture of where the images change between the two edits; mean over faces.
        change_face, change_beside: that change at the pixel that changes most, within the oval of faces and outside, as
            a share of the full range.
        achieved: measured standard deviations per requested one; median over faces.
        moved: the semantics of pose and of light that move most, if these vary.
        free: semantics that can be held, but are not.
    """

    part: Part
    maps: tuple[str, str]
    swatches: tuple[str, str]
    faces: list[tuple[str, str]]
    change: str
    change_face: float
    change_beside: float
    achieved: float
    moved: tuple[Moved, ...]
    free: tuple[str, ...]


def part_evidence(
    atlas: Atlas,
    local: Localization,
    generator: Generator,
    decomposer: Decomposer,
    w: Float[Tensor, "n d"],
    images: Float[Tensor, "n 3 h w"],
) -> list[PartEvidence]:
    """Edit the faces ``images`` of ``w`` along every part, measure the effect, and make pictures."""
    reader = PartReader(local)
    before = measure(decomposer, images)
    side = decomposer.config.resolution
    drawn = shrink(images, side).cpu().numpy()
    face, oval = grey_face(local.mean[1:]), middle_oval(side)
    found = []
    with progress_bar() as bar:
        task = bar.add_task("showing parts", total=len(local.parts), note="")
        for i, part in enumerate(local.parts):
            name = part.name
            held = affordable_hold(atlas, (name,))
            edited = [synthesize_edited(generator, w, calibrated_step(atlas, {name: sds}, held)) for sds in (-SDS, SDS)]
            low, high = (measure_parts(decomposer, reader, one)[:, i] for one in edited)
            effects = np.stack([np.median(np.abs(measure(decomposer, one) - before), axis=0) for one in edited])
            changed = shrink(edited[1], side) - shrink(edited[0], side)
            change = changed.abs().mean(dim=(0, 1)).double().cpu().numpy() / 2
            depth, colour = signed_pictures(signed_maps(local.maps[i]), face)
            found.append(
                PartEvidence(
                    part=part,
                    maps=(webp_uri(depth), webp_uri(colour)),
                    swatches=swatches(local, i, SDS),
                    faces=[
                        (webp_uri(less), webp_uri(more))
                        for less, more in zip(*(to_uint8(one[:NUM_SHOWN]) for one in edited), strict=True)
                    ],
                    change=webp_uri(change_picture(change, drawn)),
                    change_face=float(change[oval].max()),
                    change_beside=float(change[~oval].max()),
                    achieved=float(np.median(high - low)) / (2 * SDS),
                    moved=moved_most(atlas, effects.max(axis=0)),
                    free=tuple(n for n in candidates_to_hold(atlas, (name,)) if n not in held),
                )
            )
            bar.update(task, advance=1, note=name)
    return found


def moved_most(atlas: Atlas, effects: Float[np.ndarray, " m"]) -> tuple[Moved, ...]:
    """The semantic of pose that moves most in degrees, and that of light that moves most as a share of its range."""
    found = []
    for names in (POSE_NAMES, LIGHT_NAMES):
        candidates = []
        for name in names:
            if name in atlas.names:
                seen = atlas.direction(name).range_seen
                index = SEMANTIC_NAMES.index(name)
                amount, width = float(effects[index]), max(seen.p99 - seen.p1, np.finfo(np.float64).tiny)
                candidates.append(Moved(name, amount, SCALAR_SEMANTICS[index].unit, amount / width))
        if candidates:
            # Angles are compared in degrees; the semantics of light have no common unit.
            found.append(max(candidates, key=lambda m: m.amount if names is POSE_NAMES else m.share))
    return tuple(found)


def part_context(
    atlas: Atlas,
    generator: Generator,
    decomposer: Decomposer,
    w: Float[Tensor, "n d"],
    images: Float[Tensor, "n 3 h w"],
    J: Float[np.ndarray, "p d"] | None,
) -> dict[str, Any] | None:
    """Data of the parts of the face for the template; None if the atlas has none.

    Args:
        atlas: an atlas with or without parts.
        generator: the generator of the faces.
        decomposer: the decomposer that measured them.
        w: latents of faces that no fit has used; the first `NUM_EDITED` are shown.
        images: the generator's images of ``w``.
        J: Jacobian of the pixels with one w for all layers; None leaves out the semantic field.
    """
    local = atlas.local
    if local is None or not local.parts:
        return None
    evidence = part_evidence(atlas, local, generator, decomposer, w[:NUM_EDITED], images[:NUM_EDITED])
    return {
        "parts": local.parts,
        "evidence": evidence,
        "num_stable": sum(part.stable for part in local.parts),
        "median_r2": float(np.median([part.direction.r2 for part in local.parts])),
        "median_achieved": float(np.median([e.achieved for e in evidence])),
        "as_drawn": [webp_uri(image) for image in to_uint8(images[:NUM_SHOWN])],
        "face_px": min(images.shape[-1], PICTURE_PX),
        "map_px": min(local.mask.shape[-1], MAP_PX),
        "sds": SDS,
        "num_edited": len(w[:NUM_EDITED]),
        "min_stability": MIN_STABILITY,
        "cosines": cosine_drawing(local, atlas.w_cov),
        "field": field_context(local, J, atlas.w_cov, atlas.gradients()) if J is not None else None,
        "symmetric_depth": decomposer.config.symmetric_depth,
    }


CELL, HEAD = 20, 150
"""Side of a cell and width of the names in the drawn matrix of cosines, in pixels."""


def cosine_drawing(local: Localization, w_cov: Float[np.ndarray, "d d"]) -> dict[str, Any]:
    """The cosines of the parts' directions as paths of an SVG, and the pairs that are most alike.

    Returns:
        ``order`` of the parts; ``paths``, (sign, opacity, path in cells) with one path for every tenth of |cosine|;
        ``size`` of the drawing; and ``pairs``, the three most alike.
    """
    layers = [part.direction.layers for part in local.parts]
    alike = np.array([[one == other for other in layers] for one in layers])
    cosines = cosine_matrix(local.gradients, w_cov) * alike  # parts of different layers move different w
    order = cluster_order(cosines)
    tenths = np.rint(cosines[np.ix_(order, order)] * 10).astype(int)
    paths = [
        (
            "more" if level > 0 else "less",
            abs(level) / 10,
            "".join(f"M{column} {row}h1v1h-1z" for row, column in np.argwhere(tenths == level)),
        )
        for level in np.unique(tenths)
        if level
    ]
    rows, columns = np.triu_indices(len(cosines), 1)
    largest = np.argsort(-np.abs(cosines[rows, columns]), kind="stable")[:3]
    pairs = [(local.names[rows[i]], local.names[columns[i]], float(cosines[rows[i], columns[i]])) for i in largest]
    return {"order": order.tolist(), "paths": paths, "size": (CELL, HEAD, CELL * len(order)), "pairs": pairs}


def example_part(parts: Sequence[Part]) -> Part:
    """The part to try first: among those that come back and are local, the one with the largest R²."""
    return max(parts, key=lambda part: (part.stable and part.place != WHOLE_FACE, part.direction.r2))
