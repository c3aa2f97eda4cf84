"""Train a decomposer on a generator's samples, on photographs, or on both; run the same command again to resume.

A collapse is detected (`recipes.train.decomposer_health`) and reported in one line. The training then continues from
its last healthy snapshot with half the learning rate.

Source:
    Wu et al., CVPR 2020 (Unsup3D). Deviations, all switchable: the perceptual feature is the GAN's discriminator, the
    mean shape is a mean head or starts as an ellipsoid (Pan et al., "Do 2D GANs Know 3D Shape?", ICLR 2021), gradients
    are clipped, the weights are averaged, and no weight decay is used. `lineament.recipes.train.decomposer_loss` and
    `lineament.networks.decomposer` list further deviations.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from lineament import __version__
from lineament.checkpoints.ours import load_decomposer, load_features, network_fingerprint, save_network
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import any_process, make_fabric
from lineament.engine.origins import NONE
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.errors import CollapseError, ConfigError, NonFiniteError
from lineament.faces.decomposer_scores import evaluate, mean_depth
from lineament.networks.decomposer import Decomposer
from lineament.networks.perceptual import DiscriminatorFeatures
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import step_generator
from lineament.recipes.train.decomposer_health import ONLY_SAID, Collapse, HealthMonitor
from lineament.recipes.train.decomposer_trainer import DecomposerTrainer, features_path, make_stream
from lineament.recipes.train.face_stream import Batch, FaceStream, truth_signature
from lineament.recipes.train.image_checks import baseline_error, check_images
from lineament.recipes.train.origin_files import fingerprint_of_file, fingerprint_of_start
from lineament.records.image_paths import names_of
from lineament.reports.figures import decomposition_rows
from lineament.settings.train_decomposer import TrainDecomposerConfig
from lineament.store.pictures import save_png
from lineament.store.truth import load_truth

_STREAM_PREVIEW = 5

FREE_SETTINGS = ("steps", "devices", "snapshot_steps", "learning_rate", "cache")
"""Settings that may differ when a training is resumed."""

INPUTS = ("generator", "images", "supervise", "validation", "features", "init", "latent_atlas")
"""Settings that are paths; their contents may not differ."""

VALIDATION_FACES = 100
"""Number of faces that every snapshot is scored on."""

NUM_CHECKED = 512
"""Number of images that are checked before a training."""

MAX_RECOVERIES = 3
"""Restarts before a training is given up: if it still collapses, a smaller learning rate does not cure it."""

_HEALTHY, _HEALTHY_BEFORE = "healthy", "healthy-before"


def decomposer_path(folder: RunFolder) -> Path:
    """The file of the averaged decomposer."""
    return folder.path / "decomposer.safetensors"


def write_snapshot(
    trainer: DecomposerTrainer, stream: FaceStream, folder: RunFolder, last: Mapping[str, float]
) -> None:
    """Write the averaged decomposer and a picture of its decompositions."""
    config = trainer.config
    sources = (config.supervise,) if config.supervise else config.images
    provenance = {
        "lineament": __version__,
        "steps": trainer.step,
        "batch_size": config.batch_size,
        "hours": round(trainer.seconds / 3600, 3),
        "images": names_of(sources),
        "supervised": config.supervise is not None,
        "generator": network_fingerprint(stream.generator) if stream.generator else None,
        "init": config.init.name if config.init else None,
        "latent_atlas": config.latent_atlas.name if config.latent_atlas else None,
        "latent_weight": config.loss.latent_weight,
        "turned_share": config.turned_share,
        "recoveries": trainer.recoveries,
        "scores": {k: v for k, v in last.items() if k.startswith("health/")},
    }
    decomposer = trainer.ema.for_use()
    save_network(decomposer_path(folder), "decomposer", decomposer, decomposer.config.to_dict(), provenance)
    if isinstance(trainer.features, DiscriminatorFeatures):
        path = folder.path / "features.safetensors"
        save_network(path, "features", trainer.features, trainer.features.config.to_dict(), provenance)
    samples = folder.path / "samples"
    samples.mkdir(exist_ok=True)
    save_png(samples / f"{trainer.step:06d}.png", decomposition_rows(trainer.ema, preview(trainer, stream)))


class Validation:
    """Scores on faces with known depth, for the log."""

    def __init__(self, config: TrainDecomposerConfig, fabric: Fabric) -> None:
        truth = load_truth(str(config.validation), config.network.resolution, VALIDATION_FACES)
        self.truth, self.mean = truth, mean_depth(zip(truth.depth, truth.mask, strict=True))

    def of(self, decomposer: Decomposer) -> dict[str, float]:
        """SIDE and MAD, also as ratios to those of the mean depth, pose and light."""
        row = evaluate(self.truth, self.mean, {"": decomposer}, quiet=True)[-1]
        return {f"validation/{name}": estimate.value for name, estimate in row.scores.items()}


def origins_of(config: TrainDecomposerConfig, stream: FaceStream, scores: Validation | None) -> dict[str, str | None]:
    """Fingerprints of the images and networks that a decomposer is made of."""
    return {
        **stream.origins(),
        "the features": fingerprint_of_file(features_path(config)),
        "the decomposer to start from": fingerprint_of_start(config.init),
        "the faces for validation": NONE if scores is None else truth_signature(scores.truth),
    }


def note_of(values: Mapping[str, float]) -> str:
    """The few numbers that the progress bar shows."""
    note = f"error {values['health/pixel_error']:.3f}, yaw sd {values['health/yaw_std_deg']:.0f}"
    if "validation/side_ratio" in values:
        note += f", SIDE {values['validation/side_ratio']:.2f} of the mean depth's"
    return note


def preview(trainer: DecomposerTrainer, stream: FaceStream) -> Tensor:
    """The faces shown at every snapshot."""
    count = min(10, trainer.config.batch_size)
    return stream.batch(0, count, step_generator(trainer.config.seed, _STREAM_PREVIEW, 0)).images


def recover(trainer: DecomposerTrainer, folder: RunFolder, collapse: Collapse) -> None:
    """Report the collapse and go back to the last healthy snapshot, or to the one before if that one collapsed already.

    Raises:
        CollapseError: going back cannot help, or no restart is left.
    """
    said = f"collapsed at step {trainer.step} ({collapse.kind}): {collapse.message}"
    saved = folder.load_state(_HEALTHY) or folder.load_state(_HEALTHY_BEFORE)
    if saved is not None and saved[1]["step"] == trainer.restarted_from:
        saved = folder.load_state(_HEALTHY_BEFORE) or saved
    if not collapse.curable or len(trainer.recoveries) >= MAX_RECOVERIES or saved is None:
        again = f" after {len(trainer.recoveries)} restarts" if trainer.recoveries else ""
        raise CollapseError(
            f"the training {said}{again}; the last healthy decomposer is {decomposer_path(folder)}. "
            "Look at the images it was given (samples/ shows some): aligned faces in varied poses are expected"
        )
    trainer.recover(*saved, reason=f"{said}; went back to step {saved[1]['step']}")
    rate = trainer.config.learning_rate * 0.5 ** len(trainer.recoveries)
    console.print(f"{trainer.recoveries[-1]}, with half the learning rate ({rate:.2g})")


def run(config: TrainDecomposerConfig) -> Path:
    """Start or resume a training.

    Returns:
        The path of the decomposer.

    Raises:
        ImageError, FileFormatError: a source cannot be used.
        ConfigError: the run folder holds a training with other settings, images or networks.
        CollapseError: the training collapsed and did not recover; the last healthy snapshot is kept.
        NonFiniteError: the loss became NaN, and the settings say not to recover.
        Stopped: the user stopped the training; its state is saved.
    """
    fabric = make_fabric(config.devices)
    if config.batch_size % fabric.world_size:
        raise ConfigError(f"batch_size {config.batch_size} does not divide by {fabric.world_size} processes")
    with RunFolder(config.out, config, free=FREE_SETTINGS, inputs=INPUTS, fabric=fabric) as folder:
        return train(config, fabric, folder)


def prepare(trainer: DecomposerTrainer, stream: FaceStream, folder: RunFolder) -> None:
    """Check the images, load the perceptual feature, and restore the saved state or start anew."""
    config, fabric = trainer.config, trainer.fabric
    sample = stream.batch(0, NUM_CHECKED, step_generator(config.seed, _STREAM_PREVIEW, 1), changed=False).images
    checked = to_uint8(sample)
    named = ", ".join(str(path) for path in config.images)
    warnings = check_images(checked, source=named or str(config.supervise or config.generator))
    trainer.monitor = HealthMonitor(baseline_error=baseline_error(checked))
    if (features := features_path(config)) is not None:
        trainer.features = load_features(features, sample[:64], fabric.device)
    if folder.resume(trainer.restore):
        console.print(f"going on at step {trainer.step}")
        return
    if fabric.is_global_zero:
        for warning in warnings:
            console.print(f"warning: {warning}")
    trainer.start(sample)
    if fabric.is_global_zero:
        folder.save_state(*trainer.state(), name=_HEALTHY)


def take_step(trainer: DecomposerTrainer, batch: Batch) -> tuple[dict[str, float], Collapse | None]:
    """One step, and whether the training has collapsed, on this process or on another."""
    values: dict[str, float] = {}
    try:
        values = trainer.train_step(batch)
        collapse = trainer.monitor.update(trainer.step, values)
    except NonFiniteError as error:
        collapse = Collapse("not finite", str(error), curable=True)
    if any_process(trainer.fabric, collapse is not None) and collapse is None:
        collapse = Collapse("elsewhere", "another process saw it", curable=True)
    return values, collapse


def train(config: TrainDecomposerConfig, fabric: Fabric, folder: RunFolder) -> Path:
    """The training itself, in an open run folder; returns and raises as `run` does."""
    trainer, lead = DecomposerTrainer(config, fabric), fabric.is_global_zero
    stream = make_stream(config, fabric)
    trainer.pairs = stream.pairs
    if config.init is not None and config.turned_share:
        stream.draw_turned(load_decomposer(config.init, fabric.device), config.turned_share)
    scores = Validation(config, fabric) if config.validation else None
    folder.check_origins(origins_of(config, stream, scores))
    prepare(trainer, stream, folder)
    if lead:
        folder.open_log(trainer.step)

    bar = progress_bar(disable=not lead)
    started = time.monotonic() - trainer.seconds
    with GentleStop() as stop, bar:
        task = bar.add_task("training decomposer", total=config.steps, completed=trainer.step, note="")
        while trainer.step < config.steps:
            trainer.refresh_pairs()
            batch = stream.batch(trainer.step, config.batch_size // fabric.world_size, trainer.rng())
            values, collapse = take_step(trainer, batch)
            if collapse is not None and config.recover and collapse.kind not in ONLY_SAID:
                recover(trainer, folder, collapse)
                continue
            if not values:
                raise NonFiniteError(
                    f"{collapse and collapse.message}; --recover goes back to the last healthy snapshot"
                )
            if collapse is not None and collapse.kind not in trainer.said:
                trainer.said.append(collapse.kind)
                console.print(f"warning: at step {trainer.step}: {collapse.message}")
            trainer.step += 1
            trainer.seconds = time.monotonic() - started
            stopping = any_process(fabric, stop.requested)
            if lead:
                due = trainer.step % config.snapshot_steps == 0 or trainer.step == config.steps
                if due and scores is not None:
                    values |= scores.of(trainer.ema)
                if trainer.step % 20 == 0 or trainer.step == 1 or due:
                    folder.log(trainer.step, values | {"seconds": trainer.seconds})
                    bar.update(task, note=note_of(values))
                healthy = not (config.recover and trainer.monitor.suspicious)
                if due and (healthy or not decomposer_path(folder).exists()):
                    write_snapshot(trainer, stream, folder, values)
                if due and healthy:  # never go back to a suspicious state
                    folder.rename_state(_HEALTHY, _HEALTHY_BEFORE, before=trainer.step)
                    folder.save_state(*trainer.state(), name=_HEALTHY)
                elif trainer.step == config.steps:
                    console.print("warning: the end looks unhealthy; look at samples/ before you use the decomposer")
                if due or stopping:
                    folder.save_state(*trainer.state())
            bar.update(task, completed=trainer.step)
            if stopping:
                break
    if trainer.step < config.steps:
        end_stopped(fabric, f"stopped at step {trainer.step}; the same command goes on")
    return decomposer_path(folder)
