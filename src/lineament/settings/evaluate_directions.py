"""Settings of `lineament evaluate directions`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device

METHOD_NAMES = (
    *("ours", "ours, carried", "ours, 512 samples", "ours, layers alike"),
    *("supervised, pose and light", "supervised, nothing held", "supervised, all held"),
    *("InterFaceGAN", "InterFaceGAN, conditional"),
    *("GANSpace (w)", "GANSpace (w), by layers", "GANSpace (activations)"),
    *("SeFa", "SeFa, by layers", "random"),
    *("InterFaceGAN, carried", "GANSpace (w), carried", "SeFa, carried"),
)
"""Rows of the tables. `lineament.recipes.evaluate.direction_methods` defines the methods."""


@dataclass(frozen=True)
class EvaluateDirectionsConfig:
    """Compare directions of several methods on one generator, measured by a judge.

    Without files, the shipped networks trained on renders are used.

    Example: ``lineament evaluate directions --judge runs/judge/judge.safetensors --out directions.json``
    """

    judge: Path | None = None
    """Judge file from `train judge`; the shipped one if not given."""
    atlas: Path | None = None
    """Atlas file; the shipped one if not given. It holds our directions."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It must be the decomposer of the atlas."""
    discriminator: Advanced[Path | None] = None
    """Discriminator file of the generator, to limit edits; if not given, only the judge's identity limits them. A limit
    says how far an edit may go."""
    pair: Pair = "renders64"
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. The networks of faces128 draw the faces of faces64 with finer details. The default is
    the pair whose images the judge knows."""
    directions: tuple[Path, ...] = ()
    """Further atlases to compare, such as those of `peers` or of imported directions."""
    methods: tuple[str, ...] = ()
    """Methods to compare, as named in the rows of the tables; all if not given."""
    out: Path | None = None
    """JSON file for the numbers; not written if not given."""
    report: Path | None = None
    """HTML page for the pictures; not written if not given."""
    faces: int = 64
    """Number of faces that are edited and judged."""
    screened: Advanced[int] = 16
    """Number of other faces, on which the judge chooses directions and step sizes."""
    samples: int = 10000
    """Number of samples for each method that uses samples. Methods that need labels get as many labelled samples."""
    components: Advanced[int] = 32
    """Number of directions of methods that do not name them."""
    codes: Advanced[int] = 1500
    """Number of faces for the scores of all directions of a method together, or 0 to leave them out."""
    seeds: Advanced[int] = 3
    """Number of runs of a method whose directions depend on chance."""
    seed: int = 7777
    """Seed of the faces; it must differ from the atlas's seed."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "faces", "screened", "samples", "components", least=2)
        check_bounds(self, "seeds", least=1)
        if 0 < self.codes < 40 or self.codes < 0:
            raise ConfigError(f"codes is {self.codes}, expected 40 or more, or 0 to leave them out")
        for name in self.methods:
            if name not in METHOD_NAMES:
                raise ConfigError(f"no method {name!r}; expected some of {', '.join(map(repr, METHOD_NAMES))}")
