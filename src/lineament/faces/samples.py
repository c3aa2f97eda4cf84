"""Samples of a generator, measured, and what is kept of them: moments for the regression, folds for the parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.estimators.folds import NUM_FOLDS, add_to_folds
from lineament.estimators.moments import StreamingMoments
from lineament.estimators.pixel_jacobian import MAX_BYTES, PixelJacobian
from lineament.faces.maps import images_of, images_of_layers, maps_of_images
from lineament.faces.measure import measure
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.records.semantics import SEMANTIC_NAMES

# Disjoint ranges of image numbers under one seed, by what the images are for.
FIT, HELD_OUT, CALIBRATION, REPORT, PAIRS, MIXED = 0, 1 << 40, 1 << 41, 1 << 42, 1 << 43, 1 << 44
MAX_KEPT_VALUES = 4096
"""Measured values kept for percentiles; a fixed number, so that memory does not grow with the samples."""

_MOMENTS = ("fit", "held_out", "mixed")


@dataclass
class Discovery:
    """What the sampling has gathered so far.

    ``fit`` and ``held_out`` are of images of one w; ``mixed`` and ``folds`` of images with a w for each group of
    layers, side by side: the scalar semantics and the maps. The folds are empty if no parts are looked for.
    """

    fit: StreamingMoments
    held_out: StreamingMoments
    mixed: StreamingMoments
    lowest: Float[np.ndarray, " m"]
    highest: Float[np.ndarray, " m"]
    kept: Float[np.ndarray, "n m"]
    folds: list[PixelJacobian]

    @classmethod
    def empty(cls, scratch: Path | None = None, *, parts: bool = False) -> "Discovery":
        """Nothing gathered; what becomes too large for the memory will live in ``scratch``."""
        m = len(SEMANTIC_NAMES)
        edge = np.full(m, np.finfo(np.float64).max)
        folds = [PixelJacobian(MAX_BYTES // NUM_FOLDS, scratch) for _ in range(NUM_FOLDS if parts else 0)]
        fit, held_out, mixed = (StreamingMoments() for _ in _MOMENTS)
        return cls(fit, held_out, mixed, edge, -edge, np.zeros((0, m)), folds)

    def add_mixed(self, w: Float[np.ndarray, "n b d"], y: Float[np.ndarray, "n m"], maps: np.ndarray) -> None:
        """Take in one batch of images with a w for each group of layers."""
        flat = w.reshape(len(w), -1)
        add_to_folds(self.folds, self.mixed.count, flat, maps)
        self.mixed.update(flat, y)

    def add(self, w: np.ndarray, y: np.ndarray) -> None:
        """Take in one batch of the regression."""
        self.fit.update(w, y)
        self.lowest, self.highest = np.minimum(self.lowest, y.min(axis=0)), np.maximum(self.highest, y.max(axis=0))
        self.kept = np.concatenate([self.kept, y[: max(MAX_KEPT_VALUES - len(self.kept), 0)]])

    def tensors(self) -> dict[str, Tensor]:
        """For the resumable state."""
        arrays = {f"{name}.{k}": v for name in _MOMENTS for k, v in getattr(self, name).to_dict().items()}
        arrays |= {f"fold{i}.{k}": v for i, fold in enumerate(self.folds) for k, v in fold.to_dict().items()}
        arrays |= {"lowest": self.lowest, "highest": self.highest, "kept": self.kept}
        return {k: torch.from_numpy(np.atleast_1d(np.asarray(v))) for k, v in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], scratch: Path | None = None) -> "Discovery":
        """The inverse of `tensors`."""
        arrays = {k: v.numpy() for k, v in tensors.items()}

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        fit, held_out, mixed = (StreamingMoments.from_dict(part(f"{name}.")) for name in _MOMENTS)
        states = [state for i in range(NUM_FOLDS) if (state := part(f"fold{i}."))]
        folds = [PixelJacobian.from_dict(state, MAX_BYTES // NUM_FOLDS, scratch) for state in states]
        return cls(fit, held_out, mixed, arrays["lowest"], arrays["highest"], arrays["kept"], folds)


@torch.inference_mode()
def sample(
    generator: Generator, decomposer: Decomposer, seed: int, numbers: range, truncation: float
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n 3 r r"]]:
    """Latents w of the images ``numbers`` of the seed, and what the decomposer is shown of those images."""
    device = generator.mapping.w_avg.device
    w = generator.map(latents(seed, numbers, generator.config.z_dim).to(device), truncation)
    return w, images_of(generator, w, decomposer)


def sample_and_measure(
    generator: Generator, decomposer: Decomposer, seed: int, numbers: range, truncation: float
) -> tuple[Float[Tensor, "n d"], Float[np.ndarray, "n m"]]:
    """Latents w of the images ``numbers`` of the seed, and the scalar semantics of those images."""
    w, images = sample(generator, decomposer, seed, numbers, truncation)
    return w, measure(decomposer, images)


@torch.inference_mode()
def sample_and_map(
    generator: Generator, decomposer: Decomposer, seed: int, numbers: range, truncation: float
) -> tuple[Float[Tensor, "n d"], Float[np.ndarray, "n m"], Float[np.ndarray, "n p"]]:
    """As `sample_and_measure`, and the images' canonical depth and albedo, flattened."""
    w, images = sample(generator, decomposer, seed, numbers, truncation)
    return w, *_measured_and_mapped(decomposer, images)


def _measured_and_mapped(
    decomposer: Decomposer, images: Float[Tensor, "n 3 r r"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n p"]]:
    return measure(decomposer, images), maps_of_images(decomposer, images).cpu().numpy()


@torch.inference_mode()
def sample_mixed(
    generator: Generator,
    decomposer: Decomposer,
    seed: int,
    numbers: range,
    truncation: float,
    layer_groups: Sequence[Sequence[int]],
) -> tuple[Float[Tensor, "n b d"], Float[np.ndarray, "n m"], Float[np.ndarray, "n p"]]:
    """Images in which every group of layers has a w of its own: those w, the scalar semantics and the maps.

    Only so do the layers vary apart, and regression can tell what each does. Generators are trained with such mixtures.
    """
    device, count = generator.mapping.w_avg.device, len(layer_groups)
    first = numbers.start - MIXED
    own = range(MIXED + first * count, MIXED + (first + len(numbers)) * count)
    w = generator.map(latents(seed, own, generator.config.z_dim).to(device), truncation)
    w = w.view(len(numbers), count, -1)
    group_of = torch.tensor([i for i, group in enumerate(layer_groups) for _ in group], device=device)
    images = images_of_layers(generator, w[:, group_of], decomposer)
    return w, *_measured_and_mapped(decomposer, images)


def batches(start: int, done: int, total: int, size: int) -> Iterator[range]:
    """The numbers from ``start + done`` to ``start + total``, ``size`` at a time."""
    for first in range(done, total, size):
        yield range(start + first, start + min(first + size, total))
