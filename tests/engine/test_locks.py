"""Of two commands on one output the second is refused; locks leave nothing behind."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lineament.engine.locks import locked, locked_folder, writes
from lineament.errors import BusyError, ConfigError, StorageError
from lineament.store.atomic import TEMPORARY_SUFFIX

HOLD = """
import sys
from pathlib import Path
from lineament.engine.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_second_on_a_file_is_told_the_truth_and_nothing_stays(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    with locked(out, None, tmp_path / "b.npz"):
        for other in (out, tmp_path / "b.npz"):
            with (
                pytest.raises(BusyError, match=f"another lineament command is writing .*{other.name}; wait for it"),
                locked(other),
            ):
                pass
        with locked(tmp_path / "c.png"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_one_file_named_twice_is_one_lock(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with locked(tmp_path / "a.png", tmp_path / "link.png"), pytest.raises(BusyError), locked(tmp_path / "link.png"):
        pass


def test_a_failure_unlocks(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a"):
        _ = 1 / 0
    with locked(tmp_path / "a"):
        pass


def test_the_longest_name_can_be_locked(tmp_path: Path) -> None:
    with locked(tmp_path / ("ä" * 127)):
        pass


def test_a_killed_process_holds_nothing_and_its_remains_are_cleared(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    for name in (out.name, "other.png"):
        (tmp_path / f".{name}.999999999-ab{TEMPORARY_SUFFIX}").write_bytes(b"half")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(BusyError), locked(out):
            pass
        process.kill()
    with locked(out):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [f".other.png.999999999-ab{TEMPORARY_SUFFIX}"]


def test_a_folder_is_locked_and_goes_if_it_stays_empty(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    with locked_folder(inner), pytest.raises(BusyError, match="is writing"), locked_folder(inner):
        pass
    assert not (tmp_path / "a" / "b").exists()
    with locked_folder(tmp_path / "a"):
        (tmp_path / "a" / "result").write_text("x")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


def test_an_output_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot write .*a\.png: its folder does not exist"),
        locked(tmp_path / "b" / "a.png"),
    ):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot make the folder"), locked_folder(tmp_path / "file"):
        pass


@dataclass(frozen=True)
class Settings:
    out: Path
    report: Path | None = None


@writes("out", "report")
def run(config: Settings) -> str:
    with pytest.raises(BusyError):
        run(config)
    return "done"


def test_a_command_locks_what_its_settings_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Settings(tmp_path / "a")) == "done"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="works in one"):
        run(Settings(tmp_path / "a"))
