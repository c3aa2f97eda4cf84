"""A watch over what Python does, as its audit events tell, and over the memory that it takes."""

import codecs
import ctypes
import os
import re
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ALLOWED = {"mmap.__new__", "mmap.madvise", "sys.settrace", "builtins.id", "fcntl.flock", "sys._getframe"}
_FILES = {
    "open": 1,
    "os.listdir": 1,
    "os.scandir": 1,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "pathlib.Path.glob": 1,
    "pathlib.Path.rglob": 1,
}
"""Events of files and folders, and the number of paths among their arguments."""

_READING = {"os.listdir", "os.scandir", "pathlib.Path.glob", "pathlib.Path.rglob"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_RESIDENT = Path("/proc/self/clear_refs")

for _n in (16, 32):
    for _end in ("", "_le", "_be"):
        codecs.lookup(f"utf_{_n}{_end}")  # Python imports them when they are first used
for _name in ("raw_unicode_escape", "unicode_escape"):
    codecs.lookup(_name)

_seen: list[str] | None = None
_readable: tuple[str, ...] = ()
_writable: tuple[str, ...] = ()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _seen is None or event in _ALLOWED:
        return
    if event == "object.__getattr__" and args[1] == "f_code":  # of those who trace this very watch
        return
    if event == "compile" and args[1] == "<unknown>":
        return  # parsed as a literal, which NumPy does; running code is an event, too
    if event in _FILES:
        reads = event in _READING or (event == "open" and not (args[2] or 0) & _WRITING)
        allowed = _readable if reads else _writable
        if all(_is_within(path, allowed) for path in args[: _FILES[event]]):
            return
    _seen.append(f"{event} {str(args)[:200]}")


def _is_within(path: Any, places: tuple[str, ...]) -> bool:
    if isinstance(path, int):  # opened before, and allowed then
        return True
    full = os.path.abspath(os.fsdecode(path))
    return any(full == place or full.startswith(place + os.sep) for place in places)


@contextmanager
def added_memory() -> Iterator[list[int]]:
    """The bytes by which the process grew at most within: of all memory on Linux, elsewhere of Python's own."""
    found: list[int] = []
    if _RESIDENT.exists():
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken now
        _RESIDENT.write_text("5")  # forgets the peak so far
        before = _status("VmRSS")
        yield found
        found.append(_status("VmHWM") - before)
    else:
        tracemalloc.start()
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def _status(name: str) -> int:
    return 1024 * int(re.findall(rf"{name}:\s*(\d+)", Path("/proc/self/status").read_text())[0])


@contextmanager
def audited(path: Path, workshop: Path | None = None) -> Iterator[list[str]]:
    """All that happens within, except that ``path``, or what lies in it, is read and mapped.

    Within the folder ``workshop`` files may also be written.
    """
    global _seen, _readable, _writable
    if not _hook_is_set:
        sys.addaudithook(_hook)  # it cannot be taken off again
        _hook_is_set.append(True)
    found: list[str] = []
    _writable = () if workshop is None else (str(workshop),)
    _seen, _readable = found, (str(path), *_writable)
    try:
        yield found
    finally:
        _seen = None


_hook_is_set: list[bool] = []
