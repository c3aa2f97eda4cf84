"""``python -m benchmarks.kills``: kill -9 at random moments changes no result.

Every command runs once undisturbed. Then it is killed at random moments, each time in a new folder, and started again
until it is done. What it leaves must equal what the undisturbed run left: the same files, and in them the same tensors
and pixels, bit for bit. Dates and durations are left out of the comparison.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kill_cases import KillCase, kill_cases, make_world
from lineament.engine.console import console
from lineament.errors import ConfigError
from lineament.records.bounds import check_bounds
from lineament.store.tensors import load_tensors, read_header

COMMAND = (
    "import sys; from lineament.recipes import discover; discover.SAVE_SECONDS = 0.2; "
    "from lineament.cli.main import main; sys.exit(main(sys.argv[1:]))"
)
"""The command line, but a discovery saves its state more often than every 30 seconds, which is longer than it takes."""

TIMES = frozenset({"time", "seconds", "hours", "created"})
"""Names of values that differ from run to run."""

LEFT_OUT = ("tensorboard",)
"""Folders that are not compared: files of TensorBoard carry dates in their names."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.+]+)?")
SOONER = 0.7
"""Factor on the moment of a kill that came after the end."""

MAX_TRIES = 6
"""Kills of one run before it is given up as too short."""

_MAX_STARTS, _TIMEOUT_SECONDS, _POLL_SECONDS = 3, 600, 0.002


@dataclass(frozen=True)
class KillsConfig:
    """Kill every command at random moments, start it again, and compare what it leaves.

    Example: ``python -m benchmarks.kills --kills 2``
    """

    kills: int = 20
    """Number of kills of each command."""
    seed: int = 0
    """Seed of the moments."""
    only: str = ""
    """Part of the names of the commands to kill; all by default."""
    jobs: int = 2
    """Number of runs at a time. Each has one thread."""

    def __post_init__(self) -> None:
        check_bounds(self, "kills", "jobs", least=1)


@dataclass(frozen=True)
class KillRow:
    """The result for one command.

    Attributes:
        name: the command.
        seconds: duration of the undisturbed run.
        kills: number of runs that were killed before they had ended.
        equal: number of these that ended like the undisturbed run.
        remarks: what differed.
    """

    name: str
    seconds: float
    kills: int
    equal: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class KillsReport:
    """The results for all commands."""

    rows: tuple[KillRow, ...]

    def renderables(self) -> list[Any]:
        """A table in Markdown."""
        lines = ["| command | undisturbed, s | kills | equal | remarks |", "|---|---|---|---|---|"]
        for row in self.rows:
            remarks = "; ".join(dict.fromkeys(row.remarks)) or "–"
            lines.append(f"| `{row.name}` | {row.seconds:.1f} | {row.kills} | {row.equal} | {remarks} |")
        return lines


@dataclass
class Trial:
    """One run that was killed: whether it was still running, and how its results differ."""

    killed: bool
    differences: list[str] = field(default_factory=list)


def start(case: KillCase, folder: Path) -> subprocess.Popen[str]:
    """Start a command in its working folder, with one thread and without accelerators."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", COMMAND, *case.words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(case: KillCase, folder: Path) -> str:
    """Run a command until it succeeds; returns its last message if it does not."""
    said = ""
    for _ in range(_MAX_STARTS):
        with start(case, folder) as process:
            _, said = process.communicate(timeout=_TIMEOUT_SECONDS)
        if not process.returncode:
            return ""
    return " ".join(said.split())[-200:]


def wait_for_trace(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run has made its first file, or has ended."""
    while process.poll() is None and not any(folder.iterdir()):
        time.sleep(_POLL_SECONDS)


def undisturbed(case: KillCase, folder: Path) -> tuple[float, float]:
    """Seconds of a whole run, and of its part after its first file."""
    began = time.perf_counter()
    with start(case, folder) as process:
        wait_for_trace(process, folder)
        traced = time.perf_counter()
        _, said = process.communicate(timeout=_TIMEOUT_SECONDS)
    ended = time.perf_counter()
    if process.returncode:
        raise ConfigError(f"{case.name} fails undisturbed: {' '.join(said.split())[-300:]}")
    return ended - began, ended - traced


def killed(case: KillCase, folder: Path, moment: float, wanted: dict[str, Any]) -> Trial:
    """Kill a run so many seconds after its first file, start it again until it is done, and compare."""
    with start(case, folder) as process:
        wait_for_trace(process, folder)
        time.sleep(moment)
        alive = process.poll() is None
        process.kill()
    if failed := finish(case, folder):
        return Trial(alive, [f"does not go on: {failed}"])
    found = contents(folder)
    names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return Trial(alive, [f"{name} {'differs' if name in wanted.keys() & found.keys() else 'is odd'}" for name in names])


def contents(folder: Path) -> dict[str, Any]:
    """What is compared of every file in a folder, hidden ones included, by name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path: path.relative_to(folder) for path in files}
    return {name.as_posix(): _content(path) for path, name in names.items() if not set(LEFT_OUT) & set(name.parts)}


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        header = read_header(path)
        tensors, values = load_tensors(path, kind=header.kind, schema_version=header.schema_version)
        arrays = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in tensors.items()}
        return arrays, _timeless(values)
    if path.suffix in (".json", ".jsonl"):
        lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
        return [_timeless(json.loads(line)) for line in lines]
    if path.suffix == ".html":
        return _DATE.sub("DATE", path.read_text())
    if path.suffix == ".mp4":
        import imageio.v3 as iio

        frames = np.asarray(iio.imread(path, plugin="FFMPEG"))
        return frames.shape, frames.tobytes()
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    """JSON values without those named in `TIMES`."""
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def kill_one(config: KillsConfig, case: KillCase, folder: Path) -> KillRow:
    """Kill one command as often as the settings say."""
    (folder / "undisturbed").mkdir(parents=True)
    seconds, after_trace = undisturbed(case, folder / "undisturbed")
    wanted = contents(folder / "undisturbed")
    rng = random.Random(f"{config.seed} {case.name}")
    moments = [rng.uniform(0, after_trace) for _ in range(config.kills)]

    def trial(numbered: tuple[int, float]) -> Trial:
        """A run that ends before it is killed does not count: it is done again and killed sooner."""
        number, moment = numbered
        trials = (
            killed(case, _made(folder / f"{number:03d}-{i}"), moment * SOONER**i, wanted) for i in range(MAX_TRIES)
        )
        first = next(trials)
        return first if first.killed else next((one for one in trials if one.killed), first)

    with ThreadPoolExecutor(config.jobs) as pool:
        trials = list(pool.map(trial, enumerate(moments)))
    struck = [one for one in trials if one.killed]
    remarks = tuple(line for one in trials for line in one.differences)
    return KillRow(case.name, seconds, len(struck), sum(not one.differences for one in struck), remarks)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def rows_of(config: KillsConfig, folder: Path) -> Iterator[KillRow]:
    """The results, as they come."""
    world = folder / "world"
    make_world(world)
    for number, case in enumerate(kill_cases(world)):
        if config.only in case.name:
            row = kill_one(config, case, folder / str(number))
            console.print(f"{row.name}: {row.equal} of {row.kills} equal {'; '.join(row.remarks)}", soft_wrap=True)
            yield row


def run(config: KillsConfig) -> KillsReport:
    """Kill the commands.

    Raises:
        ConfigError: a command fails undisturbed.
    """
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        return KillsReport(tuple(rows_of(config, Path(folder))))


if __name__ == "__main__":
    from lineament.cli.main import run_module

    raise SystemExit(run_module("benchmarks.kills", "KillsConfig", "python -m benchmarks.kills"))
