"""Runs that are killed at random moments end with the bytes of one that was left alone; so do two processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineament.recipes.balance.run import run
from tests import balance_world
from tests.balance_world import contents, settings

SCRIPT = """
import sys
from pathlib import Path
from tests import balance_world
from tests.recipes.balance.test_interruptions import longer
from lineament.cli.main import guarded
from lineament.recipes.balance.run import run
if __name__ == "__main__":
    balance_world.shrink()
    sys.exit(guarded(lambda: 0 * bool(run(longer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))))
"""


def longer(world: Path, out: Path, count: int = 1):
    """Settings of a run of many small batches, in shards and with a report."""
    config = settings(world, out, batch_size=4, count=120, shards=40, max_variation=0.5)
    return balance_world.on(config, count)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return balance_world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        for entry in balance_world.SMALLER:
            patch.setattr(*entry)
        run(longer(world, out))
    return contents(out)


def start(world: Path, out: Path, count: int = 1) -> subprocess.Popen[str]:
    script = world / "balance.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), str(world), str(out), str(count)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def kill_at_random(world: Path, out: Path, seed: int) -> bool:
    """Run, and kill at a random moment after the folder was made; whether it was still running then."""
    rng = random.Random(seed)
    with start(world, out) as process:
        files = rng.choice([1, 4, 12, 30])
        deadline = time.monotonic() + 120
        while process.poll() is None and sum(1 for _ in out.rglob("*")) < files and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        alive = process.poll() is None
        process.kill()
    return alive


def finish(world: Path, out: Path) -> None:
    with start(world, out) as process:
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr


def test_killed_three_times(world: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = [kill_at_random(world, out, seed) for seed in range(3)]
    assert any(killed)
    finish(world, out)
    assert contents(out) == undisturbed


@pytest.mark.slow
def test_killed_twenty_times(world: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = [kill_at_random(world, out, seed) for seed in range(20)]
    assert sum(killed) >= 3
    finish(world, out)
    assert contents(out) == undisturbed


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(world: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    with start(world, tmp_path / "out", count=2) as process:
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.slow
def test_ctrl_c_stops_between_two_pieces_and_two_processes_stop_together(
    world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start(world, out, count=2) as process:
        while process.poll() is None and not any((out / "work").glob("images-0-*")):
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)  # to the first only: the other must hear of it
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "the same command goes on" in stderr
    assert not (out / "manifest.parquet").exists()
    finish(world, out)
    assert contents(out) == undisturbed
