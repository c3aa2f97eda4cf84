"""Train a StyleGAN2 on folders and zips of images; run the same command again to resume.

Source:
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020; Karras et al., "Training
    Generative Adversarial Networks with Limited Data", NeurIPS 2020 (adaptive augmentation, EMA warm-up).
"""

import copy
import math
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament import __version__
from lineament.checkpoints.ours import save_network
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import any_process, make_fabric
from lineament.engine.optimise import average_weights, descend
from lineament.engine.origins import array_signature
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.engine.training_data import batch_indices, load_images
from lineament.errors import ConfigError, NonFiniteError
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2, mix_styles
from lineament.ops.augment import augment
from lineament.ops.gan_losses import discriminator_loss, generator_loss, path_lengths, r1_penalty
from lineament.ops.pixels import to_tensor
from lineament.ops.seeding import philox, step_generator
from lineament.recipes.train.origin_files import fingerprint_of_start
from lineament.recipes.train.sample_scores import evaluate_samples, sample_grid
from lineament.recipes.train.start_from import start_discriminator, start_generator
from lineament.records.image_paths import names_of
from lineament.settings.train_generator import TrainGeneratorConfig
from lineament.store.pictures import save_png

# Streams of random numbers, so that no two uses of a seed share one.
_STREAM_INIT, _STREAM_STEP = 1, 2

WARMUP_RATE, WARMUP_RISE = 1e-3, 100
"""Learning rate while the discriminator trains alone, and the number of steps in which it rises to that."""

FREE_SETTINGS = ("kimg", "devices", "snapshot_kimg", "learning_rate", "discriminator_rate", "r1_gamma")
"""Settings that may differ when a training is resumed."""

INPUTS = ("images", "start_from")
"""Settings that are paths; their contents may not differ."""


@dataclass
class AdaptiveAugmentation:
    """The augmentation probability p, controlled by the signs of the discriminator's logits on real images.

    r_t = E[sign(D(real))]: 0 means no overfitting, 1 complete overfitting (Karras et al. 2020, Equation 1). Every four
    steps p moves so that r_t approaches the target; p takes at least ``kimg`` thousand images from 0 to 1.
    """

    target: float
    kimg: float
    p: float = 0.0
    sign_sum: float = 0.0
    count: int = 0

    def update(self, real_logits: Tensor, step: int, batch_size: int) -> None:
        """Record one batch of logits; at every fourth step, move p."""
        if self.target <= 0:
            return
        self.sign_sum += float(real_logits.detach().sign().sum())
        self.count += real_logits.numel()
        if (step + 1) % 4 == 0 and self.count:
            too_sure = self.sign_sum / self.count - self.target
            self.p = min(max(self.p + math.copysign(4 * batch_size / (self.kimg * 1000), too_sure), 0.0), 1.0)
            self.sign_sum, self.count = 0.0, 0


def lazy_pace(learning_rate: float, interval: int) -> dict[str, Any]:
    """Adam's learning rate and betas, corrected for a regulariser that runs every ``interval`` steps (appendix B)."""
    ratio = interval / (interval + 1)
    return {"lr": learning_rate * ratio, "betas": (0.0, 0.99**ratio)}


def lazy_adam(parameters: Iterable[nn.Parameter], learning_rate: float, interval: int) -> torch.optim.Adam:
    """Adam with the settings of `lazy_pace`."""
    return torch.optim.Adam(parameters, **lazy_pace(learning_rate, interval), eps=1e-8)


class GeneratorTrainer:
    """The networks, their optimizers and everything else that a resumed training must restore."""

    def __init__(self, config: TrainGeneratorConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))

        def place(module: Any) -> Any:
            return module.to(fabric.device, memory_format=torch.channels_last)

        self.generator: StyleGAN2 = place(StyleGAN2(config.network))
        self.discriminator: Discriminator = place(Discriminator(DiscriminatorConfig.matching(config.network)))
        self.ema: Generator = copy.deepcopy(self.generator).eval().requires_grad_(False)
        g_interval = config.path_length_interval if config.path_length_weight > 0 else 10**9
        self.g_optimizer = lazy_adam(self.generator.parameters(), config.learning_rate, g_interval)
        self.d_optimizer = lazy_adam(self.discriminator.parameters(), self.d_learning_rate, config.r1_interval)
        self.ada = AdaptiveAugmentation(config.augment_target, config.augment_kimg)
        self.path_length_mean = torch.zeros((), device=fabric.device)
        self.step = 0
        self.seconds = 0.0

    def start(self, path: Path) -> None:
        """Start from a trained generator and from the discriminator beside it.

        Raises:
            InputError, FileFormatError: there is no such file, or it is not a generator of ours.
            MismatchError: its shape does not fit.
        """
        start_generator(self.generator, path)
        self.ema.load_state_dict(self.generator.state_dict())
        if (judge := path.with_name("discriminator.safetensors")).exists():
            start_discriminator(self.discriminator, judge)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors = flatten_module("generator", self.generator)
        tensors |= flatten_module("discriminator", self.discriminator)
        tensors |= flatten_module("ema", self.ema)
        tensors |= flatten_optimizer("g_optimizer", self.g_optimizer)
        tensors |= flatten_optimizer("d_optimizer", self.d_optimizer)
        tensors["path_length_mean"] = self.path_length_mean.detach().cpu()
        ada = {"p": self.ada.p, "sign_sum": self.ada.sign_sum, "count": self.ada.count}
        return tensors, {"step": self.step, "seconds": self.seconds, "ada": ada}

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """The inverse of `state`."""
        for name in ("generator", "discriminator", "ema"):
            restore_module(name, getattr(self, name), tensors)
        for name in ("g_optimizer", "d_optimizer"):
            restore_optimizer(name, getattr(self, name), tensors)
        self.path_length_mean = tensors["path_length_mean"].to(self.fabric.device)
        self.step, self.seconds = counters["step"], counters["seconds"]
        self.ada = AdaptiveAugmentation(self.config.augment_target, self.config.augment_kimg, **counters["ada"])

    def draw_ws(self, n: int, rng: torch.Generator) -> Float[Tensor, "n l d"]:
        """Draw the latents of n images, some of them mixed from two, and update the mean w."""
        z = torch.randn(2 * n, self.config.network.z_dim, generator=rng).to(self.fabric.device)
        w = self.generator.map(z)
        self.generator.mapping.w_avg.lerp_(w.detach().float().mean(dim=0), 0.005)
        ws_a, ws_b = self.generator.broadcast(w[:n]), self.generator.broadcast(w[n:])
        num_ws = self.generator.num_ws
        cutoffs = torch.randint(1, num_ws, (n,), generator=rng)
        mixed = torch.rand(n, generator=rng) < self.config.style_mixing
        return mix_styles(ws_a, ws_b, torch.where(mixed, cutoffs, num_ws).tolist())

    @property
    def d_learning_rate(self) -> float:
        """The discriminator's learning rate in adversarial training (two time scales: Heusel et al., NeurIPS 2017)."""
        return self.config.learning_rate * self.config.discriminator_rate

    @property
    def warming(self) -> bool:
        """Whether the discriminator still trains alone."""
        return self.step * self.config.batch_size < self.config.warmup_kimg * 1000

    def precision(self, regularise: bool) -> AbstractContextManager[Any]:
        """The chosen precision; full precision where a gradient is differentiated again."""
        return nullcontext() if regularise else self.fabric.autocast()

    def set_pace(self) -> None:
        """Set the discriminator's learning rate and betas to those of its warm-up or of adversarial training."""
        pace = lazy_pace(self.d_learning_rate, self.config.r1_interval)
        if self.warming:
            pace = {"lr": WARMUP_RATE * min((self.step + 1) / WARMUP_RISE, 1.0), "betas": (0.9, 0.99)}
        for group in self.d_optimizer.param_groups:
            group.update(pace)

    def discriminator_step(self, real: Tensor, rng: torch.Generator) -> dict[str, float]:
        """One step of the discriminator, with R1 every ``r1_interval`` steps."""
        config, p = self.config, self.ada.p
        warming = self.warming
        self.set_pace()
        regularise = self.step % config.r1_interval == 0 and not warming
        with self.precision(regularise):
            with torch.no_grad():
                fake = self.generator.synthesize(self.draw_ws(len(real), rng), "random", rng)
            real = augment(real, p, rng).detach().requires_grad_(regularise)
            fake_logits = self.discriminator(augment(fake, p, rng))
            real_logits = self.discriminator(real)
            loss = discriminator_loss(real_logits, fake_logits)
            values = {"loss/discriminator": float(loss.detach())}
            if regularise:
                # With respect to the augmented image, so that no second derivative of the resampling is needed.
                penalty = r1_penalty(real_logits, real)
                values["loss/r1"] = float(penalty.detach())
                loss = loss + penalty * (config.r1_gamma / 2 * config.r1_interval)
        descend(self.fabric, loss, self.discriminator, self.d_optimizer, step=self.step)
        if not warming:
            self.ada.update(real_logits, self.step, config.batch_size)
        values["logits/real"] = float(real_logits.detach().mean())
        values["logits/fake"] = float(fake_logits.detach().mean())
        return values

    def generator_step(self, n: int, rng: torch.Generator) -> dict[str, float]:
        """One step of the generator."""
        with self.fabric.autocast():
            fake = self.generator.synthesize(self.draw_ws(n, rng), "random", rng)
            loss = generator_loss(self.discriminator(augment(fake, self.ada.p, rng)))
        descend(self.fabric, loss, self.generator, self.g_optimizer, step=self.step)
        return {"loss/generator": float(loss.detach())}

    def path_length_step(self, n: int, rng: torch.Generator) -> dict[str, float]:
        """Lazy path length regularisation on half a batch."""
        config = self.config
        with self.precision(regularise=True):
            ws = self.draw_ws(max(n // 2, 1), rng)
            fake = self.generator.synthesize(ws, "random", rng)
            noise = torch.randn(fake.shape, generator=rng).to(fake)
            lengths = path_lengths(fake, ws, noise)
            # A trained generator has nonzero path lengths already, so the running mean must not start at 0.
            known = config.start_from is None or bool(self.path_length_mean)
            mean = self.path_length_mean.lerp(lengths.mean(), 0.01 if known else 1.0)
            self.path_length_mean = mean.detach()
            penalty = (lengths - mean).square().mean()
            loss = penalty * config.path_length_weight * config.path_length_interval
        descend(self.fabric, loss, self.generator, self.g_optimizer, step=self.step)
        return {"loss/path_length": float(penalty.detach())}

    def update_ema(self) -> None:
        """Move the averaged generator towards the trained one."""
        config = self.config
        seen = (self.step + 1) * config.batch_size
        half_life = min(config.ema_kimg * 1000, seen * config.ema_rampup) / config.batch_size
        average_weights(self.ema, self.generator, half_life)
        with torch.no_grad():
            for average, current in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
                average.copy_(current)


def write_snapshot(trainer: GeneratorTrainer, folder: RunFolder, images: np.ndarray) -> dict[str, float]:
    """Write the networks and pictures, and return the scores; the state for resuming is not written here."""
    config = trainer.config
    kimg = trainer.step * config.batch_size / 1000
    scores = evaluate_samples(trainer.ema, images, config.eval_images, config.seed)
    if not all(math.isfinite(score) for score in scores.values()):
        raise NonFiniteError(f"the generated images hold NaN or infinity at step {trainer.step}")
    provenance = {
        "lineament": __version__,
        "images": names_of(config.images),
        "num_images": len(images),
        "kimg": kimg,
        "hours": round(trainer.seconds / 3600, 3),
        "scores": scores,
    }
    for name, network in (("generator", trainer.ema), ("discriminator", trainer.discriminator)):
        save_network(folder.path / f"{name}.safetensors", name, network, network.config.to_dict(), provenance)
    samples = folder.path / "samples"
    samples.mkdir(exist_ok=True)
    save_png(samples / f"{round(kimg):06d}-kimg.png", sample_grid(trainer.ema, config.seed, 60, 0.8))
    return {f"quality/{k}": v for k, v in scores.items()}


def start_origins(path: Path | None) -> dict[str, str | None]:
    """Fingerprints of the generator to start from, and of the discriminator beside it."""
    beside = None if path is None else path.with_name("discriminator.safetensors")
    if path is not None and path.exists() and beside is not None and not beside.exists():
        beside = None  # there was none, so that the training began without; it is not gone with the generator
    return {
        "the generator to start from": fingerprint_of_start(path),
        "the discriminator to start from": fingerprint_of_start(beside),
    }


def run(config: TrainGeneratorConfig) -> Path:
    """Start or resume a training.

    Returns:
        The path of the generator.

    Raises:
        ImageError: no usable image.
        ConfigError: the run folder holds a training with other settings, images or networks.
        NonFiniteError: a loss became NaN; the last snapshot is kept.
        Stopped: the user stopped the training; its state is saved.
    """
    fabric = make_fabric(config.devices)
    if config.batch_size % fabric.world_size:
        raise ConfigError(f"batch_size {config.batch_size} does not divide by {fabric.world_size} processes")
    with RunFolder(config.out, config, free=FREE_SETTINGS, inputs=INPUTS, fabric=fabric) as folder:
        return train(config, fabric, folder)


def train(config: TrainGeneratorConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    images = load_images(config.images, config.network.resolution, config.out / "cache", fabric)
    folder.check_origins({"the images": array_signature(images), **start_origins(config.start_from)})
    trainer = GeneratorTrainer(config, fabric)
    if folder.resume(trainer.restore):
        console.print(f"going on at {trainer.step * config.batch_size / 1000:.1f} kimg")
    elif config.start_from is not None:
        trainer.start(config.start_from)
    if fabric.is_global_zero:
        folder.open_log(trainer.step)

    local = config.batch_size // fabric.world_size
    total_steps = math.ceil(config.kimg * 1000 / config.batch_size)
    snapshot_steps = max(round(config.snapshot_kimg * 1000 / config.batch_size), 1)
    bar = progress_bar(disable=not fabric.is_global_zero)
    started, saved_step = time.monotonic() - trainer.seconds, trainer.step
    with GentleStop() as stop, bar:
        task = bar.add_task("training generator", total=total_steps, completed=trainer.step, note="")
        while trainer.step < total_steps:
            step = trainer.step
            rng = step_generator(config.seed, _STREAM_STEP + 16 * fabric.global_rank, step)
            first = step * config.batch_size + fabric.global_rank * local
            indices = batch_indices(config.seed, len(images), first, local)
            real = to_tensor(np.stack([images[i] for i in indices])).to(fabric.device)
            if config.mirror:
                flip = torch.rand(local, generator=rng).to(real.device) < 0.5
                real = torch.where(flip[:, None, None, None], real.flip(3), real)
            try:
                values = trainer.discriminator_step(real, rng)
                if not trainer.warming:
                    values |= trainer.generator_step(local, rng)
                    if config.path_length_weight > 0 and step % config.path_length_interval == 0:
                        values |= trainer.path_length_step(local, rng)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the snapshot of step {saved_step} in {folder.path} is intact: "
                    "run again to go on from it, with a lower --learning-rate"
                ) from None
            trainer.update_ema()
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            stopping = any_process(fabric, stop.requested)
            due = trainer.step % snapshot_steps == 0 or trainer.step == total_steps or stopping
            if fabric.is_global_zero:
                row: dict[str, float] = {}
                if step % 16 == 0:
                    row = values | {"augment/p": trainer.ada.p, "kimg": trainer.step * config.batch_size / 1000}
                    row["seconds"] = trainer.seconds
                if due:
                    row |= write_snapshot(trainer, folder, images)
                    bar.update(task, note=f"swd {row['quality/swd_mean']:.1f}")
                if row:
                    folder.log(trainer.step, row)
                if due:  # after the log: if killed in between, the log line is dropped and rewritten
                    folder.save_state(*trainer.state())
                    saved_step = trainer.step
            bar.update(task, completed=trainer.step)
            if stopping:
                break
    if trainer.step < total_steps:
        end_stopped(fabric, f"stopped at {trainer.step * config.batch_size / 1000:.1f} kimg; the same command goes on")
    return folder.path / "generator.safetensors"
