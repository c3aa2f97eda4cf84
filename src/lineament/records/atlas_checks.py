"""Whether the values of an atlas are possible: numbers in their ranges, layers that exist, sizes that fit one another.

`Atlas` itself only checks what its own code relies on. These checks take longer, and are made when a file is written or
read.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from lineament.errors import ConfigError, ShapeError, harmless
from lineament.records.atlas import Atlas
from lineament.records.bounds import MAX_SEED
from lineament.records.direction import Direction, check_knots
from lineament.records.parts import Localization
from lineament.records.shapes import MAX_LAYERS, check_face_box

MOST_NEGATIVE = 1e-6
"""Largest negative eigenvalue of the covariance that counts as rounding, as a share of the largest eigenvalue."""

MAX_NAME = 200
"""Largest number of characters of a name or a unit; sentences may have five times as many."""


def check_values(atlas: Atlas) -> None:
    """Check all values of an atlas.

    Raises:
        ConfigError, ShapeError: names the first value that is impossible, and what was expected.
    """
    _between("truncation", atlas.truncation, 0, 1, above=True)
    _between("seed", atlas.seed, 0, MAX_SEED)
    _between("num_samples", atlas.num_samples, 0, MAX_SEED)
    _between("num_held_out", atlas.num_held_out, 0, MAX_SEED)
    _check_covariance(atlas.w_cov)
    _check_generator(atlas)
    for direction in atlas.all_directions:
        _check_direction(direction, atlas.generator.get("num_layers"))
    if atlas.local is not None:
        _check_parts(atlas.local, atlas)


def _between(name: str, value: int | float, low: int | float, high: int | float, *, above: bool = False) -> None:
    """Raise unless low <= value <= high, or low < value if ``above``; NaN always raises."""
    if not low <= value <= high or (above and value == low):
        raise ConfigError(f"{name} is {value!s:.40}, expected {'above ' if above else ''}{low:g} to {high:g}")


def _check_text(name: str, text: str, most: int = MAX_NAME) -> None:
    if harmless(text) != text or len(text) > most:
        raise ConfigError(f"{name} is {harmless(text[:40])!r}, expected at most {most} characters that can be shown")


def _check_covariance(w_cov: np.ndarray) -> None:
    values = np.linalg.eigvalsh(w_cov)
    if not values[-1] > 0 or values[0] < -MOST_NEGATIVE * values[-1]:
        raise ShapeError(
            f"w_cov has eigenvalues from {values[0]:.3g} to {values[-1]:.3g}, expected a covariance, with none below 0"
        )


def _check_generator(atlas: Atlas) -> None:
    """Check the facts about the generator that are used; an atlas need not have all of them."""
    facts = atlas.generator
    for name, least, most in (
        ("num_layers", 1, MAX_LAYERS),
        ("resolution", 1, 2**16),
        ("w_dim", atlas.w_dim, atlas.w_dim),
        ("class_number", 0, MAX_SEED),
    ):
        value = facts.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise ConfigError(
                f"the generator's {name} is {value!s:.40}, expected a whole number from {least} to {most}"
            )
    box = facts.get("face_box")
    if box is not None:
        if not isinstance(box, list | tuple) or not all(type(share) in (int, float) for share in box):
            raise ConfigError(f"the generator's face_box is {box!s:.40}, expected four numbers")
        check_face_box(tuple(map(float, box[:5])))


def _check_direction(one: Direction, num_layers: int | None) -> None:
    name = harmless(one.name[:40])
    if not one.name:
        raise ConfigError("the name of a direction is empty, expected a word")
    for field in ("name", "unit", "sign", "description"):
        _check_text(f"{name}: {field}", getattr(one, field), MAX_NAME if field in ("name", "unit") else 5 * MAX_NAME)
    _between(f"{name}: std", one.std, 0, 1e12, above=True)
    _between(f"{name}: residual_std", one.residual_std, 0, 1e12)
    _between(f"{name}: mean", one.mean, -1e12, 1e12)
    _between(f"{name}: r2", one.r2, -1e12, 1 + 1e-9)
    _between(f"{name}: range_seen", max(abs(one.range_seen.minimum), abs(one.range_seen.maximum)), 0, 1e12)
    if (one.standard_error < 0).any():
        raise ShapeError(f"{name}: standard_error is negative, expected 0 or more")
    try:
        check_knots(one.calibration)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    _check_layers(f"{name}: layers", one.layers, num_layers)
    if one.layer_steps is not None and num_layers is None:
        raise ConfigError(f"{name} has steps for every layer, but the atlas does not say the generator's num_layers")


def _check_layers(what: str, layers: Sequence[int] | None, num_layers: int | None) -> None:
    """Raise unless the layers exist, each once."""
    if layers is None:
        return
    most = (MAX_LAYERS if num_layers is None else num_layers) - 1
    if not layers or len(set(layers)) != len(layers) or not 0 <= min(layers) <= max(layers) <= most:
        raise ConfigError(f"{what} are {tuple(layers)!s:.60}, expected different ones from 0 to {most}")


def _check_parts(local: Localization, atlas: Atlas) -> None:
    num_scalars, num_layers = len(atlas.directions), atlas.generator.get("num_layers")
    expected = (len(local.layer_groups), num_scalars, atlas.w_dim)
    if local.scalar_gradients.shape != expected:
        raise ShapeError(f"scalar_gradients has shape {local.scalar_gradients.shape}, expected {expected}")
    for group in local.layer_groups:
        _check_layers("layer_groups", group, num_layers)
    _check_layers("layer_groups together", _joined(local.layer_groups), num_layers)
    _between("num_samples of the parts", local.num_samples, 0, MAX_SEED)
    for name, scale in local.scales.items():
        _between(f"the scale of {name}", scale, 0, 1e12, above=True)
    for part in local.parts:
        name = part.name
        _check_text(f"{name}: place", part.place)
        _between(f"{name}: explained", part.explained, -1e-6, 1 + 1e-6)
        _between(f"{name}: contrast", part.contrast, 0, 1e12)
        _between(f"{name}: stability", part.stability, -1e-6, 1 + 1e-6)
        shape = part.shape
        for field in ("depth_share", "extent"):
            _between(f"{name}: {field}", getattr(shape, field), -1e-6, 1 + 1e-6)
        for field in ("x", "y", "symmetry", "sidedness"):
            _between(f"{name}: {field}", getattr(shape, field), -1 - 1e-6, 1 + 1e-6)


def _joined(groups: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(layer for group in groups for layer in group)
