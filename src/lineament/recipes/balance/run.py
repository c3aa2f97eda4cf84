"""Balance a folder of images: fill where it is poor with images changed by as little as possible."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import RenderableType

from lineament import __version__
from lineament.engine.console import console
from lineament.engine.devices import make_fabric
from lineament.engine.locks import LOCK_NAME
from lineament.engine.origins import array_signature
from lineament.engine.run_folder import CONFIG_NAME, GentleStop, RunFolder
from lineament.engine.work import Work
from lineament.errors import ConfigError, FileFormatError, InputError
from lineament.estimators.balancing import plan_transport
from lineament.recipes.balance.generation import Limits, Maker, fixed_batch
from lineament.recipes.balance.networks import Networks, open_faces, open_networks, reader_of
from lineament.recipes.balance.output import MANIFEST, OURS, REPORT, WORK, Balanced, seal, tidy, write_folder
from lineament.recipes.balance.plan import Goal, file_goal, images_goal, make_grid, set_goal, uniform_goal
from lineament.recipes.balance.report import Summary, examples_of, summarise, write_report
from lineament.recipes.balance.rounds import fill, picture_stage
from lineament.recipes.balance.sources import Originals, Samples, check_outside, measure_images
from lineament.recipes.balance.trials import TRIAL_FACES, check_reach, cost_lines, run_trials
from lineament.records.devices import Devices
from lineament.settings.balance import BalanceConfig, read_names
from lineament.store.atomic import is_temporary
from lineament.store.distribution import read_distribution
from lineament.store.image_signature import content_signature
from lineament.store.images import ImageSource, ReadingReport, blended_text
from lineament.store.labels import Labels, match_labels, read_labels
from lineament.store.manifest import load_manifest, need_parquet
from lineament.store.names import shown_name

USES_PER_MEAN = 4
"""No source is used more than this many times as often as the average one would be, unless told."""

OWN_BEGINNING = frozenset({WORK, CONFIG_NAME, LOCK_NAME})
"""What a run writes before it makes images."""

SAMPLES_PER_IMAGE = 4
"""Samples from which those to change are taken, for each image to make."""


@dataclass(frozen=True)
class BalanceResult:
    """What there is in the end.

    Attributes:
        summary: of the manifest; None after a dry run.
        lines: for standard output; empty on all processes but the first.
        seconds: that each stage took, for people; no file holds them.
    """

    summary: Summary | None
    lines: list[RenderableType]
    seconds: dict[str, float] = field(default_factory=dict)

    def renderables(self) -> list[RenderableType]:
        """For standard output."""
        return self.lines


class Clock:
    """Seconds of the stages of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last lap went into this stage."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU: how many threads there are changes the rounding of sums."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def refuse_other_folders(out: Path) -> None:
    """Refuse a folder that holds anything but a run of ours.

    Raises:
        ConfigError: something else is there; it is left alone.
    """
    if not out.is_dir():
        return
    found = sorted(path.name for path in out.iterdir() if not is_temporary(path))
    foreign = [name for name in found if name not in OURS]
    if foreign or (CONFIG_NAME not in found and set(found) - {".lock"}):
        shown = ", ".join((foreign or found)[:3])
        raise ConfigError(
            f"{out} holds something else ({shown}{', …' if len(foreign or found) > 3 else ''}); "
            "choose a new folder as --out"
        )


@torch.no_grad()
def run(config: BalanceConfig) -> BalanceResult:
    """Balance a folder, or go on balancing it.

    Raises:
        ImageError: no usable image.
        DataError: labels that do not match, or nothing to balance.
        ConfigError: a target that cannot be reached or met, or a folder that holds something else.
        MismatchError: files that do not belong together.
        StorageError: the folder cannot be written.
        Stopped: the user stopped the run; what is done is kept.
    """
    if not config.dry_run:
        need_parquet()  # a missing extra is reported before the work begins
        check_outside(config.folder, config.images)
        refuse_other_folders(config.folder)
    fabric = make_fabric(config.devices)
    with one_thread(fabric.device), GentleStop() as stop:
        if config.dry_run:
            return _balance(config, fabric, Work(None, fabric, stop))
        settings = replace(config, out=Path(), devices=Devices())
        with RunFolder(config.folder, settings, free=("devices",), fabric=fabric):
            fabric.barrier()
            if (config.folder / MANIFEST).exists():
                fabric.barrier()
                return _finished(config, fabric, {})
            try:
                return _balance(config, fabric, Work(config.folder / WORK, fabric, stop))
            except (InputError, FileFormatError):
                if fabric.is_global_zero:
                    forget_a_beginning(config.folder)
                raise


def forget_a_beginning(out: Path) -> None:
    """Remove what is left of a run that was refused before it made an image, so that a better command finds no trace.

    A folder in which images were made is left as it is.
    """
    if any((out / WORK).glob(f"{picture_stage(0)}-*")) or {path.name for path in out.iterdir()} - OWN_BEGINNING:
        return
    shutil.rmtree(out / WORK, ignore_errors=True)
    with suppress(OSError):
        (out / CONFIG_NAME).unlink(missing_ok=True)
        (out / LOCK_NAME).unlink(missing_ok=True)
        out.rmdir()


def _balance(config: BalanceConfig, fabric: Fabric, work: Work) -> BalanceResult:
    """Measure, plan, try, make, write."""
    names = read_names(config.semantics)
    source = ImageSource(config.images)
    labels, report = _read_labels(config, source, lead=fabric.is_global_zero), ReadingReport()
    networks = open_networks(config, names, fabric.device)
    clock = Clock()
    with reader_of(config, source, networks, report) as read:
        work.check_inputs(
            {
                "the contents of the images": content_signature(source),
                "the target": _signature_of_target(config),
                "the labels": "" if labels is None else hashlib.sha256(repr(labels).encode()).hexdigest(),
                **networks.signatures(),
            },
            f"choose a new --out, or delete {config.out} to begin anew",
        )
        meter, device, likeness = networks.meter, fabric.device, networks.likeness
        originals = measure_images(work, "originals", source, read, report, meter, device, likeness, config.min_face)
        if originals.blended and fabric.is_global_zero:
            console.print(blended_text(originals.blended), soft_wrap=True)
        clock.lap("measuring")
        goal = _goal(config, networks, originals, work, fabric)
        clock.lap("target")
        faces = open_faces(config, networks, originals, read, int(goal.added.sum()) * SAMPLES_PER_IMAGE)
        max_uses = _max_uses(config, goal, len(faces.values))
        maker = Maker(networks.generator, networks.meter, networks.stepper, networks.spread, networks.extrapolation)
        capacity = np.full(len(faces.values), max_uses) * faces.usable()
        first = plan_transport(faces.values, capacity, goal.grid, goal.added, networks.extrapolation, config.seed)
        clock.lap("planning")
        widths = np.array([np.diff(edges).mean() for edges in goal.grid.edges])
        limits = Limits(config.tolerance * widths, config.max_identity_drift, config.max_distance, 1.0)
        batch = fixed_batch(networks.generator, config.batch_size)
        pool = Samples(networks.generator, networks.atlas, names, config.seed, config.truncation, TRIAL_FACES)
        trials, facts = work.one(
            "trials", lambda: run_trials(maker, faces, pool, first, goal.grid.num_bins, limits, batch)
        )
        limits = replace(limits, people=facts["people"])
        clock.lap("trials")
        reachable = check_reach(config, networks, goal, trials, lead=fabric.is_global_zero)
        if reachable is not goal:
            goal = reachable
            first = plan_transport(faces.values, capacity, goal.grid, goal.added, networks.extrapolation, config.seed)
        plan = _plan_facts(
            config, networks, goal, limits, max_uses, trials, float(first.cost.mean()) if len(first) else 0.0
        )
        if config.dry_run:
            lines = cost_lines(config, goal, originals, first, trials, facts["seconds"], clock.seconds, networks, read)
            return BalanceResult(None, lines if fabric.is_global_zero else [], clock.seconds)
        candidates = fill(
            work, goal, faces, maker, limits, first, trials["offset"], max_uses, config.seed, batch, networks.recipe()
        )
        clock.lap("making")
        if fabric.is_global_zero:
            balanced = Balanced(source, originals, goal, faces, candidates, labels)
            columns = write_folder(config.folder, balanced, work, plan, config.shards)
            examples = examples_of(balanced, work, networks.generator.config.resolution, read)
            units = {name: networks.atlas.direction(name).unit for name in names}
            write_report(config.folder / REPORT, summarise(columns, plan), plan, examples, units)
            seal(config.folder, columns, plan)
        clock.lap("writing")
    fabric.barrier()
    return _finished(config, fabric, clock.seconds)


def _signature_of_target(config: BalanceConfig) -> str:
    """Fingerprint of the files that give the target; empty if it is uniform."""
    path = Path(config.target)
    if path.suffix.lower() == ".json":
        names, edges, shares = read_distribution(path)
        return array_signature(np.frombuffer(repr(names).encode(), np.uint8), *edges, shares)
    return "" if config.target == "uniform" else content_signature(ImageSource(path))


def _finished(config: BalanceConfig, fabric: Fabric, seconds: dict[str, float]) -> BalanceResult:
    """What a finished folder says of itself."""
    columns, about = load_manifest(config.folder / MANIFEST)
    try:
        summary = summarise(columns, about["plan"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FileFormatError(
            f"{config.folder / MANIFEST} lacks entries of a manifest ({error!r:.80}); balance into another folder"
        ) from error
    fabric.barrier()
    if not fabric.is_global_zero:
        return BalanceResult(summary, [], seconds)
    tidy(config.folder)
    if summary.skipped_files:
        name, reason = next(iter(summary.skipped_files.items()))
        console.print(
            f"skipped {summary.skipped} unusable image(s), the first: {name} ({reason}); the manifest lists all",
            soft_wrap=True,
        )
    if summary.after > config.max_variation:
        console.print(
            f"warning: the target was met within {summary.after:.3f} only, not {config.max_variation:g}; the report "
            "says in which bins images were rejected",
            soft_wrap=True,
        )
    return BalanceResult(summary, [*summary.renderables(), str(config.folder / REPORT)], seconds)


def _read_labels(config: BalanceConfig, source: ImageSource, *, lead: bool) -> Labels | None:
    if config.labels is None:
        return None
    labels = match_labels(read_labels(config.labels), source.names, config.labels)
    if lead and (text := labels.blanks_text()):
        console.print(f"{config.labels}: {text}", soft_wrap=True, markup=False)
    return labels


def _goal(config: BalanceConfig, networks: Networks, originals: Originals, work: Work, fabric: Fabric) -> Goal:
    """The histogram, its target, and what it lacks."""
    names = networks.meter.names
    path = Path(config.target)
    if path.suffix.lower() == ".json":
        if config.range is not None:
            raise ConfigError("--range and a JSON --target both say where the bins are; drop --range")
        grid, shares, words = file_goal(path, names)
    elif config.target == "uniform":
        grid = make_grid(names, originals.values, config.range, config.bins)
        shares, words = uniform_goal(grid)
    else:
        like = ImageSource(path)
        with like.reader() as read:
            report = ReadingReport()
            decode = networks.decoder(read, report)
            theirs = measure_images(work, "target", like, decode, report, networks.meter, fabric.device)
        grid = make_grid(names, theirs.values, config.range, config.bins)
        shares, words = images_goal(grid, theirs.values, shown_name(path.name))
    return set_goal(grid, words, shares, originals.values, config.count, config.max_variation)


def _max_uses(config: BalanceConfig, goal: Goal, sources: int) -> int:
    if config.source == "samples":
        return config.max_uses or 1
    return config.max_uses or int(np.ceil(USES_PER_MEAN * max(int(goal.added.sum()), 1) / max(sources, 1)))


def _plan_facts(
    config: BalanceConfig,
    networks: Networks,
    goal: Goal,
    limits: Limits,
    max_uses: int,
    trials: dict[str, np.ndarray],
    cost: float,
) -> dict[str, Any]:
    """For plan.json and the manifest."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("out", "images", "devices", "dry_run")}
    settings |= {k: shown_name(Path(str(v)).name) for k, v in settings.items() if isinstance(v, Path)}
    settings["target"] = goal.target
    names = goal.grid.names
    return {
        "version": __version__,
        "images": shown_name(config.images.name),
        "semantics": list(names),
        "settings": settings,
        "generator": networks.atlas.generator_fingerprint,
        "decomposer": networks.atlas.decomposer_fingerprint,
        "held": list(networks.stepper.held),
        "goal": goal.facts(),
        "limits": {
            "tolerance": {name: float(limits.tolerance[j]) for j, name in enumerate(names)},
            "identity_drift": limits.identity_drift,
            "distance": limits.distance,
            "max_uses": max_uses,
        },
        "mean_extrapolation": round(cost, 6),
        "trials": {
            "count": trials["trials"].tolist(),
            "accepted": np.round(trials["accepted"], 4).tolist(),
            "offset": np.round(trials["offset"], 4).tolist(),
        },
    }
