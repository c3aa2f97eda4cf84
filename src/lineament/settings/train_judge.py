"""Settings of `lineament train judge`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device
from lineament.records.shapes import JudgeConfig


@dataclass(frozen=True)
class TrainJudgeConfig:
    """Settings of a judge's training; the defaults take two hours at 64 px on one core, and half of that with
    ``--on.precision bf16-mixed`` on a processor that knows that type.

    Example: ``lineament train judge --truth renders/train64 --test renders/test64 --out runs/judge``
    """

    truth: Path
    """Folder of rendered faces with their truth, to learn from."""
    test: Path
    """Another such folder, on which the judge is scored."""
    out: Path
    """Run folder; the same command goes on where it stopped."""
    network: Advanced[JudgeConfig] = field(default_factory=JudgeConfig)
    """Shape of the judge; the attributes are those of the truth."""
    steps: int = 20000
    """Length of the training."""
    batch_size: int = 64
    """Images per step."""
    learning_rate: float = 3e-3
    """Largest learning rate of AdamW; it rises over the first twentieth of the steps and then falls to 0."""
    weight_decay: Advanced[float] = 0.05
    """AdamW's, of all weights but biases and normalisations."""
    shift_px: Advanced[int] = 2
    """Images are shifted at random by up to so many pixels ..."""
    blur: Advanced[float] = 1.0
    """... mixed with their blurred copy by up to this share ..."""
    noise: Advanced[float] = 0.06
    """... and get noise of up to this standard deviation: generated images are neither sharp nor clean."""
    snapshot_steps: int = 500
    """Steps between two snapshots."""
    cache: Advanced[Path | None] = None
    """Folder for the decoded images; in the run folder if not given."""
    seed: int = 0
    """Of everything random."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "steps", "batch_size", "learning_rate", "snapshot_steps", above=0)
        check_bounds(self, "weight_decay", "shift_px", "noise", least=0)
        check_bounds(self, "blur", least=0, most=1)
