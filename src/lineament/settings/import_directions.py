"""Settings of `lineament directions import`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device


@dataclass(frozen=True)
class ImportDirectionsConfig:
    """Import directions from files of other tools into an atlas.

    The files may be InterFaceGAN's .npy, GANSpace's .npz and .pkl, and .pt tensors of e4e, StyleCLIP and others. No
    code in a file is run.

    The atlas holds the steps as they are in the files; ``lineament edit smile=+2`` adds two of them to w.

    Example: ``lineament directions import smile.npy pose.pt --generator ffhq.pkl --out theirs.safetensors``
    """

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE ...")]
    """Files of directions. Each direction is named after its file."""
    out: Path
    """Atlas file to write."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the directions."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    truncation: float = 0.5
    """Truncation of the faces that will be edited (1 for none)."""
    samples: int = 10000
    """Number of samples of w from which the ranges of the directions are computed."""
    seed: int = 0
    """Seed of everything random."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.paths:
            raise ConfigError("no file of directions was named; name one such as smile.npy")
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "samples", least=2)
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
