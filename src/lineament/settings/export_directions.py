"""Settings of `lineament directions export`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError

Tool = Literal["interfacegan", "ganspace", "e4e"]


@dataclass(frozen=True)
class ExportDirectionsConfig:
    """Write an atlas's directions as other tools read them: a .npy each for InterFaceGAN, one .npz for GANSpace, a .pt
    tensor each for e4e, StyleCLIP and others.

    A step of the file is --amount of the direction in its own unit, such as 10 degrees; in a .npy, whose vectors have
    length 1, the table says how far that is. Steps hold what an edit holds and are calibrated at one standard
    deviation; the tools go on from there in a straight line. Where a tool knows one w for all layers alone, pose and
    light move all layers alike, uncalibrated, and take more of the face along than edits by their steady steps.

    Example: ``lineament directions export --to e4e --names yaw light_x --amount 10 --out directions``
    """

    to: Tool
    """Tool to write for."""
    out: Path
    """Folder for the files; it is made if it is not there."""
    atlas: Path | None = None
    """Atlas; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for an atlas not given."""
    names: tuple[str, ...] = ()
    """Directions to write; all that the tool can hold if none are named."""
    amount: float = 1.0
    """How much of a direction, in its unit, a step of the file is."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount) or self.amount == 0:
            raise ConfigError(f"amount is {self.amount}, expected a number other than 0")
