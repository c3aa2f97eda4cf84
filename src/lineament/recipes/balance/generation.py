"""Change faces in batches, and check every changed face against limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from lineament.engine.work import Piece
from lineament.estimators.balancing import Extrapolation
from lineament.faces.batch_size import bytes_per_image
from lineament.faces.latent_spread import LatentSpread
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_uint8
from lineament.recipes.balance.measures import Meter, Stepper
from lineament.recipes.balance.sources import SourceFaces
from lineament.store.pictures import png_bytes

MAX_BATCH_BYTES = 4 << 30
"""Largest memory for a batch of images. A fixed value and not the free memory, so that results do not depend on it."""

MIN_FOR_AIM = 8
"""Images of a bin that are needed to correct its aim."""

MAX_OFFSET = 4.0
"""Largest correction of an aim, in tolerances."""

MISSED, DRIFTED, FAR = 1, 2, 4
"""Reasons why an image is rejected, as bits that are added up."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits that a generated image must keep.

    Attributes:
        tolerance: largest difference between measured and wanted values.
        identity_drift: largest change of identity; 1 is the median distance between two people.
        distance: largest distance of the latents from the generator's mean.
        people: median distance between the codes of two people.
    """

    tolerance: Float[np.ndarray, " m"]
    identity_drift: float
    distance: float
    people: float


@dataclass(frozen=True, eq=False)
class Maker:
    """Changes faces and checks the results."""

    generator: Generator
    meter: Meter
    stepper: Stepper
    spread: LatentSpread
    extrapolation: Extrapolation

    @torch.inference_mode()
    def make(
        self,
        faces: SourceFaces,
        source: Int[np.ndarray, " k"],
        wanted: Float[np.ndarray, "k m"],
        aim: Float[np.ndarray, "k m"],
        limits: Limits,
    ) -> tuple[dict[str, np.ndarray], torch.Tensor]:
        """Change faces in one batch and check them.

        Args:
            faces: prepared faces.
            source: numbers of the faces to change.
            wanted: values that each image should show.
            aim: values that the steps are computed for; they differ from ``wanted`` to correct known errors.
            limits: limits that each image must keep.

        Returns:
            Measured values, drift, distance, length of the step and faults of each image; and the images.
        """
        changes = aim - faces.values[source]
        steps = self.stepper.steps(changes)
        ws = faces.ws(source)
        ws = ws + torch.as_tensor(steps, dtype=ws.dtype, device=ws.device)
        images = self.generator.synthesize(ws).clamp(-1, 1)
        measured, codes = self.meter.look(images, identity=faces.keeps_identity)
        drift = np.linalg.norm(codes - faces.codes(source), axis=1).astype(np.float64) / limits.people
        distance = self.spread.distance(ws).double().cpu().numpy()
        faults = MISSED * (np.abs(measured - wanted) > limits.tolerance).any(axis=1)
        faults = faults + DRIFTED * (drift > limits.identity_drift) + FAR * (distance > limits.distance)
        linear = np.einsum("mk,nm,nk->n", self.extrapolation.metric, changes, changes)
        return {
            "measured": measured,
            "drift": drift,
            "distance": distance,
            "length": np.sqrt(np.maximum(linear, 0.0)),
            "faults": faults.astype(np.int64),
        }, images


def fixed_batch(generator: Generator, batch_size: int) -> int:
    """Number of images that are drawn together. It does not depend on free memory, so results do not either."""
    return max(min(batch_size, MAX_BATCH_BYTES // max(bytes_per_image(generator), 1)), 1)


def make_piece(
    maker: Maker,
    faces: SourceFaces,
    source: Int[np.ndarray, " k"],
    wanted: Float[np.ndarray, "k m"],
    aim: Float[np.ndarray, "k m"],
    limits: Limits,
    facts: Mapping[str, str],
) -> Piece:
    """One batch: the checks of every image, and the PNG files of those that passed, concatenated."""
    judged, images = maker.make(faces, source, wanted, aim, limits)
    passed = np.flatnonzero(judged["faults"] == 0)
    names = maker.meter.names
    texts = [
        {
            "lineament:source": faces.names[int(source[i])],
            "lineament:edit": edit_text(names, wanted[i] - faces.values[source[i]]),
            "lineament:requested": value_text(names, wanted[i]),
            "lineament:measured": value_text(names, judged["measured"][i]),
        }
        for i in passed
    ]
    pictures = to_uint8(images[torch.from_numpy(passed)])
    files = [png_bytes(image, text={**facts, **text}, quick=True) for image, text in zip(pictures, texts, strict=True)]
    sizes = np.zeros(len(source), np.int64)
    sizes[passed] = [len(file) for file in files]
    return judged | {"sizes": sizes, "files": np.frombuffer(b"".join(files), np.uint8)}, {}


def edit_text(names: tuple[str, ...], changes: Float[np.ndarray, " m"]) -> str:
    """Changes in the form that the command `edit` takes."""
    return " ".join(f"{name}={change:+.4g}" for name, change in zip(names, changes, strict=True))


def value_text(names: tuple[str, ...], values: Float[np.ndarray, " m"]) -> str:
    """Values by name, as text."""
    return " ".join(f"{name}={value:.4g}" for name, value in zip(names, values, strict=True))


def corrected(
    offset: Float[np.ndarray, "b m"],
    bins: Int[np.ndarray, " k"],
    wanted: Float[np.ndarray, "k m"],
    measured: Float[np.ndarray, "k m"],
    tolerance: Float[np.ndarray, " m"],
) -> Float[np.ndarray, "b m"]:
    """Offsets of the aims, minus the median error of the images of each bin."""
    offset = offset.copy()
    for bin_ in np.unique(bins):
        own = bins == bin_
        if own.sum() >= MIN_FOR_AIM:
            offset[bin_] -= np.median(measured[own] - wanted[own], axis=0)
    return np.clip(offset, -MAX_OFFSET * tolerance, MAX_OFFSET * tolerance)
