"""Settings of `lineament invert`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Devices
from lineament.records.inversion_settings import Align, InversionSettings


@dataclass(frozen=True)
class InvertConfig:
    """Find latents for which a generator draws given photographs.

    Every photograph is inverted separately: by the encoder, then by a short optimisation. The file holds the latents
    and how good they are. Files that cannot be used are listed with the reason, and do not stop the run. Without files,
    the shipped networks are used.

    Example: ``lineament invert --images photographs --out inversions.safetensors``
    """

    images: Path
    """Folder or zip of images, or one image. From animations the first picture is taken."""
    out: Path = Path("inversions.safetensors")
    """File for the latents (.safetensors). The same command continues a stopped run. Results so far are kept in a
    folder beside the file."""
    generator: Path | None = None
    """Generator file; the shipped one if not given."""
    encoder: Path | None = None
    """Encoder file, or none to start at the mean w; if not given, the one beside the generator or the shipped one.
    Without a name, an encoder is only used if it is the generator's."""
    features: Advanced[Path | None] = None
    """Discriminator (or its features) for the perceptual term; if not given, the one beside the generator or the
    shipped one."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    align: Align = "none"
    """How to crop photographs: none (cropped already), detect (by face) or auto (detect if not square). With none,
    images must be aligned crops already, and are only cut to squares. With detect, the largest face is found and
    cropped like the generator's own images (needs the extra 'align'). With auto, that is done for images that are not
    square."""
    alone: Advanced[bool] = False
    """With --align, skip photographs with several faces, instead of taking the largest face."""
    fit: Annotated[InversionSettings, tyro.conf.arg(name="")] = field(default_factory=InversionSettings)
    """How each photograph is fitted."""
    batch_size: int = 16
    """Number of photographs at a time."""
    picture: Path | None = None
    """Picture (.png) of some photographs, inversions and differences; not written if not given."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute. Several processes share the work."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        for path, option, suffix in ((self.out, "--out", ".safetensors"), (self.picture, "--picture", ".png")):
            if path is None:
                continue
            if path.suffix.lower() != suffix:
                raise ConfigError(f"{option} is {path}, expected a name in {suffix}")
            if not path.absolute().parent.is_dir():
                raise InputError(f"the folder {path.parent} does not exist; create it or choose another {option}")
