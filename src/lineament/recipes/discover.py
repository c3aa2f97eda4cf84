"""Find the directions of a generator: sample w, take the images apart, regress, calibrate; an atlas and a report.

Source:
    Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021: scalar semantics by
    least squares of decomposed samples on w. The Mahalanobis step, its calibration and all units are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from lineament import __version__
from lineament.errors import ConfigError, MismatchError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.moments import StreamingMoments
from lineament.estimators.steps import StepCalibration
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan2 import Generator
from lineament.ops.seeding import latents
from lineament.recipes.console import console, progress_bar
from lineament.recipes.devices import Devices, make_fabric
from lineament.recipes.editing import affordable_hold, linear_step, measure, synthesize_edited
from lineament.recipes.models import load_decomposer, load_generator, network_fingerprint
from lineament.recipes.run_folder import GentleStop, RunFolder
from lineament.recipes.shipped import PAIR, Pair, shipped_path
from lineament.records.atlas import Atlas, Direction, SeenRange
from lineament.records.semantics import SCALAR_SEMANTICS, SEMANTIC_NAMES
from lineament.store.atlas import save_atlas

# Three disjoint ranges of image numbers under one seed.
_FIT, _HELD_OUT, _CALIBRATION = 0, 1 << 40, 1 << 41
MIN_RELATIVE_STD = 1e-6
"""A semantic that w moves by less than this share of its mean is constant: single precision ends there."""
MAX_KEPT_VALUES = 4096
"""Measured values kept for percentiles; a fixed number, so that memory does not grow with the samples."""


@dataclass(frozen=True)
class DiscoverConfig:
    """Settings of a discovery; without files, the shipped pair is used.

    Example: ``lineament discover --generator faces.safetensors --decomposer faces-3d.safetensors --out found``
    """

    out: Path
    """Folder for the atlas and the report; the same command goes on where it stopped."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    decomposer: Path | None = None
    """Decomposer trained for that generator; the shipped one if not given."""
    samples: int = 10000
    """Images sampled for the regression."""
    held_out: int = 2000
    """Further images on which R^2 is measured."""
    truncation: float = 0.5
    """Truncation at which w is sampled; 1 is none."""
    ridge: float = 0.0
    """Ridge penalty in units of the mean variance of w."""
    calibration_faces: int = 96
    """Faces on which the steps are calibrated."""
    batch_size: int = 64
    """Images at a time; changes speed and memory, not the result beyond rounding."""
    seed: int = 0
    """Of the samples."""
    report: bool = True
    """Write the HTML report."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 learned from photographs."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.samples < 2 or self.held_out < 2 or self.batch_size < 1 or self.calibration_faces < 1:
            raise ConfigError("samples and held_out must be at least 2, batch_size and calibration_faces at least 1")
        if not 0 < self.truncation <= 1:
            raise ConfigError(f"truncation is {self.truncation}, expected above 0 and at most 1")
        if self.devices.count != 1:
            raise ConfigError(f"discover works on one device, got a count of {self.devices.count}; set it to 1")
        if (self.generator is None) != (self.decomposer is None):
            raise ConfigError("--generator and --decomposer belong together: give both, or none for the shipped pair")


@dataclass
class Discovery:
    """What the sampling has gathered so far."""

    fit: StreamingMoments
    held_out: StreamingMoments
    lowest: Float[np.ndarray, " m"]
    highest: Float[np.ndarray, " m"]
    kept: Float[np.ndarray, "n m"]

    @classmethod
    def empty(cls) -> "Discovery":
        """Nothing gathered."""
        m = len(SEMANTIC_NAMES)
        edge = np.full(m, np.finfo(np.float64).max)
        return cls(StreamingMoments(), StreamingMoments(), edge, -edge, np.zeros((0, m)))

    def add(self, w: np.ndarray, y: np.ndarray) -> None:
        """Take in one batch of the regression."""
        self.fit.update(w, y)
        self.lowest, self.highest = np.minimum(self.lowest, y.min(axis=0)), np.maximum(self.highest, y.max(axis=0))
        self.kept = np.concatenate([self.kept, y[: max(MAX_KEPT_VALUES - len(self.kept), 0)]])

    def tensors(self) -> dict[str, Tensor]:
        """For the resumable state."""
        arrays = {f"fit.{k}": v for k, v in self.fit.to_dict().items()}
        arrays |= {f"held_out.{k}": v for k, v in self.held_out.to_dict().items()}
        arrays |= {"lowest": self.lowest, "highest": self.highest, "kept": self.kept}
        return {k: torch.from_numpy(np.atleast_1d(np.array(v))) for k, v in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Discovery":
        """The inverse of `tensors`."""
        arrays = {k: v.numpy() for k, v in tensors.items()}

        def moments(prefix: str) -> StreamingMoments:
            return StreamingMoments.from_dict(
                {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            )

        return cls(moments("fit."), moments("held_out."), arrays["lowest"], arrays["highest"], arrays["kept"])


@torch.no_grad()
def sample_and_measure(
    generator: Generator, decomposer: Decomposer, seed: int, numbers: range, truncation: float
) -> tuple[Float[Tensor, "n d"], Float[np.ndarray, "n m"]]:
    """Latents w of the images ``numbers`` of the seed, and the scalar semantics of those images."""
    device = generator.mapping.w_avg.device
    w = generator.map(latents(seed, numbers, generator.config.z_dim).to(device), truncation)
    images = generator.synthesize(generator.broadcast(w)).clamp(-1, 1)
    return w, measure(decomposer, images)


def _batches(start: int, done: int, total: int, size: int) -> Iterator[range]:
    for first in range(done, total, size):
        yield range(start + first, start + min(first + size, total))


def gather(
    config: DiscoverConfig, generator: Generator, decomposer: Decomposer, folder: RunFolder, stop: GentleStop
) -> Discovery | None:
    """Sample and measure, from where an earlier run stopped; None if asked to stop before the end.

    Raises:
        MismatchError: the folder holds measurements of other networks.
    """
    saved = folder.load_state()
    found = Discovery.from_tensors(saved[0]) if saved else Discovery.empty()
    networks = {"generator": network_fingerprint(generator), "decomposer": network_fingerprint(decomposer)}
    if saved and saved[1] != networks:
        changed = [name for name, value in networks.items() if saved[1].get(name) != value]
        raise MismatchError(
            f"{folder.path} holds a discovery made with another {' and '.join(changed)} than the file has now; "
            "choose another --out"
        )
    total = config.samples + config.held_out
    with progress_bar() as bar:
        task = bar.add_task("sampling faces", total=total, completed=found.fit.count + found.held_out.count, note="")
        jobs = [(numbers, False) for numbers in _batches(_FIT, found.fit.count, config.samples, config.batch_size)]
        jobs += [(n, True) for n in _batches(_HELD_OUT, found.held_out.count, config.held_out, config.batch_size)]
        for index, (numbers, held_out) in enumerate(jobs, start=1):
            w, y = sample_and_measure(generator, decomposer, config.seed, numbers, config.truncation)
            w64 = w.double().cpu().numpy()
            if held_out:
                found.held_out.update(w64, y)
            else:
                found.add(w64, y)
            bar.advance(task, len(numbers))
            if index % 32 == 0 or stop.requested or index == len(jobs):
                folder.save_state(found.tensors(), networks)
            if stop.requested:
                return None
    return found


def uncalibrated_atlas(
    config: DiscoverConfig, found: Discovery, generator: Generator, decomposer: Decomposer
) -> tuple[Atlas, LinearSemantics]:
    """Solve the regression and put it into an atlas whose calibrations are still the identity.

    A semantic that does not vary with w has no direction and is left out.

    Raises:
        ConfigError: none varies.
    """
    model = LinearSemantics(ridge=config.ridge).fit_moments(found.fit)
    r2 = model.score_moments(found.held_out)
    y_std = np.sqrt(np.diag(found.fit.y_cov))
    percentiles = np.percentile(found.kept, [1, 50, 99], axis=0)
    directions = []
    for i, semantic in enumerate(SCALAR_SEMANTICS):
        gradient = model.coef_[i]
        pulled = model.w_cov_ @ gradient
        mean = float(found.fit.y_mean[i])
        if not float(gradient @ pulled) > (MIN_RELATIVE_STD * max(abs(mean), 1e-3)) ** 2:
            console.print(f"{semantic.name} is left out: it is {mean:.4g} {semantic.unit} on every face")
            continue
        p1, median, p99 = (float(v) for v in percentiles[:, i])
        directions.append(
            Direction(
                name=semantic.name,
                unit=semantic.unit,
                sign=semantic.sign,
                description=semantic.description,
                gradient=gradient,
                step=pulled / float(gradient @ pulled),
                standard_error=model.standard_error_[i],
                r2=float(r2[i]),
                residual_std=float(model.residual_std_[i]),
                mean=mean,
                std=float(y_std[i]),
                range_seen=SeenRange(float(found.lowest[i]), p1, median, p99, float(found.highest[i])),
            )
        )
    if not directions:
        raise ConfigError("the decomposer says the same of every face; train it longer")
    shape = generator.config
    atlas = Atlas(
        directions=tuple(directions),
        w_mean=model.w_mean_,
        w_cov=model.w_cov_,
        num_samples=found.fit.count,
        num_held_out=found.held_out.count,
        seed=config.seed,
        truncation=config.truncation,
        generator_fingerprint=network_fingerprint(generator),
        decomposer_fingerprint=network_fingerprint(decomposer),
        generator={"resolution": shape.resolution, "w_dim": shape.w_dim, "num_layers": shape.num_ws},
        lineament_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance={"ridge": config.ridge},
    )
    return atlas, model


@dataclass(frozen=True)
class Calibration:
    """What edits along one direction were measured to do, before their correction.

    ``changes`` has one row per face and one column per step; ``leakage`` is the median change of every semantic, in
    the order of `SEMANTIC_NAMES`. ``held`` are the semantics that were to stay.
    """

    name: str
    steps: Float[np.ndarray, " k"]
    changes: Float[np.ndarray, "n k"]
    leakage: Float[np.ndarray, "k m"]
    held: tuple[str, ...]


def calibrate(
    config: DiscoverConfig, atlas: Atlas, generator: Generator, decomposer: Decomposer
) -> tuple[Atlas, list[Calibration]]:
    """Take steps of known size on unseen faces, measure what they achieve, and store the correction."""
    numbers = range(_CALIBRATION, _CALIBRATION + config.calibration_faces)
    w, before = sample_and_measure(generator, decomposer, config.seed, numbers, config.truncation)
    calibrations: list[Calibration] = []
    directions: list[Direction] = []
    with progress_bar() as bar:
        task = bar.add_task("calibrating steps", total=len(atlas.directions), note="")
        for direction in atlas.directions:
            index = SEMANTIC_NAMES.index(direction.name)
            held = affordable_hold(atlas, (direction.name,))
            steps = np.array([-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0]) * direction.std
            after = []
            for step in steps:
                move = linear_step(atlas, {direction.name: float(step)}, held)
                images = synthesize_edited(generator, atlas, w, move, [direction.name])
                after.append(measure(decomposer, images) - before)
            changes = np.stack(after, axis=1)
            leakage = np.median(changes, axis=0)
            calibration = StepCalibration.fit(steps, leakage[:, index])
            calibrations.append(Calibration(direction.name, steps, changes[:, :, index], leakage, held))
            directions.append(replace(direction, calibration=calibration.knots))
            bar.update(task, advance=1, note=direction.name)
    return replace(atlas, directions=tuple(directions)), calibrations


def load_pair(config: DiscoverConfig, fabric: Fabric) -> tuple[Generator, Decomposer]:
    """The generator and decomposer asked for, or the shipped ones."""
    generator = load_generator(config.generator or shipped_path("generator.safetensors", config.pair), fabric.device)
    decomposer = load_decomposer(
        config.decomposer or shipped_path("decomposer.safetensors", config.pair), fabric.device
    )
    return generator, decomposer


def run(config: DiscoverConfig) -> Path | None:
    """Discover, or go on discovering.

    Returns:
        The path of the atlas, or None if stopped before the end.

    Raises:
        FileFormatError: a network cannot be read.
        ConfigError: the folder holds a discovery with other settings, or the samples are too few.
    """
    fabric = make_fabric(config.devices)
    generator, decomposer = load_pair(config, fabric)
    w_dim = generator.config.w_dim
    if config.ridge == 0 and config.samples <= w_dim + 1:
        raise ConfigError(
            f"{config.samples} samples do not determine {w_dim} coefficients; take more than {w_dim + 1}, or a --ridge"
        )
    with RunFolder(config.out, config, free=("devices", "report", "calibration_faces")) as folder:
        with GentleStop() as stop:
            found = gather(config, generator, decomposer, folder, stop)
        if found is None:
            console.print("stopped; the same command goes on")
            return None
        atlas, _ = uncalibrated_atlas(config, found, generator, decomposer)
        atlas, calibrations = calibrate(config, atlas, generator, decomposer)
        path = config.out / "atlas.safetensors"
        save_atlas(path, atlas)
        if config.report:
            from lineament.recipes.report import write_report

            write_report(
                config.out / "report.html",
                atlas,
                generator,
                decomposer,
                calibrations,
                generator_path=config.generator,
                decomposer_path=config.decomposer,
            )
        return path
