"""Convert directions of other methods and tools to an atlas for `lineament edit`, and an atlas to their common form."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament import __version__
from lineament.checkpoints.ours import network_fingerprint
from lineament.directions.steps import affordable_hold, calibrated_step
from lineament.errors import ConfigError, MismatchError
from lineament.faces.labelled import sample_w
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.found_directions import FoundDirections

FOUND_BY = "found_by"
"""Key in an atlas's provenance for the name of the method, if the directions are imported."""


def atlas_of_found(
    found: FoundDirections, generator: Generator, *, seed: int = 0, samples: int = 10000, truncation: float = 0.5
) -> Atlas:
    """Convert directions to an atlas. `lineament edit` then uses every step as the method gives it.

    A method gives a step for each layer, but no gradient. Let s be the mean step over the layers that it moves. The
    semantic is defined as the coordinate along s in units of s, so its gradient is s / s's. Values are read with this
    gradient; edits use the method's own steps.

    Args:
        found: directions of this generator.
        generator: its sampled w give the mean, the covariance and the ranges seen.
        seed: of the sampled w.
        samples: number of sampled w.
        truncation: of the sampled w.

    Raises:
        MismatchError: the directions are of another generator or do not fit it.
        ConfigError: the mean step of a direction over its layers is zero.
    """
    fingerprint = network_fingerprint(generator)
    if found.generator_fingerprint not in ("", fingerprint) or found.steps.shape[1:] != (
        generator.num_ws,
        generator.config.w_dim,
    ):
        raise MismatchError(
            f"the directions are of another generator: {found.num_layers} layers of width {found.w_dim}, expected "
            f"{generator.num_ws} of width {generator.config.w_dim}; name the generator that they were found in"
        )
    w = sample_w(generator, seed, samples, truncation)
    w_mean, w_cov = w.mean(axis=0), np.cov(w.T)
    directions = [_direction(found, i, w - w_mean) for i in range(len(found.steps))]
    shape = generator.config
    return Atlas(
        directions=tuple(directions),
        w_mean=w_mean,
        w_cov=w_cov,
        num_samples=samples,
        num_held_out=0,
        seed=seed,
        truncation=truncation,
        generator_fingerprint=fingerprint,
        decomposer_fingerprint="",
        generator={
            "family": generator.family,
            "resolution": shape.resolution,
            "w_dim": shape.w_dim,
            "num_layers": shape.num_ws,
            "class_number": generator.chosen_class,
        },
        lineament_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance={
            **found.provenance,
            FOUND_BY: found.method,
            "labels_used": found.labels_used,
            "samples_used": found.samples_used,
            "seconds": round(found.seconds, 3),
        },
    )


def _direction(found: FoundDirections, number: int, deviations: Float[np.ndarray, "n d"]) -> Direction:
    moves = found.steps[number]
    layers = np.flatnonzero(moves.any(axis=1))
    step = moves[layers].mean(axis=0)
    if not np.linalg.norm(step) > 1e-6 * np.linalg.norm(moves, axis=1).max():
        raise ConfigError(
            f"{found.names[number]} moves some layers against others, so that its mean step is zero; leave it out"
        )
    gradient = step / (step @ step)
    seen = deviations @ gradient
    p1, median, p99 = np.percentile(seen, [1, 50, 99]).tolist()
    unit = found.units[number]
    return Direction(
        name=found.names[number],
        unit=unit or "step",
        sign="further along the direction",
        description=f"{found.names[number]}, {found.method}",
        gradient=gradient,
        step=step,
        standard_error=np.zeros_like(step),
        r2=1.0,  # the coordinate is linear in w by definition
        residual_std=0.0,
        mean=0.0,
        std=float(seen.std()),
        range_seen=SeenRange(float(seen.min()), p1, median, p99, float(seen.max())),
        layers=None if len(layers) == len(moves) else tuple(layers.tolist()),
        layer_steps=moves,
    )


def found_of_atlas(
    atlas: Atlas, names: Sequence[str] | None = None, hold: Sequence[str] | None = None
) -> FoundDirections:
    """Convert directions of an atlas to steps of one unit, as `lineament edit` takes them.

    Steps of our own directions are calibrated at a change of one standard deviation, and hold the semantics that an
    edit holds. Imported steps are returned unchanged.

    Args:
        atlas: ours, or one made by `atlas_of_found`.
        names: the directions to convert; all of them by default.
        hold: as in `calibrated_step`.

    Raises:
        ConfigError: there is no such direction.
    """
    chosen = [atlas.direction(name) for name in names] if names is not None else list(atlas.all_directions)
    method = atlas.provenance.get(FOUND_BY)
    steps = []
    for direction in chosen:
        step = direction.layer_steps if direction.is_bare_step else None
        if step is None:
            held = affordable_hold(atlas, (direction.name,)) if hold is None else hold
            step = calibrated_step(atlas, {direction.name: direction.std}, held) / direction.std
        steps.append(np.broadcast_to(step, (atlas.num_layers, atlas.w_dim)))
    facts: dict[str, Any] = atlas.provenance if method is not None else {}
    return FoundDirections(
        method=str(method) if method is not None else "ours",
        names=tuple(direction.name for direction in chosen),
        steps=np.stack(steps),
        units=tuple(direction.unit for direction in chosen),
        labels_used=int(_number(facts, "labels_used", 0)),
        samples_used=int(_number(facts, "samples_used", atlas.num_samples)),
        seconds=float(_number(facts, "seconds", 0.0)),
        generator_fingerprint=atlas.generator_fingerprint,
        provenance={"lineament": atlas.lineament_version, "created": atlas.created},
    )


def _number(facts: Mapping[str, Any], name: str, default: int | float) -> int | float:
    """A number from an atlas's provenance, whose values may be anything."""
    value = facts.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default
