"""What a result is made of: fingerprints of images and networks, so that a run does not go on with others."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

ORIGINS = "origins"
"""Name of the origins in the header of a state."""

NONE = "none"
"""Fingerprint of what is not used."""

_ROWS = 1024
"""Rows of an array that are hashed at a time, so that a mapped file is not read into memory as a whole."""


def array_signature(*arrays: np.ndarray | None) -> str:
    """SHA-256 of types, shapes and values. It survives copying and moving of the files that the arrays came from."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none\n")
            continue
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        for start in range(0, len(array), _ROWS):
            digest.update(np.ascontiguousarray(array[start : start + _ROWS]).data)
    return digest.hexdigest()


def changes(before: Mapping[str, Any], now: Mapping[str, str | None]) -> str:
    """What differs, in words; empty if nothing does. What is known on one side only does not differ."""
    words = [
        f"{name}: {_short(before[name])} before, {_short(value)} now"
        for name, value in now.items()
        if value is not None and name in before and before[name] != value
    ]
    return ", ".join(words)


def kept_origins(now: Mapping[str, str | None], before: Mapping[str, Any]) -> dict[str, str]:
    """The origins to keep: those of now, and those of before that cannot be told any more."""
    return {**before, **{name: value for name, value in now.items() if value is not None}}


def listed(origins: Mapping[str, str]) -> str:
    """Names and short fingerprints, for messages."""
    return ", ".join(f"{name} {_short(value)}" for name, value in origins.items())


def is_fingerprint(value: Any) -> bool:
    """Whether a value is a fingerprint, or says that there is nothing; settings are neither."""
    return isinstance(value, str) and (value in ("", NONE) or re.fullmatch("[0-9a-f]{16,}", value) is not None)


def _short(value: Any) -> str:
    return str(value)[:8] or NONE
