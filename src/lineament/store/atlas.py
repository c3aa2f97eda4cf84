"""Save and load atlases: one safetensors file with a JSON header, no pickle."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import FileFormatError, LineamentError, MismatchError
from lineament.records.atlas import SCHEMA_VERSION, Atlas
from lineament.records.atlas_checks import check_values
from lineament.records.direction import Direction, SeenRange
from lineament.records.parts import Localization, MapShape, Part
from lineament.store.tensors import fingerprint, load_tensors, save_tensors, short_fingerprint

KIND = "atlas"
_PARTS = "parts."
"""Prefix of the names of the parts' tensors."""
_LAYER_STEPS = "layer_steps."
"""Prefix of tensor names, followed by the number of a direction: its steps, if they differ from layer to layer."""

_ATLAS_FIELDS: dict[str, type] = {
    "num_samples": int,
    "num_held_out": int,
    "seed": int,
    "truncation": float,
    "generator_fingerprint": str,
    "decomposer_fingerprint": str,
    "generator": dict,
    "lineament_version": str,
    "created": str,
    "provenance": dict,
}
_DIRECTION_FIELDS: dict[str, type] = {
    "name": str,
    "unit": str,
    "sign": str,
    "description": str,
    "r2": float,
    "residual_std": float,
    "mean": float,
    "std": float,
}
_PART_FIELDS: dict[str, type] = {"place": str, "explained": float, "contrast": float, "stability": float}
_RANGE_FIELDS: dict[str, type] = dict.fromkeys(("minimum", "p1", "median", "p99", "maximum"), float)
_STACKED = {"gradients": "gradient", "steps": "step", "standard_errors": "standard_error"}
_MAPS = ("maps", "scalar_maps", "mean")
"""Tensors of the parts that are stored in half precision; that suffices, since they are scaled to their own spread."""


def save_atlas(path: str | Path, atlas: Atlas) -> None:
    """Write an atlas, atomically: directions in float64, the maps of parts in half precision.

    Raises:
        ConfigError, ShapeError: a value is impossible, or the provenance or the generator's summary is not JSON.
        StorageError: writing failed; an existing file is left unchanged.
    """
    check_values(atlas)
    tensors, header = _contents(atlas)
    save_tensors(path, tensors, kind=KIND, schema_version=SCHEMA_VERSION, header=header)


def atlas_fingerprint(atlas: Atlas) -> str:
    """SHA-256 (64 hex digits) of the contents of an atlas; the same before saving and after loading."""
    tensors, header = _contents(atlas)
    return hashlib.sha256(f"{fingerprint(tensors)} {json.dumps(header, sort_keys=True)}".encode()).hexdigest()


def _contents(atlas: Atlas) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header of an atlas file."""
    tensors = {"w_mean": atlas.w_mean, "w_cov": atlas.w_cov, **_stacked(atlas.directions, atlas.w_dim)}
    header: dict[str, Any] = {name: getattr(atlas, name) for name in _ATLAS_FIELDS}
    header["directions"] = [_direction_entry(direction) for direction in atlas.directions]
    for row, direction in enumerate(atlas.directions):
        if direction.layer_steps is not None:
            tensors[f"{_LAYER_STEPS}{row}"] = direction.layer_steps.astype(np.float64)
    if atlas.local is not None:
        found = atlas.local
        directions = [part.direction for part in found.parts]
        tensors |= {f"{_PARTS}{name}": array for name, array in _stacked(directions, atlas.w_dim).items()}
        tensors |= {f"{_PARTS}{name}": getattr(found, name).astype(np.float16) for name in _MAPS}
        tensors[f"{_PARTS}mask"] = found.mask.astype(np.uint8)
        tensors[f"{_PARTS}scalar_gradients"] = found.scalar_gradients.astype(np.float64)
        header["local"] = {
            "scales": found.scales,
            "layer_groups": [list(group) for group in found.layer_groups],
            "num_samples": found.num_samples,
            "parts": [
                _direction_entry(part.direction)
                | {name: getattr(part, name) for name in _PART_FIELDS}
                | {"shape": asdict(part.shape)}
                for part in found.parts
            ],
        }
    return tensors, header


def _stacked(directions: Sequence[Direction], w_dim: int) -> dict[str, np.ndarray]:
    """The arrays of directions, one row each."""
    return {
        name: np.array([getattr(d, attribute) for d in directions], np.float64).reshape(len(directions), w_dim)
        for name, attribute in _STACKED.items()
    }


def _direction_entry(direction: Direction) -> dict[str, Any]:
    return {name: getattr(direction, name) for name in _DIRECTION_FIELDS} | {
        "range_seen": asdict(direction.range_seen),
        "layers": None if direction.layers is None else list(direction.layers),
        "calibration": [list(knot) for knot in direction.calibration],
    }


def load_atlas(path: str | Path) -> Atlas:
    """Read an atlas.

    Raises:
        InputError: there is no such file.
        FileFormatError: not an atlas, or a damaged one.
        VersionError: the file is newer than this release.
    """
    tensors, header = load_tensors(path, kind=KIND, schema_version=SCHEMA_VERSION)
    try:
        w_mean, w_cov = tensors["w_mean"], tensors["w_cov"]
        if w_mean.dtype != np.float64 or w_cov.dtype != np.float64:
            raise ValueError("the statistics of w are not in double precision")
        directions = _read_directions(_take(header, "directions", list), tensors, w_mean.size)
        atlas = Atlas(
            directions=directions,
            w_mean=w_mean,
            w_cov=w_cov,
            local=_read_local(_take(header, "local", dict), tensors, w_mean.size) if "local" in header else None,
            **{name: _take(header, name, kind) for name, kind in _ATLAS_FIELDS.items()},
        )
        check_values(atlas)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, LineamentError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{path} is a damaged atlas: {reason:.400}; make it again with discover") from error
    return atlas


def check_atlas_matches(atlas: Atlas, generator_fingerprint: str, name: str | Path) -> None:
    """Refuse an atlas that was made for another generator.

    Args:
        atlas: the atlas.
        generator_fingerprint: of the generator in use.
        name: of that generator in the message, such as its path.

    Raises:
        MismatchError: the fingerprints differ.
    """
    if atlas.generator_fingerprint != generator_fingerprint:
        raise MismatchError(
            f"the atlas was made for generator {short_fingerprint(atlas.generator_fingerprint)}, but {name} is "
            f"{short_fingerprint(generator_fingerprint)}; use the atlas's own generator, or run discover on {name}"
        )


def _read_local(header: dict[str, Any], tensors: dict[str, np.ndarray], w_dim: int) -> Localization:
    own = {name.removeprefix(_PARTS): array for name, array in tensors.items() if name.startswith(_PARTS)}
    entries = _take(header, "parts", list)
    scales = _take(header, "scales", dict)
    directions = _read_directions(entries, own, w_dim)
    return Localization(
        parts=tuple(_read_part(entry, direction) for entry, direction in zip(entries, directions, strict=True)),
        layer_groups=tuple(map(_layers, _take(header, "layer_groups", list))),
        scalar_gradients=own["scalar_gradients"].astype(np.float64),
        **{name: own[name].astype(np.float32) for name in _MAPS},
        mask=own["mask"] == 1,
        scales={name: _take(scales, name, float) for name in scales},
        num_samples=_take(header, "num_samples", int),
    )


def _read_part(entry: dict[str, Any], direction: Direction) -> Part:
    shape = _take(entry, "shape", dict)
    return Part(
        direction=direction,
        shape=MapShape(**{name.name: _take(shape, name.name, float) for name in fields(MapShape)}),
        **{name: _take(entry, name, kind) for name, kind in _PART_FIELDS.items()},
    )


def _read_directions(entries: list[Any], tensors: dict[str, np.ndarray], w_dim: int) -> tuple[Direction, ...]:
    for name in _STACKED:
        if tensors[name].shape != (len(entries), w_dim):
            raise ValueError(f"{name} has shape {tensors[name].shape}")
        if tensors[name].dtype != np.float64:
            raise ValueError(f"{name} is not in double precision")
    return tuple(_read_direction(entry, tensors, row) for row, entry in enumerate(entries))


def _read_direction(entry: Any, tensors: dict[str, np.ndarray], row: int) -> Direction:
    if not isinstance(entry, dict):
        raise ValueError(f"direction {row} is not a table")
    span = _take(entry, "range_seen", dict)
    layers = entry["layers"]
    knots = _take(entry, "calibration", list)
    return Direction(
        **{name: _take(entry, name, kind) for name, kind in _DIRECTION_FIELDS.items()},
        **{attribute: tensors[name][row] for name, attribute in _STACKED.items()},
        range_seen=SeenRange(**{name: _take(span, name, kind) for name, kind in _RANGE_FIELDS.items()}),
        layers=None if layers is None else _layers(layers),
        calibration=tuple((float(step), float(change)) for step, change in knots),
        layer_steps=tensors.get(f"{_LAYER_STEPS}{row}"),
    )


def _layers(entry: Any) -> tuple[int, ...]:
    if not (isinstance(entry, list) and all(type(layer) is int for layer in entry)):
        raise ValueError("layers are not a list of indices")
    return tuple(entry)


def _take(values: dict[str, Any], name: str, kind: type) -> Any:
    """An entry of the header, checked for its type; an int passes as a float, because JSON may write 1.0 as 1."""
    value = values[name]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{name} is {value!r:.80}, expected {kind.__name__}")
    return value
