"""Settings of `lineament directions export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.bounds import check_numbers

Tool = Literal["interfacegan", "ganspace", "e4e"]


@dataclass(frozen=True)
class ExportDirectionsConfig:
    """Write an atlas's directions in the format of another tool.

    InterFaceGAN gets a .npy for each direction, GANSpace one .npz, and e4e, StyleCLIP and others a .pt tensor for each
    direction.

    One step of the file is --amount of the direction in its own unit, such as 10 degrees. Vectors in a .npy have length
    1; the table says how far that is. Steps hold what an edit holds, and are calibrated at one standard deviation. The
    tools continue from there in a straight line. Some tools know only one w for all layers. There, pose and light move
    all layers alike and uncalibrated, and change more of the face than edits by their steady steps.

    Example: ``lineament directions export --to e4e --names yaw light_x --amount 10 --out directions``
    """

    to: Tool
    """Tool to write for."""
    out: Path
    """Folder for the files; created if missing."""
    atlas: Path | None = None
    """Atlas file; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    names: tuple[str, ...] = ()
    """Directions to write; all that the tool can hold if not given."""
    amount: float = 1.0
    """Size of a step of the file, in the direction's unit."""

    def __post_init__(self) -> None:
        check_numbers(self, signed=("amount",))
        if self.amount == 0:
            raise ConfigError(f"amount is {self.amount}, expected a number other than 0")
