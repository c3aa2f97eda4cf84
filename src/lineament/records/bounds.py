"""Bounds of settings, checked when a configuration is made."""

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from lineament.errors import ConfigError

MAX_SEED = 2**63 - 1
"""The largest seed. Seeds are numbers of 64 bits; larger and negative ones would be taken modulo 2^64."""

MAX_COUNT, MAX_SIZE = 10**9, 1e9
"""Limits of whole and of real numbers that have no smaller ones of their own: more than any run can use."""


MAX_BATCH = 2**16
"""Largest number of images at a time."""


def check_seeds(seeds: Iterable[Any], name: str = "seed") -> None:
    """Check that seeds are whole numbers from 0 to `MAX_SEED`.

    Raises:
        ConfigError: names the first that is not.
    """
    for seed in seeds:
        if not hasattr(seed, "__index__") or not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"{name} is {_shown(seed)}, expected a whole number from 0 to {MAX_SEED}")


def check_numbers(settings: Any, *, group: str = "", signed: tuple[str, ...] = ()) -> None:
    """Check every number of a settings dataclass: finite, 0 or more, and no larger than any run can use.

    Args:
        settings: the dataclass; None, which stands for a default, and what is no number pass.
        group: prefix of the names on the command line, including the dot.
        signed: names of numbers that may be negative.

    Raises:
        ConfigError: a number is out of bounds; the message gives its name, value, bounds and what to do.
    """
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if entry.name in ("seed", "run_seed"):
            check_seeds([value], f"{group}{entry.name}")
            continue
        most = MAX_COUNT if isinstance(value, int) else MAX_SIZE
        least = -most if entry.name in signed else 0
        low = not value >= least
        if low or not value <= most:
            raise ConfigError(
                f"{group}{entry.name} is {_shown(value)}, expected {least:g} to {most:g}; {_remedy(value, low)}"
            )


def check_bounds(
    settings: Any,
    *names: str,
    above: int | float | None = None,
    least: int | float | None = None,
    most: int | float | None = None,
    group: str = "",
) -> None:
    """Check that settings lie within bounds. NaN and infinity always fail; None, for a default, always passes.

    Args:
        settings: object whose attributes are checked.
        names: names of the attributes to check.
        above: exclusive lower bound.
        least: inclusive lower bound.
        most: inclusive upper bound.
        group: prefix of the names on the command line, including the dot.

    Raises:
        ConfigError: a setting is out of bounds; the message gives its name, value, bounds and what to do.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None:
            continue
        low = (above is not None and not value > above) or (least is not None and not value >= least)
        if low or (most is not None and not value <= most) or value in (math.inf, -math.inf):
            raise ConfigError(
                f"{group}{name} is {_shown(value)}, expected {_words(above, least, most)}; {_remedy(value, low)}"
            )


def _shown(value: object) -> str:
    return f"{value!s:.40}"


def _remedy(value: int | float, low: bool) -> str:
    return "give a number" if value != value else "raise it" if low else "lower it"


def _words(above: int | float | None, least: int | float | None, most: int | float | None) -> str:
    if above is not None:
        return f"more than {above}" + ("" if most is None else f" and at most {most}")
    if most is not None:
        return f"at most {most}" if least is None else f"{least} to {most}"
    return "0 or more" if least == 0 else f"at least {least}"
