"""Settings of `lineament inspect`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class InspectConfig:
    """Say what a file is: its kind, settings, origin and fingerprint; of checkpoints of other programs the family too.

    Example: ``lineament inspect found/atlas.safetensors``
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """A file that Lineament wrote, a checkpoint of another program, or the folder of a training or a discovery."""
