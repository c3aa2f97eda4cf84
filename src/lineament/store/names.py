"""Names of files from folders and zips: as text that every format can hold, and as paths that every disk takes."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import PurePosixPath

MAX_PART_BYTES = 255
"""Longest name of a file or folder, in UTF-8, on the usual disks."""
MAX_PATH_BYTES = 512
"""Longer paths are written without their folders: operating systems limit the whole path, too."""

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNWRITABLE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_HIDDEN = re.compile(
    r"(?:^|[/\\])(?:\.(?!\.?(?:[/\\]|$))"
    r"|(?:__macosx|thumbs\.db|desktop\.ini|@eadir|\$recycle\.bin|system volume information)(?:[/\\]|$))",
    re.IGNORECASE,
)
"""A name that begins with a dot, but not `.` and `..`; and what macOS, Windows and network disks add."""


def is_hidden(name: str) -> bool:
    """Whether a path is hidden, or is what operating systems put beside the user's files."""
    return bool(_HIDDEN.search(name))


def shown_name(raw: str) -> str:
    """A name as text that UTF-8, JSON, CSV, Parquet and tar can hold.

    Bytes that are not UTF-8 (Python's surrogates) and control characters become ``%`` and their number in hexadecimal,
    such as ``%FF``. Other names are returned unchanged.
    """
    return _UNSHOWN.sub(lambda found: _number_of(found[0]), raw)


def _number_of(character: str) -> str:
    code = ord(character)
    if code < 0xDC80:
        return f"%{code:02X}"
    return f"%{code - 0xDC00:02X}" if code <= 0xDCFF else f"%{code:X}"


def shown_names(raw: Iterable[str]) -> dict[str, str]:
    """From `shown_name` to the name itself, in the order of the former. Two names are never shown alike.

    Names that need no change keep theirs. If a changed name is taken, a checksum is added to it.
    """
    shown: dict[str, str] = {}
    for own in sorted(set(raw), key=lambda name: (shown_name(name) != name, name)):
        shown[_free(shown_name(own), own, shown.keys())] = own
    return dict(sorted(shown.items()))


def writable_names(names: Sequence[str]) -> dict[str, str]:
    """A relative path for each name, so that all can be written into one folder, on every disk.

    The paths do not lead out of the folder, and differ even where upper and lower case are the same. No path is both a
    file and a folder. Names that need no change keep theirs; others get a checksum. The same names give the same paths.
    """
    wanted = {name: _writable(name) for name in names}
    folders = {path.rpartition("/")[0] for path in wanted.values()} - {""}
    taken = {_folded(str(part)) for folder in folders for part in (folder, *PurePosixPath(folder).parents)}
    paths: dict[str, str] = {}
    for name in sorted(wanted, key=lambda name: (wanted[name] != name, name)):
        paths[name] = _free(wanted[name], name, taken, _folded)
        taken.add(_folded(paths[name]))
    return paths


def _writable(name: str) -> str:
    parts = [_writable_part(part) for part in name.split("/") if part not in ("", ".")] or [_writable_part("")]
    path = "/".join(parts)
    return path if len(path.encode()) <= MAX_PATH_BYTES else _marked(parts[-1], name)


def _writable_part(part: str) -> str:
    clean = _UNWRITABLE.sub("_", shown_name(part)).rstrip(". ")
    if clean != part or len(clean.encode()) > MAX_PART_BYTES or _RESERVED.fullmatch(clean):
        return _marked(clean or "_", part)
    return part


def _free(path: str, name: str, taken: Container[str], key: Callable[[str], str] = str) -> str:
    """The path if it is not taken yet, or else the first one that is free with a checksum of the name."""
    free, count = path, 0
    while key(free) in taken:
        free, count = _marked(path, name, count), count + 1
    return free


def _marked(path: str, name: str, count: int = 0) -> str:
    """The path with a checksum of the name before its suffix, cut to what a disk takes."""
    mark = "~" + hashlib.sha256(f"{count or ''}{name}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    folder, slash, last = path.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    if not stem or len(suffix) > 8:
        stem, dot, suffix = last, "", ""
    room = MAX_PART_BYTES - len(f"{mark}{dot}{suffix}".encode())
    return f"{folder}{slash}{stem.encode()[:room].decode(errors='ignore')}{mark}{dot}{suffix}"


def _folded(path: str) -> str:
    """The same for all paths that some disk takes for one: without case, and with accents in one form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
