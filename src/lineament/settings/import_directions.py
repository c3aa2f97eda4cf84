"""Settings of `lineament directions import`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.devices import Devices


@dataclass(frozen=True)
class ImportDirectionsConfig:
    """Take directions from the files of other tools into an atlas: InterFaceGAN's .npy, GANSpace's .npz and .pkl, and
    the .pt tensors of e4e, StyleCLIP and others. Nothing that a file carries is run.

    The atlas holds the steps as they are in the files; ``lineament edit smile=+2`` adds two of them to w.

    Example: ``lineament directions import smile.npy pose.pt --generator ffhq.pkl --out theirs.safetensors``
    """

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE ...")]
    """Files of directions; each direction is named as its file."""
    out: Path
    """Atlas to write."""
    generator: Path | None = None
    """Generator that the directions are for; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for a generator not given."""
    truncation: float = 0.5
    """Truncation of the faces that will be edited; 1 is none."""
    samples: int = 10000
    """Samples of w from which the ranges of the directions are taken."""
    seed: int = 0
    """Of the samples."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise ConfigError("no file of directions was named; name one such as smile.npy")
        if not 0 < self.truncation <= 1 or self.samples < 2:
            raise ConfigError(
                f"truncation is {self.truncation} and samples {self.samples}, expected above 0 and at most 1, and at "
                "least 2"
            )
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
