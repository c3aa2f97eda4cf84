"""Settings of `lineament decompose`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device

MAX_FACES = 100


@dataclass(frozen=True)
class DecomposeConfig:
    """Take faces apart into depth, albedo, view and light, and put them together anew: turned and relit.

    The faces are a generator's or, with --images, photographs. The picture has a column for each face; the depth is
    shown as a relief lit from above left. Without files, the shipped networks are used.

    Example: ``lineament decompose --seeds 0-7 --out parts.png``
    """

    out: Path = Path("parts.png")
    """Picture (.png)."""
    images: Path | None = None
    """Folder or zip of images to take apart, instead of a generator's; cropped to squares like training images."""
    faces: int = 8
    """How many of --images, in the order of their names."""
    seeds: str | None = None
    """Which of the generator's faces: numbers and ranges, such as 0-7,12; 0-7 if not given."""
    decomposer: Path | None = None
    """The network that takes apart; the shipped one if not given."""
    generator: Path | None = None
    """The network that draws the faces; the shipped one if not given."""
    truncation: float = 0.7
    """Truncation of the generator's faces."""
    maps: Path | None = None
    """File (.npz) for the numbers: depth, albedo, normals, view, light and semantics of each face."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
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
