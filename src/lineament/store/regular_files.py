"""Tell files from what only looks like files: pipes, sockets and devices, which may have no end."""

import stat
from pathlib import Path

from lineament.errors import InputError

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_regular(path: str | Path) -> None:
    """Refuse a pipe, a socket or a device; files, folders and missing ones pass. Call it before opening a user's file.

    Raises:
        InputError: opening or reading the path might never end.
    """
    if (kind := _irregular(path)) is not None:
        raise InputError(f"{path} is {kind}, expected a file; save its contents in a file, and name that one")


def is_regular(path: str | Path) -> bool:
    """Whether `check_regular` accepts the path."""
    return _irregular(path) is None


def _irregular(path: str | Path) -> str | None:
    try:
        return _KINDS.get(stat.S_IFMT(Path(path).stat().st_mode))
    except (OSError, ValueError):  # missing, unreachable or no possible name: opening it says why
        return None
