"""Settings of `lineament peers`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.bounds import check_numbers
from lineament.records.devices import Device
from lineament.records.peer_settings import Method, PeerSettings


@dataclass(frozen=True)
class PeersConfig:
    """Find a generator's directions by a published method, for comparison.

    The atlas holds the method's own steps. ``lineament edit`` takes them as they are and holds nothing: "component
    0=+3" adds three of them to w.

    Example: ``lineament peers --method sefa --generator faces.safetensors --out sefa.safetensors``
    """

    method: Method
    """Method that finds the directions. GANSpace takes components of w or of the first layer's activations. The
    supervised method is least squares on true labels."""
    out: Path
    """Atlas file to write."""
    generator: Path | None = None
    """Generator file; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    labels: Path | None = None
    """CSV of labels, for methods that learn from labels; not needed with --judge. Each row has the number of an image
    of the seed, then a number for each attribute."""
    judge: Path | None = None
    """Judge file to label --samples images; labels are read from --labels if not given."""
    attributes: tuple[str, ...] = ()
    """Labels to learn from, such as yaw smile; if not given, all of the table, or all that the judge reads well."""
    settings: Annotated[PeerSettings, tyro.conf.arg(name="")] = field(default_factory=PeerSettings)
    """Settings of the method."""
    class_number: int | None = None
    """Class whose faces are sampled; required for a generator with classes, not used otherwise."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out is {self.out}, expected a name in .safetensors")
        if self.labels is not None and self.judge is not None:
            raise ConfigError("--labels and --judge both say what is in the images; give one of them")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
