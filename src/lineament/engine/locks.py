"""Locks on outputs: of two commands that write the same file or folder, the second is refused."""

import errno
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from lineament.engine.devices import check_alone, first_process
from lineament.errors import BusyError
from lineament.store.atomic import make_folder, remove_stale_temporaries, storage_error

LOCK_NAME = ".lock"
"""Name of a folder's lock within the folder."""

PATIENCE_SECONDS = 0.2
"""How long to wait for a lock. It lets a command finish that is just removing its lock."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
ResultT = TypeVar("ResultT")


def lock(path: Path, output: Path) -> FileLock | None:
    """Take the lock ``path`` of an output; None on a file system without locks, such as some network disks.

    The system lets go of the lock when the process ends, even by kill -9.

    Raises:
        BusyError: another process has it.
        StorageError: it cannot be written.
    """
    own = FileLock(path, timeout=PATIENCE_SECONDS)
    try:
        path.parent.stat()  # the library would make the folder
        own.acquire()
    except Timeout as error:
        raise BusyError(
            f"another lineament command is writing {output}; wait for it, or choose another --out"
        ) from error
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise storage_error(output, error) from error
    return own


def unlock(own: FileLock | None) -> None:
    """Give a lock back and remove its file, first the file: afterwards it may already be another process's lock."""
    if own is not None:
        with suppress(OSError):
            Path(own.lock_file).unlink()
        own.release()


@contextmanager
def locked(*outputs: Path | None, fabric: Fabric | None = None) -> Iterator[None]:
    """Be the only command that writes these files, and clear away what killed commands left of them.

    Args:
        outputs: files that need not exist; their folders must. None is left out.
        fabric: the processes of this command; only the first locks, and all raise its error.

    Raises:
        BusyError: another process is writing one of them.
        StorageError: a folder does not exist or cannot be written.
    """
    held: list[FileLock | None] = []

    def take() -> None:
        for path in dict.fromkeys(Path(os.path.realpath(output)) for output in outputs if output is not None):
            held.append(lock(_lock_beside(path), path))
            remove_stale_temporaries(path.parent, path.name)

    try:
        take() if fabric is None else first_process(fabric, take)
        yield
    finally:
        for own in held:
            unlock(own)


def _lock_beside(path: Path) -> Path:
    """A hidden file beside a file; its name is cut, because that of the file may be as long as a name can be."""
    return path.with_name(f".{path.name[:32]}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}{LOCK_NAME}")


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Be the only command that writes into a folder, which is made if missing, and removed if it stays empty.

    Raises:
        BusyError: another process is writing there.
        StorageError: the folder cannot be made or written.
    """
    was_there = folder.exists()
    make_folder(folder)
    own = lock(folder / LOCK_NAME, folder)
    try:
        remove_stale_temporaries(folder)
        yield
    finally:
        unlock(own)
        if not was_there:
            with suppress(OSError):
                folder.rmdir()


def writes(*names: str) -> Callable[[Callable[[Any], ResultT]], Callable[[Any], ResultT]]:
    """Decorator of a command's ``run`` that works in one process and writes the files named by these settings."""

    def decorate(run: Callable[[Any], ResultT]) -> Callable[[Any], ResultT]:
        @functools.wraps(run)
        def alone(config: Any) -> ResultT:
            check_alone()
            with locked(*(getattr(config, name) for name in names)):
                return run(config)

        return alone

    return decorate
