"""A decomposer's training: its settings, its state and its step. `train_decomposer` is the loop around it."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from lineament.checkpoints.mean_head import load_mean_head
from lineament.checkpoints.opening import file_beside
from lineament.checkpoints.ours import load_decomposer
from lineament.engine.optimise import average_weights, descend, half_life_at, warm_and_falling_rate
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.errors import ConfigError, MismatchError
from lineament.networks.decomposer import Decomposer
from lineament.ops.mean_head import LEAST_LIKENESS, find_head, head_at
from lineament.ops.seeding import philox, step_generator
from lineament.ops.shapes import ellipsoid_depth
from lineament.recipes.train.decomposer_health import HealthMonitor
from lineament.recipes.train.decomposer_loss import decomposition_loss, supervised_loss
from lineament.recipes.train.face_stream import Batch, FaceStream
from lineament.recipes.train.latent_pairs import LatentPairs
from lineament.records.shapes import DecomposerConfig
from lineament.settings.train_decomposer import TrainDecomposerConfig
from lineament.store.truth import load_truth

_STREAM_INIT, _STREAM_STEP, _STREAM_CYCLE = 1, 2, 7

TILT_RATE = 0.01
"""Weight of a batch in the running mean of the pitch."""

FINAL_RATE = 0.05
"""Learning rate at the end of a training, as a share of the full one."""

ELLIPSOID = {"near": 0.95, "far": 1.05, "half_height": 0.9}
"""The initial shape. It is taller than the image, because tight crops cut heads off above and below, not at the
sides."""


def features_path(config: TrainDecomposerConfig) -> Path | None:
    """The discriminator of the perceptual term: the one named, or the one beside the generator or in its file."""
    if config.loss.perceptual_weight == 0 or config.features is not None or config.generator is None:
        return config.features if config.loss.perceptual_weight else None
    return file_beside(config.generator, "discriminator.safetensors")


def make_stream(config: TrainDecomposerConfig, fabric: Fabric) -> FaceStream:
    """The faces to train on."""
    size = config.network.resolution
    return FaceStream(
        size,
        fabric,
        generator=config.generator,
        images=config.images,
        truth=load_truth(config.supervise, size) if config.supervise else None,
        cache_dir=config.cache or config.out / "cache",
        fraction=config.generated_fraction,
        truncation=config.truncation,
        seed=config.seed,
        paired=config.loss.latent_weight > 0,
        atlas=config.latent_atlas,
        face_box=config.network.face_box,
        jitter=config.jitter,
    )


def begun_with(path: Path, network: DecomposerConfig) -> Decomposer:
    """The decomposer to start from, without its confidence network, which files may lack.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a decomposer.
        MismatchError: its settings differ from those of the network that is to be trained.
    """
    found = load_decomposer(path).for_use()
    own, wanted = (asdict(replace(one, confidence=False)) for one in (found.config, network))
    if other := [name for name in own if own[name] != wanted[name]]:
        name = other[0]
        raise MismatchError(
            f"{path} has {name} {own[name]}, but the training {wanted[name]}; give the network settings of "
            f"that decomposer (--network.{name.replace('_', '-')} ...)"
        )
    return found


class DecomposerTrainer:
    """The decomposer, its optimizer and everything else that a resumed training must restore."""

    def __init__(self, config: TrainDecomposerConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        torch.manual_seed(int(philox(config.seed, _STREAM_INIT, 0).integers(2**62)))
        decomposer: Any = Decomposer(config.network)
        if config.he_init:
            decomposer.init_he()
        self.decomposer: Decomposer = decomposer.to(fabric.device, memory_format=torch.channels_last)
        self.ema: Decomposer = copy.deepcopy(self.decomposer).eval().requires_grad_(False)
        self.optimizer = self._new_optimizer()
        self.features: nn.Module | None = None
        self.pairs: LatentPairs | None = None
        self.monitor = HealthMonitor()
        self.step = 0
        self.seconds = 0.0
        self.recoveries: list[str] = []
        self.restarted_from = -1
        self.said: list[str] = []

    def _new_optimizer(self) -> torch.optim.Adam:
        c = self.config
        betas = (0.9, c.adam_beta2)
        return torch.optim.Adam(
            self.decomposer.parameters(), lr=c.learning_rate, betas=betas, weight_decay=c.weight_decay
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes during training."""
        tensors = flatten_module("decomposer", self.decomposer) | flatten_module("ema", self.ema)
        counters = {
            "step": self.step,
            "seconds": self.seconds,
            "recoveries": self.recoveries,
            "restarted_from": self.restarted_from,
            "said": self.said,
            "monitor": self.monitor.state(),
        }
        if self.pairs is not None and self.pairs.steps is not None:
            tensors["pairs.steps"] = self.pairs.steps
        return tensors | flatten_optimizer("optimizer", self.optimizer), counters

    def restore(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        restore_module("decomposer", self.decomposer, tensors)
        restore_module("ema", self.ema, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
        if self.pairs is not None and "pairs.steps" in tensors:
            steps = tensors["pairs.steps"].to(self.fabric.device)
            self.pairs.steps = steps.reshape(len(steps), -1, steps.shape[-1])
        for name in ("step", "seconds", "recoveries", "restarted_from", "said"):
            setattr(self, name, counters[name])
        self.monitor.restore(counters["monitor"])

    def recover(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any], reason: str) -> None:
        """Go back to a healthy state, with half the learning rate, other batches and a fresh optimizer.

        Adam's moments in the healthy state know nothing of what caused the collapse; with other batches alone it would
        happen again.
        """
        recoveries, seconds = [*self.recoveries, reason], self.seconds
        self.restore(tensors, counters)
        self.optimizer = self._new_optimizer()
        self.recoveries, self.seconds, self.restarted_from = recoveries, seconds, self.step
        self.monitor.restarted(self.step)

    def rng(self, stream: int = _STREAM_STEP) -> torch.Generator:
        """Random numbers of this step on this process; a recovered training draws others."""
        stream += 16 * self.fabric.global_rank + 4096 * len(self.recoveries)
        return step_generator(self.config.seed, stream, self.step)

    def start(self, images: Float[Tensor, "n 3 h w"]) -> None:
        """Start from another decomposer, from a mean head laid over the mean of these images, or from an ellipsoid.

        Raises:
            ConfigError: there is no face in the mean of the images.
        """
        config = self.config
        if config.init is not None:
            begun = begun_with(config.init, config.network).state_dict()
            self.decomposer.load_state_dict(self.decomposer.state_dict() | begun)
        elif config.network.mean_head:
            self.decomposer.start_from(self._head_of(images).to(self.fabric.device))
        elif config.ellipsoid and config.network.mean_shape:
            shape = ellipsoid_depth(config.network.resolution, **ELLIPSOID)
            self.decomposer.start_from(shape.to(self.fabric.device))
        self.ema.load_state_dict(self.decomposer.state_dict())

    def _head_of(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "h w"]:
        head, mean = load_mean_head(), images.mean(dim=0).float().cpu()
        place = find_head(head, mean)
        if place.likeness < LEAST_LIKENESS:
            raise ConfigError(
                f"the mean of the images does not look like a face from the front ({place.likeness:.2f}, expected "
                f"{LEAST_LIKENESS} at least): give aligned faces, or --network.face-box, or, for anything but faces, "
                "--network.no-mean-head"
            )
        return head_at(head, place, self.config.network.resolution, self.decomposer.camera)

    def refresh_pairs(self) -> None:
        """Find the directions of pose and light anew, if pairs are used and a refresh is due.

        The first steps are skipped: while the depth is held, view and light are hardly known.
        """
        every = self.config.latent_refresh_steps
        if self.pairs is not None and self.step >= max(every, self.config.hold_depth_steps) and self.step % every == 0:
            self.pairs.refresh(self.ema, self.step)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of gradient descent.

        Raises:
            NonFiniteError: the loss or a gradient is not finite; no weight was changed.
        """
        held = self.step < self.config.hold_depth_steps and self.config.init is None and batch.truth is None
        for parameter in self.decomposer.parts()[0]:
            parameter.requires_grad_(not held)
        if batch.truth is not None:
            loss, values = supervised_loss(self.decomposer, batch.images, batch.truth)
        else:
            loss, values = decomposition_loss(
                self.decomposer, batch.images, self.features, self.config.loss, self.rng(_STREAM_CYCLE), batch.moved
            )
        config = self.config
        rate = warm_and_falling_rate(self.step, config.steps, config.warmup_steps, config.decay)
        norm = descend(
            self.fabric,
            loss,
            self.decomposer,
            self.optimizer,
            step=self.step,
            rate=config.learning_rate * rate * 0.5 ** len(self.recoveries),
            clip_norm=config.clip_norm or math.inf,
            clipped_alone=self.decomposer.parts(),
        )
        average_weights(self.ema, self.decomposer, half_life_at(self.step, config.ema_steps))
        if not self.decomposer.config.tied_shape:
            self._follow_pitch(values["health/pitch_mean_deg"])
        return values | {"gradient_norm": norm}

    @torch.no_grad()
    def _follow_pitch(self, mean_deg: float) -> None:
        # The EMA's tilt is the mean pitch of its own views; it lags the trained one's by the same half-life.
        self.decomposer.tilt.lerp_(torch.tensor(math.radians(mean_deg)).to(self.decomposer.tilt), TILT_RATE)
        self.ema.tilt.copy_(self.decomposer.tilt)
