"""Settings of `lineament discover`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device
from lineament.records.part_settings import PartsConfig
from lineament.records.shapes import check_face_box


@dataclass(frozen=True)
class DiscoverConfig:
    """Settings of a discovery; without files, the shipped pair is used.

    Example: ``lineament discover --generator faces.safetensors --decomposer faces-3d.safetensors --out found``
    """

    out: Path
    """Folder for the atlas and the report; the same command goes on where it stopped."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    decomposer: Path | None = None
    """Decomposer trained for that generator; the shipped one if not given."""
    samples: int = 10000
    """Images sampled for the regression."""
    held_out: int = 2000
    """Further images on which R^2 is measured."""
    truncation: float = 0.5
    """Truncation at which w is sampled; 1 is none."""
    face_box: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the face in the generator's images, as shares of their width and height, if it is
    not where the decomposer was trained to find it."""
    class_number: int | None = None
    """Class whose faces are sampled, of a generator with classes."""
    ridge: Advanced[float] = 0.0
    """Ridge penalty in units of the mean variance of w."""
    calibration_faces: Advanced[int] = 96
    """Faces on which the steps are calibrated."""
    batch_size: int | None = None
    """Images at a time; changes speed and memory, not the result beyond rounding. As many as the free memory allows,
    64 at most, if not given."""
    half_precision: Advanced[bool | None] = None
    """Draw the finest resolutions of generators that were trained so in half precision; on accelerators if not
    given."""
    seed: int = 0
    """Of the samples."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """Parts of the face: mouth, brows, nose ..., found without labels or masks."""
    steady: float = 1000.0
    """How much edits of pose and light avoid to change depth and albedo, by moves that differ from layer to layer, and
    longer. 0, and where no parts are found, moves all layers alike, by the most probable step: there light takes skin
    and hair along."""
    report: bool = True
    """Write the HTML report."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "samples", "held_out", least=2)
        check_bounds(self, "batch_size", "calibration_faces", least=1)
        check_bounds(self, "truncation", above=0, most=1)
        if not 0 <= self.steady < float("inf"):
            raise ConfigError(f"steady is {self.steady}, expected 0 or more")
        if self.face_box is not None:
            check_face_box(self.face_box)
        if (self.generator is None) != (self.decomposer is None):
            raise ConfigError("--generator and --decomposer belong together: give both, or none for the shipped pair")
