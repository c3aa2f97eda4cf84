"""Settings of `lineament convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ConvertConfig:
    """Convert a StyleGAN checkpoint to Lineament's safetensors, or a generator to rosinality's layout.

    No code in the file is run. Conversion is optional: every command also reads checkpoints directly.

    Example: ``lineament convert ffhq.pkl --out ffhq``
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint: .pkl of NVIDIA, .pt or .pth of rosinality or genforce, or a generator of Lineament."""
    out: Path
    """Output folder, or the .pt file with --to rosinality. The folder gets generator.safetensors and
    discriminator.safetensors."""
    to: Literal["lineament", "rosinality"] = "lineament"
    """Output format."""
    half: bool = False
    """Write half precision. The file has half the size, and images differ slightly."""
