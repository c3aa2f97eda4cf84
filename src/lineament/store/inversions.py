"""Save and load inverted photographs: one safetensors file with a JSON header, no pickle."""

from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import FileFormatError, LineamentError, MismatchError
from lineament.records.inversions import SCHEMA_VERSION, Inversions
from lineament.store.tensors import load_tensors, save_tensors, short_fingerprint

KIND = "inversions"

_ARRAYS = {
    "ws": np.float32,
    "photographs": np.uint8,
    "ssim": np.float64,
    "rmse": np.float64,
    "distance": np.float64,
    "offset": np.float64,
}
_FIELDS: dict[str, type] = {
    "generator_fingerprint": str,
    "encoder_fingerprint": str,
    "skipped": dict,
    "lineament_version": str,
    "created": str,
    "provenance": dict,
}


def save_inversions(path: str | Path, inversions: Inversions) -> None:
    """Write inverted photographs, atomically; the file also holds the photographs themselves.

    Raises:
        ConfigError: the provenance is not JSON.
        StorageError: writing failed; an existing file is left unchanged.
    """
    tensors = {name: getattr(inversions, name).astype(dtype, copy=False) for name, dtype in _ARRAYS.items()}
    header: dict[str, Any] = {name: getattr(inversions, name) for name in _FIELDS}
    header["names"] = list(inversions.names)
    save_tensors(path, tensors, kind=KIND, schema_version=SCHEMA_VERSION, header=header)


def load_inversions(path: str | Path) -> Inversions:
    """Read inverted photographs.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a file of inverted photographs, or a damaged one.
        VersionError: the file is newer than this release.
    """
    tensors, header = load_tensors(path, kind=KIND, schema_version=SCHEMA_VERSION)
    try:
        for name, dtype in _ARRAYS.items():
            if tensors[name].dtype != dtype:
                raise ValueError(f"{name} is {tensors[name].dtype}, expected {np.dtype(dtype)}")
        names = header["names"]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError("the names are not a list of words")
        for name, kind in _FIELDS.items():
            if not isinstance(header[name], kind):
                raise ValueError(f"{name} is {header[name]!r:.80}, expected {kind.__name__}")
        if not all(isinstance(reason, str) for reason in header["skipped"].values()):
            raise ValueError("a reason for skipping is not a text")
        return Inversions(
            names=tuple(names),
            **{name: tensors[name] for name in _ARRAYS},
            **{name: header[name] for name in _FIELDS},
        )
    except (KeyError, TypeError, ValueError, LineamentError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(
            f"{path} is a damaged file of inversions: {reason:.400}; make it again with invert"
        ) from error


def check_inversions_match(inversions: Inversions, generator_fingerprint: str, name: str | Path) -> None:
    """Refuse latents of another generator.

    Args:
        inversions: the inverted photographs.
        generator_fingerprint: of the generator in use.
        name: of that generator in the message, such as its path.

    Raises:
        MismatchError: the fingerprints differ.
    """
    if inversions.generator_fingerprint != generator_fingerprint:
        raise MismatchError(
            f"the photographs were inverted for generator {short_fingerprint(inversions.generator_fingerprint)}, but "
            f"{name} is {short_fingerprint(generator_fingerprint)}; use that generator, or run invert for this one"
        )
