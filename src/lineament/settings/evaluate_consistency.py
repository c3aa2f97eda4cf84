"""Settings of `lineament evaluate consistency`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.bounds import check_numbers
from lineament.records.devices import Device

MIN_FACES = 4
"""Minimum number of faces: two pairs of different faces. With one pair no error can be estimated."""


@dataclass(frozen=True)
class EvaluateConsistencyConfig:
    """Measure whether a decomposer is consistent, on generated faces or on photographs.

    Example: ``lineament evaluate consistency --atlas found/atlas.safetensors --images photographs``
    """

    atlas: Path | None = None
    """Atlas file; the shipped one if not given (none with --images). Its edits relight and turn generated faces.
    Without an atlas, these two parts are left out."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It is the one that is measured."""
    images: Path | None = None
    """Folder or zip of photographs to mirror and render again; generated faces if not given."""
    out: Path | None = None
    """JSON file for the numbers; not written if not given."""
    faces: int = 200
    """Number of faces to measure. Photographs are drawn at random."""
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
        if self.faces < MIN_FACES:
            raise ConfigError(f"faces is {self.faces}, expected at least {MIN_FACES}; faces are compared in pairs")
        if self.generator is not None and self.images is not None and self.atlas is None:
            raise ConfigError("--generator makes faces to be edited, but no edits are given; add its --atlas")
