"""Train a judge on renders with their truth; run the same command again to resume."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor

from lineament import __version__
from lineament.checkpoints.ours import save_network
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.optimise import descend
from lineament.engine.origins import array_signature
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.engine.training_data import batch_indices, load_images
from lineament.errors import ConfigError, DataError, NonFiniteError
from lineament.faces.measure import read
from lineament.networks.judge import Judge
from lineament.ops.pixels import to_tensor
from lineament.ops.resample import binomial_blur
from lineament.ops.seeding import philox, step_generator
from lineament.records.attributes import MIRRORED, attribute_table
from lineament.records.proportions import PROPORTIONS
from lineament.settings.train_judge import TrainJudgeConfig
from lineament.store.atomic import write_text_atomic
from lineament.store.truth import TruthFolder, open_truth

_STREAM_INIT, _STREAM_STEP, _STREAM_SHIFT = 1, 2, 4

FREE_SETTINGS = ("devices", "snapshot_steps", "cache")
"""Settings that may differ when a training is resumed."""

INPUTS = ("truth", "test")
"""Settings that are paths; their contents may not differ."""


@dataclass(frozen=True, eq=False)
class Renders:
    """Images and the attributes that they were rendered from.

    Attributes:
        images: RGB images.
        names: names of the attributes.
        values: values of the attributes, in the truth's units.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    names: tuple[str, ...]
    values: Float[np.ndarray, "n m"]

    def signature(self) -> str:
        """Fingerprint of images, names and values."""
        names = np.frombuffer("\n".join(self.names).encode(), np.uint8)
        return array_signature(self.images, names, self.values)

    def columns(self, names: tuple[str, ...]) -> Float[np.ndarray, "n k"]:
        """The values of these attributes.

        Raises:
            DataError: one is missing.
        """
        if missing := [name for name in names if name not in self.names]:
            raise DataError(f"the truth has no {missing[0]!r}; render it by the same program as the judge's")
        return self.values[:, [self.names.index(name) for name in names]]


def load_renders(folder: Path, resolution: int, cache: Path, fabric: Fabric) -> Renders:
    """Rendered faces and the attributes that a judge learns to read (`attribute_table`).

    The attributes come from the folder's table and, where landmarks and labels are known, from measured proportions.

    Raises:
        ImageError, FileFormatError: the folder cannot be used.
        DataError: the folder has no table, or an image is missing or damaged.
    """
    truth = open_truth(folder)
    if truth.parameters is None:
        raise DataError(f"{folder} has no table of what its faces were rendered from, expected truth.npz")
    images = load_images(folder / "images", resolution, cache, fabric)
    if len(images) != len(truth) or list(truth.images) != sorted(truth.images):
        raise DataError(
            f"{folder} has {len(images)} usable images for {len(truth)} rows, expected one image for each row, and "
            "rows in order; render the missing ones again"
        )
    names, values = truth.names, truth.parameters
    if truth.has_proportions:
        names, values = (*names, *PROPORTIONS), np.hstack([values, measured_proportions(truth)])
    return Renders(images, *attribute_table(names, values))


def measured_proportions(truth: TruthFolder) -> Float[np.ndarray, "n k"]:
    """`PROPORTIONS` of all faces, at their rendered size; the mean over faces where one cannot be measured.

    Raises:
        FileFormatError: a file is damaged.
    """
    rows = []
    with progress_bar() as bar:
        task = bar.add_task("measuring faces", total=len(truth), note="")
        for i in range(len(truth)):
            measured = truth.proportions(i)
            rows.append([measured[name] for name in PROPORTIONS])
            bar.advance(task)
    table = np.array(rows)
    known = np.isfinite(table)
    mean = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, table, mean)


CLIP_NORM = 10.0
"""Gradients with a larger norm are scaled down to this norm."""


def learning_rate_at(step: int, config: TrainJudgeConfig) -> float:
    """The learning rate: it rises linearly over a twentieth of the steps and falls to 0 as a half cosine."""
    warmth = min((step + 1) / max(config.steps / 20, 1), 1.0)
    return config.learning_rate * warmth * (1 + cos(pi * step / config.steps)) / 2


def shifted(images: UInt8[np.ndarray, "n h w 3"], most: int, rng: np.random.Generator) -> UInt8[np.ndarray, "n h w 3"]:
    """Each image shifted by a random number of whole pixels; its edge pixels are repeated."""
    n, h, w, _ = images.shape
    moves = rng.integers(-most, most + 1, size=(2, n, 1))
    rows, columns = ((np.arange(size) + move).clip(0, size - 1) for size, move in zip((h, w), moves, strict=True))
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def spoilt(images: Float[Tensor, "n 3 h w"], blur: float, noise: float, rng: torch.Generator) -> Tensor:
    """Images mixed with their blurred copies and with noise, each image by its own random shares."""
    shares = torch.rand(2, len(images), 1, 1, 1, generator=rng)
    soft = binomial_blur(images)
    spots = torch.randn(images.shape, generator=rng) * (shares[1] * noise)
    return (images.lerp(soft, shares[0] * blur) + spots).clamp(-1, 1)


class JudgeTrainer:
    """The judge, its optimizer and everything else that a resumed training must restore."""

    def __init__(self, config: TrainJudgeConfig, renders: Renders, fabric: Fabric) -> None:
        self.config, self.renders, self.fabric = config, renders, fabric
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))
        shape = replace(config.network, attributes=" ".join(renders.names))
        judge: Any = Judge(shape)
        self.values = torch.from_numpy(renders.columns(judge.names)).float()
        judge.mean.copy_(self.values.mean(dim=0))
        judge.std.copy_(self.values.std(dim=0))
        self.signs = judge.signs.clone()
        self.judge: Judge = judge.to(fabric.device, memory_format=torch.channels_last)
        weights = [p for p in self.judge.parameters() if p.ndim > 1]
        rest = [p for p in self.judge.parameters() if p.ndim <= 1]
        groups = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        self.seconds = 0.0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors = flatten_module("judge", self.judge) | flatten_optimizer("optimizer", self.optimizer)
        return tensors, {"step": self.step, "seconds": self.seconds, "attributes": self.judge.config.attributes}

    def restore(self, tensors: dict[str, Tensor], counters: Mapping[str, Any]) -> None:
        """The inverse of `state`.

        Raises:
            ConfigError: the saved training was on other attributes.
        """
        if (before := counters.get("attributes")) != self.judge.config.attributes:
            other = sorted(set((before or "").split()) ^ set(self.judge.names))
            raise ConfigError(
                f"{self.config.out} holds a training on other attributes ({', '.join(other[:3])} ...): the truth, or "
                "the choice of attributes, has changed; choose another --out"
            )
        restore_module("judge", self.judge, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
        self.step, self.seconds = counters["step"], counters["seconds"]

    def batch(self) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n m"]]:
        """The images of this step, shifted, half of them mirrored, blurred and noisy; and the truth in its units."""
        config, n = self.config, self.config.batch_size
        rng = step_generator(config.seed, _STREAM_STEP, self.step)
        chosen = batch_indices(config.seed, len(self.renders.images), self.step * n, n)
        pixels = shifted(self.renders.images[chosen], config.shift_px, philox(config.seed, _STREAM_SHIFT, self.step))
        images, values = to_tensor(pixels), self.values[chosen]
        flip = torch.rand(n, generator=rng) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        values = torch.where(flip[:, None], values * self.signs, values)
        images = spoilt(images, config.blur, config.noise, rng).contiguous(memory_format=torch.channels_last)
        return images.to(self.fabric.device), values.to(self.fabric.device)

    def train_step(self) -> dict[str, float]:
        """One step.

        Raises:
            NonFiniteError: the loss is not finite; no weight was changed.
        """
        self.judge.train()
        images, values = self.batch()
        with self.fabric.autocast():
            loss, squares = self.judge.loss(images, values)
        rate = learning_rate_at(self.step, self.config)
        descend(self.fabric, loss, self.judge, self.optimizer, step=self.step, rate=rate, clip_norm=CLIP_NORM)
        first = {name: float(squares[i]) for i, name in enumerate(self.judge.names) if name in MIRRORED}
        return {"loss": float(loss.detach()), **{f"unexplained/{name}": value for name, value in first.items()}}


def scores_of(judge: Judge, renders: Renders) -> dict[str, dict[str, float]]:
    """R^2 and mean absolute error (in the truth's units) of every attribute; the R^2 are also stored in the judge."""
    judge.eval()
    mean, std = (buffer.double().cpu().numpy() for buffer in (judge.mean, judge.std))
    truth = renders.columns(judge.names)
    errors = read(judge, to_tensor(np.array(renders.images))) * std + mean - truth
    variance = np.maximum(truth.var(axis=0), 1e-12)
    r2 = 1 - (errors**2).mean(axis=0) / variance
    judge.r2.copy_(torch.from_numpy(r2))
    table = zip(judge.names, r2.tolist(), np.abs(errors).mean(axis=0).tolist(), strict=True)
    return {name: {"r2": round(one, 4), "mean_absolute_error": float(f"{mae:.4g}")} for name, one, mae in table}


def write_snapshot(trainer: JudgeTrainer, folder: RunFolder, test: Renders) -> dict[str, float]:
    """Write the judge with its scores, and the scores as JSON; return the scores to log."""
    config, scores = trainer.config, scores_of(trainer.judge, test)
    provenance = {
        "lineament": __version__,
        "truth": config.truth.name,
        "num_images": len(trainer.renders.images),
        "test": config.test.name,
        "num_test_images": len(test.images),
        "steps": trainer.step,
        "batch_size": config.batch_size,
        "hours": round(trainer.seconds / 3600, 3),
        "seed": config.seed,
        "scores": scores,
    }
    judge = trainer.judge
    save_network(folder.path / "judge.safetensors", "judge", judge, judge.config.to_dict(), provenance)
    write_text_atomic(folder.path / "scores.json", json.dumps(scores, indent=2) + "\n")
    seen = [score["r2"] for score in scores.values()]
    shown = {f"r2/{name}": scores[name]["r2"] for name in ("yaw", "pitch", "light_x", "light_y") if name in scores}
    return {"r2/mean": float(np.mean(seen)), "r2/above_half": float(np.mean(np.array(seen) >= 0.5)), **shown}


def run(config: TrainJudgeConfig) -> Path:
    """Start or resume a training.

    Returns:
        The path of the judge.

    Raises:
        ImageError, FileFormatError, DataError: a folder of renders cannot be used.
        ConfigError: the run folder holds a training with other settings or renders.
        NonFiniteError: the loss became NaN; the last snapshot is kept.
        Stopped: the user stopped the training; its state is saved.
    """
    fabric = make_fabric(config.devices)
    with RunFolder(config.out, config, free=FREE_SETTINGS, inputs=INPUTS, fabric=fabric) as folder:
        return train(config, fabric, folder)


def train(config: TrainJudgeConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    size, cache = config.network.resolution, config.cache or config.out / "cache"
    renders, test = (load_renders(path, size, cache, fabric) for path in (config.truth, config.test))
    folder.check_origins({"the renders to train on": renders.signature(), "the renders to test on": test.signature()})
    trainer = JudgeTrainer(config, renders, fabric)
    if folder.resume(trainer.restore):
        console.print(f"going on at step {trainer.step}")
    folder.open_log(trainer.step)
    started, saved_step = time.monotonic() - trainer.seconds, trainer.step
    with GentleStop() as stop, progress_bar() as bar:
        task = bar.add_task("training judge", total=config.steps, completed=trainer.step, note="")
        while trainer.step < config.steps:
            try:
                values = trainer.train_step()
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the snapshot of step {saved_step} in {folder.path} is intact: start again in another "
                    "--out with a lower --learning-rate"
                ) from None
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            due = trainer.step % config.snapshot_steps == 0 or trainer.step == config.steps
            if due:
                values |= write_snapshot(trainer, folder, test)
                bar.update(task, note=f"mean R² {values['r2/mean']:.2f}")
            if due or trainer.step % 20 == 0:
                folder.log(trainer.step, values | {"seconds": trainer.seconds})
            if due or stop.requested:  # after the log: if killed in between, the log line is dropped and rewritten
                folder.save_state(*trainer.state())
                saved_step = trainer.step
            bar.update(task, completed=trainer.step)
            if stop.requested:
                break
    if trainer.step < config.steps:
        end_stopped(fabric, f"stopped at step {trainer.step}; the same command goes on")
    return folder.path / "judge.safetensors"
