"""Settings of `lineament train decomposer`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Devices
from lineament.records.image_paths import ImagePaths, check_image_paths
from lineament.records.shapes import DecomposerConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss."""

    flip_weight: Advanced[float] = 0.5
    """Weight of the reconstruction from mirrored canonical maps."""
    perceptual_weight: Advanced[float] = 0.5
    """Weight of the perceptual term."""
    contour_slope: Advanced[float] = 10.0
    """Slope of the surface, as seen, above which gradients of the depth are scaled down. 0 turns this off."""
    cycle_weight: Advanced[float] = 1.0
    """Weight of the error of view and light on images with known view and light. These are rendered from the
    decomposer's own canonical maps in random views and lights."""
    latent_weight: float = 0.0
    """Penalty on changes of albedo and depth between samples of one face in two poses or lights. The depth is the
    canonical depth, and the samples are a generator's (`latent_loss`). 0 makes no such pairs. 3 is good for a trained
    decomposer and its atlas."""

    def __post_init__(self) -> None:
        check_numbers(self, group="loss.")


@dataclass(frozen=True)
class TrainDecomposerConfig:
    """Train a decomposer: a network that splits faces into depth, albedo, view and light.

    Example: ``lineament train decomposer --generator runs/faces/generator.safetensors --out runs/faces-3d``
    """

    out: Path
    """Run folder; the same command continues a stopped run."""
    generator: Path | None = None
    """Generator file whose samples are trained on; only --images if not given."""
    images: ImagePaths = ()
    """Folders and zips of images to train on, instead of samples or with them; only samples if not given."""
    supervise: Advanced[Path | None] = None
    """Folder of faces with truth to train on, instead of --generator and --images; none if not given. This is not our
    method, but a bound to measure it against."""
    validation: Path | None = None
    """Folder of faces with known depth to score every snapshot on; no scores if not given. The mean depth is scored for
    comparison. These faces are never trained on."""
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term; the one beside the generator if not given. Beside the
    generator it is called discriminator.safetensors. If there is none, or with --loss.perceptual-weight 0, only pixels
    are compared."""
    network: DecomposerConfig = field(default_factory=DecomposerConfig)
    """Shape of the decomposer."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the terms of the loss."""
    steps: int = 10000
    """Number of training steps."""
    batch_size: int = 8
    """Number of images per step, over all devices. A step of 8 teaches nearly as much as one of 16, so on a CPU small
    batches learn most. On an accelerator use larger ones."""
    generated_fraction: Advanced[float] = 0.5
    """Share of generated images in a batch if both sources are given."""
    turned_share: float = 0.0
    """Share of the photographs in a batch that are drawn evenly over how far they turn, as --init reads them. Otherwise
    wide turns are rare."""
    truncation: Advanced[float] = 0.8
    """Truncation of the generator's samples."""
    jitter: Advanced[float] = 1.0
    """Strength of random changes of framing, colour and sharpness, so that pose and light do not depend on the crop and
    the camera. 0 leaves the images as they are."""
    learning_rate: float = 5e-4
    """Learning rate of Adam."""
    adam_beta2: Advanced[float] = 0.99
    """Decay rate of Adam's average of squared gradients. With the usual 0.999, a gradient after a calm stretch may move
    every weight by three times the learning rate; with 0.99, by no more than the learning rate."""
    weight_decay: Advanced[float] = 0.0
    """Weight decay of Adam."""
    warmup_steps: Advanced[int] = 100
    """Number of steps in which the learning rate rises from 0. Adam's first steps are its largest."""
    decay: Advanced[float] = 0.4
    """Share of the steps, at the end, in which the learning rate falls to a twentieth. 0 keeps it constant."""
    init: Path | None = None
    """Decomposer file to start from; a mean head or an ellipsoid if not given. Its confidence is learned anew."""
    he_init: Advanced[bool] = True
    """Initialise weights by `Decomposer.init_he` instead of PyTorch's default."""
    ellipsoid: Advanced[bool] = True
    """Start a learned mean shape as an ellipsoid instead of flat. An ellipsoid is convex, so the shape is never a
    hollow mask."""
    hold_depth_steps: Advanced[int] = 200
    """Number of first steps in which the depth is kept as it starts. Otherwise the depth grows before the view network
    has learned to turn. Half the rotation of a face twice as deep looks much the same (the bas-relief ambiguity)."""
    clip_norm: Advanced[float] = 1.0
    """Maximum gradient norm of each of the five networks. 0 turns clipping off. With one limit for all together, a
    single outlier batch, whose gradient is all in the view network, could spoil that network's weights."""
    ema_steps: Advanced[float] = 100.0
    """Half-life of the weight average, in steps. 0 uses the weights as they are."""
    latent_atlas: Path | None = None
    """Atlas file for the pairs of --loss.latent-weight; steps found while training if not given. It must be the
    generator's. Pairs are made by its steady steps; steps found while training change more of the person."""
    latent_refresh_steps: Advanced[int] = 250
    """Number of steps after which directions are found anew, without --latent-atlas."""
    recover: Advanced[bool] = True
    """Go back to the last healthy snapshot if the training collapses. Otherwise the collapse is only reported."""
    snapshot_steps: int = 250
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
        if self.generator is None and not self.images and self.supervise is None:
            raise ConfigError("nothing to train on: give --generator, --images or both")
        if self.supervise is not None and (self.generator is not None or self.images):
            raise ConfigError("--supervise trains with the truth alone; leave --generator and --images out")
        if self.latent_atlas is not None and self.generator is None:
            raise ConfigError("--latent-atlas makes pairs of a generator's samples; give its --generator")
        if self.latent_atlas is not None and not self.loss.latent_weight:
            raise ConfigError("--latent-atlas has no effect without --loss.latent-weight; give 3, for example")
        if not self.network.confidence:
            raise ConfigError("training needs the network's confidence; leave --network.no-confidence out")
        check_bounds(self, "steps", "learning_rate", "snapshot_steps", "latent_refresh_steps", above=0)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "generated_fraction", "turned_share", "decay", least=0, most=1)
        if self.turned_share and (self.init is None or not self.images):
            raise ConfigError("--turned-share draws --images by how far --init reads them turned; give both")
        check_bounds(self, "truncation", above=0, most=1)
        check_bounds(self, "jitter", least=0, most=2)
        if not 0 <= self.adam_beta2 < 1:
            raise ConfigError(f"adam_beta2 is {self.adam_beta2}, expected 0 to below 1")
