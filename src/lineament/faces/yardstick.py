"""The scale of a decomposer's readings, measured on faces of known pose and light.

A decomposer finds its own degrees: however consistent they are, nothing that it sees says whether its 10 are 10.
Renders of other heads say it. They are moved to where the decomposer's own faces stand, since the pose that is read
depends on the crop.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError
from lineament.networks.decomposer import Decomposer
from lineament.ops.mean_head import LEAST_LIKENESS, MeanHead, Placement, find_head, moved_to
from lineament.ops.pixels import to_tensor
from lineament.records.scale import Scale
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.records.truth import FaceTruth

MIRRORED, UPRIGHT = ("yaw", "roll", "light_x"), ("pitch", "light_y")
"""Semantics that are corrected. The first ones change their sign in a mirror and so have no offset."""

LEAST_CORRELATION = 0.6
"""Correlation below which readings are left as they are: divided by a small slope, they would mostly be noise."""

HELD_OUT = 3
"""Every so many faces are not used for the lines, but to see whether they help."""


def place_of(head: MeanHead, images: Float[Tensor, "n 3 h w"], what: str) -> Placement:
    """Where heads stand in images.

    Raises:
        ConfigError: the mean of the images shows no face from the front.
    """
    place = find_head(head, images.mean(dim=0).float().cpu())
    if place.likeness < LEAST_LIKENESS:
        raise ConfigError(
            f"the mean of {what} does not look like a face from the front ({place.likeness:.2f}, expected "
            f"{LEAST_LIKENESS} at least); aligned faces are expected"
        )
    return place


@torch.inference_mode()
def scales_of(decomposer: Decomposer, truth: FaceTruth, head: MeanHead, wanted: Placement) -> tuple[Scale, ...]:
    """The lines of all semantics that can be corrected, by least squares.

    Args:
        decomposer: its present correction is not applied.
        truth: faces with their view and light.
        head: the mean head by which faces are found.
        wanted: where the decomposer's own faces stand.

    Raises:
        ConfigError: the truth lacks view or light, there are fewer than 30 faces, or they show no face.
    """
    if truth.view is None or truth.light is None or len(truth) < 30:
        raise ConfigError(f"{len(truth)} faces are given, expected at least 30, with their view and light")
    images = to_tensor(truth.images).to(decomposer.tilt.device)
    now = place_of(head, images, "the faces of known truth")
    moved = [moved_to(part, now, wanted, decomposer.config.resolution) for part in images.split(64)]
    read = torch.cat([_raw(decomposer, part) for part in moved]).double().cpu().numpy()
    known = decomposer.in_units(torch.from_numpy(truth.view).float(), torch.from_numpy(truth.light).float())
    return tuple(
        _line(name, read[:, i], known[:, i].double().numpy())
        for i, name in enumerate(SEMANTIC_NAMES)
        if name in (*MIRRORED, *UPRIGHT)
    )


def _raw(decomposer: Decomposer, images: Tensor) -> Tensor:
    values, scale = decomposer.measure(images), decomposer.yardstick
    return values if scale is None else scale[0] + scale[1] * values


def _line(name: str, read: Float[np.ndarray, " n"], known: Float[np.ndarray, " n"]) -> Scale:
    fitted = np.arange(len(read)) % HELD_OUT != 0
    x, y = known[fitted], read[fitted]
    if name in MIRRORED:
        slope, offset = float(x @ y / max(x @ x, 1e-12)), 0.0
    else:
        slope, offset = (float(value) for value in np.polyfit(x, y, 1))
    correlation = float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0
    is_used = correlation >= LEAST_CORRELATION
    corrected = (read - offset) / slope if is_used else read
    errors = (float(np.abs((one - known)[~fitted]).mean()) for one in (read, corrected))
    return Scale(name, offset, slope, correlation, is_used, *errors)


def apply_scales(decomposer: Decomposer, scales: tuple[Scale, ...]) -> None:
    """Correct the readings of a decomposer by the lines that are used."""
    offset, slope = torch.zeros(len(SEMANTIC_NAMES)), torch.ones(len(SEMANTIC_NAMES))
    for scale in scales:
        if scale.is_used:
            i = SEMANTIC_NAMES.index(scale.name)
            offset[i], slope[i] = scale.offset, scale.slope
    decomposer.calibrate(offset, slope)
