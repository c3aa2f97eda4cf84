"""Settings of `lineament train generator`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import TrainingDevices
from lineament.records.shapes import GeneratorConfig


@dataclass(frozen=True)
class TrainGeneratorConfig:
    """Settings of a generator's training; the defaults suit 64 px on a CPU.

    Example: ``lineament train generator --images faces.zip --out runs/faces``
    """

    images: Path
    """Folder or zip of PNG, JPEG or WebP images."""
    out: Path
    """Run folder; the same command goes on where it stopped."""
    network: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Shape of the generator (and of the discriminator)."""
    start_from: Path | None = None
    """Trained generator of ours to begin with; the discriminator.safetensors beside it, if there is one, comes along.
    From one of a lower resolution the features are kept and their colours learned anew."""
    warmup_kimg: Advanced[float] = 0.0
    """Thousands of images in which the discriminator learns alone, with Adam's usual momentum and without penalty, so
    that a trained generator meets one as good. Where none comes along, less than 12 leave it blind: without momentum it
    does not begin to see differences as small as those of good images."""
    kimg: float = 400.0
    """Length of the training in thousands of images shown to the discriminator."""
    batch_size: int = 16
    """Images per step, over all devices."""
    learning_rate: float = 2e-3
    """Adam's learning rate of the generator ..."""
    discriminator_rate: Advanced[float] = 1.0
    """... and the discriminator's, as a multiple of it."""
    r1_gamma: float = 1.0
    """Weight of the R1 penalty."""
    r1_interval: Advanced[int] = 16
    """Steps between two R1 penalties (lazy regularisation)."""
    path_length_weight: Advanced[float] = 2.0
    """Weight of the path length regularisation; 0 turns it off."""
    path_length_interval: Advanced[int] = 8
    """Steps between two path length regularisations."""
    style_mixing: Advanced[float] = 0.5
    """Probability that an image is made from two latents."""
    mirror: bool = True
    """Mirror half of the training images."""
    augment_target: Advanced[float] = 0.6
    """Overfitting heuristic r_t that the augmentation probability is steered to; 0 turns augmentation off."""
    augment_kimg: Advanced[float] = 500.0
    """Thousands of images in which the augmentation probability can go from 0 to 1."""
    ema_kimg: Advanced[float] = 5.0
    """Half-life of the weight average in thousands of images."""
    ema_rampup: Advanced[float] = 0.05
    """The half-life is at most this fraction of the images seen so far."""
    snapshot_kimg: float = 20.0
    """Thousands of images between two snapshots."""
    eval_images: Advanced[int] = 1024
    """Images compared for the sliced Wasserstein distance at every snapshot."""
    seed: int = 0
    """Of everything random."""
    devices: Annotated[TrainingDevices, tyro.conf.arg(name="on")] = field(default_factory=TrainingDevices)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "warmup_kimg", least=0)
        check_bounds(
            self,
            "kimg",
            "batch_size",
            "learning_rate",
            "discriminator_rate",
            "r1_interval",
            "path_length_interval",
            "snapshot_kimg",
            above=0,
        )
        if not 0 <= self.style_mixing <= 1:
            raise ConfigError(f"style_mixing is {self.style_mixing}, expected a probability")
