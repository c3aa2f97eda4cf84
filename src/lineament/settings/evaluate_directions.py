"""Settings of `lineament evaluate directions`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device

METHOD_NAMES = (
    *("ours", "ours, 512 samples", "ours, layers alike"),
    *("supervised, pose and light", "supervised, nothing held", "supervised, all held"),
    *("InterFaceGAN", "InterFaceGAN, conditional"),
    *("GANSpace (w)", "GANSpace (w), by layers", "GANSpace (activations)"),
    *("SeFa", "SeFa, by layers", "random"),
)
"""Rows of the tables; what each does stands in `lineament.recipes.evaluate.direction_methods`."""


@dataclass(frozen=True)
class EvaluateDirectionsConfig:
    """Settings of the comparison; without files, the shipped networks that learned from renders are used.

    Example: ``lineament evaluate directions --judge runs/judge/judge.safetensors --out directions.json``
    """

    judge: Path | None = None
    """Judge, of `train judge`; the shipped one if not given."""
    atlas: Path | None = None
    """Our atlas; the shipped one if not given."""
    generator: Path | None = None
    """Its generator; the shipped one if not given."""
    decomposer: Path | None = None
    """Its decomposer; the shipped one if not given."""
    discriminator: Advanced[Path | None] = None
    """The generator's discriminator, which says how far an edit may go; without it the judge's identity alone does."""
    pair: Pair = "renders64"
    """Shipped networks that stand in for files not given: those whose images the judge knows."""
    directions: tuple[Path, ...] = ()
    """Atlases of other origins to be compared, too, such as those of `peers` or of imported directions."""
    methods: tuple[str, ...] = ()
    """Rows of the tables; all if not given."""
    out: Path | None = None
    """JSON file for the numbers."""
    report: Path | None = None
    """HTML page for the pictures."""
    faces: int = 64
    """Faces that are edited and judged."""
    screened: Advanced[int] = 16
    """Other faces, on which the judge chooses directions and sizes of steps."""
    samples: int = 10000
    """Samples for each method that looks at samples; as many are labelled for those that need labels."""
    components: Advanced[int] = 32
    """Directions of methods without names."""
    codes: Advanced[int] = 1500
    """Faces for the scores of all directions of a method together; 0 leaves them out."""
    seeds: Advanced[int] = 3
    """Times that a method is run whose directions depend on chance."""
    seed: int = 7777
    """Of the faces; must not be the atlas's own."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "faces", "screened", "samples", "components", least=2)
        check_bounds(self, "seeds", least=1)
        if 0 < self.codes < 40 or self.codes < 0:
            raise ConfigError(f"codes is {self.codes}, expected 40 or more, or 0 to leave them out")
        for name in self.methods:
            if name not in METHOD_NAMES:
                raise ConfigError(f"no method {name!r}; expected some of {', '.join(map(repr, METHOD_NAMES))}")
