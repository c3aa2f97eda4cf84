"""Settings of `lineament convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ConvertConfig:
    """Convert a StyleGAN checkpoint to Lineament's safetensors, or a generator to rosinality's layout.

    Nothing that the file carries is run. Conversion is not needed to use a checkpoint: every command takes it as it is.

    Example: ``lineament convert ffhq.pkl --out ffhq``
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """A .pkl of NVIDIA's programs, a .pt or .pth of rosinality or genforce, or a generator of Lineament's."""
    out: Path
    """Folder for generator.safetensors and discriminator.safetensors; with --to rosinality the .pt file."""
    to: Literal["lineament", "rosinality"] = "lineament"
    """What to write."""
    half: bool = False
    """Half precision: half the size, images that differ a little."""
