"""Settings of `lineament edit`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device
from lineament.records.formats import ANIMATION_SUFFIXES

_CommaSeparated = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME,NAME,...|none|auto",
    instance_from_str=lambda words: None if words[0].strip() == "auto" else _split_names(words[0]),
    is_instance=lambda value: value is None or isinstance(value, tuple),
    str_from_instance=lambda names: ["auto" if names is None else ",".join(names) or "none"],
)


def _split_names(text: str) -> tuple[str, ...]:
    return () if text in ("", "none") else tuple(name.strip() for name in text.split(","))


@dataclass(frozen=True)
class EditConfig:
    """Edit faces by requested amounts, in the atlas's units: a generator's own, or photographs inverted by
    `lineament invert`; without files, the shipped ones are used.

    An edit is name=number. With a sign it is a change: yaw=+20 turns every face by 20 degrees. Without a sign, or
    after @, it is a value to reach: yaw=0 and yaw=@-20 turn every face to 0 and to -20 degrees. What is not edited is
    held (see --hold). The table on standard output says what was asked and what the decomposer measures afterwards.

    Example: ``lineament edit --atlas found/atlas.safetensors --seeds 0-7 yaw=+20 light_x=-0.5 --out faces.png``
    Example: ``lineament edit --photographs inversions.safetensors yaw=0 --out frontal.png``
    """

    edits: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME=NUMBER ...", help_behavior_hint="(at least one)"),
    ]
    """What to change, such as yaw=+20 or light_x=-0.5; `lineament inspect` lists an atlas's names."""
    out: Path = Path("edited.png")
    """Picture (.png) or animation (.gif, .webp, .mp4)."""
    atlas: Path | None = None
    """Atlas; the shipped one if not given."""
    generator: Path | None = None
    """The atlas's generator; the shipped one if not given."""
    decomposer: Path | None = None
    """The atlas's decomposer, to measure with; the shipped one if not given and if it is the atlas's."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    photographs: Path | None = None
    """Photographs inverted by `lineament invert`, instead of the generator's own faces."""
    paste_back: bool = True
    """Put back what the inversion of a photograph misses where the edit leaves the image alone, so that an unedited
    photograph returns itself."""
    seeds: str | None = None
    """Which faces: numbers and ranges, such as 0-7,12; of photographs their places in the file. The first eight
    if not given."""
    run_seed: Advanced[int] = 0
    """Seed of the run whose images --seeds counts; image i of a run depends on (run_seed, i) alone."""
    truncation: float | None = None
    """Truncation of the faces; the atlas's if not given."""
    steps: int = 1
    """Pictures from none to the full edit, beside the unedited face."""
    symmetric: bool = False
    """From minus the edit to plus the edit, instead of from none."""
    grid: bool = False
    """Of two edits, a square for each face: the first grows downwards, the second to the right."""
    hold: Annotated[tuple[str, ...] | None, _CommaSeparated] = None
    """What to keep as it is while editing; auto keeps all that can be kept without leaving the region of faces, and
    moves layers apart for it. Named ones are kept by a step that is the same for all layers."""
    plain: Advanced[bool] = False
    """Take the shortest step in w (the textbook's v / v'v): nothing held, not calibrated. For comparison."""
    layers: str | None = None
    """Edit w at these layers of the generator only, such as 4-9 (coarse ones come first); if not given, at those of
    each direction. Less follows, and less is achieved: the sizes of steps are those of all layers."""
    frames: int = 48
    """Pictures of an animation, from none to the full edit and back."""
    fps: Advanced[float] = 24.0
    """Pictures per second of an animation."""
    scale: int = 2
    """Whole factor by which faces are enlarged."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        if not self.edits:
            raise ConfigError("no edit was given; add one such as yaw=+20")
        check_bounds(self, "steps", "scale", least=1)
        check_bounds(self, "frames", least=2)
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "fps", above=0, most=100)
        if self.photographs is not None and self.truncation is not None:
            raise ConfigError("--photographs have their own latents; leave --truncation out")
        if self.grid and (len(self.edits) != 2 or self.out.suffix.lower() != ".png"):
            raise ConfigError(f"--grid takes two edits and a name in .png, got {len(self.edits)} and {self.out}")
        if self.out.suffix.lower() not in (".png", *ANIMATION_SUFFIXES):
            raise ConfigError(f"--out is {self.out}, expected a name in .png, {', '.join(ANIMATION_SUFFIXES)}")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
