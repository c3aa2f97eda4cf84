"""Settings of `lineament evaluate parts`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device


@dataclass(frozen=True)
class EvaluatePartsConfig:
    """Measure whether an atlas's parts match the named parts of rendered faces.

    Example: ``lineament evaluate parts --atlas found/atlas.safetensors --truth renders/test``
    """

    atlas: Path
    """Atlas file whose parts are measured."""
    truth: Path
    """Folder of rendered faces with labels and named parameters. Their resolution must be the decomposer's."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It must be the decomposer of the atlas."""
    found: Path | None = None
    """Discovery folder of the atlas, to compare with parts found with pose and light left in. The Jacobian in the
    folder is factorised again. If not given, this comparison is left out."""
    out: Path | None = None
    """JSON file for the numbers; not written if not given."""
    faces: int = 64
    """Number of generated faces that are edited."""
    truth_faces: int | None = None
    """Number of rendered faces to read, from the first on; all if not given."""
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
        check_bounds(self, "faces", "truth_faces", least=2)
