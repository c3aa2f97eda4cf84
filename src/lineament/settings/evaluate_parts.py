"""Settings of `lineament evaluate parts`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device


@dataclass(frozen=True)
class EvaluatePartsConfig:
    """Settings of the measurement of an atlas's parts against named parts of rendered faces.

    Example: ``lineament evaluate parts --atlas found/atlas.safetensors --truth renders/test``
    """

    atlas: Path
    """The atlas whose parts are measured."""
    truth: Path
    """Folder of rendered faces with truth: labels and named parameters, at the decomposer's resolution."""
    generator: Path | None = None
    """Its generator; the shipped one if not given."""
    decomposer: Path | None = None
    """Its decomposer; the shipped one if not given."""
    found: Path | None = None
    """Folder of the discovery that made the atlas: factorise again with pose and light left in, and compare."""
    out: Path | None = None
    """JSON file for the numbers."""
    faces: int = 64
    """Generated faces that are edited."""
    truth_faces: int | None = None
    """Read only the first rendered faces."""
    seed: int = 12345
    """Of the faces; must not be the atlas's own."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "faces", "truth_faces", least=2)
