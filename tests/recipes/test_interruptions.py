"""Real processes, really interrupted: Ctrl-C, kill -9, two in one folder, two that work together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lineament.checkpoints.ours import load_discriminator, load_generator
from lineament.recipes.train.generator import run
from lineament.settings.train_generator import TrainGeneratorConfig
from lineament.store.atomic import is_temporary
from lineament.store.tensors import load_tensors
from tests import tiny

SCRIPT = """
import sys
from pathlib import Path
from tests.recipes.test_interruptions import endless
from lineament.cli.main import guarded
from lineament.recipes.train.generator import run
if __name__ == "__main__":
    sys.exit(guarded(lambda: 0 * bool(run(endless(Path(sys.argv[1]), count=int(sys.argv[2]))))))
"""


def endless(folder: Path, count: int = 1) -> TrainGeneratorConfig:
    config = TrainGeneratorConfig(
        images=(folder / "in",),
        out=folder / "run",
        network=tiny.GENERATOR,
        kimg=1000.0,
        batch_size=4,
        snapshot_kimg=0.012,
        eval_images=4,
    )
    return replace(config, devices=replace(config.devices, accelerator="cpu", count=count))


def start(folder: Path, count: int = 1) -> subprocess.Popen:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(count)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(log: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while not (log.exists() and len(log.read_text().splitlines()) >= count):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "the training does not get on"
        time.sleep(0.02)


def steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def saved_step(out: Path) -> int:
    return load_tensors(out / "state.safetensors", "training-state", "pt")[1]["step"]


def assert_goes_on_as_if_nothing_had_happened(folder: Path) -> None:
    """Resume for two steps, and compare with a run that was never interrupted."""
    config = endless(folder)
    assert all(
        load(config.out / f"{name}.safetensors")
        for name, load in (("generator", load_generator), ("discriminator", load_discriminator))
    )
    short = replace(config, kimg=(saved_step(config.out) + 2) * 4 / 1000)
    run(short)
    assert not [path for path in config.out.rglob("*") if is_temporary(path)]
    assert steps(config.out) == sorted(set(steps(config.out)))
    run(replace(short, out=folder / "other"))
    states = [
        load_tensors(out / "state.safetensors", "training-state", "pt")[0] for out in (config.out, folder / "other")
    ]
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    tiny.image_folder(tmp_path / "in")
    # Sums are split by the number of threads, so bits agree only between runs that have as many as the subprocess.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_kill_in_the_middle(folder: Path) -> None:
    with start(folder) as process:
        wait_for_lines(folder / "run" / "log.jsonl", 4, process)
        process.kill()
    assert_goes_on_as_if_nothing_had_happened(folder)


@pytest.mark.slow
def test_kill_at_many_moments(folder: Path) -> None:
    for lines in range(2, 8):
        with start(folder) as process:
            wait_for_lines(folder / "run" / "log.jsonl", lines, process)
            time.sleep(0.013 * lines)
            process.kill()
    assert_goes_on_as_if_nothing_had_happened(folder)


def test_ctrl_c_and_the_lock(folder: Path) -> None:
    with start(folder) as process:
        wait_for_lines(folder / "run" / "log.jsonl", 2, process)
        with pytest.raises(Exception, match="another lineament command is writing"):
            run(endless(folder))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert saved_step(folder / "run") == steps(folder / "run")[-1]
    assert_goes_on_as_if_nothing_had_happened(folder)


@pytest.mark.slow
def test_two_processes_train_together_and_stop_together(folder: Path) -> None:
    with start(folder, count=2) as process:
        wait_for_lines(folder / "run" / "log.jsonl", 3, process)
        process.send_signal(signal.SIGINT)  # to the first only: the other must hear of it
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert saved_step(folder / "run") == steps(folder / "run")[-1]
    generator = load_generator(folder / "run" / "generator.safetensors")
    assert generator.config == tiny.GENERATOR
