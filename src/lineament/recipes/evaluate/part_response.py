"""Measure the effect of a step in w on faces: where the image changes, and how much pose and light change.

Where a step acts is measured on faces that the atlas's own sliders have turned to the front, so that pixels of the
image match pixels of the canonical frame. The main measure is the image itself, without the decomposer; the
decomposer's canonical maps come second. Changes of pose and light are measured by the decomposer on faces that were
not turned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lineament.directions.steps import (
    HOLDABLE,
    affordable_hold,
    at_layers,
    calibrated_step,
    gradient_at,
    linear_step,
    step_length,
)
from lineament.errors import ConfigError
from lineament.estimators.steps import mahalanobis_norm, mahalanobis_step
from lineament.faces.maps import images_of_layers, maps_of_images
from lineament.faces.measure import measure, synthesize_edited
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import philox
from lineament.records.atlas import Atlas
from lineament.records.semantics import LIGHT_NAMES, POSE_NAMES, SEMANTIC_NAMES

_STREAM_RANDOM_STEP = 9

SIZE_SD = 2.0
"""Size of the edits, plus and minus, in standard deviations."""


@dataclass(frozen=True)
class Drift:
    """Mean absolute change of pose and light over faces and both signs of an edit.

    Attributes:
        pose_deg: change of the angle that changes most.
        light: change of the light semantic that changes most, each as a share of its range in the atlas from the 1st to
            the 99th percentile.
    """

    pose_deg: float
    light: float

    @staticmethod
    def middle(drifts: Sequence["Drift"]) -> "Drift":
        """The medians of pose and of light."""
        return Drift(*(float(np.median([getattr(one, name) for one in drifts])) for name in ("pose_deg", "light")))

    @staticmethod
    def most(drifts: Sequence["Drift"]) -> "Drift":
        """The largest values of pose and of light."""
        return Drift(max(one.pose_deg for one in drifts), max(one.light for one in drifts))


@dataclass(frozen=True, eq=False)
class PartResponse:
    """Mean absolute change over both signs of an edit, for every face, inside and outside of every region.

    Attributes:
        images: change of the images' colours, on [-1, 1].
        maps: change of canonical depth and albedo, in the atlas's comparable units.
    """

    images: Float[np.ndarray, "2 n r"]
    maps: Float[np.ndarray, "2 n r"]

    def ratios(self, kind: str = "images") -> Float[np.ndarray, " r"]:
        """Change inside a region over that outside, of means over the faces."""
        return ratio_of_changes(getattr(self, kind).mean(axis=1))


def ratio_of_changes(changes: Float[np.ndarray, "2 ..."]) -> Float[np.ndarray, "..."]:
    """Change inside a region over that outside; 0 where nothing changes at all."""
    return changes[0] / np.maximum(changes[1], np.finfo(np.float32).tiny)


class PartObserver:
    """Measures the effect of steps on some faces; every step is applied with both signs.

    Args:
        atlas: directions, and units of maps and light; it must have parts.
        generator: makes the images.
        decomposer: measures pose, light and maps.
        w: the faces, not turned.
        regions: regions to measure.
        face: pixels of the face; those that are not in a region are outside of it.

    Attributes:
        front_deg: remaining pose of the faces turned to the front: the largest of mean absolute yaw, pitch and roll.
    """

    def __init__(
        self,
        atlas: Atlas,
        generator: Generator,
        decomposer: Decomposer,
        w: Float[Tensor, "n d"],
        regions: Mapping[str, Bool[np.ndarray, "h w"]],
        face: Bool[np.ndarray, "h w"],
    ) -> None:
        if atlas.local is None or not atlas.local.parts:
            raise ConfigError("the atlas has no parts of the face; run discover without --parts.no-find")
        self.atlas, self.generator, self.decomposer = atlas, generator, decomposer
        inside = np.array([region.ravel() for region in regions.values()])
        pair = np.array([inside, face.ravel() & ~inside]).astype(np.float64)
        self._weights = pair / np.maximum(pair.sum(axis=2, keepdims=True), 1)
        self._units = atlas.local.units[:, None]
        self._w, self._semantics = w, measure(decomposer, self._images(w))
        self._front = turned_to_front(atlas, generator, decomposer, w)
        images = self._images(self._front)
        self._before = self._seen(images)
        angles = measure(decomposer, images)[:, [SEMANTIC_NAMES.index(name) for name in POSE_NAMES]]
        self.front_deg = float(np.abs(angles).mean(axis=0).max())

    def response(self, step: Float[np.ndarray, "l d"]) -> PartResponse:
        """Effect of a step on faces seen from the front."""
        found = {"images": 0.0, "maps": 0.0}
        for sign in (-1.0, 1.0):
            after = self._seen(self._images(self._front, sign * step))
            for kind, values in after.items():
                change = np.abs(values - self._before[kind]).mean(axis=1, dtype=np.float64)
                found[kind] = found[kind] + np.einsum("np,srp->snr", change, self._weights, optimize=True) / 2
        return PartResponse(**{kind: np.asarray(values) for kind, values in found.items()})

    def drift(self, step: Float[np.ndarray, "l d"]) -> Drift:
        """Effect of a step on pose and light of the faces that were not turned."""
        sizes = [
            np.abs(measure(self.decomposer, self._images(self._w, sign * step)) - self._semantics).mean(axis=0)
            for sign in (-1.0, 1.0)
        ]
        change = dict(zip(SEMANTIC_NAMES, np.mean(sizes, axis=0).tolist(), strict=True))
        spans = {name: self.atlas.direction(name).range_seen for name in LIGHT_NAMES if name in self.atlas.names}
        light = [change[name] / max(span.p99 - span.p1, 1e-12) for name, span in spans.items()]
        return Drift(max(change[name] for name in POSE_NAMES), max(light, default=0.0))

    @torch.no_grad()
    def _images(
        self, w: Float[Tensor, "n d"] | Float[Tensor, "n l d"], step: Float[np.ndarray, "s d"] | None = None
    ) -> Float[Tensor, "n 3 r r"]:
        return synthesize_edited(self.generator, w, step, self.decomposer)

    @torch.no_grad()
    def _seen(self, images: Float[Tensor, "n 3 r r"]) -> dict[str, Float[np.ndarray, "n _ p"]]:
        """Pixels of the images, and of the maps in comparable units."""
        maps = torch.cat([maps_of_images(self.decomposer, some) for some in images.split(64)]).cpu().numpy()
        return {
            "images": images.flatten(2).cpu().numpy(),
            "maps": maps.reshape(len(maps), 4, -1) / self._units,
        }


@torch.no_grad()
def turned_to_front(
    atlas: Atlas, generator: Generator, decomposer: Decomposer, w: Float[Tensor, "n d"]
) -> Float[Tensor, "n l d"]:
    """Turn faces to zero pose by the atlas's sliders, in two steps; the second corrects the error of the first."""
    ws = generator.broadcast(w)
    names = [name for name in POSE_NAMES if name in atlas.names]
    hold = affordable_hold(atlas, names)
    for _ in range(2):
        angles = measure(decomposer, images_of_layers(generator, ws, decomposer))
        changes = -angles[:, [SEMANTIC_NAMES.index(name) for name in names]]
        steps = [calibrated_step(atlas, dict(zip(names, row, strict=True)), hold) for row in changes.tolist()]
        ws = ws + torch.as_tensor(np.array(steps), dtype=w.dtype, device=w.device)
    return ws


def random_steps(atlas: Atlas, count: int, seed: int) -> list[Float[np.ndarray, "l d"]]:
    """Random steps to compare parts with: drawn like w itself, without effect on pose and light in the linear model.

    Each has the length and the layers of the edit of some part, so that every group of layers gets steps in proportion
    to its number of parts.
    """
    local = atlas.local
    assert local is not None
    held = [name for name in HOLDABLE if name in atlas.names]
    by_layers = sorted(local.parts, key=lambda part: part.direction.layers or ())
    rng = philox(seed, _STREAM_RANDOM_STEP, 0)
    steps = []
    for i in np.linspace(0, len(by_layers), count, endpoint=False).astype(int):
        part, layers = by_layers[i], by_layers[i].direction.layers
        rows = np.array([gradient_at(atlas, name, layers) for name in held])
        move = rng.multivariate_normal(np.zeros(atlas.w_dim), atlas.w_cov, method="eigh")
        move = move - mahalanobis_step(rows, atlas.w_cov, rows @ move)
        length = step_length(linear_step(atlas, {part.name: SIZE_SD}), atlas.w_cov)
        move *= length / mahalanobis_norm(move[None], atlas.w_cov)[0]
        steps.append(at_layers(atlas, move, layers))
    return steps
