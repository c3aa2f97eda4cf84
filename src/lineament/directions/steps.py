"""Turn requested changes, in the atlas's units, into steps in w. All edits with an atlas use this module."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError
from lineament.estimators.steps import StepCalibration, mahalanobis_norm, mahalanobis_step
from lineament.records.atlas import Atlas
from lineament.records.semantics import LIGHT_NAMES, POSE_NAMES

HOLDABLE = (*POSE_NAMES, *LIGHT_NAMES)
"""Semantics that edits hold fixed if they can. Shifts are not held, because a turning head also moves its centre."""

MAX_STRETCH = 1.3
"""Maximum factor by which holding others may lengthen a step (Mahalanobis length), so that it stays near real faces."""


MAX_CORRECTION = 1.5
"""Maximum calibrated step, relative to the linear one; beyond it the generator no longer draws faces."""


def affordable_hold(atlas: Atlas, names: Sequence[str]) -> tuple[str, ...]:
    """The semantics that an edit of ``names`` can hold fixed without leaving the region of faces.

    Two semantics that nearly always change together can be separated only by a step far outside of what the generator
    has learned. So if holding all candidates lengthens a step of one standard deviation by more than `MAX_STRETCH`,
    candidates are added one by one, the one that lengthens the step least first, up to that limit. Candidates are
    `HOLDABLE` and, if a part is edited, the other parts of its layers; pose and light alone move no part in the linear
    model. Steady steps always hold pose and light, however long they become.
    """
    names = [name for name in names if not atlas.direction(name).is_bare_step]
    changes = {name: atlas.direction(name).std for name in names}

    def length(hold: Sequence[str]) -> float:
        try:
            return step_length(linear_step(atlas, changes, hold), atlas.w_cov)
        except ConfigError:  # nearly collinear: no acceptable step holds them
            return float("inf")

    everything, limit = tuple(candidates_to_hold(atlas, names)), MAX_STRETCH * length(())
    if length(everything) <= limit:
        return everything
    held: tuple[str, ...] = ()
    candidates = list(everything)
    while candidates:
        cost, best = min((length((*held, name)), name) for name in candidates)
        if not cost <= limit:
            break
        held = (*held, best)
        candidates.remove(best)
    return tuple(name for name in everything if name in held)


def candidates_to_hold(atlas: Atlas, names: Sequence[str]) -> list[str]:
    """Names that an edit of ``names`` would hold fixed if the length of the step did not matter."""
    layers = {atlas.direction(name).layers for name in names if name in atlas.part_names}
    parts = [name for name in atlas.part_names if atlas.direction(name).layers in layers]
    known = [name for name in (*HOLDABLE, *parts) if name in (*atlas.names, *parts) and name not in names]
    return [name for name in known if not atlas.direction(name).is_bare_step]


def linear_step(
    atlas: Atlas,
    changes: Mapping[str, float],
    hold: Sequence[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
    plain: bool = False,
) -> Float[np.ndarray, "l d"]:
    """The smallest Mahalanobis step in w that makes all ``changes`` and keeps ``hold`` fixed, by the linear model.

    Each direction moves the w of its own layers only. For each set of layers, the smallest step makes the changes of
    its own directions and holds those of the other sets fixed; the result is the sum of these steps. Directions with
    ``layer_steps`` add these unchanged, whatever is held.

    Args:
        atlas: directions and covariance.
        changes: requested change by name, in the atlas's units.
        hold: names held fixed; names that the atlas lacks or that are changed are ignored. None uses
            `affordable_hold`.
        layers: move the w of these layers only, whatever the atlas says.
        plain: take the smallest step in the Euclidean sense.

    Returns:
        The step of every layer; one row if all layers move alike.

    Raises:
        ConfigError: an unknown name, or a change that the held semantics forbid.
    """
    bare = [name for name in changes if atlas.direction(name).is_bare_step]
    own = {name: change for name, change in changes.items() if name not in bare}
    atlas = atlas.moved_together(own)
    steady = {name: steps for name in own if (steps := atlas.direction(name).layer_steps) is not None}
    if bare or steady:
        move = np.zeros((atlas.num_layers, atlas.w_dim))
        for name in (*bare, *steady):
            move += changes[name] * np.asarray(atlas.direction(name).layer_steps)
        if layers is not None:
            move[[layer for layer in range(len(move)) if layer not in layers]] = 0.0
        rest = {name: change for name, change in own.items() if name not in steady}
        if not rest:
            return move
        if steady:  # steady steps also change other semantics: subtract that, and hold the steady ones
            hold = (*(affordable_hold(atlas, tuple(own)) if hold is None else hold), *steady)
            done = linear_change(atlas, list(rest), move[None])[0].tolist()
            rest = {name: change - part for (name, change), part in zip(rest.items(), done, strict=True)}
        return move + linear_step(atlas, rest, hold, layers=layers, plain=plain)
    known = {*atlas.names, *atlas.part_names}
    if hold is None:
        hold = affordable_hold(atlas, tuple(changes))
    named = [*changes, *(name for name in hold if name in known and name not in changes)]
    cov = np.eye(atlas.w_dim) if plain else atlas.w_cov
    moves: dict[tuple[int, ...] | None, np.ndarray] = {}
    for own in dict.fromkeys(atlas.direction(name).layers for name in changes):
        rows = {name: row for name in named if (row := gradient_at(atlas, name, own)) is not None}
        wanted = [changes.get(name, 0.0) if atlas.direction(name).layers == own else 0.0 for name in rows]
        moves[own] = mahalanobis_step(np.array(list(rows.values())), cov, np.array(wanted), names=list(rows))
    if layers is None and set(moves) == {None}:
        return moves[None][None]
    return sum(
        (at_layers(atlas, move, own if layers is None else layers) for own, move in moves.items()),
        np.zeros((atlas.num_layers, atlas.w_dim)),
    )


def gradient_at(atlas: Atlas, name: str, layers: tuple[int, ...] | None) -> Float[np.ndarray, " d"] | None:
    """Gradient of a direction with respect to the w of these layers; None for a part of other layers."""
    direction, local = atlas.direction(name), atlas.local
    if layers is None or direction.layers == layers:
        return direction.gradient
    if name in atlas.names and local is not None and layers in local.layer_groups:
        return local.scalar_gradients[local.layer_groups.index(layers), atlas.names.index(name)]
    return direction.gradient if name in atlas.names else None


def calibrated_step(
    atlas: Atlas,
    changes: Mapping[str, float],
    hold: Sequence[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
) -> Float[np.ndarray, "l d"]:
    """As `linear_step`, with every change corrected by the measured effect of its direction.

    The correction is limited to `MAX_CORRECTION` times the request. Beyond it the generator no longer draws faces, so a
    smaller change than requested is better.
    """
    atlas, corrected = atlas.moved_together(changes), {}
    for name, change in changes.items():
        step = StepCalibration(atlas.direction(name).calibration).requested_to_step(float(change))
        corrected[name] = float(np.clip(step, -MAX_CORRECTION * abs(change), MAX_CORRECTION * abs(change)))
    return linear_step(atlas, corrected, hold, layers=layers)


def linear_change(atlas: Atlas, names: Sequence[str], step: Float[np.ndarray, "n l d"]) -> Float[np.ndarray, "n m"]:
    """Change of the named directions by steps, in the linear model.

    For a step that differs from layer to layer, pose and light use the gradient of each group of layers if the atlas
    has parts; otherwise the mean step over the layers counts.
    """
    changes = np.empty((len(step), len(names)))
    for k, name in enumerate(names):
        direction, local = atlas.direction(name), atlas.local
        if step.shape[1] > 1 and name in atlas.names and local is not None:
            rows = local.scalar_gradients[:, atlas.names.index(name)]
            moves = [step[:, list(group)].mean(axis=1) for group in local.layer_groups]
            changes[:, k] = sum(move @ row for move, row in zip(moves, rows, strict=True))
        else:
            own = slice(None) if step.shape[1] == 1 or direction.layers is None else list(direction.layers)
            changes[:, k] = step[:, own].mean(axis=1) @ direction.gradient
    return changes


def at_layers(atlas: Atlas, move: Float[np.ndarray, " d"], layers: Sequence[int] | None) -> Float[np.ndarray, "l d"]:
    """A step that makes this move at these layers and none elsewhere; one row if ``layers`` is None (all)."""
    if layers is None:
        return move[None]
    step = np.zeros((atlas.num_layers, atlas.w_dim))
    step[list(layers)] = move
    return step


def step_length(step: Float[np.ndarray, "l d"], cov: Float[np.ndarray, "d d"]) -> float:
    """Mahalanobis length of a step at the layer that it moves most, in standard deviations of w."""
    return float(mahalanobis_norm(step, cov).max())
