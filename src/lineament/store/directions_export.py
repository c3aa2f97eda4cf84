"""Write directions as files of other tools."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lineament.errors import ShapeError
from lineament.store.atomic import write_bytes_atomic

DUMP = ("act_comp", "act_mean", "act_stdev", "lat_comp", "lat_mean", "lat_stdev", "var_ratio", "random_stdevs")
"""Arrays of a dump of GANSpace: components, mean and standard deviations of activations (act) and latents (lat), which
are equal for components of w; shares of the variance; and standard deviations along random directions."""


def same_in_all_layers(step: Float[np.ndarray, "l d"]) -> bool:
    """Whether a step is a direction of w: it moves all layers alike."""
    return bool((step == step[0]).all())


def _row_of_w(name: str, step: Float[np.ndarray, "l d"], kind: str) -> Float[np.ndarray, " d"]:
    if not same_in_all_layers(step):
        raise ShapeError(
            f"{name} moves layers differently, which {kind} cannot hold, expected a direction of w; write a .pt instead"
        )
    return step[0]


def write_interfacegan(path: str | Path, name: str, step: Float[np.ndarray, "l d"]) -> None:
    """Write a direction of w as the unit normal of a boundary, ``.npy`` of shape (1, d).

    The file does not hold the length of one unit, which is the length of the step.

    Raises:
        ShapeError: the direction moves layers differently.
        StorageError: writing failed.
    """
    row = _row_of_w(name, step, "a .npy of InterFaceGAN")
    buffer = io.BytesIO()
    np.save(buffer, (row / np.linalg.norm(row))[None], allow_pickle=False)
    write_bytes_atomic(path, buffer.getvalue())


def write_tensor(path: str | Path, step: Float[np.ndarray, "l d"]) -> None:
    """Write a direction as a bare tensor, ``.pt``: (1, d) if all layers move alike, else (1, l, d); its length is kept.

    Raises:
        StorageError: writing failed.
    """
    rows = step[:1] if same_in_all_layers(step) else step[None]
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(rows.astype(np.float32)), buffer)
    write_bytes_atomic(path, buffer.getvalue())


def write_ganspace(
    path: str | Path,
    names: tuple[str, ...],
    steps: Float[np.ndarray, "k l d"],
    w_mean: Float[np.ndarray, " d"],
    w_cov: Float[np.ndarray, "d d"],
) -> None:
    """Write directions of w as a dump of components, ``.npz``, in their order.

    GANSpace multiplies amounts by a component's ``lat_stdev``. Here that is the length of the direction's step, so
    that its sliders are in the direction's units.

    Raises:
        ShapeError: a direction moves layers differently.
        StorageError: writing failed.
    """
    rows = np.stack([_row_of_w(name, step, "a .npz of GANSpace") for name, step in zip(names, steps, strict=True)])
    lengths = np.linalg.norm(rows, axis=1)
    components = rows / lengths[:, None]
    variances = np.einsum("kd,de,ke->k", components, w_cov, components)
    total = float(np.trace(w_cov))
    values = (
        components[:, None],
        w_mean[None],
        np.sqrt(variances),
        components[:, None],
        w_mean[None],
        lengths,
        variances / total,
        np.full(len(rows), np.sqrt(total / len(w_mean))),
    )
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in zip(DUMP, values, strict=True)}
    np.savez_compressed(buffer, **arrays)
    write_bytes_atomic(path, buffer.getvalue())
