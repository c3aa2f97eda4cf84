"""Sources of a balanced folder: the original images, and the faces to change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from lineament.engine.work import Piece, Work
from lineament.errors import DataError, ImageError
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor
from lineament.ops.seeding import latents
from lineament.recipes.balance.measures import Meter
from lineament.records.atlas import Atlas
from lineament.store.images import ImageSource, ReadingReport

READ_TOGETHER = 64
"""Number of images that are decoded and measured at a time."""

FIRST_SAMPLE = 1 << 45
"""Number of the first sample; large, so that no face of an atlas's fit is drawn again."""


@dataclass(frozen=True, eq=False)
class Originals:
    """The original images that can be used.

    Attributes:
        names: names within their folder or zip, in order.
        values: measured semantics.
        skipped: reason for each image that cannot be used.
        blended: number of images with transparent pixels.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "n m"]
    skipped: dict[str, str] = field(default_factory=dict)
    blended: int = 0


def measure_images(
    work: Work,
    stage: str,
    source: ImageSource,
    read: Callable[[str], UInt8[np.ndarray, "h w 3"]],
    report: ReadingReport,
    meter: Meter,
    device: torch.device,
    likeness: Callable[[Tensor], Float[np.ndarray, " n"] | None] | None = None,
    least: float = 0.0,
) -> Originals:
    """Read and measure every image once; images that cannot be used are listed.

    Args:
        work: keeps the measurements.
        stage: name of the stage of the work.
        source: the images.
        read: reads an image by name; raises ImageError if it cannot be used.
        report: is filled by ``read``.
        meter: measures the images.
        device: where to measure.
        likeness: scores how much images look like a face; None where that cannot be computed.
        least: smallest such score; images below are skipped.

    Raises:
        ImageError: no image can be used.
    """
    names = source.names

    def piece(index: int) -> Piece:
        kept: list[str] = []
        arrays: list[np.ndarray] = []
        skipped: dict[str, str] = {}
        blended = report.blended
        for name in names[index * READ_TOGETHER : (index + 1) * READ_TOGETHER]:
            try:
                arrays.append(read(name))
                kept.append(name)
            except ImageError as error:
                skipped[name] = str(error)
        values = np.zeros((0, len(meter.names)))
        if kept:
            images = to_tensor(np.stack(arrays)).to(device)
            values, _ = meter.look(images)
            found = likeness(images) if likeness is not None and least > 0 else None
            if found is not None:
                for name, score in zip(kept, found, strict=True):
                    if score < least:
                        skipped[name] = f"no face, or several: {score:.2f} like a face, expected {least:g} (--min-face)"
                kept, values = [name for name in kept if name not in skipped], values[found >= least]
        return {"values": values}, {"kept": kept, "skipped": skipped, "blended": report.blended - blended}

    count = -(-len(names) // READ_TOGETHER)
    pieces = list(work.do(stage, count, piece, label="measuring images", images=len(names)))
    kept = [name for _, facts in pieces for name in facts["kept"]]
    skipped = {name: reason for _, facts in pieces for name, reason in facts["skipped"].items()}
    if len(skipped) == len(names):
        first = next(iter(skipped.items()))
        raise ImageError(
            f"{source.path} has no usable image among {len(names)}; the first: {first[0]} ({first[1]}); offer others"
        )
    values = np.concatenate([arrays["values"] for arrays, _ in pieces])
    blended = sum(facts.get("blended", 0) for _, facts in pieces)
    return Originals(tuple(kept), values, dict(sorted(skipped.items())), blended)


class SourceFaces:
    """Faces of a generator that can be changed.

    Attributes:
        values: semantics of each face; an estimate for planning until the face is prepared, then measured.
        names: name of each face in the manifest.
        reasons: why a face cannot be used, by number.
        keeps_identity: whether a changed face must still be the same person.
    """

    values: Float[np.ndarray, "n m"]
    names: Sequence[str]
    reasons: dict[int, str]
    keeps_identity: bool

    def prepare(self, work: Work, numbers: Int[np.ndarray, " k"], stage: str) -> None:
        """Prepare faces that are not prepared yet; faces that cannot be used get a reason."""

    def ws(self, numbers: Int[np.ndarray, " k"]) -> Float[Tensor, "k l d"]:
        """Latents of prepared faces."""
        raise NotImplementedError

    def codes(self, numbers: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k c"]:
        """Identity codes of prepared faces; empty if identity need not be kept."""
        raise NotImplementedError

    def usable(self) -> Bool[np.ndarray, " n"]:
        """Faces without a reason against them so far."""
        mask = np.ones(len(self.values), bool)
        mask[list(self.reasons)] = False
        return mask


class Samples(SourceFaces):
    """Samples of the generator. Their values are read off w by the linear model, as no given person must be matched."""

    keeps_identity = False

    def __init__(
        self, generator: Generator, atlas: Atlas, names: Sequence[str], seed: int, truncation: float, count: int
    ) -> None:
        self._generator, self._seed, self._truncation = generator, seed, truncation
        self.reasons: dict[int, str] = {}
        means = np.array([atlas.direction(name).mean for name in names])
        gradients = atlas.gradients(tuple(names))
        chunks = [np.arange(start, min(start + 4096, count)) for start in range(0, count, 4096)]
        values = [(self._w(chunk).double().cpu().numpy() - atlas.w_mean) @ gradients.T for chunk in chunks]
        self.values = means + np.concatenate(values)
        self.names = _SampleNames(count)

    @torch.inference_mode()
    def _w(self, numbers: np.ndarray) -> Float[Tensor, "k d"]:
        return self._generator.map(self._z(numbers), self._truncation)

    def _z(self, numbers: np.ndarray) -> Float[Tensor, "k d_z"]:
        z = latents(self._seed, [FIRST_SAMPLE + int(number) for number in numbers], self._generator.config.z_dim)
        return z.to(self._generator.mapping.w_avg.device)

    def ws(self, numbers: Int[np.ndarray, " k"]) -> Float[Tensor, "k l d"]:
        """The latents of the faces, as the generator's own images have them."""
        return self._generator.draw_ws(self._z(numbers), self._truncation)

    def codes(self, numbers: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k c"]:
        """Empty: the identity of a sample need not be kept."""
        return np.zeros((len(numbers), 0), np.float32)


class _SampleNames(Sequence[str]):
    """Names of samples, made on demand."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"sample {FIRST_SAMPLE + number}"


class Photographs(SourceFaces):
    """The original images as sources, inverted when needed or before.

    Args:
        invert: inverts the images with these numbers; gives arrays ws, values, codes and good (booleans).
        names: names of the images.
        values: semantics measured on the images.
        together: number of images that are inverted at a time.
    """

    keeps_identity = True

    def __init__(
        self,
        invert: Callable[[np.ndarray], dict[str, np.ndarray]],
        names: Sequence[str],
        values: Float[np.ndarray, "n m"],
        together: int,
        device: torch.device,
    ) -> None:
        self._invert, self._together, self._device = invert, together, device
        self.names, self.values, self.reasons = names, values.copy(), {}
        self._place = np.full(len(names), -1)
        self._ws: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def prepare(self, work: Work, numbers: Int[np.ndarray, " k"], stage: str) -> None:
        """Invert faces that are not inverted yet, and measure the generator's images of them."""
        new = np.unique(numbers[self._place[numbers] < 0])
        parts = [new[start : start + self._together] for start in range(0, len(new), self._together)]
        pieces = work.do(
            stage, len(parts), lambda i: (self._invert(parts[i]), {}), label="inverting images", images=len(new)
        )
        for part, (arrays, _) in zip(parts, pieces, strict=True):
            self._place[part] = np.arange(len(part)) + len(self._ws)
            self._ws += list(arrays["ws"])
            self._codes += list(arrays["codes"])
            self.values[part] = arrays["values"]
            for number, good, ssim, distance in zip(
                part, arrays["good"], arrays["ssim"], arrays["distance"], strict=True
            ):
                if not good:
                    self.reasons[int(number)] = f"bad inversion (SSIM {ssim:.2f}, distance {distance:.2f})"

    def ws(self, numbers: Int[np.ndarray, " k"]) -> Float[Tensor, "k l d"]:
        """The latents that the inversion found."""
        return torch.from_numpy(np.stack([self._ws[i] for i in self._place[numbers]])).to(self._device)

    def codes(self, numbers: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k c"]:
        """Codes of the generator's image of the latents, not of the photograph, so that only the edit is judged."""
        return np.stack([self._codes[i] for i in self._place[numbers]])


def check_outside(out: Path, images: Path) -> None:
    """Refuse an output folder within the folder of images.

    Raises:
        DataError: ``out`` lies within ``images``.
    """
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise DataError(f"--out {out} lies within --images {images}, and would be read as images; choose another place")
