"""Sample and measure a generator; accumulate moments for the regression and folds for the parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.engine.console import progress_bar
from lineament.estimators.folds import NUM_FOLDS, add_to_folds
from lineament.estimators.moments import StreamingMoments
from lineament.estimators.pixel_jacobian import MAX_BYTES, PixelJacobian
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.maps import images_of, images_of_layers, maps_of_images
from lineament.faces.measure import measure
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.records.semantics import SEMANTIC_NAMES

# First image number for each use of images; the ranges are disjoint, so no image of a seed has two uses.
FIT, HELD_OUT, CALIBRATION, REPORT, PAIRS, MIXED = 0, 1 << 40, 1 << 41, 1 << 42, 1 << 43, 1 << 44
MAX_KEPT_VALUES = 4096
"""Maximum number of measured values kept for percentiles, so that memory does not grow with the samples."""

CHUNK = 256
"""Number of mixed images to collect before adding them to the moments of the maps, because each addition reads and
writes all of these moments."""

_MOMENTS = ("fit", "held_out", "mixed")


@dataclass
class Discovery:
    """Accumulated results of the sampling.

    ``fit`` and ``held_out`` are moments of images with one w for all layers. ``mixed`` and ``folds`` are moments of
    images with a separate w for each group of layers, side by side: ``mixed`` of the scalar semantics, ``folds`` of the
    maps.
    ``folds`` is empty if no parts are looked for.
    """

    fit: StreamingMoments
    held_out: StreamingMoments
    mixed: StreamingMoments
    lowest: Float[np.ndarray, " m"]
    highest: Float[np.ndarray, " m"]
    kept: Float[np.ndarray, "n m"]
    folds: list[PixelJacobian]
    _waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    @classmethod
    def empty(cls, scratch: Path | None = None, *, parts: bool = False) -> "Discovery":
        """No samples yet. Moments that become too large for memory are kept in the folder ``scratch``."""
        m = len(SEMANTIC_NAMES)
        edge = np.full(m, np.finfo(np.float64).max)
        folds = [PixelJacobian(MAX_BYTES // NUM_FOLDS, scratch) for _ in range(NUM_FOLDS if parts else 0)]
        fit, held_out, mixed = (StreamingMoments() for _ in _MOMENTS)
        return cls(fit, held_out, mixed, edge, -edge, np.zeros((0, m)), folds)

    def add_mixed(self, w: Float[np.ndarray, "n b d"], y: Float[np.ndarray, "n m"], maps: np.ndarray) -> None:
        """Queue one batch of images with a w for each group of layers; take in the queue once it holds `CHUNK` images.

        The moments of the maps are large: adding many images at a time reads and writes them less often.
        """
        self._waiting.append((w.reshape(len(w), -1), y, maps))
        if sum(len(batch) for batch, _, _ in self._waiting) >= CHUNK:
            self.take_in()

    def take_in(self) -> None:
        """Add the queued mixed images to the moments. Until then `tensors` does not contain them."""
        if not self._waiting:
            return
        w, y, maps = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        add_to_folds(self.folds, self.mixed.count, w, maps)
        self.mixed.update(w, y)
        self._waiting.clear()

    def add(self, w: np.ndarray, y: np.ndarray) -> None:
        """Add one batch of images with one w for all layers."""
        self.fit.update(w, y)
        self.lowest, self.highest = np.minimum(self.lowest, y.min(axis=0)), np.maximum(self.highest, y.max(axis=0))
        self.kept = np.concatenate([self.kept, y[: max(MAX_KEPT_VALUES - len(self.kept), 0)]])

    def tensors(self) -> dict[str, Tensor]:
        """All arrays as tensors, for the resumable state."""
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
    """Latents w of the images ``numbers`` of the seed, and the decomposer's inputs for those images."""
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
    """As `sample_and_measure`, plus the images' canonical depth and albedo, flattened."""
    w, images = sample(generator, decomposer, seed, numbers, truncation)
    return w, *_measured_and_mapped(decomposer, images)


def _measured_and_mapped(
    decomposer: Decomposer, images: Float[Tensor, "n 3 r r"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n p"]]:
    parts = decomposer(images)
    values = decomposer.measure(images, parts).double().cpu().numpy()
    return values, maps_of_images(decomposer, images, parts=parts).cpu().numpy()


@torch.inference_mode()
def sample_mixed(
    generator: Generator,
    decomposer: Decomposer,
    seed: int,
    numbers: range,
    truncation: float,
    layer_groups: Sequence[Sequence[int]],
) -> tuple[Float[Tensor, "n b d"], Float[np.ndarray, "n m"], Float[np.ndarray, "n p"]]:
    """Images with a separate w for each group of layers: those w, the scalar semantics and the maps.

    Only then do the layers vary independently, so that regression can separate their effects. Generators are trained
    with such mixtures.
    """
    device, count = generator.mapping.w_avg.device, len(layer_groups)
    first = numbers.start - MIXED
    own = range(MIXED + first * count, MIXED + (first + len(numbers)) * count)
    w = generator.map(latents(seed, own, generator.config.z_dim).to(device), truncation)
    w = w.view(len(numbers), count, -1)
    group_of = torch.tensor([i for i, group in enumerate(layer_groups) for _ in group], device=device)
    images = images_of_layers(generator, w[:, group_of], decomposer)
    return w, *_measured_and_mapped(decomposer, images)


def gather(
    found: Discovery,
    generator: Generator,
    decomposer: Decomposer,
    *,
    seed: int,
    truncation: float,
    samples: int,
    held_out: int,
    mixed: int = 0,
    layer_groups: Sequence[Sequence[int]] = (),
    batch_size: int | None = None,
) -> Iterator[bool]:
    """Sample and measure the images that are still missing, a batch at a time.

    Args:
        found: is filled; it may hold samples of an earlier run.
        generator: draws the samples.
        decomposer: measures the samples.
        seed: of the samples.
        truncation: of the samples; 1 is none.
        samples: number of images for the regression.
        held_out: number of further images, for the score of the regression.
        mixed: number of images with one w for each group of layers, for the maps.
        layer_groups: the groups.
        batch_size: images at a time; if None, as many as the free memory allows.

    Yields:
        After each batch, whether it was the last.
    """
    size = batch_size or images_at_a_time(generator)
    wanted = ((FIT, found.fit, samples), (HELD_OUT, found.held_out, held_out), (MIXED, found.mixed, mixed))
    done = sum(moments.count for _, moments, _ in wanted)
    jobs = [(kind, numbers) for kind, moments, count in wanted for numbers in batches(kind, moments.count, count, size)]
    with progress_bar() as bar:
        task = bar.add_task("sampling faces", total=samples + held_out + mixed, completed=done, note="")
        for index, (kind, numbers) in enumerate(jobs, start=1):
            if kind == MIXED:
                w, y, maps = sample_mixed(generator, decomposer, seed, numbers, truncation, layer_groups)
                found.add_mixed(w.double().cpu().numpy(), y, maps)
            else:
                w, y = sample_and_measure(generator, decomposer, seed, numbers, truncation)
                (found.add if kind == FIT else found.held_out.update)(w.double().cpu().numpy(), y)
            bar.advance(task, len(numbers))
            if index == len(jobs):
                found.take_in()
            yield index == len(jobs)


def batches(start: int, done: int, total: int, size: int) -> Iterator[range]:
    """The numbers from ``start + done`` to ``start + total``, ``size`` at a time."""
    for first in range(done, total, size):
        yield range(start + first, start + min(first + size, total))
