"""Settings of `lineament train details`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Device
from lineament.records.image_paths import ImagePaths, check_image_paths
from lineament.records.shapes import UpsamplerConfig


@dataclass(frozen=True)
class TrainDetailsConfig:
    """Give a trained generator twice the resolution. The defaults take less than an hour from 64 to 128 px on two
    cores.

    Example: ``lineament train details --images faces.zip --out runs/faces128``
    """

    images: ImagePaths
    """Folders and zips of photographs of at least twice the generator's size."""
    out: Path
    """Run folder; the same command continues a stopped run."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be trained by Lineament."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    channels: int = 0
    """Number of feature maps of the new block, or 0 for as many as the block before it has."""
    upsampler: Advanced[UpsamplerConfig] = field(default_factory=UpsamplerConfig)
    """Shape of the upsampler."""
    upsampler_steps: int = 4000
    """Number of steps in which the upsampler learns from photographs."""
    pixel_steps: Advanced[int] = 1000
    """Number of first steps in which the upsampler learns without a critic."""
    block_steps: int = 2000
    """Number of steps in which the new block learns from generated images."""
    batch_size: int = 8
    """Number of images per step."""
    critic_weight: Advanced[float] = 0.01
    """Weight of the critic's loss, beside the mean absolute difference of pixels."""
    r1_gamma: Advanced[float] = 0.1
    """Weight of the R1 penalty on the critic."""
    r1_interval: Advanced[int] = 16
    """Number of steps between R1 penalties."""
    learning_rate: Advanced[float] = 1e-3
    """Learning rate of Adam for the upsampler. It falls in the second half of a stage."""
    critic_learning_rate: Advanced[float] = 2e-3
    """Learning rate of Adam for the critic."""
    block_learning_rate: Advanced[float] = 2e-2
    """Learning rate of Adam for the new block."""
    held_out: Advanced[int] = 500
    """Number of photographs that are never trained on, at most a tenth of all."""
    ema_steps: Advanced[float] = 200.0
    """Half-life of the weight averages, in steps."""
    snapshot_steps: int = 500
    """Number of steps between snapshots."""
    eval_images: Advanced[int] = 1024
    """Number of images for the sliced Wasserstein distance at every snapshot."""
    seed: int = 0
    """Seed of everything random."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_image_paths(self.images)
        check_bounds(
            self,
            "learning_rate",
            "critic_learning_rate",
            "block_learning_rate",
            "r1_interval",
            "snapshot_steps",
            "ema_steps",
            "eval_images",
            above=0,
        )
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "channels", "upsampler_steps", "pixel_steps", "block_steps", "held_out", least=0)
        check_bounds(self, "critic_weight", "r1_gamma", least=0)
