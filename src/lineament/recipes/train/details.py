"""Give a generator twice the resolution; run the same command again to resume.

The generator itself stays the same, bit for bit: same latents, same directions, same faces. Only a block for the new
resolution is trained, in two stages. First an upsampler learns from photographs, at half and at full size, which
details belong to which coarse image; a critic that sees the coarse image together with the details keeps it from
blurring them. Then the new block learns to draw the upsampled images from the features that the generator already has.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018 (growth); Denton et al., "Deep Generative Image Models using
    a Laplacian Pyramid of Adversarial Networks", NeurIPS 2015 (details given the coarse image); Ledig et al.,
    "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017 (pixels and
    critic). Deviation: the generator then learns the details, so that it needs no upsampler afterwards.
"""

import copy
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament import __version__
from lineament.checkpoints.growth import grown
from lineament.checkpoints.ours import load_generator, network_fingerprint, save_block, save_network
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.optimise import average_weights, descend, falling_rate, half_life_at
from lineament.engine.origins import array_signature
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.engine.training_data import batch_indices, load_images, split_held_out
from lineament.errors import ConfigError, DataError, MismatchError, NonFiniteError
from lineament.networks.stylegan.generator import NoiseMode
from lineament.networks.stylegan.stylegan2 import StyleGAN2, SynthesisBlock, mix_styles
from lineament.networks.upsampler import DetailCritic, Upsampler
from lineament.ops.gan_losses import discriminator_loss, generator_loss, r1_penalty
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.resample import shrink, upsample_fir
from lineament.ops.seeding import latents, philox, step_generator
from lineament.recipes.train.sample_scores import evaluate_samples, sample_grid
from lineament.records.image_paths import names_of
from lineament.settings.train_details import TrainDetailsConfig
from lineament.store.images import ImageSources, halved, typical_side
from lineament.store.pictures import save_png, tile

_STREAM_INIT, _STREAM_STEP = 1, 2

FREE_SETTINGS = (
    "devices",
    "snapshot_steps",
    "block_steps",
    "learning_rate",
    "critic_learning_rate",
    "block_learning_rate",
)
"""Settings that may differ when a training is resumed."""

INPUTS = ("images", "generator")
"""Settings that are paths; their contents may not differ."""

CLIP_NORM = 10.0
"""Gradients with a larger norm are scaled down to this norm."""

DECAY = 0.5
"""The learning rate of a stage falls over this last share of its steps."""

LEAST_TRUNCATION = 0.5
"""Smallest truncation psi of the generator's images; the largest is 1."""


class DetailsTrainer:
    """The networks, their optimizers and everything else that a resumed training must restore."""

    def __init__(self, config: TrainDetailsConfig, small: StyleGAN2, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))

        def place(module: Any) -> Any:
            return module.to(fabric.device, memory_format=torch.channels_last)

        self.upsampler: Upsampler = place(Upsampler(config.upsampler))
        self.critic: DetailCritic = place(DetailCritic())
        self.generator: StyleGAN2 = place(grown(small, config.channels)).eval().requires_grad_(False)
        self.block: SynthesisBlock = self.generator.synthesis_blocks()[-1].requires_grad_(True)
        self.upsampler_ema: Upsampler = copy.deepcopy(self.upsampler).eval().requires_grad_(False)
        self.ema: StyleGAN2 = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.upsampler_optimizer = torch.optim.Adam(self.upsampler.parameters(), betas=(0.9, 0.99))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), betas=(0.5, 0.99))
        self.block_optimizer = torch.optim.Adam(self.block.parameters(), betas=(0.9, 0.99))
        self.step = 0
        self.seconds = 0.0

    def _modules(self) -> dict[str, nn.Module]:
        return {
            "upsampler": self.upsampler,
            "critic": self.critic,
            "block": self.block,
            "upsampler_ema": self.upsampler_ema,
            "ema_block": self.ema.synthesis_blocks()[-1],
        }

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "upsampler_optimizer": self.upsampler_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "block_optimizer": self.block_optimizer,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= flatten_module(name, module)
        for name, optimizer in self._optimizers().items():
            tensors |= flatten_optimizer(name, optimizer)
        return tensors, {"step": self.step, "seconds": self.seconds}

    def restore(self, tensors: dict[str, Tensor], counters: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        for name, module in self._modules().items():
            restore_module(name, module, tensors)
        for name, optimizer in self._optimizers().items():
            restore_optimizer(name, optimizer, tensors)
        self.step, self.seconds = counters["step"], counters["seconds"]

    @property
    def on_photographs(self) -> bool:
        """Whether this is still the first stage, in which the upsampler learns."""
        return self.step < self.config.upsampler_steps

    def photograph_step(self, small: Float[Tensor, "n 3 h w"], whole: Float[Tensor, "n 3 2*h 2*w"]) -> dict[str, float]:
        """One step of the upsampler on photographs, at half and at full size."""
        config = self.config
        drawn = self.upsampler(small)
        loss = (drawn - whole).abs().mean()
        values = {"loss/pixels": float(loss.detach())}
        if self.step >= config.pixel_steps and config.critic_weight > 0:
            values |= self._criticise(small, whole, drawn.detach(), config.critic_learning_rate)
            opinion = generator_loss(self.critic(small, drawn).flatten())
            loss = loss + config.critic_weight * opinion
            values["loss/critic_of_drawn"] = float(opinion.detach())
        rate = config.learning_rate * falling_rate(self.step, config.upsampler_steps, DECAY)
        self._descend(loss, self.upsampler, self.upsampler_optimizer, rate)
        self._average(self.upsampler_ema, self.upsampler, self.step)
        return values

    def generator_step(self, n: int, rng: torch.Generator) -> dict[str, float]:
        """One step of the new block on ``n`` of the generator's images."""
        config, step = self.config, self.step - self.config.upsampler_steps
        with torch.no_grad():
            z = torch.randn(2 * n, self.generator.config.z_dim, generator=rng).to(self.fabric.device)
            psi = LEAST_TRUNCATION + (1 - LEAST_TRUNCATION) * torch.rand(2 * n, 1, generator=rng)
            w = self.generator.mapping.w_avg.lerp(self.generator.map(z), psi.to(self.fabric.device))
            ws_a, ws_b = self.generator.broadcast(w[:n]), self.generator.broadcast(w[n:])
            num_ws = self.generator.num_ws
            cutoffs = torch.randint(1, 2 * num_ws, (n,), generator=rng).clamp_max(num_ws)
            ws = mix_styles(ws_a, ws_b, cutoffs.tolist())
            features, small = self.coarse(ws, "random", rng)
            whole = self.upsampler_ema(small)
        noises = [layer.noise(n, "random", rng) for layer in self.block.layers()]
        _, drawn = self.block(features, small, ws[:, -3:], noises)
        # Here each image has one right answer, so a pixel loss is enough; a critic makes even the details worse.
        loss = (drawn - whole).abs().mean()
        rate = config.block_learning_rate * falling_rate(step, config.block_steps, DECAY)
        self._descend(loss, self.block, self.block_optimizer, rate)
        self._average(self.ema.synthesis_blocks()[-1], self.block, step)
        return {"loss/pixels": float(loss.detach())}

    def coarse(
        self, ws: Float[Tensor, "n l d"], noise_mode: NoiseMode, rng: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 3 h w"]]:
        """Features and image of the original generator, without the new block."""
        x = image = None
        for block in self.generator.synthesis_blocks()[:-1]:
            count = block.num_convs
            noises = [layer.noise(len(ws), noise_mode, rng) for layer in block.layers()]
            x, image = block(x, image, ws[:, : count + 1], noises)
            ws = ws[:, count:]
        if x is None or image is None:
            raise ConfigError("a generator without blocks cannot synthesise")
        return x, image

    def _criticise(self, small: Tensor, whole: Tensor, drawn: Tensor, rate: float) -> dict[str, float]:
        config = self.config
        regularise = self.step % config.r1_interval == 0
        whole = whole.detach().requires_grad_(regularise)
        real = self.critic(small, whole)
        loss = discriminator_loss(real.flatten(), self.critic(small, drawn).flatten())
        values = {"loss/critic": float(loss.detach())}
        if regularise:
            penalty = r1_penalty(real.mean(dim=(1, 2, 3)), whole)
            values["loss/r1"] = float(penalty.detach())
            loss = loss + penalty * (config.r1_gamma / 2 * config.r1_interval)
        self._descend(loss, self.critic, self.critic_optimizer, rate)
        return values

    def _descend(self, loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, rate: float) -> None:
        descend(self.fabric, loss, module, optimizer, step=self.step, rate=rate, clip_norm=CLIP_NORM)

    def _average(self, average: nn.Module, current: nn.Module, step: int) -> None:
        average_weights(average, current, half_life_at(step, self.config.ema_steps))


@torch.inference_mode()
def scores_of(trainer: DetailsTrainer, whole: UInt8[np.ndarray, "n h w 3"], picture: Path) -> dict[str, float]:
    """Mean absolute errors of the upsampler and of interpolation on photographs, for images in [-1, 1].

    Also writes a picture of some of them.
    """
    coarse, fine = (to_tensor(images).to(trainer.fabric.device) for images in (halved(whole), whole))
    drawn = torch.cat([trainer.upsampler_ema(part) for part in coarse.split(16)])
    plain = upsample_fir(coarse)
    save_png(picture, tile(to_uint8(torch.cat([plain[:8], drawn[:8], fine[:8]])), columns=min(8, len(fine))))
    return {
        "photographs/upsampled": float((drawn - fine).abs().mean()),
        "photographs/interpolated": float((plain - fine).abs().mean()),
    }


@torch.inference_mode()
def change_of_coarse(trainer: DetailsTrainer) -> float:
    """Mean absolute difference between the grown generator's reduced images and those of the original generator."""
    generator, size = trainer.ema, trainer.generator.config.resolution // 2
    z = latents(trainer.config.seed + 1, range(64), generator.config.z_dim).to(trainer.fabric.device)
    unlike = []
    for part in z.split(16):
        ws = generator.broadcast(generator.map(part))
        _, before = trainer.coarse(ws, "const")
        unlike.append((shrink(generator.synthesize(ws), size) - before).abs().mean())
    return float(torch.stack(unlike).mean())


def write_snapshot(
    trainer: DetailsTrainer, folder: RunFolder, whole: np.ndarray, held_out: np.ndarray, start: Path
) -> dict[str, float]:
    """Write the upsampler, pictures and scores; and the generator, once its new block learns."""
    config = trainer.config
    samples = folder.path / "samples"
    samples.mkdir(exist_ok=True)
    scores: dict[str, float] = {}
    if len(held_out):
        picture = samples / f"{trainer.step:06d}-photographs.png"
        scores |= scores_of(trainer, whole[held_out], picture)
    if not trainer.on_photographs:
        scores["coarse/changed"] = change_of_coarse(trainer)
        scores |= evaluate_samples(trainer.ema, whole, config.eval_images, config.seed)
        save_png(samples / f"{trainer.step:06d}.png", sample_grid(trainer.ema, config.seed, 40, 0.8))
    if not all(math.isfinite(score) for score in scores.values()):
        raise NonFiniteError(f"a score is not finite at step {trainer.step}")
    provenance = {
        "lineament": __version__,
        "images": names_of(config.images),
        "num_images": len(whole),
        "held_out": len(held_out),
        "started_from": start.name,
        "steps": trainer.step,
        "batch_size": config.batch_size,
        "hours": round(trainer.seconds / 3600, 3),
        "seed": config.seed,
        "scores": scores,
    }
    upsampler = trainer.upsampler_ema
    path = folder.path / "upsampler.safetensors"
    save_network(path, "upsampler", upsampler, upsampler.config.to_dict(), provenance)
    if not trainer.on_photographs:
        path = folder.path / "generator.safetensors"
        save_network(path, "generator", trainer.ema, trainer.ema.config.to_dict(), provenance)
        if config.generator is None:
            save_block(folder.path / "block.safetensors", trainer.ema, config.pair, provenance)
    return scores


def run(config: TrainDetailsConfig) -> Path:
    """Start or resume a training.

    Returns:
        The path of the generator with twice the resolution. Beside it lie the upsampler and, if the generator was grown
        from a shipped one, the new block alone.

    Raises:
        ImageError, FileFormatError, InputError: a source cannot be used.
        DataError: the images are too small to have details.
        ConfigError: the run folder holds a training with other settings, images or networks.
        MismatchError: the generator is of a kind that cannot be grown.
        NonFiniteError: a loss became NaN; the last snapshot is kept.
        Stopped: the user stopped the training; its state is saved.
    """
    fabric = make_fabric(config.devices)
    with RunFolder(config.out, config, free=FREE_SETTINGS, inputs=INPUTS, fabric=fabric) as folder:
        return train(config, fabric, folder)


def train(config: TrainDetailsConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    start = config.generator or shipped_path("generator.safetensors", config.pair)
    generator = load_generator(start)
    if not isinstance(generator, StyleGAN2):
        raise MismatchError(f"{start} is no StyleGAN2; only those can be grown")
    if generator.config.image_channels != 3 or generator.config.c_dim:
        raise MismatchError(
            f"{start} draws grey images or classes, expected a generator of coloured faces without classes"
        )
    size = generator.config.resolution
    side = typical_side(ImageSources(config.images))
    if 0 < side < 2 * size:
        raise DataError(
            f"{names_of(config.images)} holds images of {side:g} px, expected at least {2 * size}: enlarged ones hold "
            "no detail"
        )
    whole = load_images(config.images, 2 * size, config.out / "cache", fabric)
    folder.check_origins({"the images": array_signature(whole), "the generator": network_fingerprint(generator)})
    seen, held_out = split_held_out(len(whole), config.held_out, config.seed)
    trainer = DetailsTrainer(config, generator, fabric)
    if folder.resume(trainer.restore):
        console.print(f"going on at step {trainer.step}")
    folder.open_log(trainer.step)
    total = config.upsampler_steps + config.block_steps
    started, saved_step = time.monotonic() - trainer.seconds, trainer.step
    with GentleStop() as stop, progress_bar() as bar:
        task = bar.add_task("learning details", total=total, completed=trainer.step, note="")
        while trainer.step < total:
            try:
                values = train_step(trainer, seen, whole)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the snapshot of step {saved_step} in {folder.path} is intact: start again in another "
                    "--out with a lower --learning-rate"
                ) from None
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            due = trainer.step % config.snapshot_steps == 0 or trainer.step == total
            if due:
                scores = write_snapshot(trainer, folder, whole, held_out, start)
                values |= scores
                bar.update(task, note=", ".join(f"{name} {score:.3g}" for name, score in list(scores.items())[-1:]))
            if due or trainer.step % 20 == 0:
                folder.log(trainer.step, values | {"seconds": trainer.seconds})
            if due or stop.requested:  # after the log: if killed in between, the log line is dropped and rewritten
                folder.save_state(*trainer.state())
                saved_step = trainer.step
            bar.update(task, completed=trainer.step)
            if stop.requested:
                break
    if trainer.step < total:
        end_stopped(fabric, f"stopped at step {trainer.step}; the same command goes on")
    return folder.path / "generator.safetensors"


def train_step(
    trainer: DetailsTrainer, seen: Int[np.ndarray, " k"], whole: UInt8[np.ndarray, "n h w 3"]
) -> dict[str, float]:
    """One step of the present stage; half of the photographs are mirrored."""
    config, step = trainer.config, trainer.step
    rng = step_generator(config.seed, _STREAM_STEP, step)
    if not trainer.on_photographs:
        return trainer.generator_step(config.batch_size, rng)
    chosen = seen[batch_indices(config.seed, len(seen), step * config.batch_size, config.batch_size)]
    flip = (torch.rand(len(chosen), generator=rng) < 0.5)[:, None, None, None]
    pixels = whole[chosen]
    small, large = (
        torch.where(flip, x.flip(3), x).contiguous(memory_format=torch.channels_last).to(trainer.fabric.device)
        for x in (to_tensor(halved(pixels)), to_tensor(pixels))
    )
    return trainer.photograph_step(small, large)
