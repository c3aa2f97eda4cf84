"""Settings of `lineament evaluate consistency`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.devices import Device

MIN_FACES = 4
"""Two pairs of different faces: one pair has no error."""


@dataclass(frozen=True)
class EvaluateConsistencyConfig:
    """Settings of the measurement of a decomposer's consistency, on generated faces or on photographs.

    Example: ``lineament evaluate consistency --atlas found/atlas.safetensors --images photographs``
    """

    atlas: Path | None = None
    """Atlas with whose edits generated faces are relit and turned. If not given, the shipped one; with --images, those
    two parts are left out."""
    generator: Path | None = None
    """The atlas's generator; the shipped one if not given."""
    decomposer: Path | None = None
    """The decomposer that is measured; the shipped one if not given."""
    images: Path | None = None
    """Folder or zip of photographs to mirror and to render again, instead of generated faces."""
    out: Path | None = None
    """JSON file for the numbers."""
    faces: int = 200
    """Faces looked at; of photographs, so many are drawn."""
    seed: int = 12345
    """Of the faces; must not be the atlas's own."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.faces < MIN_FACES:
            raise ConfigError(f"faces is {self.faces}, expected at least {MIN_FACES}; faces are compared in pairs")
        if self.generator is not None and self.images is not None and self.atlas is None:
            raise ConfigError("--generator makes faces to be edited, but no edits are given; add its --atlas")
