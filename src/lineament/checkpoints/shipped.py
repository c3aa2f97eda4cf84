"""The networks that come with the package, and those of the package lineament-faces."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from lineament.errors import InputError

Pair: TypeAlias = Literal["faces64", "faces128", "renders64"]
"""A pair is a generator and its decomposer. faces64 was trained on photographs, faces128 is faces64 with finer images,
renders64 was trained on renders of synthetic faces with known truth. The first two are for non-commercial research
only, and come in a package of their own."""

FACES_PACKAGE, FACES_DISTRIBUTION = "lineament_faces", "lineament-faces"
"""Package with the networks that were trained on photographs, and the name to install it by."""

OWN_PAIRS: tuple[Pair, ...] = ("renders64",)
"""Pairs that come with Lineament itself."""

PAIR: Pair = "renders64" if find_spec(FACES_PACKAGE) is None else "faces64"
"""Pair that is used if none is named."""

_GREW_FROM: dict[Pair, Pair] = {"faces128": "faces64"}
"""Pairs whose generator was grown; files that they lack are those of the pair it grew from."""


def shipped_path(name: str, pair: Pair = PAIR) -> Path:
    """Path of a file of a shipped pair of networks.

    Raises:
        InputError: the installation lacks it.
    """
    own = pair in OWN_PAIRS
    if not own and find_spec(FACES_PACKAGE) is None:
        raise InputError(
            f"{pair} was trained on photographs and comes in the package {FACES_DISTRIBUTION} (non-commercial research "
            f"only): install it by pip install {FACES_DISTRIBUTION}, or choose --pair {OWN_PAIRS[0]}"
        )
    path = Path(str(files("lineament" if own else FACES_PACKAGE) / "weights" / pair / name))
    if not path.exists():
        if pair in _GREW_FROM:
            return shipped_path(name, _GREW_FROM[pair])
        distribution = "lineament" if own else FACES_DISTRIBUTION
        raise InputError(
            f"this installation has no {pair}/{name}; install {distribution} again, or name your own files"
        )
    return path
