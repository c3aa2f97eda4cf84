"""Read directions from files of other tools, without running any code in them.

The tools write these files:

- InterFaceGAN: ``.npy``, the unit normal of a boundary in w, of shape (1, d).
- e4e, StyleCLIP and others: ``.pt``, a tensor that is added to the latents: (1, d) for w, (1, l, d) for w+. The
  collections of components that e4e takes from GANSpace are a dict of ``comp``, ``mean`` and ``std``.
- GANSpace: ``.npz``, a dump of components (`lineament.store.directions_export.DUMP`), and ``.pkl``, one component by
  name with the layers it edits.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import FileFormatError, InputError, ShapeError
from lineament.records.found_directions import FoundDirections
from lineament.store.atomic import storage_error
from lineament.store.foreign.checkpoints import checkpoint_value
from lineament.store.foreign.plain import is_stored, made_tensor
from lineament.store.foreign.values import Ledger
from lineament.store.foreign.wrong_files import check_is_checkpoint
from lineament.store.foreign.zip_entries import entry_bytes, read_entries
from lineament.store.regular_files import check_regular

MOST_BYTES = 2**30
MOST_DIRECTIONS = 1000
"""Largest number of directions of one file. Each takes a row for every layer of the generator."""

MOST, LEAST = 1e6, 1e-9
"""Largest number in a step, and the largest number below which a step counts as zero."""

_LATENT = ("lat_comp", "lat_stdev")
_SPAN = ("edit_start", "edit_end")
_E4E = ("comp", "mean", "std")
_EXPECTED = "expected a .npy of InterFaceGAN, a .npz or .pkl of GANSpace, or a .pt with a tensor"


def read_directions(path: str | Path, num_layers: int, w_dim: int) -> FoundDirections:
    """The directions in a file of another tool, for a generator with ``num_layers`` layers and w of width ``w_dim``.

    Convention:
        A direction is named after its file; several are numbered from 0. A step is what the tool adds to the latents
        for an amount of 1: the vector itself, or one standard deviation along a component of GANSpace. An array with
        two axes and one row per layer is one direction of w+, as in other tools; otherwise two axes must be one row.

    Raises:
        InputError: there is no such file.
        FileFormatError: a file of another kind, damaged, or with arrays of pickled Python objects.
        ShapeError: directions of another width or another number of layers.
        StorageError: reading failed.
    """
    path = Path(path)
    data = _bytes_of(path)
    if data.startswith(b"\x93NUMPY"):
        arrays, kind = {"": _npy(path, data)}, "a NumPy array"
    else:
        view, ledger = memoryview(bytearray(data)), Ledger.for_file(str(path), len(data))
        dump = _npz(path, view, ledger) if data.startswith(b"PK") else None
        arrays, kind = _torch_arrays(path, view, ledger) if dump is None else (dump, "components of GANSpace")
    layers: range | None = None
    if set(_LATENT) <= set(arrays):
        layers = _edited_layers(path, arrays, num_layers)
        steps = _components(path, arrays["lat_comp"], arrays["lat_stdev"], w_dim)
    elif {"comp", "std"} <= set(arrays):
        steps = _components(path, arrays["comp"], arrays["std"], w_dim)
    elif set(arrays) == {""}:
        steps = _vectors(path, arrays[""], num_layers, w_dim)
    else:
        raise FileFormatError(f"{path} holds {', '.join(sorted(arrays)[:6]) or 'no arrays'}; {_EXPECTED}")
    if len(steps) > MOST_DIRECTIONS:
        raise ShapeError(
            f"{path} holds {len(steps):,} directions, expected at most {MOST_DIRECTIONS:,}; import some of them"
        )
    names = [path.stem] if len(steps) == 1 else [f"{path.stem} {i}" for i in range(len(steps))]
    spread = _spread(steps, num_layers, layers)
    moved = [bool(np.abs(step).max() > LEAST) for step in spread]
    if not any(moved):
        raise FileFormatError(f"{path} holds zeros alone, which move nothing; get or make the file again")
    return FoundDirections(
        method=kind,
        names=tuple(name for name, moves in zip(names, moved, strict=True) if moves),
        steps=spread[moved],
        units=("",) * sum(moved),
        labels_used=0,
        samples_used=0,
        seconds=0.0,
        generator_fingerprint="",
        provenance={"file": path.name},
    )


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file of directions; name a file inside it")
    check_regular(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileFormatError(f"{path} has {path.stat().st_size:,} bytes, more than directions take; {_EXPECTED}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; {_EXPECTED}") from error
    except OSError as error:
        raise storage_error(path, error, verb="read") from error


def _npy(path: Path, data: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # on a damaged header NumPy lets errors of Python's parser through
        why = " ".join(str(error).split())
        raise FileFormatError(f"{path} is not a readable array of NumPy ({why:.200}); get or make it again") from error


def _npz(path: Path, view: memoryview, ledger: Ledger) -> dict[str, np.ndarray] | None:
    """The latents' components of a dump of GANSpace; None if the zip archive is not an .npz of NumPy.

    The dump's arrays of activations can be large and are not read.
    """
    entries = {name.removesuffix(".npy"): entry for name, entry in read_entries(view, ledger).items()}
    if not any(entry.name.endswith(".npy") for entry in entries.values()):
        return None
    missing = [name for name in _LATENT if name not in entries]
    if missing:
        raise FileFormatError(f"{path} lacks {', '.join(missing)}, expected a dump of GANSpace; compute it again")
    return {name: _npy(path, bytes(entry_bytes(view, entries[name], ledger))) for name in _LATENT}


def _torch_arrays(path: Path, view: memoryview, ledger: Ledger) -> tuple[dict[str, np.ndarray], str]:
    """Tensors by name of a file of ``torch.save`` or a pickle (a bare tensor has the name ""), and the kind of file."""
    check_is_checkpoint(str(path), view)
    value = checkpoint_value(view, ledger)
    if is_stored(value):
        return {"": _array(path.stem, value, ledger)}, "a tensor of PyTorch"
    if not isinstance(value, Mapping):
        raise FileFormatError(f"{path} holds neither a tensor nor components; {_EXPECTED}")
    space = value.get("latent_space", "W")
    if space != "W":
        raise FileFormatError(f"{path} holds a direction of the space {space!r:.20}, expected w; compute it with use_w")
    numbers = (*_E4E, *_LATENT, *_SPAN)
    arrays = {
        str(name): _array(str(name), item, ledger)
        for name, item in value.items()
        if is_stored(item) or (name in numbers and type(item) in (int, float))
    }
    return arrays, "components of GANSpace"


def _array(name: str, stored: Any, ledger: Ledger) -> np.ndarray:
    """A tensor of a file in double precision."""
    try:
        return made_tensor(name, stored, ledger).double().numpy()
    except ValueError as error:
        raise ledger.damaged(f"tensor {name:.80}: {error}") from error


def _components(path: Path, components: np.ndarray, deviations: np.ndarray, w_dim: int) -> Float[np.ndarray, "k 1 d"]:
    """Components of GANSpace, (k, 1, d) or a single (1, d), multiplied by their standard deviations."""
    rows = _numbers(path, components)
    if rows.ndim not in (2, 3) or rows.size != rows.shape[0] * rows.shape[-1]:
        raise ShapeError(f"{path}: components of shape {rows.shape}, expected (components, 1, {w_dim})")
    _check_width(path, rows, w_dim)
    lengths = _numbers(path, deviations).reshape(-1, 1)
    if len(lengths) != len(rows):
        raise ShapeError(f"{path}: {len(lengths)} standard deviations for {len(rows)} components, expected one of each")
    return (rows.reshape(len(rows), -1) * lengths)[:, None]


def _vectors(path: Path, array: np.ndarray, num_layers: int, w_dim: int) -> Float[np.ndarray, "k _ d"]:
    """Directions of w, (k, 1, d), or of w+, (k, l, d)."""
    vectors = _numbers(path, array)
    if vectors.ndim == 0 or vectors.ndim > 3 or not vectors.size:
        raise ShapeError(
            f"{path}: an array of shape {vectors.shape}, expected (1, {w_dim}) or (1, {num_layers}, {w_dim})"
        )
    _check_width(path, vectors, w_dim)
    vectors = vectors.reshape(-1, *vectors.shape[-2:]) if vectors.ndim > 1 else vectors[None, None]
    if vectors.shape[1] not in (1, num_layers):
        raise ShapeError(
            f"{path}: directions with {vectors.shape[1]} rows each, expected 1 for w or {num_layers}, the generator's "
            "layers, for w+; it belongs to a generator of another resolution, or is a stack: make it (k, 1, d)"
        )
    return vectors


def _numbers(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise FileFormatError(f"{path}: an array of the type {array.dtype}, expected real numbers")
    if not np.isfinite(array).all():
        raise FileFormatError(f"{path}: NaN or infinity among its numbers; get or make the file again")
    if array.size and max(float(array.max()), -float(array.min())) > MOST:
        raise FileFormatError(f"{path}: numbers above {MOST:g}, more than any step; get or make the file again")
    return array.astype(np.float64)


def _check_width(path: Path, array: np.ndarray, w_dim: int) -> None:
    if array.shape[-1] != w_dim:
        raise ShapeError(
            f"{path}: directions of width {array.shape[-1]}, but the generator's w has {w_dim}; "
            "they belong to another generator"
        )


def _edited_layers(path: Path, arrays: Mapping[str, np.ndarray], num_layers: int) -> range | None:
    """The layers that a named component edits; None if the file does not say."""
    if not any(name in arrays for name in _SPAN):
        return None
    span = [arrays[name].item() for name in _SPAN if name in arrays and arrays[name].ndim == 0]
    if len(span) != 2 or not all(float(end).is_integer() for end in span):
        raise FileFormatError(f"{path} does not say which layers it edits, expected edit_start and edit_end")
    first, end = map(int, span)
    if not 0 <= first < end <= num_layers:
        raise ShapeError(f"{path}: edits layers {first} to {end - 1}, but the generator has 0 to {num_layers - 1}")
    return range(first, end)


def _spread(steps: Float[np.ndarray, "k _ d"], num_layers: int, layers: range | None) -> Float[np.ndarray, "k l d"]:
    """One row for every layer; zeros in layers that are not edited."""
    spread = np.array(np.broadcast_to(steps, (len(steps), num_layers, steps.shape[2])))
    if layers is not None:
        spread[:, [layer for layer in range(num_layers) if layer not in layers]] = 0.0
    return spread
