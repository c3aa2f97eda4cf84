"""Settings of `lineament train encoder`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Devices
from lineament.records.image_paths import ImagePaths, check_image_paths
from lineament.records.inversion_settings import LikenessConfig
from lineament.records.shapes import EncoderConfig


@dataclass(frozen=True)
class TrainEncoderConfig:
    """Train an encoder: a network that finds the latents of photographs. The defaults take half an hour at 64 px on one
    core.

    Example: ``lineament train encoder --images faces.zip --out runs/faces-encoder``
    """

    out: Path
    """Run folder; the same command continues a stopped run."""
    images: ImagePaths = ()
    """Folders and zips of photographs to refine the encoder on; only the generator's samples if not given."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. The encoder predicts its latents."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term; if not given, the shipped one, or none with
    --generator."""
    network: Advanced[EncoderConfig] = field(default_factory=EncoderConfig)
    """Shape of the encoder. The generator sets the sizes of the latents and of the images, up to 64 px."""
    likeness: Advanced[LikenessConfig] = field(default_factory=LikenessConfig)
    """How the generator's reconstruction is compared with the image."""
    steps: int = 6000
    """Number of training steps."""
    latent_steps: Advanced[int] = 3000
    """Number of first steps, which learn from latents alone. Each costs a third of a later step."""
    batch_size: int = 16
    """Number of images per step, over all devices."""
    generated_fraction: Advanced[float] = 0.25
    """Share of generated images in a batch after the first steps, if there are photographs."""
    least_truncation: Advanced[float] = 0.5
    """Minimum truncation psi of the samples, which is drawn between this and 1."""
    held_out: Advanced[int] = 500
    """Number of photographs that are never trained on, at most a tenth of all. They are the last ones after shuffling
    by the seed."""
    distance_weight: Advanced[float] = 0.02
    """Penalty on the distance of the common w from the generator's mean w, in standard deviations squared."""
    offset_weight: Advanced[float] = 0.1
    """Penalty on the distance of the layers' w from the common one, in standard deviations squared."""
    learning_rate: float = 2e-3
    """Learning rate of Adam."""
    warmup_steps: Advanced[int] = 100
    """Number of steps in which the learning rate rises from 0."""
    decay: Advanced[float] = 0.5
    """Share of the steps, at the end, in which the learning rate falls to a twentieth. 0 keeps it constant."""
    ema_steps: Advanced[float] = 200.0
    """Half-life of the weight average, in steps."""
    snapshot_steps: int = 500
    """Number of steps between snapshots."""
    cache: Advanced[Path | None] = None
    """Folder for the decoded images; in the run folder if not given."""
    seed: int = 0
    """Seed of everything random."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_image_paths(self.images)
        check_bounds(self, "steps", "learning_rate", "snapshot_steps", "ema_steps", above=0)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "latent_steps", "held_out", "distance_weight", "offset_weight", least=0)
        check_bounds(self, "generated_fraction", "least_truncation", "decay", least=0, most=1)
