"""Settings of `lineament train judge`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import TrainingDevice
from lineament.records.shapes import JudgeConfig


@dataclass(frozen=True)
class TrainJudgeConfig:
    """Train a judge: a network that reads attributes of faces, trained on renders with known truth. The defaults take
    two hours at 64 px on one core, half of that with ``--on.precision bf16-mixed`` on a processor that knows that type.

    Example: ``lineament train judge --truth renders/train64 --test renders/test64 --out runs/judge``
    """

    truth: Path
    """Folder of rendered faces with their truth, to train on."""
    test: Path
    """Folder of other rendered faces with their truth, to score the judge on."""
    out: Path
    """Run folder; the same command continues a stopped run."""
    network: Advanced[JudgeConfig] = field(default_factory=JudgeConfig)
    """Shape of the judge. The attributes are those of the truth."""
    steps: int = 20000
    """Number of training steps."""
    batch_size: int = 64
    """Number of images per step."""
    learning_rate: float = 3e-3
    """Maximum learning rate of AdamW. It rises over the first twentieth of the steps and then falls to 0."""
    weight_decay: Advanced[float] = 0.05
    """Weight decay of AdamW, for all weights but biases and normalisations."""
    shift_px: Advanced[int] = 2
    """Maximum random shift of the training images, in pixels."""
    blur: Advanced[float] = 1.0
    """Maximum share of a blurred copy that is mixed into a training image. Generated images are not sharp."""
    noise: Advanced[float] = 0.06
    """Maximum standard deviation of the noise added to training images. Generated images are not clean."""
    snapshot_steps: int = 500
    """Number of steps between snapshots."""
    cache: Advanced[Path | None] = None
    """Folder for the decoded images; in the run folder if not given."""
    seed: int = 0
    """Seed of everything random."""
    devices: Annotated[TrainingDevice, tyro.conf.arg(name="on")] = field(default_factory=TrainingDevice)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "steps", "learning_rate", "snapshot_steps", above=0)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "shift_px", least=0, most=64)
        check_bounds(self, "weight_decay", "noise", least=0)
        check_bounds(self, "blur", least=0, most=1)
