"""Settings of `lineament decompose`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device

MAX_FACES = 100


@dataclass(frozen=True)
class DecomposeConfig:
    """Decompose faces into depth, albedo, view and light, and render them again, turned and relit.

    The faces are generated or, with --images, photographs. The picture has a column for each face. It shows the depth
    as a relief lit from the upper left. Without files, the shipped networks are used.

    Example: ``lineament decompose --seeds 0-7 --out parts.png``
    """

    out: Path = Path("parts.png")
    """Picture to write (.png)."""
    images: Path | None = None
    """Folder or zip of images to decompose; generated faces if not given. Images are cropped to squares, like training
    images."""
    faces: int = 8
    """Number of images to take from --images, in the order of their names."""
    seeds: str | None = None
    """Numbers of the generated faces, such as 0-7,12; the first eight if not given."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given."""
    generator: Path | None = None
    """Generator file; the shipped one if not given."""
    truncation: float = 0.7
    """Truncation of the generated faces."""
    maps: Path | None = None
    """File for the numbers (.npz); not written if not given. It holds depth, albedo, normals, view, light and semantics
    of each face."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("seeds", "generator"):
            if self.images is not None and getattr(self, name) is not None:
                raise ConfigError(f"--images and --{name} were given, expected one of them; leave one out")
        if not 1 <= self.faces <= MAX_FACES:
            raise ConfigError(f"faces is {self.faces}, expected 1 to {MAX_FACES}; take more apart in parts")
        check_bounds(self, "truncation", above=0, most=1)
        for path, option, suffix in ((self.out, "--out", ".png"), (self.maps, "--maps", ".npz")):
            if path is None:
                continue
            if path.suffix.lower() != suffix:
                raise ConfigError(f"{option} is {path}, expected a name in {suffix}")
            if not path.absolute().parent.is_dir():
                raise InputError(f"the folder {path.parent} does not exist; create it or choose another {option}")
