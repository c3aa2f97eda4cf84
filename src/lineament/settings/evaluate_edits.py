"""Settings of `lineament evaluate edits`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device


@dataclass(frozen=True)
class EvaluateEditsConfig:
    """Settings of the evaluation of an atlas's edits.

    Example: ``lineament evaluate edits --atlas found/atlas.safetensors --faces 500``
    """

    atlas: Path
    """The atlas whose edits are measured."""
    generator: Path | None = None
    """Its generator; the shipped one if not given."""
    decomposer: Path | None = None
    """Its decomposer; the shipped one if not given."""
    out: Path | None = None
    """JSON file for the numbers."""
    faces: int = 300
    """Faces that are edited."""
    yaw_deg: float = 15.0
    """Size of the yaw edit whose median and sign are reported."""
    seed: int = 12345
    """Of the faces; must not be the atlas's own."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "faces", least=2)
        check_bounds(self, "yaw_deg", above=0)
