"""Train an encoder, from images to the latents of a generator; run the same command again to resume.

At first it learns from the generator's own samples, whose latents are known. Later the generator also redraws images
from the encoder's latents, and these are compared with the samples and photographs.

Source:
    Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", SIGGRAPH 2021 (offsets held small, w held near
    the generator's). Deviations: a penalty in the metric of the latents' covariance replaces the latent discriminator;
    perceptual features come from the GAN's own discriminator instead of networks trained on labels.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament import __version__
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_features, network_fingerprint, save_network
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import any_process, make_fabric
from lineament.engine.optimise import average_weights, descend, half_life_at, warm_and_falling_rate
from lineament.engine.origins import array_signature
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.engine.training_data import batch_indices, load_images, split_held_out
from lineament.errors import ConfigError, DataError, NonFiniteError
from lineament.faces.latent_spread import LatentSpread, latent_spread
from lineament.faces.likeness import Likeness
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.seeding import latents, philox, step_generator
from lineament.ops.ssim import ssim
from lineament.recipes.train.origin_files import fingerprint_of_file
from lineament.records.image_paths import names_of
from lineament.records.shapes import EncoderConfig
from lineament.settings.train_encoder import TrainEncoderConfig
from lineament.store.pictures import save_png, tile

_STREAM_INIT, _STREAM_STEP = 1, 2

FREE_SETTINGS = ("devices", "snapshot_steps", "cache")
"""Settings that may differ when a training is resumed."""

INPUTS = ("images", "generator", "features")
"""Settings that are paths; their contents may not differ."""

CLIP_NORM = 10.0
"""Gradients with a larger norm are scaled down to this norm."""

HELD_OUT_SAMPLES = 256
"""Number of the generator's samples that every snapshot is scored on."""


class EncoderTrainer:
    """The encoder, its optimizer and everything else that a resumed training must restore."""

    def __init__(self, config: TrainEncoderConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        path = config.generator or shipped_path("generator.safetensors", config.pair)
        self.generator: Generator = open_generator(path, fabric.device)
        if self.generator.config.image_channels != 3:
            raise ConfigError(f"{path} draws {self.generator.config.image_channels} channels; photographs have 3")
        self.spread: LatentSpread = latent_spread(self.generator)
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))
        encoder: Any = new_encoder(self.generator, self.spread, config.network)
        self.encoder: Encoder = encoder.to(fabric.device, memory_format=torch.channels_last)
        self.ema: Encoder = copy.deepcopy(self.encoder).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.features: nn.Module | None = None
        if config.likeness.perceptual and (features := features_path(config)) is not None:
            with torch.no_grad():
                self.features = load_features(features, self.samples(range(64))[1], fabric.device)
        self.step = 0
        self.seconds = 0.0

    def origins(self) -> dict[str, str]:
        """Fingerprints of the other networks that the encoder is made with."""
        used = features_path(self.config) if self.features is not None else None
        return {"the generator": network_fingerprint(self.generator), "the features": fingerprint_of_file(used)}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors = flatten_module("encoder", self.encoder) | flatten_module("ema", self.ema)
        return tensors | flatten_optimizer("optimizer", self.optimizer), {"step": self.step, "seconds": self.seconds}

    def restore(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        restore_module("encoder", self.encoder, tensors)
        restore_module("ema", self.ema, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
        self.step, self.seconds = counters["step"], counters["seconds"]

    @torch.no_grad()
    def samples(self, numbers: range) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n 3 h w"]]:
        """The w and the images of the generator's held-out samples with these numbers."""
        z = latents(self.config.seed + 1, numbers, self.generator.config.z_dim).to(self.fabric.device)
        w = self.generator.map(z, 0.8)
        images = [self.generator.synthesize(self.generator.broadcast(part)) for part in w.split(32)]
        return w, torch.cat(images).clamp(-1, 1)

    def train_step(self, photographs: Float[Tensor, "n 3 h w"] | None, num_generated: int) -> dict[str, float]:
        """One step on photographs and on samples of the generator.

        Raises:
            NonFiniteError: the loss or a gradient is not finite; no weight was changed.
        """
        config, values = self.config, {}
        rng = step_generator(config.seed, _STREAM_STEP + 16 * self.fabric.global_rank, self.step)
        parts: list[Tensor] = []
        w = torch.empty(0)
        if num_generated:
            with torch.no_grad():
                z = torch.randn(num_generated, self.generator.config.z_dim, generator=rng).to(self.fabric.device)
                psi = config.least_truncation + (1 - config.least_truncation) * torch.rand(len(z), 1, generator=rng)
                w = self.generator.mapping.w_avg.lerp(self.generator.map(z), psi.to(self.fabric.device))
                parts.append(self.generator.synthesize(self.generator.broadcast(w)).clamp(-1, 1))
        if photographs is not None:
            flip = torch.rand(len(photographs), generator=rng).to(photographs.device) < 0.5
            parts.append(torch.where(flip[:, None, None, None], photographs.flip(3), photographs))
        images = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        ws = self.encoder(images)
        whitened = self.spread.whitened(ws)
        common = whitened.mean(dim=1)
        offset = (whitened - common[:, None]).square().mean()
        loss = config.offset_weight * offset
        if num_generated:
            # Not whitened: directions in which the generator hardly varies are hardly visible in its images either.
            unlike = (ws[:num_generated] - w[:, None]).square().mean() / self.spread.root.square().sum(dim=0).mean()
            loss = loss + unlike * (num_generated / len(images))
            values["loss/latents"] = float(unlike.detach())
        if self.step >= config.latent_steps:
            likeness = Likeness(images, self.features, config.likeness)
            unlike = likeness.loss(self.generator.synthesize(ws)).mean()
            pull = common.square().mean()
            loss = loss + unlike + config.distance_weight * pull
            values |= {"loss/images": float(unlike.detach()), "distance": float(pull.detach().sqrt())}
        self._descend(loss)
        return values | {"loss/total": float(loss.detach()), "offset": float(offset.detach().sqrt())}

    def _descend(self, loss: Tensor) -> None:
        config = self.config
        rate = warm_and_falling_rate(self.step, config.steps, config.warmup_steps, config.decay)
        rate *= config.learning_rate
        descend(self.fabric, loss, self.encoder, self.optimizer, step=self.step, rate=rate, clip_norm=CLIP_NORM)
        average_weights(self.ema, self.encoder, half_life_at(self.step, config.ema_steps))


def new_encoder(generator: Generator, spread: LatentSpread, config: EncoderConfig) -> Encoder:
    """An untrained encoder for a generator."""
    shape = replace(
        config,
        resolution=min(config.resolution, generator.config.resolution),
        w_dim=generator.config.w_dim,
        num_ws=generator.num_ws,
        generator=network_fingerprint(generator),
    )
    encoder = Encoder(shape)
    encoder.mean.copy_(spread.mean)
    encoder.root.copy_(spread.root)
    return encoder


def features_path(config: TrainEncoderConfig) -> Path | None:
    """The perceptual features: those named, or the shipped ones with the shipped generator."""
    if config.features is not None or config.generator is not None:
        return config.features
    return shipped_path("features.safetensors", config.pair)


@torch.inference_mode()
def scores_of(
    trainer: EncoderTrainer, held_out: UInt8[np.ndarray, "n h w 3"], picture: Path | None = None
) -> dict[str, float]:
    """Scores of the averaged encoder on held-out samples and photographs; writes a picture of some if asked."""
    generator, spread = trainer.generator, trainer.spread

    def answer(images: Tensor) -> tuple[Tensor, Tensor]:
        ws = torch.cat([trainer.ema(part) for part in images.split(32)])
        return ws, torch.cat([generator.synthesize(part).clamp(-1, 1) for part in ws.split(32)])

    w, images = trainer.samples(range(HELD_OUT_SAMPLES))
    ws, answers = answer(images)
    explained = 1 - (ws.mean(dim=1) - w).square().sum() / (w - w.mean(dim=0)).square().sum()
    scores = {"samples/r2": float(explained), "samples/ssim": float(ssim(answers, images).mean())}
    if len(held_out):
        images = to_tensor(held_out).to(trainer.fabric.device)
        ws, answers = answer(images)
        scores |= {
            "photographs/ssim": float(ssim(answers, images).mean()),
            "photographs/rmse": float((answers - images).square().mean(dim=(1, 2, 3)).sqrt().mean() / 2),
            "photographs/distance": float(spread.distance(ws).mean()),
            "photographs/offset": float(spread.offset(ws).mean()),
        }
    if picture is not None:
        rows = torch.cat([images[:12], answers[:12]])
        save_png(picture, tile(to_uint8(rows), columns=min(12, len(images))), scale=2)
    return scores


def write_snapshot(trainer: EncoderTrainer, folder: RunFolder, num_images: int, scores: Mapping[str, float]) -> Path:
    """Write the averaged encoder and its provenance."""
    config = trainer.config
    provenance = {
        "lineament": __version__,
        "steps": trainer.step,
        "batch_size": config.batch_size,
        "hours": round(trainer.seconds / 3600, 3),
        "images": names_of(config.images),
        "num_images": num_images,
        "held_out": num_images - len(split_held_out(num_images, config.held_out, config.seed)[0]),
        "seed": config.seed,
        "generator": trainer.ema.config.generator,
        "scores": dict(scores),
    }
    path = folder.path / "encoder.safetensors"
    save_network(path, "encoder", trainer.ema, trainer.ema.config.to_dict(), provenance)
    return path


def run(config: TrainEncoderConfig) -> Path:
    """Start or resume a training.

    Returns:
        The path of the encoder.

    Raises:
        ImageError, FileFormatError: a source cannot be used.
        ConfigError: the run folder holds a training with other settings, images or networks.
        NonFiniteError: the loss became NaN; the last snapshot is kept.
        Stopped: the user stopped the training; its state is saved.
    """
    fabric = make_fabric(config.devices)
    if config.batch_size % fabric.world_size:
        raise ConfigError(f"batch_size {config.batch_size} does not divide by {fabric.world_size} processes")
    with RunFolder(config.out, config, free=FREE_SETTINGS, inputs=INPUTS, fabric=fabric) as folder:
        return train(config, fabric, folder)


def train(config: TrainEncoderConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    trainer, lead = EncoderTrainer(config, fabric), fabric.is_global_zero
    size = trainer.generator.config.resolution
    photographs = np.empty((0, size, size, 3), np.uint8)
    if config.images:
        photographs = load_images(config.images, size, config.cache or config.out / "cache", fabric)
    seen, unseen = split_held_out(len(photographs), config.held_out, config.seed)
    if config.images and not len(seen):
        raise DataError(f"{names_of(config.images)} gives no images to learn from, expected thousands")
    folder.check_origins(trainer.origins() | {"the images": array_signature(photographs)})
    held_out = photographs[unseen]
    if folder.resume(trainer.restore):
        console.print(f"going on at step {trainer.step}")
    if lead:
        folder.open_log(trainer.step)
        (folder.path / "samples").mkdir(exist_ok=True)
    local = config.batch_size // fabric.world_size
    fraction = config.generated_fraction if len(seen) else 1.0
    bar = progress_bar(disable=not lead)
    started, saved_step = time.monotonic() - trainer.seconds, trainer.step
    with GentleStop() as stop, bar:
        task = bar.add_task("training encoder", total=config.steps, completed=trainer.step, note="")
        while trainer.step < config.steps:
            step = trainer.step
            num_generated = local if step < config.latent_steps else round(local * fraction)
            real: Tensor | None = None
            if num_real := local - num_generated:
                first = ((step - config.latent_steps) * fabric.world_size + fabric.global_rank) * num_real
                chosen = seen[batch_indices(config.seed, len(seen), first, num_real)]
                real = to_tensor(photographs[chosen]).to(fabric.device)
            try:
                values = trainer.train_step(real, num_generated)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the snapshot of step {saved_step} in {folder.path} is intact: start again in another "
                    "--out with a lower --learning-rate"
                ) from None
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            stopping = any_process(fabric, stop.requested)
            due = trainer.step % config.snapshot_steps == 0 or trainer.step == config.steps
            if lead:
                if due:
                    scores = scores_of(trainer, held_out, folder.path / "samples" / f"{trainer.step:06d}.png")
                    write_snapshot(trainer, folder, len(photographs), scores)
                    values |= scores
                    bar.update(task, note=", ".join(f"{k} {v:.2f}" for k, v in scores.items() if "ssim" in k))
                if due or trainer.step % 20 == 0:
                    folder.log(trainer.step, values | {"seconds": trainer.seconds})
                if due or stopping:  # after the log: if killed in between, the log line is dropped and rewritten
                    folder.save_state(*trainer.state())
                    saved_step = trainer.step
            bar.update(task, completed=trainer.step)
            if stopping:
                break
    if trainer.step < config.steps:
        end_stopped(fabric, f"stopped at step {trainer.step}; the same command goes on")
    return folder.path / "encoder.safetensors"
