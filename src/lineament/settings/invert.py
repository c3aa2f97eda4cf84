"""Settings of `lineament invert`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Devices
from lineament.records.inversion_settings import InversionSettings

Align: TypeAlias = Literal["none", "detect", "auto"]


@dataclass(frozen=True)
class InvertConfig:
    """Find latents for which a generator draws given photographs; without files, the shipped networks are used.

    Every photograph is inverted by itself: the encoder's answer, then a short optimisation. Beside the latents stands
    how good they are. Files that cannot be used are listed with the reason and stop nothing.

    Example: ``lineament invert --images photographs --out inversions.safetensors``
    """

    images: Path
    """Folder or zip of PNG, JPEG or WebP files; the first picture of animated ones."""
    out: Path = Path("inversions.safetensors")
    """File of the latents (.safetensors). The same command goes on where it was stopped; what is done so far is kept in
    a folder beside it."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    encoder: Path | None = None
    """The generator's encoder, or none to start at its mean w; if not given, the shipped one or the one beside the
    generator, if it is the generator's."""
    features: Advanced[Path | None] = None
    """Discriminator (or its features) for the perceptual term; if not given, the shipped one's or the one beside the
    generator."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    align: Align = "none"
    """none: images are aligned crops already, and only cut to squares; detect: the largest face is found and cropped as
    the generator's own are (needs the extra 'align'); auto: detect where the image is no square."""
    alone: Advanced[bool] = False
    """With --align, skip photographs in which several faces are found, instead of taking the largest."""
    fit: Annotated[InversionSettings, tyro.conf.arg(name="")] = field(default_factory=InversionSettings)
    """How each photograph is fitted."""
    batch_size: int = 16
    """Photographs at a time."""
    picture: Path | None = None
    """Picture (.png) of some photographs, their inversions and the differences."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute; several processes share the work."""

    def __post_init__(self) -> None:
        check_bounds(self, "batch_size", least=1)
        for path, option, suffix in ((self.out, "--out", ".safetensors"), (self.picture, "--picture", ".png")):
            if path is None:
                continue
            if path.suffix.lower() != suffix:
                raise ConfigError(f"{option} is {path}, expected a name in {suffix}")
            if not path.absolute().parent.is_dir():
                raise InputError(f"the folder {path.parent} does not exist; create it or choose another {option}")
        if self.out.exists():
            raise ConfigError(f"{self.out} exists already; delete it, or choose another --out")
