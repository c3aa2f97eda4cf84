"""The report's parts of the face: what an edit of each does to faces that nothing was fitted on."""

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
"""Faces on which a part is measured, and those that are shown."""
SDS = 2.0
"""Every part is edited by so many standard deviations, either way."""
WHOLE_FACE = "whole face"


@dataclass(frozen=True)
class Moved:
    """What an edit moves beside its part: of a few semantics the one that moves most.

    Attributes:
        name: of the semantic.
        amount: median absolute change over faces, of the larger of the two edits, in ``unit``.
        unit: of the semantic.
        share: of the semantic's seen range, 1st to 99th percentile.
    """

    name: str
    amount: float
    unit: str
    share: float


@dataclass(frozen=True, eq=False)
class PartEvidence:
    """What edits of a part by `SDS` either way do, and its pictures.

    Attributes:
        part: the part.
        maps: its map: depth, colour.
        swatches: what the two colours mean in the map of the colour.
        faces: of each face shown, edited one way and the other.
        change: where the images change, of the full range from one edit to the other; mean over faces.
        change_face, change_beside: the same at the pixel that changes most in the oval of faces, and beside it.
        achieved: measured standard deviations per requested one; median over faces.
        moved: pose and light, where they vary.
        free: what is not held, of what can be held.
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
    """Edit the faces ``images`` of ``w`` along every part, measure, and draw."""
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
    """Of pose and of light the semantic that moves most as a share of its seen range."""
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
            # Angles are compared in degrees; what light is made of has no common unit.
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
    """All that the template needs of the parts of the face; None if the atlas has none.

    Args:
        atlas: with or without parts.
        generator: whose faces they are.
        decomposer: that measured them.
        w: of faces that nothing was fitted on; the first `NUM_EDITED` are used.
        images: of ``w``.
        J: Jacobian of the pixels for one w of all layers; None leaves out the semantic field.
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
"""Of the drawn matrix of cosines: side of a cell, and width of the names."""


def cosine_drawing(local: Localization, w_cov: Float[np.ndarray, "d d"]) -> dict[str, Any]:
    """The cosines of the parts' directions as paths of an SVG, and the pairs that are most alike.

    Returns:
        ``order`` of the parts; ``paths``, (sign, opacity, path in cells) with one path for every tenth of |cosine|;
        ``size`` of the drawing; and ``pairs``, the three most alike.
    """
    layers = [part.direction.layers for part in local.parts]
    alike = np.array([[one == other for other in layers] for one in layers])
    cosines = cosine_matrix(local.gradients, w_cov) * alike  # the w of other layers is another w
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
    """The part to try first: the one that w explains best, of those that come back and are local."""
    return max(parts, key=lambda part: (part.stable and part.place != WHOLE_FACE, part.direction.r2))
