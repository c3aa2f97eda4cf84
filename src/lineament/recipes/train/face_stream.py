"""Batches of faces for training a decomposer: a generator's samples, photographs, both, or renders with their truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import network_fingerprint
from lineament.engine.origins import NONE, array_signature
from lineament.engine.training_data import batch_indices, load_images
from lineament.errors import ConfigError, MismatchError
from lineament.networks.decomposer import LIGHT_SIGNS, VIEW_SIGNS, Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor
from lineament.ops.resample import face_of
from lineament.recipes.train.decomposer_loss import TrueParts
from lineament.recipes.train.jitter import Jitter
from lineament.recipes.train.latent_pairs import LatentPairs
from lineament.records.decomposition import Decomposition
from lineament.records.shapes import WHOLE_IMAGE
from lineament.records.truth import FaceTruth
from lineament.store.atlas import atlas_fingerprint, load_atlas

READ_AT_A_TIME = 256
TURN_BIN_DEG, MAX_TURN_BIN, LEAST_BIN = 5.0, 8, 0.005
"""Width of the bins of yaw over which photographs are drawn evenly, the last bin, and the share of all photographs as
which a rarer bin counts: its few would be seen too often, and some are misread."""


@dataclass(frozen=True)
class Batch:
    """Images in [-1, 1] and, for supervised training, their true parts.

    ``moved`` shows the faces of the first images again, in another pose or light (`recipes.train.latent_pairs`).
    """

    images: Float[Tensor, "n 3 h w"]
    truth: TrueParts | None = None
    moved: Float[Tensor, "k 3 h w"] | None = None


class FaceStream:
    """Batches of faces. Batch i depends only on the seed and i.

    Args:
        resolution: side of the images in pixels.
        fabric: where to compute, and which of several processes this is.
        generator: file of the generator that draws the samples.
        images: folders and zips of images, instead of samples or in addition.
        truth: faces with their truth, instead of samples and images.
        cache_dir: where decoded images are kept.
        fraction: share of samples in a batch if there are samples and images.
        truncation: truncation of the samples.
        seed: seed of the order of the images.
        paired: whether samples come in pairs once `pairs` has directions.
        atlas: atlas with these directions; None to find them while training.
        face_box: where the face lies in the generator's images.
        jitter: strength of random changes of framing, colour and sharpness (`recipes.train.jitter`); images with their
            truth are not changed.

    Attributes:
        pairs: pairs of latents; None if not ``paired`` or without a generator.

    Raises:
        ConfigError: the truth lacks the canonical maps, the view or the light.
        ImageError, FileFormatError: a source cannot be read.
        MismatchError: the generator's images are smaller than ``resolution``.
    """

    def __init__(
        self,
        resolution: int,
        fabric: Fabric,
        *,
        generator: Path | None = None,
        images: Sequence[Path] = (),
        truth: FaceTruth | None = None,
        cache_dir: Path | None = None,
        fraction: float = 0.5,
        truncation: float = 0.8,
        seed: int = 0,
        paired: bool = False,
        atlas: Path | None = None,
        face_box: tuple[float, ...] = WHOLE_IMAGE,
        jitter: float = 0.0,
    ) -> None:
        self.resolution, self.fabric, self.truth, self.face_box = resolution, fabric, truth, face_box
        self.truncation, self.seed, self.jitter = truncation, seed, jitter
        self.generator: Generator | None = None
        self.photographs: np.ndarray | None = None
        self.pairs: LatentPairs | None = None
        self.turned: tuple[float, Tensor] | None = None
        if truth is not None:
            if truth.view is None or truth.light is None or truth.canon_depth is None or truth.canon_albedo is None:
                raise ConfigError(
                    "training with the truth needs view, light, canon_depth and canon_albedo of each face"
                )
            self.photographs = truth.images
        elif images:
            self.photographs = load_images(images, resolution, cache_dir or images[0].parent, fabric)
        if generator is not None and truth is None:
            self.generator = open_generator(generator, fabric.device)
            found = self.generator.config.resolution
            if found < resolution:
                raise MismatchError(
                    f"{generator} makes {found} px images, the decomposer takes {resolution} px: "
                    "choose a smaller --network.resolution"
                )
            if paired:
                directions = None if atlas is None else load_atlas(atlas)
                if directions is not None:
                    directions = atlas_for(directions, self.generator, generator)
                self.pairs = LatentPairs(self.generator, seed=seed, truncation=truncation, atlas=directions)
        shares = {(True, False): 1.0, (False, True): 0.0}
        self.fraction = shares.get((self.generator is not None, self.photographs is not None), fraction)

    @torch.no_grad()
    def draw_turned(self, decomposer: Decomposer, share: float) -> None:
        """From now on draw a share of the photographs evenly over how far they turn, as a decomposer reads them.

        Most photographs are nearly frontal; left to chance, a batch seldom shows what foreshortening says.
        """
        if self.photographs is None or not share:
            return
        starts = range(0, len(self.photographs), READ_AT_A_TIME)
        batches = (to_tensor(np.array(self.photographs[i : i + READ_AT_A_TIME])).to(self.fabric.device) for i in starts)
        yaw = torch.cat([decomposer.view(batch, rough=True)[:, 1].cpu() for batch in batches])
        bins = (torch.rad2deg(yaw).abs() / TURN_BIN_DEG).long().clamp(max=MAX_TURN_BIN)
        counts = torch.bincount(bins, minlength=MAX_TURN_BIN + 1)
        weights = 1 / counts.clamp_min(math.ceil(LEAST_BIN * len(yaw)))[bins].double()
        self.turned = share, torch.cumsum(weights, 0) / weights.sum()

    def _photographs_of(self, step: int, count: int, own: int, rng: torch.Generator) -> list[int]:
        """Numbers of the ``own`` photographs of a batch of ``count`` images."""
        assert self.photographs is not None
        start = (step * self.fabric.world_size + self.fabric.global_rank) * count
        indices = batch_indices(self.seed, len(self.photographs), start, own)
        if self.turned is not None:
            share, cumulative = self.turned
            drawn = torch.searchsorted(cumulative, torch.rand(round(share * own), generator=rng).double())
            indices[: len(drawn)] = drawn.clamp(max=len(cumulative) - 1).tolist()
        return indices

    def origins(self) -> dict[str, str]:
        """Fingerprints of the images and networks that the faces come from."""
        own, atlas = self.photographs, None if self.pairs is None else self.pairs.atlas
        images = NONE if own is None else array_signature(own)
        return {
            "the images": images if self.truth is None else truth_signature(self.truth),
            "the generator": NONE if self.generator is None else network_fingerprint(self.generator),
            "the atlas": NONE if atlas is None else atlas_fingerprint(atlas),
        }

    def batch(self, step: int, count: int, rng: torch.Generator, *, changed: bool = True) -> Batch:
        """The faces of this step on this process; half of them are mirrored, and all jittered, if ``changed``."""
        num_generated = round(count * self.fraction)
        parts: list[Tensor] = []
        truth: TrueParts | None = None
        moved: Tensor | None = None
        if self.generator is not None and num_generated:
            z = torch.randn(num_generated, self.generator.config.z_dim, generator=rng).to(self.fabric.device)
            with torch.no_grad():
                w = self.generator.map(z, self.truncation)
                parts.append(self._drawn(self.generator, self.generator.broadcast(w)))
                if self.pairs is not None and self.pairs.steps is not None:
                    moved = self._drawn(self.generator, self.pairs.moved(w, rng))
        if self.photographs is not None and num_generated < count:
            indices = self._photographs_of(step, count, count - num_generated, rng)
            parts.append(to_tensor(self.photographs[indices]).to(self.fabric.device))
            truth = self._true_parts(indices)
        images = torch.cat(parts)
        flip = (torch.rand(count, generator=rng) < (0.5 if changed else 0.0)).to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        if moved is not None:
            moved = torch.where(flip[: len(moved), None, None, None], moved.flip(3), moved)
        if self.jitter and changed and truth is None:
            jitter = Jitter.draw(count, self.jitter, rng)
            images = jitter.apply(images)
            moved = None if moved is None else jitter.first(len(moved)).apply(moved)
        moved = None if moved is None else moved.contiguous(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, truth and mirrored_where(flip, truth), moved)

    def _drawn(self, generator: Generator, ws: Float[Tensor, "n l d"]) -> Tensor:
        images = generator.synthesize(ws).clamp(-1, 1)
        return face_of(images, self.resolution, self.face_box)

    def _true_parts(self, indices: list[int]) -> TrueParts | None:
        """The true parts of these faces, in the decomposer's units."""
        t = self.truth
        if t is None or t.canon_depth is None or t.canon_albedo is None or t.view is None or t.light is None:
            return None
        known = np.ones_like(t.mask[indices]) if t.canon_mask is None else t.canon_mask[indices]
        arrays = (t.canon_depth[indices], t.canon_albedo[indices] * 2 - 1, t.view[indices], t.light[indices], known)
        depth, albedo, view, light, mask = (torch.from_numpy(a).to(self.fabric.device) for a in arrays)
        parts = Decomposition(depth.float(), albedo.permute(0, 3, 1, 2).float(), view.float(), light.float())
        return TrueParts(parts, mask)


def truth_signature(truth: FaceTruth) -> str:
    """Fingerprint of faces with their truth."""
    return array_signature(*(getattr(truth, field.name) for field in fields(truth)))


def mirrored_where(flip: Tensor, truth: TrueParts) -> TrueParts:
    """The truth of images after some of them (``flip``, n booleans) were mirrored."""
    p = truth.parts
    view_signs, light_signs = p.view.new_tensor(VIEW_SIGNS), p.light.new_tensor(LIGHT_SIGNS)
    one, map_, image = flip[:, None], flip[:, None, None], flip[:, None, None, None]
    parts = Decomposition(
        canon_depth=torch.where(map_, p.canon_depth.flip(2), p.canon_depth),
        canon_albedo=torch.where(image, p.canon_albedo.flip(3), p.canon_albedo),
        view=torch.where(one, p.view * view_signs, p.view),
        light=torch.where(one, p.light * light_signs, p.light),
    )
    return TrueParts(parts, torch.where(map_, truth.mask.flip(2), truth.mask))
