"""Settings of `lineament train decomposer`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Devices
from lineament.records.shapes import DecomposerConfig


@dataclass(frozen=True)
class LossConfig:
    """Terms of the loss."""

    flip_weight: Advanced[float] = 0.5
    """Weight of the reconstruction from mirrored canonical maps."""
    perceptual_weight: Advanced[float] = 0.5
    """Weight of the perceptual term."""
    contour_slope: Advanced[float] = 10.0
    """Gradients of the depth are scaled down where the surface is steeper than this as seen; 0 leaves them."""
    cycle_weight: Advanced[float] = 1.0
    """Weight of the error of view and light on images rendered from the decomposer's own canonical maps in views and
    lights drawn at random, where the answer is known."""
    latent_weight: float = 0.0
    """Weight of the change of albedo and canonical depth between samples of a generator that show one face in two
    poses or lights (`latent_loss`); 0 makes no such pairs. 3 is good for a trained decomposer and its atlas."""


@dataclass(frozen=True)
class TrainDecomposerConfig:
    """Settings of a decomposer's training.

    Example: ``lineament train decomposer --generator runs/faces/generator.safetensors --out runs/faces-3d``
    """

    out: Path
    """Run folder; the same command goes on where it stopped."""
    generator: Path | None = None
    """Generator whose samples are taken apart."""
    images: Path | None = None
    """Folder or zip of images to take apart, instead of samples or beside them."""
    supervise: Advanced[Path | None] = None
    """Folder of faces with their truth to learn from, instead of both: not our method but a bound to measure it
    against."""
    validation: Path | None = None
    """Folder of faces with known depth, on which every snapshot is scored beside the mean depth; never learned from."""
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term. If not given, the discriminator.safetensors beside the
    generator is taken; if there is none, or with --loss.perceptual-weight 0, only pixels are compared."""
    network: DecomposerConfig = field(default_factory=DecomposerConfig)
    """Shape of the decomposer."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Terms of the loss."""
    steps: int = 10000
    """Length of the training."""
    batch_size: int = 8
    """Images per step, over all devices. A step of 8 teaches nearly as much as one of 16, so on a CPU small batches
    learn most; an accelerator wants larger ones."""
    generated_fraction: Advanced[float] = 0.5
    """Share of generated images in a batch where both sources are given."""
    truncation: Advanced[float] = 0.8
    """Truncation of the generator's samples."""
    learning_rate: float = 5e-4
    """Adam's learning rate."""
    adam_beta2: Advanced[float] = 0.99
    """Adam's memory of squared gradients. With the usual 0.999 a gradient after a calm stretch may move every weight
    by three times the learning rate; with 0.99 by no more than the learning rate."""
    weight_decay: Advanced[float] = 0.0
    """Adam's weight decay."""
    warmup_steps: Advanced[int] = 100
    """Steps in which the learning rate rises from 0: Adam's first steps are its largest."""
    decay: Advanced[float] = 0.4
    """Last share of the steps, in which the learning rate falls to a twentieth; 0 keeps it."""
    init: Path | None = None
    """Decomposer to go on from, instead of an ellipsoid; how sure it is, it learns anew."""
    he_init: Advanced[bool] = True
    """Whether weights start as `Decomposer.init_he` says instead of by PyTorch's default."""
    ellipsoid: Advanced[bool] = True
    """Whether the mean shape starts as an ellipsoid, which is convex, so never a hollow mask; else it starts flat."""
    hold_depth_steps: Advanced[int] = 200
    """First steps in which the depth stays as it starts: else it grows deeper before the view network has learned to
    turn, and half the turning of a face twice as deep looks much the same (the bas-relief ambiguity)."""
    clip_norm: Advanced[float] = 1.0
    """Largest norm of the gradient of each of the five networks; 0 turns clipping off. One limit for all together lets
    a single wild batch, whose gradient is all in the view network, throw that network's weights about."""
    ema_steps: Advanced[float] = 100.0
    """Half-life of the weight average in steps; 0 takes the weights as they are."""
    latent_atlas: Path | None = None
    """Atlas of the generator, whose steady steps make the pairs of --loss.latent-weight. Without one the steps are
    found while training, and take more of the person along."""
    latent_refresh_steps: Advanced[int] = 250
    """Steps after which directions that no atlas gives are found anew."""
    recover: Advanced[bool] = True
    """Whether a collapsed training goes on from its last healthy snapshot; else the collapse is only said."""
    snapshot_steps: int = 250
    """Steps between two snapshots."""
    cache: Advanced[Path | None] = None
    """Folder for the decoded images; in the run folder if not given."""
    seed: int = 0
    """Of everything random."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.generator is None and self.images is None and self.supervise is None:
            raise ConfigError("nothing to train on: give --generator, --images or both")
        if self.supervise is not None and (self.generator is not None or self.images is not None):
            raise ConfigError("--supervise trains with the truth alone; leave --generator and --images out")
        if self.latent_atlas is not None and self.generator is None:
            raise ConfigError("--latent-atlas makes pairs of a generator's samples; give its --generator")
        if self.latent_atlas is not None and not self.loss.latent_weight:
            raise ConfigError("--latent-atlas has no effect without --loss.latent-weight; give 3, for example")
        if not self.network.confidence:
            raise ConfigError("training needs the network's confidence; leave --network.no-confidence out")
        check_bounds(self, "steps", "batch_size", "learning_rate", "snapshot_steps", "latent_refresh_steps", above=0)
        check_bounds(self, "generated_fraction", "decay", least=0, most=1)
        if not 0 <= self.adam_beta2 < 1:
            raise ConfigError(f"adam_beta2 is {self.adam_beta2}, expected 0 to below 1")
