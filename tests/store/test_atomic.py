"""Files are whole or not there, whatever happens while they are written."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lineament.errors import StorageError
from lineament.store import atomic
from lineament.store.atomic import (
    TEMPORARY_SUFFIX,
    atomic_write,
    is_temporary,
    remove_stale_temporaries,
    write_bytes_atomic,
    write_text_atomic,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def only_old_is_left(old: Path) -> bool:
    return old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]


def test_replaces_only_at_the_end(old: Path) -> None:
    with atomic_write(old) as handle:
        handle.write(b"new")
        handle.flush()
        assert old.read_bytes() == b"old"
        assert Path(handle.name).parent == old.parent
        assert is_temporary(handle.name)
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


def test_text_keeps_line_ends_and_umlauts(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "t", "ä\nb\r\n")
    assert (tmp_path / "t").read_bytes() == "ä\nb\r\n".encode()


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes_atomic(tmp_path / "ours", b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_symbolic_link_is_written_through(old: Path) -> None:
    link = old.with_name("link")
    link.symlink_to(old)
    write_bytes_atomic(link, b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


def test_the_longest_name_works(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / ("x" * 255), b"1")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"1"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_any_exception_leaves_the_old_file(old: Path, kind: type[BaseException]) -> None:
    def interrupted() -> None:
        with atomic_write(old) as handle:
            handle.write(b"half")
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert only_old_is_left(old)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(("code", "word"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EIO, "check")])
def test_a_refusing_disk(old: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, word: str) -> None:
    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, step, refuse)
    with pytest.raises(StorageError, match=word) as caught:
        write_bytes_atomic(old, b"new")
    assert str(old) in str(caught.value)
    assert only_old_is_left(old)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_disk(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_full(path: object, mode: str) -> object:
        return open("/dev/full", "wb")

    monkeypatch.setattr(atomic, "open", open_full, raising=False)
    with pytest.raises(StorageError, match="disk is full"):
        write_bytes_atomic(old, b"new" * 100_000)
    assert only_old_is_left(old)


def test_missing_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create the folder"):
        write_bytes_atomic(tmp_path / "no" / "file", b"")
    with pytest.raises(StorageError, match="folder of that name"):
        write_bytes_atomic(tmp_path, b"")


def test_an_unrelated_os_error_keeps_its_name(old: Path) -> None:
    def reads_another_file() -> None:
        with atomic_write(old):
            (old.parent / "other").read_bytes()

    with pytest.raises(FileNotFoundError, match="other"):
        reads_another_file()
    assert only_old_is_left(old)


def test_stale_temporaries_of_killed_runs_go_and_live_ones_stay(old: Path) -> None:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = old.with_name(f".file.bin.{int(process.stdout)}-aabbccdd{TEMPORARY_SUFFIX}")
    reused = old.with_name(f".file.bin.{os.getpid()}-aabbccdd{TEMPORARY_SUFFIX}")
    parent = old.with_name(f".file.bin.{os.getppid()}-aabbccdd{TEMPORARY_SUFFIX}")
    for path in (dead, reused, parent):
        path.write_bytes(b"half")
    with atomic_write(old) as handle:
        handle.write(b"new")
        assert remove_stale_temporaries(old.parent) == sorted([dead, reused])
    assert old.read_bytes() == b"new"
    assert parent.exists()
    assert remove_stale_temporaries(old.parent / "no such folder") == []


def test_a_killed_process_leaves_the_old_file(old: Path) -> None:
    script = (
        "import os, sys\nfrom lineament.store.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as f:\n    f.write(b'half'); f.flush(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(old)], check=False)
    assert old.read_bytes() == b"old"
    assert len(remove_stale_temporaries(old.parent)) == 1
    assert only_old_is_left(old)
