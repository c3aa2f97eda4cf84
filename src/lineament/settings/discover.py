"""Settings of `lineament discover`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Device
from lineament.records.part_settings import PartsConfig
from lineament.records.shapes import check_face_box


@dataclass(frozen=True)
class DiscoverConfig:
    """Find directions of a generator for pose, light and parts of the face; write an atlas and a report.

    Without files, the shipped pair is used.

    Example: ``lineament discover --generator faces.safetensors --decomposer faces-3d.safetensors --out found``
    """

    out: Path
    """Folder for the atlas and the report; the same command continues a stopped run."""
    generator: Path | None = None
    """Generator file; the shipped one if not given."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It must be trained for the generator."""
    samples: int = 10000
    """Number of images sampled for the regression."""
    held_out: int = 2000
    """Number of further images on which R^2 is measured."""
    truncation: float = 0.5
    """Truncation of the samples (1 for none)."""
    face_box: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the face, as shares of the image; the decomposer's own box if not given. It is
    needed if the faces are not where the decomposer was trained to find them."""
    class_number: int | None = None
    """Class whose faces are sampled; required for a generator with classes, not used otherwise."""
    ridge: Advanced[float] = 0.0
    """Ridge penalty, in units of the mean variance of w."""
    calibration_faces: Advanced[int] = 96
    """Number of faces on which the steps are calibrated."""
    batch_size: int | None = None
    """Number of images at a time; if not given, as many as fit into free memory, at most 64. It changes speed and
    memory, and the result only by rounding."""
    half_precision: Advanced[bool | None] = None
    """Draw the finest resolutions in half precision; if not given, only on accelerators. It applies to generators that
    were trained so."""
    seed: int = 0
    """Seed of everything random."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """How parts of the face are found, such as mouth, brows and nose. No labels or masks are needed."""
    steady: float = 1000.0
    """Penalty on changes of depth and albedo when editing pose or light. Steps then differ per layer and are longer. 0
    uses one step for all layers, the most probable one; light edits then also change skin and hair. The same holds if
    no parts are found."""
    report: bool = True
    """Write the HTML report."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "samples", "held_out", least=2)
        check_bounds(self, "calibration_faces", least=1)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "truncation", above=0, most=1)
        if self.face_box is not None:
            check_face_box(self.face_box)
        if (self.generator is None) != (self.decomposer is None):
            raise ConfigError("--generator and --decomposer belong together: give both, or none for the shipped pair")
