"""Find the files of a folder, and read files of a folder or members of a zip, whatever state they are in."""

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lineament.errors import ImageError
from lineament.store.image_formats import HEAD_BYTES
from lineament.store.names import is_hidden

MAX_BYTES = 256 * 1024 * 1024
"""Larger files are refused without reading them; in a zip the unpacked size counts."""


def walk(folder: Path, left: dict[str, str]) -> Iterator[str]:
    """Paths of the visible files in a folder and its subfolders, relative to it; unreadable ones go to ``left``.

    Links to folders are not followed, so that no link can lead around in circles or out of the folder. Pipes, sockets
    and devices are never opened.
    """
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            entries = list(os.scandir(folder / inside))
        except OSError as error:
            if not inside:
                raise
            left[inside.rstrip("/")] = f"a folder that cannot be read ({reason_of(error)})"
            continue
        for entry in entries:
            name = inside + entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{name}/")
            elif _is_file(entry):
                yield name
            else:
                left[name] = "neither a file nor a folder"


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def reason_of(error: Exception) -> str:
    """What went wrong, without the names that are in the system's own texts."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def head_of(path: str | Path) -> bytes:
    """The first bytes of a file, for `is_image`; raises ImageError if that fails."""
    try:
        with open(path, "rb", buffering=0) as handle:
            return handle.read(HEAD_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read: {reason_of(error)}") from error


def read_file(path: Path) -> bytes:
    """All bytes of a file; raises ImageError, with the reason, if that fails."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("no ordinary file any more")
        _check_bytes(status.st_size)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {reason_of(error)}") from error


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise ImageError(f"{size:,} bytes are more than {MAX_BYTES:,}")


def head_of_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The same as `head_of` for a member of a zip."""
    with _member_errors(archive, name), archive.open(name) as handle:
        return handle.read(HEAD_BYTES)


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The same as `read_file` for a member of a zip."""
    with _member_errors(archive, name):
        _check_bytes(archive.getinfo(name).file_size)
        return archive.read(name)


@contextmanager
def _member_errors(archive: zipfile.ZipFile, name: str) -> Iterator[None]:
    """Turn what a bad member of a zip raises into an ImageError with a reason."""
    try:
        yield
    except ImageError:
        raise
    except NotImplementedError as error:
        method = archive.getinfo(name).compress_type
        raise ImageError(f"packed by a method that is not supported ({method}); make the zip again") from error
    except zipfile.BadZipFile as error:
        raise ImageError("damaged in the zip: its header or checksum is wrong") from error
    except Exception as error:  # every compression has errors of its own
        if archive.getinfo(name).flag_bits & 1:
            raise ImageError("encrypted; unpack the zip with its password") from error
        raise ImageError(f"damaged in the zip ({reason_of(error)})") from error
