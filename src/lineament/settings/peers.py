"""Settings of `lineament peers`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.devices import Device
from lineament.records.peer_settings import Method, PeerSettings


@dataclass(frozen=True)
class PeersConfig:
    """Find a generator's directions by the methods of others, for comparison.

    The atlas holds the methods' own steps, which ``lineament edit`` takes as they are, holding nothing: "component
    0=+3" moves w by three of them.

    Example: ``lineament peers --method sefa --generator faces.safetensors --out sefa.safetensors``
    """

    method: Method
    """Whose: GANSpace's components of w or of the first layer's activations, SeFa, InterFaceGAN, least squares of true
    labels, or random ones."""
    out: Path
    """Atlas to write."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for a generator not given."""
    labels: Path | None = None
    """CSV of labels: each row the number of an image of the seed, then a number for each attribute."""
    judge: Path | None = None
    """Judge that labels --samples images, instead of a table of labels."""
    attributes: tuple[str, ...] = ()
    """Labels to learn from, such as yaw smile; all of the table, or all that the judge reads well, if not given."""
    settings: Annotated[PeerSettings, tyro.conf.arg(name="")] = field(default_factory=PeerSettings)
    """Of the method."""
    class_number: int | None = None
    """Class whose faces are sampled, of a generator with classes."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out is {self.out}, expected a name in .safetensors")
        if self.labels is not None and self.judge is not None:
            raise ConfigError("--labels and --judge both say what is in the images; give one of them")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
