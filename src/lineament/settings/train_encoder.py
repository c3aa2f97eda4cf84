"""Settings of `lineament train encoder`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Devices
from lineament.records.inversion_settings import LikenessConfig
from lineament.records.shapes import EncoderConfig


@dataclass(frozen=True)
class TrainEncoderConfig:
    """Settings of an encoder's training; the defaults take half an hour at 64 px on one core.

    Example: ``lineament train encoder --images faces.zip --out runs/faces-encoder``
    """

    out: Path
    """Run folder; the same command goes on where it stopped."""
    images: Path | None = None
    """Folder or zip of photographs to refine it on; without any, it learns from the generator's samples alone."""
    generator: Path | None = None
    """Generator whose latents are predicted; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given."""
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term; the shipped one's with the shipped generator, else none
    if not given."""
    network: Advanced[EncoderConfig] = field(default_factory=EncoderConfig)
    """Shape of the encoder; the sizes of the latents and of the images, up to 64 px, are set by the generator."""
    likeness: Advanced[LikenessConfig] = field(default_factory=LikenessConfig)
    """What the generator's answer is compared with the image by."""
    steps: int = 6000
    """Length of the training."""
    latent_steps: Advanced[int] = 3000
    """First steps, which learn from latents alone; they cost a third."""
    batch_size: int = 16
    """Images per step, over all devices."""
    generated_fraction: Advanced[float] = 0.25
    """Share of the generator's samples in a batch after the first steps, if there are photographs."""
    least_truncation: Advanced[float] = 0.5
    """Samples are truncated by psi from here to 1."""
    held_out: Advanced[int] = 500
    """Photographs that are never trained on: the last of them, shuffled by the seed; at most a tenth of all."""
    distance_weight: Advanced[float] = 0.02
    """Pull of the common w towards the generator's mean w, in standard deviations squared."""
    offset_weight: Advanced[float] = 0.1
    """Pull of the layers' w towards the common one, in standard deviations squared."""
    learning_rate: float = 2e-3
    """Adam's learning rate."""
    warmup_steps: Advanced[int] = 100
    """Steps in which the learning rate rises from 0."""
    decay: Advanced[float] = 0.5
    """Last share of the steps, in which the learning rate falls to a twentieth; 0 keeps it."""
    ema_steps: Advanced[float] = 200.0
    """Half-life of the weight average in steps."""
    snapshot_steps: int = 500
    """Steps between two snapshots."""
    cache: Advanced[Path | None] = None
    """Folder for the decoded images; in the run folder if not given."""
    seed: int = 0
    """Of everything random."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "steps", "batch_size", "learning_rate", "snapshot_steps", "ema_steps", above=0)
        check_bounds(self, "latent_steps", "held_out", "distance_weight", "offset_weight", least=0)
        check_bounds(self, "generated_fraction", "least_truncation", "decay", least=0, most=1)
