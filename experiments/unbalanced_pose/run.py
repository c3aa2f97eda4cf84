"""Run the whole experiment: renders, our pictures, all networks, and the table.

Every finished piece is kept, and the same command resumes: renders in their folders, inversions and generated pictures
in files, the result of each network (task, imbalance, arm, seed) as one JSON file.
"""

import base64
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from jaxtyping import Float

from lineament.errors import ConfigError
from lineament.store.atomic import write_text_atomic

from .arms import ARMS, OURS, Arm, training_set
from .figure import svg
from .generating import Generation, Pictures, generated_pictures
from .renders import IMBALANCES, PARTS, SIZES, Imbalance, Part, render
from .scores import errors_of, resampled_errors
from .sets import Labelled, load
from .table import Row, draws_of_people, markdown, save, table_of, verdict
from .training import Kind, Recipe, outputs, train


@dataclass(frozen=True)
class Task:
    """A kind of task on one imbalance."""

    kind: Kind
    semantic: str

    @property
    def name(self) -> str:
        """The task's name in folders and tables."""
        return f"{self.semantic} {self.kind}"


TASKS = {
    task.name: task
    for task in (
        Task("regression", "yaw"),
        Task("verification", "yaw"),
        Task("regression", "light_x"),
        Task("verification", "light_x"),
    )
}


@dataclass(frozen=True)
class ExperimentConfig:
    """Settings of the experiment.

    Example: ``python -m experiments.unbalanced_pose --renders renders/unbalanced --out runs/unbalanced --tool PATH``
    """

    renders: Path
    """Folder of the rendered sets, one folder for each imbalance and part; rendered here if missing."""
    out: Path
    """Folder for everything else."""
    tool: Path | None = None
    """The renderer's synthface.py; needed only for sets that have not been rendered."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Tasks to run."""
    arms: tuple[Arm, ...] = ARMS
    """Arms to run."""
    seeds: int = 5
    """Number of networks of each arm."""
    part: Part = "test"
    """Pictures on which the networks are evaluated; use validation to choose settings."""
    power: float = 0.5
    """Exponent of the rarity by which rare pictures are drawn or weighted; 1 makes all bins count the same."""
    recipes: dict[Kind, Recipe] = field(
        default_factory=lambda: {"regression": Recipe(steps=600), "verification": Recipe(steps=800)}
    )
    """How the networks of each kind of task are trained."""
    generation: Generation = field(default_factory=Generation)
    """How our pictures are made."""

    def __post_init__(self) -> None:
        for name in self.tasks:
            if name not in TASKS:
                raise ConfigError(f"no task {name!r}; there are {', '.join(TASKS)}")
        if self.part not in ("validation", "test"):
            raise ConfigError(f"part is {self.part}, expected validation or test")
        if self.seeds < 2:
            raise ConfigError(f"seeds is {self.seeds}, expected at least 2, because intervals need several networks")


@dataclass(frozen=True, eq=False)
class Sets:
    """The renders of one imbalance."""

    imbalance: Imbalance
    lopsided: Labelled
    balanced: Labelled
    judged: Labelled


def load_sets(config: ExperimentConfig, imbalance: Imbalance) -> Sets:
    """Read the renders; render missing ones.

    Raises:
        InputError: renders are missing and no renderer was given.
    """
    folder = config.renders / imbalance.semantic
    for part in PARTS:
        if config.tool is not None:
            render(config.tool, imbalance, part, SIZES[part], folder / part)
    return Sets(imbalance, *(load(folder / part) for part in ("lopsided", "balanced", config.part)))


def result_path(config: ExperimentConfig, task: Task, arm: Arm, seed: int) -> Path:
    """File of a network's result."""
    return (
        config.out
        / config.part
        / task.name.replace(" ", "-")
        / arm.replace(" + ", "+").replace(" ", "-")
        / f"{seed}.json"
    )


def train_and_judge(
    config: ExperimentConfig, task: Task, arm: Arm, seed: int, sets: Sets, made: Labelled | None
) -> dict[str, Any]:
    """Train and evaluate one network; returns its errors, and all its outputs in half precision."""
    data = training_set(arm, task.kind, sets.imbalance, sets.lopsided, sets.balanced, made, config.power)
    began = time.perf_counter()
    net = train(data, task.kind, sets.imbalance.reach, config.recipes[task.kind], seed)
    seconds = time.perf_counter() - began
    said = outputs(net, sets.judged.images).astype(np.float16)
    return {
        "task": task.name,
        "arm": arm,
        "seed": seed,
        "errors": errors_of(task.kind, said, sets.judged, sets.imbalance),
        "pictures": len(data.images),
        "seconds": round(seconds, 1),
        "recipe": asdict(config.recipes[task.kind]),
        "said": base64.b64encode(said.tobytes()).decode(),
        "said_dim": said.shape[1],
    }


def said_of(result: dict[str, Any]) -> Float[np.ndarray, "n d"]:
    """The outputs of a network, from its result."""
    return np.frombuffer(base64.b64decode(result["said"]), np.float16).reshape(-1, result["said_dim"])


def run(config: ExperimentConfig) -> None:
    """Compute all results that are not there yet."""
    torch.set_num_threads(1)
    for semantic in dict.fromkeys(TASKS[name].semantic for name in config.tasks):
        sets = load_sets(config, IMBALANCES[semantic])
        made: Pictures | None = None
        # Seed by seed, so that a table of all arms exists early.
        for seed in range(config.seeds):
            for task in (TASKS[name] for name in config.tasks if TASKS[name].semantic == semantic):
                for arm in config.arms:
                    path = result_path(config, task, arm, seed)
                    if path.exists():
                        continue
                    if arm in OURS and made is None:
                        folder = config.out / f"made-{semantic}"
                        made = generated_pictures(folder, sets.lopsided, sets.imbalance, config.generation)
                    added = made.shown(arm, task.kind) if made is not None and arm in OURS else None
                    result = train_and_judge(config, task, arm, seed, sets, added)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_text_atomic(path, json.dumps(result))
                    shown = ", ".join(f"{k} {v:.3f}" for k, v in result["errors"].items())
                    print(f"{task.name}, {arm}, seed {seed}: {shown} ({result['seconds']} s)", flush=True)


METRICS: dict[Kind, str] = {"regression": "rare", "verification": "rare_auc"}
"""The main error of each kind of task."""

DIGITS = {"yaw regression": 2, "light_x regression": 4, "yaw verification": 3, "light_x verification": 3}

TITLES = {
    "yaw regression": "yaw: mean absolute error beyond 25 degrees, in degrees",
    "yaw verification": "same person? a face turned beyond 25 degrees against a frontal one: 100 (1 - AUC)",
    "light_x regression": "light from the side: mean absolute error beyond a slope of 0.5",
    "light_x verification": "same person? a face lit from the side against one lit from the front: 100 (1 - AUC)",
}


def report(config: ExperimentConfig) -> dict[str, list[Row]]:
    """Tables and figure of all networks so far."""
    tables: dict[str, list[Row]] = {}
    for name in config.tasks:
        task = TASKS[name]
        judged = load(config.renders / task.semantic / config.part)
        draws = draws_of_people(int(judged.people.max()) + 1)
        results = []
        for path in sorted(result_path(config, task, "as is", 0).parents[1].glob("*/*.json")):
            result = json.loads(path.read_text(encoding="utf-8"))
            imbalance = IMBALANCES[task.semantic]
            result["draws"] = resampled_errors(task.kind, said_of(result), judged, imbalance, draws)
            results.append(result)
        if results:
            tables[name] = table_of(results, METRICS[task.kind])
            save(config.out / config.part, name.replace(" ", "-"), tables[name], DIGITS[name])
    if tables:
        write_text_atomic(config.out / config.part / "errors.svg", svg(tables, TITLES))
    return tables


def main() -> None:
    """Run, then print the tables."""
    config = tyro.cli(ExperimentConfig)
    run(config)
    for name, rows in report(config).items():
        print(f"\n{name}\n\n{markdown(rows, DIGITS[name])}")
        for arm in ("ours", "ours + standard"):
            if any(row.arm == arm for row in rows):
                print(f"{arm}: {verdict(rows, arm)}")


if __name__ == "__main__":
    main()
