"""Train a decomposer on a generator's samples, on photographs, or on both; run the same command again to go on.

Source:
    Wu et al., CVPR 2020 (Unsup3D). Deviations, all switchable: the perceptual feature is the GAN's discriminator, the
    depth starts as an ellipsoid (Pan et al., "Do 2D GANs Know 3D Shape?", ICLR 2021), gradients are clipped, the
    weights are averaged, and no weight decay is used.
"""

import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament import __version__
from lineament.errors import ConfigError, MismatchError, NonFiniteError
from lineament.networks.decomposer import Decomposer, DecomposerConfig
from lineament.networks.perceptual import DiscriminatorFeatures, downsample_mask
from lineament.networks.stylegan2 import Generator
from lineament.ops.photometric import gaussian_loss, laplace_loss
from lineament.ops.render import render
from lineament.ops.seeding import philox, step_generator
from lineament.ops.shapes import ellipsoid_depth
from lineament.recipes.console import console, progress_bar
from lineament.recipes.devices import Devices, any_process, average_gradients, make_fabric
from lineament.recipes.figures import decomposition_rows
from lineament.recipes.models import (
    load_decomposer,
    load_features,
    load_generator,
    load_vgg16,
    network_fingerprint,
    save_network,
)
from lineament.recipes.run_folder import (
    GentleStop,
    RunFolder,
    flatten_module,
    flatten_optimizer,
    restore_module,
    restore_optimizer,
)
from lineament.recipes.training_data import batch_indices, load_images, shrink, to_tensor
from lineament.records.decomposition import Decomposition
from lineament.store.pictures import save_png

_STREAM_INIT, _STREAM_STEP, _STREAM_PREVIEW = 1, 2, 5

FREE_SETTINGS = ("steps", "devices", "snapshot_steps", "learning_rate")
"""What may change in the middle of a training."""

ADAM_BETAS = (0.9, 0.99)
"""With the usual 0.999 a gradient after a calm stretch may move every weight by three times the learning rate; with
this by no more than the learning rate."""

TILT_RATE = 0.01
"""Share of a batch in the running mean of the pitch."""


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
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term. If not given, the discriminator.safetensors beside the
    generator is taken; if there is none, or with --perceptual-weight 0, only pixels are compared."""
    vgg16: Path | None = None
    """VGG16 weights, to use that network as the perceptual feature instead. It was trained on labels."""
    network: DecomposerConfig = field(default_factory=DecomposerConfig)
    """Shape of the decomposer."""
    steps: int = 12000
    """Length of the training."""
    batch_size: int = 24
    """Images per step, over all devices."""
    generated_fraction: float = 0.5
    """Share of generated images in a batch where both sources are given."""
    truncation: float = 0.8
    """Truncation of the generator's samples."""
    learning_rate: float = 2e-4
    """Adam's learning rate."""
    warmup_steps: int = 200
    """Steps in which the learning rate rises from 0: Adam's first steps are its largest."""
    flip_weight: float = 0.5
    """Weight of the reconstruction from mirrored canonical maps."""
    perceptual_weight: float = 0.5
    """Weight of the perceptual term."""
    contour_slope: float = 10.0
    """Gradients of the depth are scaled down where the surface is steeper than this as seen; 0 leaves them."""
    translation_weight: float = 0.0
    """Weight of the mean squared unit translation: turning and shifting are hard to tell apart."""
    smoothness_weight: float = 0.0
    """Weight of the mean absolute second difference of the canonical depth."""
    init: Path | None = None
    """Decomposer to go on from, instead of an ellipsoid."""
    ellipsoid_steps: int = 150
    """Steps in which the depth is first fitted to an ellipsoid; 0 starts from random depth."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of each of the five networks; 0 turns clipping off. One limit for all together lets
    a single wild batch, whose gradient is all in the view network, throw that network's weights about."""
    ema_steps: float = 250.0
    """Half-life of the weight average in steps."""
    snapshot_steps: int = 500
    """Steps between two snapshots."""
    seed: int = 0
    """Of everything random."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.generator is None and self.images is None:
            raise ConfigError("nothing to train on: give --generator, --images or both")
        if self.vgg16 is not None and self.features is not None:
            raise ConfigError("--features and --vgg16 are two perceptual features; give one")
        for name in ("steps", "batch_size", "learning_rate", "snapshot_steps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected more than 0")
        if not 0 <= self.generated_fraction <= 1:
            raise ConfigError(f"generated_fraction is {self.generated_fraction}, expected 0 to 1")


def features_path(config: TrainDecomposerConfig) -> Path | None:
    """The discriminator of the perceptual term: the one named, or the one beside the generator."""
    if config.perceptual_weight == 0 or config.features is not None or config.generator is None:
        return config.features if config.perceptual_weight else None
    beside = config.generator.with_name("discriminator.safetensors")
    return beside if beside.exists() else None


class FaceStream:
    """Batches of faces: samples of a generator, photographs, or both; batch i depends on (seed, i) alone."""

    def __init__(self, config: TrainDecomposerConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.generator: Generator | None = None
        self.photographs: np.ndarray | None = None
        if config.generator is not None:
            self.generator = load_generator(config.generator, fabric.device)
            found = self.generator.config.resolution
            if found < config.network.resolution:
                raise MismatchError(
                    f"{config.generator} makes {found} px images, the decomposer takes {config.network.resolution} px: "
                    "choose a smaller --network.resolution"
                )
        if config.images is not None:
            self.photographs = load_images(config.images, config.network.resolution, config.out / "cache", fabric)
        shares = {(True, False): 1.0, (False, True): 0.0}
        given = (self.generator is not None, self.photographs is not None)
        self.fraction = shares.get(given, config.generated_fraction)

    def batch(self, step: int, count: int, rng: torch.Generator) -> Float[Tensor, "n 3 h w"]:
        """The images of this step on this process, half of them mirrored."""
        num_generated = round(count * self.fraction)
        parts: list[Tensor] = []
        if self.generator is not None and num_generated:
            z = torch.randn(num_generated, self.generator.config.z_dim, generator=rng).to(self.fabric.device)
            with torch.no_grad():
                fake = self.generator(z, self.config.truncation).clamp(-1, 1)
            parts.append(shrink(fake, self.config.network.resolution))
        if self.photographs is not None and num_generated < count:
            start = (step * self.fabric.world_size + self.fabric.global_rank) * count
            indices = batch_indices(self.config.seed, len(self.photographs), start, count - num_generated)
            parts.append(to_tensor(np.stack([self.photographs[i] for i in indices])).to(self.fabric.device))
        images = torch.cat(parts)
        flip = torch.rand(count, generator=rng).to(images.device) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        return images.contiguous(memory_format=torch.channels_last)


class Trainer:
    """The decomposer, its optimizer and everything that a resumed training must get back."""

    def __init__(self, config: TrainDecomposerConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))
        decomposer: Any = Decomposer(config.network)
        self.decomposer: Decomposer = decomposer.to(fabric.device, memory_format=torch.channels_last)
        self.ema: Decomposer = copy.deepcopy(self.decomposer).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.decomposer.parameters(), lr=config.learning_rate, betas=ADAM_BETAS)
        self.features: nn.Module | None = None
        self.step = 0
        self.seconds = 0.0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors = flatten_module("decomposer", self.decomposer) | flatten_module("ema", self.ema)
        return tensors | flatten_optimizer("optimizer", self.optimizer), {"step": self.step, "seconds": self.seconds}

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """The inverse of `state`."""
        restore_module("decomposer", self.decomposer, tensors)
        restore_module("ema", self.ema, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
        self.step, self.seconds = counters["step"], counters["seconds"]

    def fit_ellipsoid(self, stream: FaceStream) -> None:
        """Start the depth as an ellipsoid, near 0.91 and far 1.02: convex, so never a hollow mask."""
        config = self.config
        if not config.ellipsoid_steps:
            return
        target = ellipsoid_depth(config.network.resolution, near=0.91, far=1.02).to(self.fabric.device)
        optimizer = torch.optim.Adam(self.decomposer.depth_net.parameters(), lr=5 * config.learning_rate)
        for index in range(config.ellipsoid_steps):
            rng = step_generator(config.seed, _STREAM_INIT, index + 1)
            images = stream.batch(index, config.batch_size // self.fabric.world_size, rng)
            loss = (self.decomposer.depth(images) - target).abs().mean() * 100
            optimizer.zero_grad()
            loss.backward()
            average_gradients(self.fabric, list(self.decomposer.depth_net.parameters()))
            optimizer.step()
        self.ema.load_state_dict(self.decomposer.state_dict())

    def train_step(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, float]:
        """One step of gradient descent on the published loss."""
        loss, values = decomposition_loss(self.decomposer, images, self.features, self.config)
        if any_process(self.fabric, not bool(torch.isfinite(loss.detach()))):
            raise NonFiniteError(f"the loss became {float(loss.detach())} at step {self.step}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters: list[Tensor] = list(self.decomposer.parameters())
        average_gradients(self.fabric, parameters)
        limit = self.config.clip_norm or math.inf
        norms = [nn.utils.clip_grad_norm_(part.parameters(), limit) for part in self.decomposer.children()]
        norm = torch.stack(norms).norm()
        if not bool(torch.isfinite(norm)):
            raise NonFiniteError(f"the gradient became {float(norm)} at step {self.step}")
        warmth = min((self.step + 1) / max(self.config.warmup_steps, 1), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warmth
        self.optimizer.step()
        decay = 0.5 ** (1 / max(min(self.config.ema_steps, (self.step + 1) * 0.1), 1e-8))
        with torch.no_grad():
            averages: list[Tensor] = list(self.ema.parameters())
            torch._foreach_lerp_(averages, parameters, 1 - decay)
            # The EMA's tilt is what its own views average to; it trails the trained one's by the same half-life.
            pitch = torch.tensor(math.radians(values["health/pitch_mean_deg"]))
            self.decomposer.tilt.lerp_(pitch.to(self.decomposer.tilt), TILT_RATE)
            self.ema.tilt.copy_(self.decomposer.tilt)
        return values | {"gradient_norm": float(norm)}


def decomposition_loss(
    decomposer: Decomposer,
    images: Float[Tensor, "n 3 h w"],
    features: nn.Module | None,
    config: TrainDecomposerConfig,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The published loss: reconstruct the image, also from mirrored canonical maps (Wu et al., Equation 3 to 6)."""
    n = len(images)
    parts = decomposer(images)
    twin = parts.mirrored()
    both = Decomposition(
        canon_depth=torch.cat([parts.canon_depth, twin.canon_depth]),
        canon_albedo=torch.cat([parts.canon_albedo, twin.canon_albedo]),
        view=parts.view.repeat(2, 1),
        light=parts.light.repeat(2, 1),
    )
    rendering = render(both, decomposer.camera, max_slope=config.contour_slope or None)
    recon = rendering.recon_image
    mask = torch.logical_and(rendering.recon_mask[:n], rendering.recon_mask[n:])
    sigma, feature_sigma = decomposer.sigmas(images)
    direct = laplace_loss(images, recon[:n], sigma[:, 0], mask)
    flipped = laplace_loss(images, recon[n:], sigma[:, 1], mask)
    loss = direct + config.flip_weight * flipped
    values = {"loss/pixels": float(direct.detach()), "loss/pixels_mirrored": float(flipped.detach())}
    if features is not None and config.perceptual_weight > 0:
        # Where the surface is not seen the target's own pixels stand in, so that the holes carry no error.
        filled = torch.where(mask.repeat(2, 1, 1)[:, None], recon, images.repeat(2, 1, 1, 1))
        with torch.no_grad():
            target = features(images)
        maps = features(filled)
        small = downsample_mask(mask, maps.shape[-1])
        perceptual = gaussian_loss(target, maps[:n], feature_sigma[:, 0], small)
        perceptual_flipped = gaussian_loss(target, maps[n:], feature_sigma[:, 1], small)
        loss = loss + config.perceptual_weight * (perceptual + config.flip_weight * perceptual_flipped)
        values["loss/features"] = float(perceptual.detach())
    if config.translation_weight:
        shift = parts.view[:, 3:5] / decomposer.config.max_translation
        loss = loss + config.translation_weight * shift.square().mean()
    if config.smoothness_weight:
        d = parts.canon_depth
        bend = (d[:, 2:] - 2 * d[:, 1:-1] + d[:, :-2]).abs().mean()
        bend = bend + (d[:, :, 2:] - 2 * d[:, :, 1:-1] + d[:, :, :-2]).abs().mean()
        loss = loss + config.smoothness_weight * bend * 100
    values["loss/total"] = float(loss.detach())
    values |= health(parts, (images - recon[:n]).abs().mean(dim=1), mask)
    return loss, values


def health(parts: Decomposition, error: Tensor, mask: Tensor) -> dict[str, float]:
    """Numbers that tell a healthy decomposition from a collapsed one; the loss alone does not."""
    depth, view = parts.canon_depth.detach(), torch.rad2deg(parts.view.detach()[:, :3])
    size = depth.shape[-1]
    correction = min(len(view) - 1, 1)  # the deviation of a single face is 0, not NaN
    middle, side = slice(int(size * 0.45), int(size * 0.55)), slice(int(size * 0.22), int(size * 0.3))
    rows = slice(int(size * 0.45), int(size * 0.65))
    relief = depth[:, rows, side].mean(dim=(1, 2)) - depth[:, rows, middle].mean(dim=(1, 2))
    return {
        "health/pixel_error": float((error.detach() * mask).sum() / mask.sum().clamp_min(1)),
        "health/seen": float(mask.float().mean()),
        "health/depth_std": float(depth.std(dim=(1, 2)).mean()),
        "health/convex_share": float((relief > 0).float().mean()),
        "health/pitch_mean_deg": float(view[:, 0].mean()),
        "health/pitch_std_deg": float(view[:, 0].std(correction=correction)),
        "health/yaw_std_deg": float(view[:, 1].std(correction=correction)),
        "health/roll_std_deg": float(view[:, 2].std(correction=correction)),
    }


def write_snapshot(trainer: Trainer, stream: FaceStream, folder: RunFolder, last: dict[str, float]) -> None:
    """The averaged decomposer, a picture of what it does, and (last) the resumable state."""
    config = trainer.config
    provenance = {
        "lineament": __version__,
        "steps": trainer.step,
        "batch_size": config.batch_size,
        "hours": round(trainer.seconds / 3600, 3),
        "images": config.images.name if config.images else None,
        "generator": network_fingerprint(stream.generator) if stream.generator else None,
        "scores": {k: v for k, v in last.items() if k.startswith("health/")},
    }
    header = config.network.to_dict()
    save_network(folder.path / "decomposer.safetensors", "decomposer", trainer.ema, header, provenance)
    if isinstance(trainer.features, DiscriminatorFeatures):
        path = folder.path / "features.safetensors"
        save_network(path, "features", trainer.features, trainer.features.config.to_dict(), provenance)
    preview = stream.batch(0, min(10, config.batch_size), step_generator(config.seed, _STREAM_PREVIEW, 0))
    samples = folder.path / "samples"
    samples.mkdir(exist_ok=True)
    save_png(samples / f"{trainer.step:06d}.png", decomposition_rows(trainer.ema, preview))
    folder.save_state(*trainer.state())


def run(config: TrainDecomposerConfig) -> Path:
    """Train, or go on training.

    Returns:
        The path of the decomposer.

    Raises:
        ImageError, FileFormatError: a source cannot be used.
        ConfigError: the run folder holds a training with other settings.
        NonFiniteError: the loss became NaN; the last snapshot is kept.
    """
    fabric = make_fabric(config.devices)
    if config.batch_size % fabric.world_size:
        raise ConfigError(f"batch_size {config.batch_size} does not divide by {fabric.world_size} processes")
    lead = fabric.is_global_zero
    with RunFolder(config.out, config, free=FREE_SETTINGS, lead=lead) as folder:
        return train(config, fabric, folder)


def train(config: TrainDecomposerConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    trainer = Trainer(config, fabric)
    stream = FaceStream(config, fabric)
    if config.vgg16 is not None:
        trainer.features = load_vgg16(config.vgg16, fabric.device)
    elif (features := features_path(config)) is not None:
        sample = stream.batch(0, 64, step_generator(config.seed, _STREAM_PREVIEW, 1))
        trainer.features = load_features(features, sample, fabric.device)
    if (saved := folder.load_state()) is not None:
        trainer.restore(*saved)
        console.print(f"going on at step {trainer.step}")
    elif config.init is not None:
        trainer.decomposer.load_state_dict(load_decomposer(config.init).state_dict())
        trainer.ema.load_state_dict(trainer.decomposer.state_dict())
    else:
        trainer.fit_ellipsoid(stream)
    if fabric.is_global_zero:
        folder.open_log(trainer.step)

    bar = progress_bar(disable=not fabric.is_global_zero)
    started, saved_step = time.monotonic() - trainer.seconds, trainer.step
    with GentleStop() as stop, bar:
        task = bar.add_task("training decomposer", total=config.steps, completed=trainer.step, note="")
        while trainer.step < config.steps:
            rng = step_generator(config.seed, _STREAM_STEP + 16 * fabric.global_rank, trainer.step)
            images = stream.batch(trainer.step, config.batch_size // fabric.world_size, rng)
            try:
                values = trainer.train_step(images)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the snapshot of step {saved_step} in {folder.path} is intact: "
                    "lower --learning-rate in a new --out, or run again to go on from it"
                ) from None
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            stopping = any_process(fabric, stop.requested)
            if fabric.is_global_zero:
                if trainer.step % 20 == 0 or trainer.step == 1:
                    folder.log(trainer.step, values | {"seconds": trainer.seconds})
                    bar.update(task, note=f"error {values['health/pixel_error']:.3f}")
                due = trainer.step % config.snapshot_steps == 0 or trainer.step == config.steps
                if due or stopping:
                    write_snapshot(trainer, stream, folder, values)
                    saved_step = trainer.step
            bar.update(task, completed=trainer.step)
            if stopping:
                break
    if trainer.step < config.steps:
        console.print(f"stopped at step {trainer.step}; the same command goes on")
    return folder.path / "decomposer.safetensors"
