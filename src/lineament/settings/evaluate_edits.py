"""Settings of `lineament evaluate edits`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device


@dataclass(frozen=True)
class EvaluateEditsConfig:
    """Measure what an atlas's edits do on new faces.

    Example: ``lineament evaluate edits --atlas found/atlas.safetensors --faces 500``
    """

    atlas: Path
    """Atlas file whose edits are measured."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It must be the decomposer of the atlas."""
    out: Path | None = None
    """JSON file for the numbers; not written if not given."""
    faces: int = 300
    """Number of faces that are edited."""
    yaw_deg: float = 15.0
    """Size in degrees of the yaw edit whose median and sign are reported."""
    seed: int = 12345
    """Seed of the faces; it must differ from the atlas's seed."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "faces", least=2)
        check_bounds(self, "yaw_deg", above=0)
