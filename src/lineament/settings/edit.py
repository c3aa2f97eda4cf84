"""Settings of `lineament edit`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError, InputError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device
from lineament.records.formats import ANIMATION_SUFFIXES
from lineament.records.like import Like, like_of

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
    """Edit generated faces or inverted photographs by requested amounts, in the atlas's units.

    Photographs are inverted by `lineament invert` first. Without files, the shipped networks are used.

    An edit is name=number. With a sign it is a change: yaw=+20 turns every face by 20 degrees. A number without a sign,
    or after an @, is a target: yaw=0 and yaw=@-20 turn every face to 0 and to -20 degrees. What is not edited is held
    (see --hold). The table on standard output shows the requested values and what the decomposer measures afterwards.

    Example: ``lineament edit --atlas found/atlas.safetensors --seeds 0-7 yaw=+20 light_x=-0.5 --out faces.png``
    Example: ``lineament edit --photographs inversions.safetensors yaw=0 --out frontal.png``
    """

    edits: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME=NUMBER ...", help_behavior_hint="(at least one)"),
    ]
    """Edits, such as yaw=+20 (a change) or yaw=0 (a target); `lineament inspect` lists an atlas's names."""
    out: Path = Path("edited.png")
    """Picture (.png) or animation (.gif, .webp, .mp4) to write."""
    atlas: Path | None = None
    """Atlas file; the shipped one if not given."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It measures the faces, and must be the decomposer of the atlas.
    The shipped one is only used if it is."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    photographs: Path | None = None
    """File of photographs inverted by `lineament invert`; generated faces if not given."""
    paste_back: bool = True
    """Put back the error of the inversion where the edit leaves a photograph unchanged. An unedited photograph then
    returns itself."""
    seeds: str | None = None
    """Numbers of the faces, such as 0-7,12; the first eight if not given. Numbers of photographs are their places in
    the file."""
    run_seed: Advanced[int] = 0
    """Seed of the run whose images --seeds counts. Image i of a run depends on (run_seed, i) alone."""
    truncation: float | None = None
    """Truncation of the generated faces; the atlas's if not given."""
    truncation_cutoff: Advanced[int | None] = None
    """Number of layers, from the coarsest, that truncation acts on; 0 for all. If not given, all, but for the first
    StyleGAN 8 as in the original."""
    steps: int = 1
    """Number of pictures up to the full edit, beside the unedited face."""
    symmetric: bool = False
    """Go from minus the edit to plus the edit, instead of from the unedited face."""
    grid: bool = False
    """Draw a square of pictures for each face, for two edits. The first edit grows downwards, the second to the
    right."""
    like: Like | None = None
    """How pose and light are edited. carried: the face's own pixels are moved by its depth and shaded anew, and the
    generator draws what was hidden; so the person stays. linear: the generator draws all. If not given, carried where
    the decomposer is at hand, and linear with --hold, --layers or --plain. Parts of the face are always drawn by the
    generator."""
    hold: Annotated[tuple[str, ...] | None, _CommaSeparated] = None
    """Semantics to keep fixed while editing; auto (the default) holds all that can be held. That is all that can be
    held without leaving the region of faces, with steps that differ per layer. Naming semantics uses one step for all
    layers."""
    plain: Advanced[bool] = False
    """Use the shortest step in w, for comparison. It is the textbook's v / v'v; it holds nothing and is not
    calibrated."""
    layers: str | None = None
    """Layers of the generator to edit, such as 4-9 (coarse first); those of each direction if not given. With fewer
    layers, less changes along and less is achieved, because step sizes are those for all layers."""
    frames: int = 48
    """Number of pictures of an animation, from unedited to the full edit and back."""
    fps: Advanced[float] = 24.0
    """Pictures per second of an animation."""
    scale: int = 2
    """Whole factor by which faces are enlarged."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    @property
    def latents_alone(self) -> bool:
        """Whether there are settings that only an edit by latents has."""
        return self.plain or self.hold is not None or self.layers is not None

    @property
    def way(self) -> Like:
        """How pose and light are edited."""
        return like_of(self.like, latents_alone=self.latents_alone)

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.edits:
            raise ConfigError("no edit was given; add one such as yaw=+20")
        check_bounds(self, "steps", least=1, most=1000)
        check_bounds(self, "scale", least=1, most=64)
        check_bounds(self, "frames", least=2, most=10_000)
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "truncation_cutoff", least=0)
        check_bounds(self, "fps", above=0, most=100)
        if self.like == "carried" and self.latents_alone:
            raise ConfigError("--like carried changes pose and light alone; leave --hold, --layers and --plain out")
        if self.photographs is not None and self.truncation is not None:
            raise ConfigError("--photographs have their own latents; leave --truncation out")
        if self.grid and (len(self.edits) != 2 or self.out.suffix.lower() != ".png"):
            raise ConfigError(f"--grid takes two edits and a name in .png, got {len(self.edits)} and {self.out}")
        if self.out.suffix.lower() not in (".png", *ANIMATION_SUFFIXES):
            raise ConfigError(f"--out is {self.out}, expected a name in .png, {', '.join(ANIMATION_SUFFIXES)}")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")
