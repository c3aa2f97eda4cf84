"""The run folder: its settings, lock, log and state, and the gentle stop."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lineament.engine import locks
from lineament.engine.run_folder import GentleStop, RunFolder
from lineament.engine.state import flatten_module, flatten_optimizer, restore_module, restore_optimizer
from lineament.errors import ConfigError, FileFormatError, StorageError
from lineament.store.atomic import TEMPORARY_SUFFIX


@dataclass(frozen=True)
class Settings:
    out: Path
    rate: float = 0.5
    steps: int = 3


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_settings_are_kept_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    RunFolder(path, Settings(path)).close()
    assert json.loads((path / "config.json").read_text()) == {"out": str(path), "rate": 0.5, "steps": 3}
    RunFolder(path, Settings(path)).close()
    with pytest.raises(
        ConfigError, match=r"other settings \(rate was 0.5, now 0.7, steps was 3, now 4\); choose another"
    ):
        RunFolder(path, Settings(path, 0.7, 4))
    RunFolder(path, Settings(path, steps=4), free=("steps",)).close()
    assert json.loads((path / "config.json").read_text())["steps"] == 4


def test_settings_younger_than_the_folder_are_as_by_default(tmp_path: Path) -> None:
    RunFolder(tmp_path, Settings(tmp_path)).close()
    (tmp_path / "config.json").write_text(json.dumps({"out": "", "rate": 0.5}))
    RunFolder(tmp_path, Settings(tmp_path)).close()
    (tmp_path / "config.json").write_text(json.dumps({"out": "", "rate": 0.5}))
    with pytest.raises(ConfigError, match="steps was 3, now 4"):
        RunFolder(tmp_path, Settings(tmp_path, steps=4))


def test_folder_may_be_moved_or_named_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunFolder(tmp_path / "a", Settings(tmp_path / "a")).close()
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    RunFolder("b", Settings(Path("b"))).close()


@pytest.mark.parametrize("text", ["{", "", "[]", "\xff"])
def test_damaged_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin1")
    with pytest.raises(FileFormatError, match=r"config\.json .*delete it or choose another folder"):
        RunFolder(tmp_path, Settings(tmp_path))


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot make the folder"):
            RunFolder(path, Settings(path))


def test_temporaries_of_killed_runs_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / f".state.safetensors.999999999-abcd{TEMPORARY_SUFFIX}"
    stale.write_bytes(b"half")
    RunFolder(tmp_path, Settings(tmp_path)).close()
    assert not stale.exists()


# --------------------------------------------------------------------------------------------------------------------
# The lock


def test_second_run_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, Settings(tmp_path))
    with pytest.raises(
        ConfigError, match=r"another lineament command is writing .*; wait for it, or choose another --out"
    ) as caught:
        RunFolder(tmp_path, Settings(tmp_path))
    assert "\n" not in str(caught.value)
    first.close()
    with RunFolder(tmp_path, Settings(tmp_path)):
        pass
    RunFolder(tmp_path, Settings(tmp_path)).close()


def test_failures_unlock(tmp_path: Path) -> None:
    RunFolder(tmp_path, Settings(tmp_path)).close()
    with pytest.raises(ConfigError, match="other settings") as kept:  # the traceback holds the folder alive
        RunFolder(tmp_path, Settings(tmp_path, 0.1))
    with pytest.raises(ZeroDivisionError) as also_kept, RunFolder(tmp_path, Settings(tmp_path)):
        _ = 1 / 0
    RunFolder(tmp_path, Settings(tmp_path)).close()
    del kept, also_kept


def test_other_processes_of_one_run_do_not_lock_or_write(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Settings(tmp_path)):
        before = (tmp_path / "config.json").stat().st_mtime_ns
        RunFolder(tmp_path, Settings(tmp_path), lead=False).close()
        assert (tmp_path / "config.json").stat().st_mtime_ns == before
        with pytest.raises(ConfigError, match="other settings"):
            RunFolder(tmp_path, Settings(tmp_path, 0.1), lead=False)


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_lock_of_another_process_ends_with_it_even_by_kill(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / locks.LOCK_NAME)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError, match="another lineament command is writing"):
            RunFolder(tmp_path, Settings(tmp_path))
        process.kill()
    RunFolder(tmp_path, Settings(tmp_path)).close()


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")])
def test_without_locks_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    RunFolder(tmp_path, Settings(tmp_path)).close()


def test_a_lock_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    with pytest.raises(StorageError, match="the disk is read-only"):
        RunFolder(tmp_path, Settings(tmp_path))


def test_without_tensorboard_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.open_log(0)
        folder.log(1, {"loss": 2.0})
    assert "extra 'train' is not installed" in " ".join(capsys.readouterr().err.split())
    assert '"loss": 2' in (tmp_path / "log.jsonl").read_text()
    assert not (tmp_path / "tensorboard").exists()


# --------------------------------------------------------------------------------------------------------------------
# The log


def test_log_drops_what_a_killed_run_wrote_after_its_state(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.open_log(0)
        for step in range(1, 6):
            folder.log(step, {"loss": 1 / step})
    with (tmp_path / "log.jsonl").open("a") as handle:
        handle.write('7\n{"loss": 3}\n{"step": 6, "lo')
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.open_log(3)
        folder.log(4, {"loss": 9.0})
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 3, 4]
    assert found[2]["loss"] == 0.333333
    assert found[3]["loss"] == 9
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_value_that_is_no_number_stays_in_the_log_and_nonsense_does_not(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.open_log(0)
        folder.log(1, {"correlation": math.nan})
    with (tmp_path / "log.jsonl").open("ab") as handle:
        handle.write(b"\xff\n" + b"[" * 100_000 + b'\n{"step": "1"}\n')
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.open_log(1)
    (row,) = rows(tmp_path)
    assert math.isnan(row["correlation"])


def test_log_on_a_full_disk(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        (tmp_path / "log.jsonl").symlink_to("/dev/full")
        with pytest.raises(StorageError, match="the disk is full"):
            folder.log(1, {"loss": 1.0})


# --------------------------------------------------------------------------------------------------------------------
# State


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        loss = model(torch.randn(4, 3, generator=rng)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def test_state_of_network_and_optimizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, optimizer = parts()
    train(model, optimizer, 3)
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        assert folder.load_state() is None
        folder.save_state(flatten_module("net", model) | flatten_optimizer("opt", optimizer), {"step": 3})
        loaded = folder.load_state()
    assert loaded is not None
    tensors, counters = loaded
    assert counters == {"step": 3}
    other, other_optimizer = parts()
    restore_module("net", other, tensors)
    restore_optimizer("opt", other_optimizer, tensors)
    train(model, optimizer, 2)
    train(other, other_optimizer, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_only_a_state_of_an_earlier_step_takes_the_place_of_another(tmp_path: Path) -> None:
    """A state as late as the one to be saved is of a run that was killed before its end: its turn is repeated."""
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.rename_state("new", "old", before=2)
        for step in (2, 4):
            folder.save_state({}, {"step": step}, name="new")
            folder.rename_state("new", "old", before=4)
        assert [folder.load_state(name) for name in ("old", "new")] == [({}, {"step": 2}), ({}, {"step": 4})]


def test_temporaries_are_removed_in_the_folders_within(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    stale = tmp_path / "cache" / f".images.npy.999999999-abcd{TEMPORARY_SUFFIX}"
    stale.write_bytes(b"half")
    RunFolder(tmp_path, Settings(tmp_path)).close()
    assert not stale.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "config.json"}


def test_inputs_may_move_once_the_state_knows_them(tmp_path: Path) -> None:
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.save_state({}, {"step": 1})
    with pytest.raises(ConfigError, match="rate was"):
        RunFolder(tmp_path, Settings(tmp_path, 0.1), inputs=("rate",))
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.check_origins({"the rate": "a" * 64})
    RunFolder(tmp_path, Settings(tmp_path, 0.1), inputs=("rate",)).close()


def test_state_of_a_fresh_optimizer() -> None:
    model, optimizer = parts()
    assert flatten_optimizer("opt", optimizer) == {}
    restore_optimizer("opt", optimizer, flatten_module("net", model))


@pytest.mark.parametrize(
    "counters", [{}, {"step": -1}, {"step": "3"}, {"step": 10**12}, {"step": True}, {"step": 3}], ids=str
)
def test_a_state_that_does_not_fit_ends_in_one_line(tmp_path: Path, counters: dict) -> None:
    module = torch.nn.Linear(2, 2)
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        assert not folder.resume(lambda tensors, counters: None)
        folder.save_state(flatten_module("other", module), counters)
        with pytest.raises(FileFormatError, match="no state of this training") as caught:
            folder.resume(lambda tensors, counters: restore_module("net", module, tensors))
        assert "\n" not in str(caught.value)
        folder.save_state(flatten_module("net", module), {"step": 3})
        assert folder.resume(lambda tensors, counters: restore_module("net", module, tensors))


# --------------------------------------------------------------------------------------------------------------------
# Gentle stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_second_stops(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with GentleStop() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_outside_of_the_main_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        with GentleStop() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
