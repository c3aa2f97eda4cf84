"""Find the directions of a generator: sample w, take the images apart, regress, calibrate; an atlas and a report.

Pose and light become directions by regression; where asked for, the regression of every pixel of canonical depth and
albedo, on samples whose layers vary apart, is factorised into parts of the face (`lineament.recipes.localize`).

Source:
    Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021: scalar semantics by
    least squares of decomposed samples on w. The Mahalanobis step, its calibration and all units are ours.
"""

import time
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float

from lineament import __version__
from lineament.errors import ConfigError, DataError, MismatchError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.steady_steps import mean_square_change, steady_steps
from lineament.networks.decomposer import Decomposer, check_face_box
from lineament.networks.generator import Generator
from lineament.recipes.batch_size import images_at_a_time
from lineament.recipes.calibrate import calibrate
from lineament.recipes.console import console, progress_bar
from lineament.recipes.devices import Devices, make_fabric
from lineament.recipes.editing import HOLDABLE, linear_step, step_length
from lineament.recipes.jacobian import map_mask
from lineament.recipes.loading import load_pair
from lineament.recipes.localize import PartsConfig, face_mask, find_parts, merged, score, summed
from lineament.recipes.models import network_fingerprint
from lineament.recipes.run_folder import GentleStop, RunFolder
from lineament.recipes.sampling import (
    FIT,
    HELD_OUT,
    MIXED,
    Discovery,
    batches,
    sample_and_map,
    sample_and_measure,
    sample_mixed,
)
from lineament.recipes.shipped import PAIR, Pair
from lineament.records.atlas import Atlas
from lineament.records.bounds import check_bounds
from lineament.records.direction import Direction, SeenRange
from lineament.records.parts import Localization
from lineament.records.semantics import SCALAR_SEMANTICS, SEMANTIC_NAMES
from lineament.store.atlas import save_atlas

MIN_RELATIVE_STD = 1e-6
"""A semantic that w moves by less than this share of its mean is constant: single precision ends there."""
MAX_STEADY_STRETCH = 4.0
"""Steady steps that are longer, in standard deviations of w and relative to those of one w, are pointed out."""
MAX_SCORED = 512
"""Held-out images on which parts are scored; all of their maps are in memory at a time."""
SAMPLED_SETTINGS = ("find", "samples", "layer_groups")
FREE_SETTINGS = (
    *("devices", "report", "calibration_faces", "steady"),
    *(f"parts.{setting.name}" for setting in fields(PartsConfig) if setting.name not in SAMPLED_SETTINGS),
)
"""What may change when a discovery goes on: nothing that was sampled depends on it."""
SAVE_SECONDS = 30.0
"""Between two saved states; those of large generators are large."""


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
    face_box: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the face in the generator's images, as shares of their width and height, if it is
    not where the decomposer was trained to find it."""
    class_number: int | None = None
    """Class whose faces are sampled, of a generator with classes."""
    ridge: float = 0.0
    """Ridge penalty in units of the mean variance of w."""
    calibration_faces: int = 96
    """Faces on which the steps are calibrated."""
    batch_size: int | None = None
    """Images at a time; changes speed and memory, not the result beyond rounding. As many as the free memory allows,
    64 at most, if not given."""
    half_precision: bool | None = None
    """Draw the finest resolutions of generators that were trained so in half precision; on accelerators if not
    given."""
    seed: int = 0
    """Of the samples."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """Parts of the face: mouth, brows, nose ..., found without labels or masks."""
    steady: float = 1000.0
    """How much edits of pose and light avoid to change depth and albedo, by moves that differ from layer to layer, and
    longer. 0, and where no parts are found, moves all layers alike, by the most probable step: there light takes skin
    and hair along."""
    report: bool = True
    """Write the HTML report."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_bounds(self, "samples", "held_out", least=2)
        check_bounds(self, "batch_size", "calibration_faces", least=1)
        check_bounds(self, "truncation", above=0, most=1)
        if not 0 <= self.steady < float("inf"):
            raise ConfigError(f"steady is {self.steady}, expected 0 or more")
        if self.face_box is not None:
            check_face_box(self.face_box)
        if self.devices.count != 1:
            raise ConfigError(f"discover works on one device, got a count of {self.devices.count}; set it to 1")
        if (self.generator is None) != (self.decomposer is None):
            raise ConfigError("--generator and --decomposer belong together: give both, or none for the shipped pair")


def gather(
    config: DiscoverConfig, generator: Generator, decomposer: Decomposer, folder: RunFolder, stop: GentleStop
) -> Discovery | None:
    """Sample and measure, from where an earlier run stopped; None if asked to stop before the end.

    Raises:
        MismatchError: the folder holds measurements of other networks.
    """
    saved = folder.load_state()
    found = (
        Discovery.from_tensors(saved[0], folder.path)
        if saved
        else Discovery.empty(folder.path, parts=config.parts.find)
    )
    networks = {"generator": network_fingerprint(generator), "decomposer": network_fingerprint(decomposer)}
    if saved and saved[1] != networks:
        changed = [name for name, value in networks.items() if saved[1].get(name) != value]
        raise MismatchError(
            f"{folder.path} holds a discovery made with another {' and '.join(changed)} than the file has now; "
            "choose another --out"
        )
    groups = config.parts.groups(generator.num_ws)
    size = config.batch_size or images_at_a_time(generator)
    mixed = config.parts.num_samples(generator.num_ws, generator.config.w_dim)
    total, done = config.samples + config.held_out + mixed, found.fit.count + found.held_out.count + found.mixed.count
    with progress_bar() as bar:
        task = bar.add_task("sampling faces", total=total, completed=done, note="")
        wanted = ((FIT, found.fit, config.samples), (HELD_OUT, found.held_out, config.held_out))
        jobs = [
            (kind, numbers)
            for kind, moments, count in (*wanted, (MIXED, found.mixed, mixed))
            for numbers in batches(kind, moments.count, count, size)
        ]
        last_saved = time.monotonic()
        sampled = (generator, decomposer, config.seed)
        for index, (kind, numbers) in enumerate(jobs, start=1):
            if kind == MIXED:
                w, y, maps = sample_mixed(*sampled, numbers, config.truncation, groups)
                found.add_mixed(w.double().cpu().numpy(), y, maps)
            else:
                w, y = sample_and_measure(*sampled, numbers, config.truncation)
                (found.add if kind == FIT else found.held_out.update)(w.double().cpu().numpy(), y)
            bar.advance(task, len(numbers))
            if stop.requested or index == len(jobs) or time.monotonic() - last_saved > SAVE_SECONDS:
                folder.save_state(found.tensors(), networks)
                last_saved = time.monotonic()
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
        generator={
            "family": generator.family,
            "resolution": shape.resolution,
            "w_dim": shape.w_dim,
            "num_layers": shape.num_ws,
            "class_number": generator.chosen_class,
            "face_box": list(decomposer.face_box),
        },
        lineament_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance={"ridge": config.ridge},
    )
    return atlas, model


def with_steady_steps(
    atlas: Atlas, local: Localization, jacobian: PixelJacobian, mask: Bool[np.ndarray, " p"], weight: float
) -> Atlas:
    """The atlas with steps of pose and light that leave the maps alone; not calibrated.

    The atlas as it is, and why, if there are none.
    """
    names, groups = [name for name in HOLDABLE if name in atlas.names], local.layer_groups
    if not names:
        return atlas
    chosen = [atlas.names.index(name) for name in names]
    gradients = local.scalar_gradients[:, chosen].swapaxes(0, 1).reshape(len(names), -1)
    cov = np.kron(np.eye(len(groups)), atlas.w_cov)
    try:
        moves = steady_steps(gradients, cov, mean_square_change(jacobian, mask), weight, names=names)
    except (ConfigError, DataError) as error:
        console.print(f"no steady steps: {error}", soft_wrap=True)
        return atlas
    steps = np.repeat(moves.reshape(len(names), len(groups), -1), [len(group) for group in groups], axis=1)
    stretch = {
        name: step_length(step, atlas.w_cov) / step_length(linear_step(atlas, {name: 1.0}), atlas.w_cov)
        for name, step in zip(names, steps, strict=True)
    }
    longest = max(stretch, key=lambda name: stretch[name])
    if stretch[longest] > MAX_STEADY_STRETCH:
        console.print(
            f"note: the steady step of {longest} is {stretch[longest]:.1f} times as long as that of one w for all "
            "layers; a lower --steady shortens it",
            soft_wrap=True,
        )
    directions = [
        replace(direction, layer_steps=steps[names.index(direction.name)]) if direction.name in names else direction
        for direction in atlas.directions
    ]
    return replace(atlas, directions=tuple(directions), provenance=atlas.provenance | {"steady": weight})


def with_parts(
    config: DiscoverConfig, found: Discovery, atlas: Atlas, generator: Generator, decomposer: Decomposer
) -> tuple[Atlas, Float[np.ndarray, "p d"] | None]:
    """The atlas with the parts of the face, scored on held-out images, and with steady steps of pose and light if those
    are asked for; beside it the Jacobian of one w for all layers.

    The atlas as it is, and why, if there are none.

    Raises:
        ConfigError: the settings ask for what cannot be, such as more parts than the Jacobian has rank.
    """
    groups = config.parts.groups(generator.num_ws)
    chosen = [SEMANTIC_NAMES.index(name) for name in atlas.names]
    mixed = LinearSemantics().fit_moments(found.mixed).coef_[chosen]
    gradients = mixed.reshape(len(chosen), len(groups), -1).swapaxes(0, 1)
    try:
        jacobian = merged(found.folds)
        local = find_parts(jacobian, found.folds, groups, atlas.w_cov, gradients, face_mask(decomposer), config.parts)
    except DataError as error:
        console.print(f"no parts of the face: {error}", soft_wrap=True)
        return atlas, None
    count = min(config.held_out, MAX_SCORED)
    seen = [
        sample_and_map(generator, decomposer, config.seed, numbers, config.truncation)
        for numbers in batches(HELD_OUT, 0, count, config.batch_size or images_at_a_time(generator))
    ]
    w = np.concatenate([one.double().cpu().numpy() for one, _, _ in seen])
    maps = np.concatenate([maps for _, _, maps in seen])
    J = summed(jacobian, len(groups))
    if config.steady:
        atlas = with_steady_steps(atlas, local, jacobian, map_mask(decomposer), config.steady)
    return replace(atlas, local=score(local, J, w, atlas.w_mean, maps)), J


def run(config: DiscoverConfig) -> Path | None:
    """Discover, or go on discovering.

    Returns:
        The path of the atlas, or None if stopped before the end.

    Raises:
        FileFormatError: a network cannot be read.
        ConfigError: the folder holds a discovery with other settings, or the samples are too few.
    """
    fabric = make_fabric(config.devices)
    generator, decomposer = load_pair(
        config.generator, config.decomposer, config.pair, fabric.device, half=config.half_precision
    )
    generator.choose_class(config.class_number)
    decomposer.face_box = config.face_box or decomposer.face_box
    w_dim = generator.config.w_dim
    if config.ridge == 0 and config.samples <= w_dim + 1:
        raise ConfigError(
            f"{config.samples} samples do not determine {w_dim} coefficients; take more than {w_dim + 1}, or a --ridge"
        )
    config.parts.num_samples(generator.num_ws, w_dim)  # refuses too few before there is a folder
    with RunFolder(config.out, config, free=FREE_SETTINGS) as folder:
        with GentleStop() as stop:
            found = gather(config, generator, decomposer, folder, stop)
        if found is None:
            console.print("stopped; the same command goes on")
            return None
        atlas, _ = uncalibrated_atlas(config, found, generator, decomposer)
        J = None
        if found.folds:
            atlas, J = with_parts(config, found, atlas, generator, decomposer)
        atlas, calibrations = calibrate(config.calibration_faces, atlas, generator, decomposer)
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
                J=J,
                generator_path=config.generator,
                decomposer_path=config.decomposer,
            )
        return path
