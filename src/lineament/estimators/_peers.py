"""Helpers shared by the estimators of published methods."""

import importlib
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError


def scikit_learn(module: str) -> Any:
    """A module of scikit-learn, which the package itself does not need.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ConfigError(
            f"scikit-learn is not installed ({error}), which this method needs; pip install 'lineament[peers]'"
        ) from error


def check_samples(method: str, values: Float[np.ndarray, "n d"], least: int) -> None:
    """Raise unless there are ``least`` samples or more, of finite numbers.

    Raises:
        ConfigError: too few samples.
        ShapeError: NaN or infinity.
    """
    if len(values) < least:
        raise ConfigError(f"{method}: {len(values)} samples, expected at least {least}; take more samples")
    if not np.isfinite(values).all():
        raise ShapeError(f"{method}: NaN or infinity among the samples, expected finite numbers; leave those rows out")


def check_num_components(method: str, asked: int, most: int) -> None:
    """Raise `ConfigError` unless the number of components lies between 1 and ``most``."""
    if not 1 <= asked <= most:
        raise ConfigError(f"{method}: {asked} components were asked for, expected 1 to {most}, the width of w or less")


def unit_rows(method: str, rows: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
    """The rows scaled to length 1.

    Raises:
        ConfigError: a row is zero.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ConfigError(f"{method}: component {int(np.argmin(lengths))} has no direction in w; ask for fewer")
    return rows / lengths
