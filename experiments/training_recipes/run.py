"""Train decomposers by several recipes over several seeds, and compare them on faces whose truth is known.

Each pair of a recipe and a seed is trained in its own folder, which also gets its score. Pairs that have a score are
skipped, and so are pairs that another process works on. So the same command resumes where it stopped, and started twice
it uses two cores. All recipes are trained for one seed before the next, so that they have equally many seeds if stopped
early.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table

from experiments.training_recipes.variants import VARIANTS
from lineament.checkpoints.ours import load_decomposer
from lineament.engine.console import console
from lineament.engine.devices import make_fabric
from lineament.engine.run_folder import CONFIG_NAME, LOG_NAME, STATE_NAME, RunFolder
from lineament.errors import BusyError, ConfigError, FileFormatError, TrainingError
from lineament.faces.decomposer_scores import MeanEstimate, _cell, evaluate, mean_depth, mean_of
from lineament.recipes.train import decomposer as train_decomposer
from lineament.recipes.train.decomposer_health import ONLY_SAID, healthy
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device, Devices
from lineament.records.image_paths import ImagePaths
from lineament.records.shapes import DecomposerConfig
from lineament.records.truth import FaceTruth
from lineament.settings.train_decomposer import TrainDecomposerConfig
from lineament.store.atomic import remove_stale_temporaries, write_text_atomic
from lineament.store.tensors import read_header
from lineament.store.truth import load_truth

SCORE_NAME, REPORT_NAME = "score.json", "report.json"

FREE_SETTINGS = ("variants", "seeds", "devices")
"""Settings that may differ when a comparison is resumed."""

HEALTH_ROWS = 10
"""Number of last rows of the log that are averaged to judge a training's health."""


@dataclass(frozen=True)
class CompareRecipesConfig:
    """Compare training recipes of decomposers over several seeds.

    Example: ``python -m experiments.training_recipes --images renders --truth test --out runs/recipes``
    """

    out: Path
    """Folder of the comparison; the same command continues a stopped run."""
    truth: Path
    """Folder of faces with their truth to score every decomposer on. These faces are never trained on."""
    generator: Path | None = None
    """Generator file whose samples are trained on; only --images if not given."""
    images: ImagePaths = ()
    """Folders and zips of images to train on, instead of samples or with them; only samples if not given."""
    features: Path | None = None
    """Discriminator (or its features) for the perceptual term; the one beside the generator if not given."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Recipes to compare."""
    seeds: int = 3
    """Number of trainings of each recipe."""
    steps: int = TrainDecomposerConfig.steps
    """Number of training steps of each training."""
    batch_size: int = TrainDecomposerConfig.batch_size
    """Number of images per step."""
    snapshot_steps: int = TrainDecomposerConfig.snapshot_steps
    """Number of steps between snapshots."""
    network: DecomposerConfig = field(default_factory=DecomposerConfig)
    """Shape of the decomposers."""
    faces: int | None = None
    """Number of faces to score on, from the first on; all if not given."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.variants if name not in VARIANTS]:
            raise ConfigError(f"no variant {unknown[0]!r}; expected some of {', '.join(map(repr, VARIANTS))}")
        if not self.variants or len(set(self.variants)) < len(self.variants):
            raise ConfigError(f"variants are {self.variants}, expected at least one, and each once")
        check_bounds(self, "seeds", least=1)
        check_bounds(self, "faces", least=2)
        training_settings(self, self.variants[0], 0)


@dataclass(frozen=True)
class PairScore:
    """Result of one training.

    Attributes:
        steps: training steps of the decomposer that was scored; 0 if the training died without one.
        reasons: why the training is not healthy; empty if it is.
        health: averages of the last logged values.
        scores: scores as in a row of `lineament.recipes.evaluate.decomposer`; their errors are over the faces.
    """

    variant: str
    seed: int
    steps: int
    reasons: tuple[str, ...]
    health: dict[str, float]
    seconds_per_step: float | None
    scores: dict[str, MeanEstimate]

    @property
    def healthy(self) -> bool:
        """Whether the training is healthy."""
        return not self.reasons


@dataclass(frozen=True)
class RecipeRow:
    """A recipe over the seeds that are done.

    Attributes:
        seeds: number of finished trainings; ``healthy`` are healthy, and ``scored`` left a decomposer.
        reasons: why the others are not healthy.
        scores: means over the scored seeds and the standard errors of these means.
    """

    name: str
    seeds: int
    healthy: int
    scored: int
    reasons: tuple[str, ...]
    scores: dict[str, MeanEstimate]


@dataclass(frozen=True)
class RecipeReport:
    """All rows so far, and the settings of the comparison."""

    truth: str
    seeds: int
    steps: int
    batch_size: int
    resolution: int
    rows: tuple[RecipeRow, ...]

    def renderables(self) -> list[Any]:
        """Tables for the terminal, and reasons of unhealthy trainings."""
        parts: list[Any] = []
        for title, columns in _TABLES.items():
            first = not parts
            if not first and not any(name in row.scores for row in self.rows for name, _, _ in columns):
                continue
            table = Table(title=title)
            table.add_column("recipe")
            for heading in (*(("seeds", "healthy") if first else ()), *(heading for _, heading, _ in columns)):
                table.add_column(heading, justify="right")
            for row in self.rows:
                counts = (f"{row.seeds} of {self.seeds}", f"{row.healthy} of {row.seeds}" if row.seeds else "–")
                cells = (_cell(row.scores.get(name), digits) for name, _, digits in columns)
                table.add_row(row.name, *(counts if first else ()), *cells)
            parts.append(table)
        parts += [f"{row.name}: {VARIANTS[row.name].explanation}" for row in self.rows]
        parts += [f"not healthy: {row.name}, {reason}" for row in self.rows for reason in row.reasons]
        parts.append(
            f"{self.steps} steps of {self.batch_size} images; scored on {self.truth}, {self.resolution} px, mean depth "
            "from the same faces; means ± standard errors over the seeds that left a decomposer"
        )
        if missing := sum(self.seeds - row.seeds for row in self.rows):
            parts.append(f"trainings missing: {missing}; the same command goes on")
        return parts


_TABLES = {
    "Health and shape": (
        ("side_x100", "SIDE × 100", 3),
        ("side_ratio", "/ mean depth", 3),
        ("mad_deg", "normals °", 2),
        ("mad_ratio", "/ mean depth", 3),
        ("seconds_per_step", "s / step", 3),
    ),
    "Pose, light and albedo": (
        ("yaw_error_deg", "yaw °", 2),
        ("yaw_correlation", "corr.", 3),
        ("light_error_deg", "light °", 2),
        ("albedo_error", "albedo", 4),
    ),
}


def pair_folder(config: CompareRecipesConfig, variant: str, seed: int) -> Path:
    """Folder of a pair's training."""
    return config.out / variant.replace(" ", "-") / f"seed-{seed}"


def training_settings(config: CompareRecipesConfig, variant: str, seed: int) -> TrainDecomposerConfig:
    """Settings of a pair's training. Collapses are counted, so a training recovers only if its recipe says so."""
    base = TrainDecomposerConfig(
        out=pair_folder(config, variant, seed),
        generator=config.generator,
        images=config.images,
        features=config.features,
        network=config.network,
        steps=config.steps,
        batch_size=config.batch_size,
        snapshot_steps=config.snapshot_steps,
        cache=config.out / "cache",
        recover=False,
        seed=seed,
        devices=Devices(config.devices.accelerator),
    )
    return VARIANTS[variant].change(base)


def claim(config: CompareRecipesConfig) -> None:
    """Make the folder, or refuse a folder of a comparison with other settings; several processes may use it."""
    RunFolder(config.out, config, free=FREE_SETTINGS, lead=False).close()
    remove_stale_temporaries(config.out)
    write_text_atomic(config.out / CONFIG_NAME, json.dumps(asdict(config), default=str, indent=2))


def train(training: TrainDecomposerConfig) -> str | None:
    """Start or resume a training; return the reason why it died, without advice, or None.

    Raises:
        BusyError: another process works on this pair.
    """
    try:
        train_decomposer.run(training)
    except TrainingError as error:
        return str(error).partition(";")[0]
    return None


def saved_counters(folder: Path) -> Mapping[str, Any]:
    """Counters of a training's last saved state; empty if it died before there was one."""
    path = folder / f"{STATE_NAME}.safetensors"
    return read_header(path).header if path.exists() else {}


def last_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training's log from which its health is judged."""
    path = folder / LOG_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines[-HEALTH_ROWS:]]


def mean_health(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Averages of the values that show health."""
    names = [name for name in (rows[-1] if rows else {}) if name.startswith("health/")]
    return {name: math.fsum(row.get(name, math.nan) for row in rows) / len(rows) for name in names}


class Examination:
    """The faces that every decomposer is scored on.

    Raises:
        ImageError, FileFormatError: the truth cannot be used.
        ConfigError: fewer than two faces.
    """

    def __init__(self, config: CompareRecipesConfig) -> None:
        self.device = make_fabric(config.devices).device
        self.truth: FaceTruth = load_truth(config.truth, config.network.resolution, config.faces)
        if len(self.truth) < 2:
            raise ConfigError(f"{config.truth} holds one face, expected at least two; errors are means over faces")
        self.mean = mean_depth(zip(self.truth.depth, self.truth.mask, strict=True))

    def score(self, decomposer: Path) -> dict[str, MeanEstimate]:
        """The scores of a decomposer's file."""
        network = load_decomposer(decomposer, self.device)
        return evaluate(self.truth, self.mean, {"": network}, quiet=True)[-1].scores


def examine(training: TrainDecomposerConfig, variant: str, died_of: str | None, examination: Examination) -> PairScore:
    """Judge a training that is finished or died."""
    rows, decomposer = last_rows(training.out), training.out / "decomposer.safetensors"
    health = mean_health(rows)
    reasons = healthy(health)
    if not training.recover:
        counters = saved_counters(training.out)
        said = [f"said to have collapsed: {kind}" for kind in counters.get("said", ()) if kind not in ONLY_SAID]
        reasons = [*counters.get("recoveries", ()), *said, *reasons]
    if died_of is not None:
        reasons = [f"died: {died_of}", *reasons]
    return PairScore(
        variant=variant,
        seed=training.seed,
        steps=read_header(decomposer).header["provenance"]["steps"] if decomposer.exists() else 0,
        reasons=tuple(reasons),
        health={name: value for name, value in health.items() if math.isfinite(value)},
        seconds_per_step=rows[-1]["seconds"] / rows[-1]["step"] if rows else None,
        scores=examination.score(decomposer) if decomposer.exists() else {},
    )


def write_score(folder: Path, score: PairScore) -> None:
    """Write a pair's score into its folder, which marks the pair as done."""
    text = json.dumps(asdict(score) | {"healthy": score.healthy}, indent=2)
    write_text_atomic(folder / SCORE_NAME, text + "\n")


def read_score(folder: Path) -> PairScore | None:
    """A pair's score, or None if the pair is not done.

    Raises:
        FileFormatError: the file is damaged.
    """
    path = folder / SCORE_NAME
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        del values["healthy"]
        scores = {name: MeanEstimate(**estimate) for name, estimate in values.pop("scores").items()}
        return PairScore(**values | {"reasons": tuple(values["reasons"]), "scores": scores})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} is not readable as a score; delete it and run again") from error


def row_of(name: str, found: list[PairScore]) -> RecipeRow:
    """A recipe's row from the scores of its seeds."""
    values: dict[str, list[float]] = {}
    for pair in found:
        for key, estimate in pair.scores.items():
            values.setdefault(key, []).append(estimate.value)
        if pair.seconds_per_step is not None:
            values.setdefault("seconds_per_step", []).append(pair.seconds_per_step)
    means = {key: mean_of(torch.tensor(column, dtype=torch.float64)) for key, column in values.items()}
    return RecipeRow(
        name=name,
        seeds=len(found),
        healthy=sum(pair.healthy for pair in found),
        scored=sum(bool(pair.scores) for pair in found),
        reasons=tuple(f"seed {pair.seed}: {reason}" for pair in found for reason in pair.reasons),
        scores={key: mean for key, mean in means.items() if mean is not None},
    )


def report_of(config: CompareRecipesConfig) -> RecipeReport:
    """Report on the folder's results so far, from all processes."""
    rows = []
    for name in config.variants:
        found = [read_score(pair_folder(config, name, seed)) for seed in range(config.seeds)]
        rows.append(row_of(name, [pair for pair in found if pair is not None]))
    return RecipeReport(
        truth=config.truth.name,
        seeds=config.seeds,
        steps=config.steps,
        batch_size=config.batch_size,
        resolution=config.network.resolution,
        rows=tuple(rows),
    )


def write_report(config: CompareRecipesConfig) -> RecipeReport:
    """Report on the folder's results so far, and write it to a file."""
    report = report_of(config)
    write_text_atomic(config.out / REPORT_NAME, json.dumps(asdict(report), indent=2) + "\n")
    return report


def run(config: CompareRecipesConfig) -> RecipeReport:
    """Train and score every pair that is not done and that no other process works on.

    Raises:
        ImageError, FileFormatError: a source, the truth or a score cannot be used.
        ConfigError: the folder holds a comparison with other settings, or the truth holds a single face.
    """
    examination = Examination(config)  # before the folder is claimed, so that a mistyped path is not saved
    claim(config)
    report = write_report(config)
    for seed, name in product(range(config.seeds), config.variants):
        training = training_settings(config, name, seed)
        if (training.out / SCORE_NAME).exists():
            continue
        console.print(f"{name}, seed {seed}")
        try:
            died_of = train(training)
        except BusyError:
            console.print("skipped: another process is at work on it")
            continue
        if died_of is not None:
            console.print(f"{name}, seed {seed} died: {died_of}")
        write_score(training.out, examine(training, name, died_of, examination))
        report = write_report(config)
    return report
