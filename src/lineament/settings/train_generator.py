"""Settings of `lineament train generator`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import TrainingDevices
from lineament.records.image_paths import ImagePaths, check_image_paths
from lineament.records.shapes import GeneratorConfig


@dataclass(frozen=True)
class TrainGeneratorConfig:
    """Train a StyleGAN2 generator on folders and zips of images. The defaults suit 64 px on a CPU.

    Example: ``lineament train generator --images faces.zip --out runs/faces``
    """

    images: ImagePaths
    """Folders and zips of images."""
    out: Path
    """Run folder; the same command continues a stopped run."""
    network: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Shape of the generator (and of the discriminator)."""
    start_from: Path | None = None
    """Generator file of Lineament to start from; random weights if not given. If there is a discriminator.safetensors
    beside it, that is used, too. From a generator of lower resolution or with fewer channels the features are kept,
    and their colours are learned anew."""
    warmup_kimg: Advanced[float] = 0.0
    """Train the discriminator alone first, for this many thousands of images. It has Adam's usual momentum and no
    penalty, so that a trained generator meets an equally good discriminator. Below 12, a fresh discriminator cannot yet
    see differences as small as those of good images; without momentum it does not begin to see them."""
    kimg: float = 400.0
    """Length of the training, in thousands of images shown to the discriminator."""
    batch_size: int = 16
    """Number of images per step, over all devices."""
    learning_rate: float = 2e-3
    """Learning rate of Adam for the generator."""
    discriminator_rate: Advanced[float] = 1.0
    """Learning rate of the discriminator, as a multiple of the generator's."""
    r1_gamma: float = 1.0
    """Weight of the R1 penalty."""
    r1_interval: Advanced[int] = 16
    """Number of steps between R1 penalties (lazy regularisation)."""
    path_length_weight: Advanced[float] = 2.0
    """Weight of the path length regularisation. 0 turns it off."""
    path_length_interval: Advanced[int] = 8
    """Number of steps between path length regularisations."""
    style_mixing: Advanced[float] = 0.5
    """Probability that an image is made from two latents."""
    mirror: bool = True
    """Mirror half of the training images."""
    augment_target: Advanced[float] = 0.6
    """Target of the overfitting heuristic r_t, which controls the augmentation probability. 0 turns augmentation
    off."""
    augment_kimg: Advanced[float] = 500.0
    """Thousands of images in which the augmentation probability can go from 0 to 1."""
    ema_kimg: Advanced[float] = 5.0
    """Half-life of the weight average, in thousands of images."""
    ema_rampup: Advanced[float] = 0.05
    """Maximum half-life of the weight average, as a share of the images seen so far."""
    snapshot_kimg: float = 20.0
    """Thousands of images between snapshots."""
    eval_images: Advanced[int] = 1024
    """Number of images for the sliced Wasserstein distance at every snapshot."""
    seed: int = 0
    """Seed of everything random."""
    devices: Annotated[TrainingDevices, tyro.conf.arg(name="on")] = field(default_factory=TrainingDevices)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_image_paths(self.images)
        check_bounds(self, "warmup_kimg", least=0)
        check_bounds(
            self,
            "kimg",
            "learning_rate",
            "discriminator_rate",
            "r1_interval",
            "path_length_interval",
            "snapshot_kimg",
            above=0,
        )
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "style_mixing", "augment_target", least=0, most=1)
        check_bounds(self, "augment_kimg", "eval_images", above=0)
