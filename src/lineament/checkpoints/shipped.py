"""The networks that come with the package."""

from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from lineament.errors import InputError

Pair: TypeAlias = Literal["faces64", "faces128", "renders64"]
"""A pair is a generator and its decomposer. faces64 was trained on photographs, faces128 is faces64 with finer images,
renders64 was trained on renders of synthetic faces with known truth."""

PAIR: Pair = "faces64"

_GREW_FROM: dict[Pair, Pair] = {"faces128": "faces64"}
"""Pairs whose generator was grown; files that they lack are those of the pair it grew from."""


def shipped_path(name: str, pair: Pair = PAIR) -> Path:
    """Path of a file of a shipped pair of networks.

    Raises:
        InputError: the installation lacks it.
    """
    path = Path(str(files("lineament") / "weights" / pair / name))
    if not path.exists():
        if pair in _GREW_FROM:
            return shipped_path(name, _GREW_FROM[pair])
        raise InputError(f"this installation has no {pair}/{name}; install lineament again, or name your own files")
    return path
