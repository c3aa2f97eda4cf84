"""From requested changes in units to latents: the one place where an atlas is applied to a generator."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError
from lineament.estimators.part_scores import PartReader
from lineament.estimators.steps import StepCalibration, mahalanobis_norm, mahalanobis_step
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan2 import Generator
from lineament.recipes.jacobian import maps_of_images
from lineament.recipes.training_data import shrink
from lineament.records.atlas import Atlas
from lineament.records.semantics import LIGHT_NAMES, POSE_NAMES

HOLDABLE = (*POSE_NAMES, *LIGHT_NAMES)
"""What an edit leaves alone where it can. Shifts may follow: a head that turns also moves its centre."""

MAX_STRETCH = 1.3
"""Holding others may lengthen a step (in the Mahalanobis sense) by at most this factor."""


MAX_CORRECTION = 1.5
"""A calibrated step is at most this many times the linear one."""


def affordable_hold(atlas: Atlas, names: Sequence[str]) -> tuple[str, ...]:
    """The semantics that an edit of ``names`` can hold fixed without leaving the region of faces.

    Two semantics that nearly always change together can be told apart only by a step far outside of what the
    generator has learned. So if all candidates together lengthen a step of one standard deviation by more than
    `MAX_STRETCH`, they are taken in order of how little they do, until that is reached. Candidates are `HOLDABLE` and,
    where a part is edited, the other parts; pose and light alone move no part in the linear model.
    """
    changes = {name: atlas.direction(name).std for name in names}

    def length(hold: Sequence[str]) -> float:
        try:
            step = linear_step(atlas, changes, hold)
        except ConfigError:  # all but collinear: no finite step holds them
            return float("inf")
        return float(mahalanobis_norm(step[None], atlas.w_cov)[0])

    parts = atlas.part_names if any(name in atlas.part_names for name in names) else ()
    candidates = [name for name in HOLDABLE if name in atlas.names and name not in names]
    candidates += [name for name in parts if name not in names]
    everything, limit = tuple(candidates), MAX_STRETCH * length(())
    if length(everything) <= limit:
        return everything
    held: tuple[str, ...] = ()
    while candidates:
        cost, best = min((length((*held, name)), name) for name in candidates)
        if not cost <= limit:
            break
        held = (*held, best)
        candidates.remove(best)
    return tuple(name for name in everything if name in held)


def linear_step(
    atlas: Atlas, changes: Mapping[str, float], hold: Sequence[str] | None = None
) -> Float[np.ndarray, " d"]:
    """The smallest Mahalanobis step in w that makes all ``changes`` and keeps ``hold`` fixed, by the linear model.

    Args:
        atlas: directions and covariance.
        changes: requested change by name, in the atlas's units.
        hold: names held fixed; those that the atlas lacks or that are changed are ignored. None holds what
            `affordable_hold` finds.

    Raises:
        ConfigError: an unknown name, or a change that the held semantics forbid.
    """
    if hold is None:
        hold = affordable_hold(atlas, tuple(changes))
    known = {*atlas.names, *atlas.part_names}
    names = [*changes, *(name for name in hold if name in known and name not in changes)]
    wanted = np.array([changes.get(name, 0.0) for name in names])
    return mahalanobis_step(atlas.gradients(tuple(names)), atlas.w_cov, wanted, names=names)


def calibrated_step(
    atlas: Atlas, changes: Mapping[str, float], hold: Sequence[str] | None = None
) -> Float[np.ndarray, " d"]:
    """As `linear_step`, with every change corrected by what its direction was measured to achieve.

    A direction that achieves far less than it promises is not pushed beyond `MAX_CORRECTION` times the request: there
    the generator has stopped drawing faces, and falling short is the better answer.
    """
    corrected = {}
    for name, change in changes.items():
        step = StepCalibration(atlas.direction(name).calibration).requested_to_step(float(change))
        corrected[name] = float(np.clip(step, -MAX_CORRECTION * abs(change), MAX_CORRECTION * abs(change)))
    return linear_step(atlas, corrected, hold)


def layer_mask(
    atlas: Atlas, names: Sequence[str], num_ws: int, layers: Sequence[int] | None = None
) -> Float[Tensor, "l 1"]:
    """1 at the layers that an edit of ``names`` may touch, 0 elsewhere.

    Args:
        atlas: says which layers its directions act on.
        names: what is edited.
        num_ws: number of the generator's layers.
        layers: use these and no others, whatever the atlas says.
    """
    mask = torch.zeros(num_ws, 1)
    for name in names:
        chosen = atlas.direction(name).layers if layers is None else layers
        mask[list(range(num_ws)) if chosen is None else [i for i in chosen if i < num_ws]] = 1
    return mask


@torch.no_grad()
def synthesize_edited(
    generator: Generator,
    atlas: Atlas,
    w: Float[Tensor, "n d"],
    step: Float[np.ndarray, "n d"] | Float[np.ndarray, " d"],
    names: Sequence[str],
    layers: Sequence[int] | None = None,
) -> Float[Tensor, "n 3 h w"]:
    """Images of ``w`` moved by ``step`` at the layers of ``names`` (or at ``layers``), clipped to [-1, 1]."""
    move = torch.as_tensor(np.atleast_2d(step), dtype=w.dtype, device=w.device)
    ws = generator.broadcast(w) + move[:, None] * layer_mask(atlas, names, generator.num_ws, layers).to(w)
    return torch.cat([generator.synthesize(part).clamp(-1, 1) for part in ws.split(32)])


@torch.no_grad()
def measure(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, "n m"]:
    """Scalar semantics of images as float64, in the order of `SCALAR_SEMANTICS`."""
    small = shrink(images, decomposer.config.resolution)
    return torch.cat([decomposer.measure(part) for part in small.split(64)]).double().cpu().numpy()


@torch.no_grad()
def measure_parts(
    decomposer: Decomposer, reader: PartReader, images: Float[Tensor, "n 3 h w"]
) -> Float[np.ndarray, "n k"]:
    """Scores of the parts of the face on images, in standard deviations."""
    small = shrink(images, decomposer.config.resolution)
    return np.concatenate([reader.read(maps_of_images(decomposer, some).cpu().numpy()) for some in small.split(64)])


def parse_edits(texts: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Read edits such as ``yaw=+20`` (relative, signed) and ``yaw=20`` or ``yaw=@-20`` (absolute).

    Returns:
        Relative changes and absolute targets by name.

    Raises:
        ConfigError: not of the form name=number, or a name given twice.
    """
    relative: dict[str, float] = {}
    absolute: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        try:
            number = float(value.removeprefix("@"))
        except ValueError:
            number = float("nan")
        if not name or not equals or not np.isfinite(number):
            raise ConfigError(f"{text!r} is not an edit; expected name=number, such as yaw=+20 or light_x=-0.5")
        if name in relative or name in absolute:
            raise ConfigError(f"{name} is given twice; give each semantic once")
        (relative if value[:1] in "+-" else absolute)[name] = number
    return relative, absolute
