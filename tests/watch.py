"""A watch over what Python does: imports, programs, files, sockets, as its audit events tell."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ALLOWED = {"mmap.__new__", "mmap.madvise", "sys.settrace", "builtins.id"}
_seen: list[str] | None = None
_path = ""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _seen is None or event in _ALLOWED:
        return
    if event == "object.__getattr__" and args[1] == "f_code":  # of those who trace this very watch
        return
    if event == "open" and str(args[0]) == _path and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    _seen.append(f"{event} {str(args)[:200]}")


@contextmanager
def audited(path: Path) -> Iterator[list[str]]:
    """All that happens within, except that ``path`` is opened for reading and mapped."""
    global _seen, _path
    if not _hook_is_set:
        sys.addaudithook(_hook)  # it cannot be taken off again
        _hook_is_set.append(True)
    found: list[str] = []
    _seen, _path = found, str(path)
    try:
        yield found
    finally:
        _seen = None


_hook_is_set: list[bool] = []
