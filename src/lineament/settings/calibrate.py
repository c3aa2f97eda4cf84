"""Settings of `lineament calibrate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device
from lineament.records.image_paths import ImagePaths, check_image_paths


@dataclass(frozen=True)
class CalibrateConfig:
    """Measure a decomposer's degrees on faces of known pose and light, and write one whose readings are corrected.

    Example: ``lineament calibrate --truth renders --decomposer D --generator G --out calibrated.safetensors``
    """

    truth: Path
    """Folder of faces with known view and light, such as renders."""
    out: Path
    """File of the corrected decomposer."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given."""
    generator: Path | None = None
    """Generator whose samples show where the decomposer's own faces stand; the shipped one if not given."""
    images: ImagePaths = ()
    """Folders and zips of photographs that show it, instead of a generator."""
    faces: int = 1000
    """Number of faces of known truth, from the first on."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. The networks of faces128 draw the faces of faces64 with finer details."""
    seed: int = 0
    """Seed of the samples."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_image_paths(self.images)
        check_bounds(self, "faces", least=30)
        if self.decomposer is not None and self.generator is None and not self.images:
            raise ConfigError("where do the faces of --decomposer stand? give its --generator, or --images")
        if self.generator is not None and self.images:
            raise ConfigError("--generator and --images both say where faces stand; give one of them")
