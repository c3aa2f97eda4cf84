"""Settings of `lineament inspect`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class InspectConfig:
    """Describe a file: its kind, settings, origin and fingerprint.

    For checkpoints of other programs, the model family is shown, too.

    Example: ``lineament inspect found/atlas.safetensors``
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """File of Lineament, checkpoint of another program, or folder of a training or a discovery."""
