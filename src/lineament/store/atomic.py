"""Files that are written whole or not at all."""

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lineament.errors import StorageError

TEMPORARY_SUFFIX = ".lineament-partial"

_live: set[Path] = set()  # files this process is writing now; an id in a file's name may be a reused one

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder, then run again",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder, then run again",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.EACCES: "permission denied; close programs that hold the file open, or choose a folder you may write to",
    errno.EPERM: "permission denied; close programs that hold the file open, or choose a folder you may write to",
    errno.ENOENT: "its folder does not exist; create the folder or correct the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder; correct the path",
    errno.EISDIR: "there is a folder of that name; choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reports an input/output error; check the disk or choose another one",
}


def storage_error(path: str | Path, error: OSError, *, verb: str = "write") -> StorageError:
    """A StorageError that explains an operating system's error on ``path`` and says what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    advice = _ADVICE.get(error.errno or 0, f"{reason}; check free space and permissions, then run again")
    return StorageError(f"cannot {verb} {path}: {advice}")


def make_folder(path: str | Path) -> None:
    """Make a folder and its parents, if they are missing; StorageError if that fails."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error, verb="make the folder") from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[io.BufferedWriter]:
    """Open a temporary file beside ``path`` that replaces it when the block ends without an exception.

    The data are synced to the disk before the file is renamed. So a reader sees the old file or the new one, never a
    part, even after a kill or a power cut. Any exception, Ctrl-C included, deletes the temporary file and leaves the
    old file unchanged. A killed process leaves a temporary file, which `remove_stale_temporaries` deletes. A symbolic
    link is followed.

    Args:
        path: the file to create or replace; its folder must exist.

    Returns:
        A binary handle, writable and seekable, that the caller must not close; ``handle.name`` is the temporary path.

    Raises:
        StorageError: writing failed; an OSError about another file passes through unchanged.
    """
    target = Path(os.path.realpath(path))
    # The name is cut, so that the temporary name of the longest allowed file name is not too long.
    temporary = target.with_name(f".{target.name[:32]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    if target.is_dir():
        raise storage_error(path, IsADirectoryError(errno.EISDIR, "is a directory"))
    handle: io.BufferedWriter | None = None
    try:
        _live.add(temporary)
        # Not `tempfile`: its files are private to the user (mode 0600), and a result should follow the umask.
        handle = open(temporary, "xb")  # noqa: SIM115
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
        handle.close()
        os.replace(temporary, target)
    except BaseException as error:
        if handle is not None:
            with suppress(OSError):  # closing flushes, and on a full disk that fails once more
                handle.close()
        with suppress(OSError):
            temporary.unlink()
        ours = (None, str(temporary), str(target))
        if isinstance(error, OSError) and (error.filename is None or os.fspath(error.filename) in ours):
            raise storage_error(path, error) from error
        raise
    finally:
        _live.discard(temporary)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where folders can be synced (not on Windows, nor on some network disks)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write bytes whole or not at all; see `atomic_write`."""
    with atomic_write(path) as handle:
        handle.write(data)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text, line ends unchanged, whole or not at all; see `atomic_write`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def is_temporary(path: str | Path) -> bool:
    """Whether a path is one of our temporary files."""
    return Path(path).name.endswith(TEMPORARY_SUFFIX)


def remove_stale_temporaries(folder: str | Path, name: str = "") -> list[Path]:
    """Delete temporary files of killed runs in one folder (not in its subfolders): all, or those of the file ``name``.

    Files that a living process is still writing are kept. Files that cannot be deleted are kept, too, without an error.

    Returns:
        The deleted paths.
    """
    removed: list[Path] = []
    start = f".{name[:32]}." if name else "."
    with suppress(OSError):
        for path in sorted(Path(folder).glob(f".*{TEMPORARY_SUFFIX}")):
            if path.name.startswith(start) and not _is_being_written(path):
                with suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed


def _is_being_written(path: Path) -> bool:
    writer = path.name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")[2].partition("-")[0]
    if not writer.isdecimal():
        return False
    if int(writer) == os.getpid():
        return Path(os.path.realpath(path)) in _live
    if os.name == "nt":  # Windows does not delete open files, and os.kill(pid, 0) would send Ctrl-C
        return False
    try:
        os.kill(int(writer), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
