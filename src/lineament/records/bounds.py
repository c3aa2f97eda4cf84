"""Bounds of settings, checked when a configuration is made."""

from typing import Any

from lineament.errors import ConfigError


def check_bounds(
    settings: Any,
    *names: str,
    above: int | None = None,
    least: int | None = None,
    most: int | None = None,
    group: str = "",
) -> None:
    """Check that settings lie within bounds. NaN always fails; None, which stands for a default, always passes.

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
        if low or (most is not None and not value <= most):
            remedy = "give a number" if value != value else "raise it" if low else "lower it"
            raise ConfigError(f"{group}{name} is {value}, expected {_words(above, least, most)}; {remedy}")


def _words(above: int | None, least: int | None, most: int | None) -> str:
    if above is not None:
        return f"more than {above}" + ("" if most is None else f" and at most {most}")
    if most is not None:
        return f"at most {most}" if least is None else f"{least} to {most}"
    return "0 or more" if least == 0 else f"at least {least}"
