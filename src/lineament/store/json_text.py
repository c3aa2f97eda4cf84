"""Read JSON that nobody vouches for: finite numbers, few levels, and no more memory than the file's size justifies."""

import json
import math
from pathlib import Path
from typing import Any

from lineament.errors import FileFormatError, InputError
from lineament.store.atomic import storage_error

MOST_LEVELS = 32
"""Maximum depth of nested lists and tables."""

SPARE_BYTES = 48 << 20
"""Memory that any file may take, besides three times its size."""

_COSTS = ((b"{", 232), (b"[", 88), (b",", 64), (b'"', 28))
"""Bytes of memory for each table, list, entry and end of a text."""


def parse_json(raw: bytes, file_bytes: int = 0) -> Any:
    """The value of a JSON text.

    Args:
        raw: the text.
        file_bytes: size of the file that it is the head of, if it is larger than the text.

    Raises:
        ValueError: not JSON, NaN or infinity, nested too deeply, or far more memory than the file takes.
    """
    wide = 0 if raw.isascii() and b"\\u" not in raw else 8  # one wide character makes all of its text wide
    memory = len(raw) * (2 + wide) + sum(raw.count(sign) * cost for sign, cost in _COSTS)
    if memory > 3 * max(len(raw), file_bytes) + SPARE_BYTES:
        raise ValueError(f"{len(raw):,} bytes of JSON that would take {memory:,} bytes of memory")
    try:
        value = json.loads(raw, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError(f"more than {MOST_LEVELS} levels of lists and tables") from error
    _check_levels(value)
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is not a finite number")
    return number


def _check_levels(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        if not level:
            return
    raise ValueError(f"more than {MOST_LEVELS} levels of lists and tables")


def read_json(path: str | Path, remedy: str) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        remedy: what to do if it cannot be read, for the message.

    Raises:
        InputError: there is no such file.
        FileFormatError: not JSON, or not one that can be used (see `parse_json`).
        StorageError: reading failed.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; {remedy}") from error
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    except ValueError as error:
        raise FileFormatError(f"{path} is not readable JSON ({error!s:.200}); {remedy}") from error
