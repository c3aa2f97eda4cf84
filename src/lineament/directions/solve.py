"""From moments of samples to an atlas: least squares, steady steps, parts, calibration."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Bool, Float

from lineament import __version__
from lineament.checkpoints.ours import network_fingerprint
from lineament.directions.calibrate import Calibration, calibrate
from lineament.directions.parts import face_mask, find_parts, score
from lineament.directions.steps import HOLDABLE, linear_step, step_length
from lineament.engine.console import console
from lineament.errors import ConfigError, DataError
from lineament.estimators.folds import merged, summed
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.steady_steps import mean_square_change, steady_steps
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.maps import map_mask
from lineament.faces.samples import HELD_OUT, Discovery, batches, sample_and_map
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.part_settings import PartsConfig
from lineament.records.parts import Localization
from lineament.records.semantics import SCALAR_SEMANTICS, SEMANTIC_NAMES

MIN_RELATIVE_STD = 1e-6
"""A semantic that w changes by less than this share of its mean counts as constant: single precision ends there."""

MAX_STEADY_STRETCH = 4.0
"""Warn if a steady step is this many times as long as the single-w step, both in standard deviations of w."""

MAX_SCORED = 512
"""Maximum number of held-out images for scoring parts, because all of their maps are in memory at the same time."""


def uncalibrated_atlas(
    found: Discovery, generator: Generator, decomposer: Decomposer, *, seed: int, truncation: float, ridge: float = 0.0
) -> Atlas:
    """Solve the regression and put the result into an atlas without calibration.

    A semantic that does not vary with w has no direction and is left out.

    Args:
        found: the samples' moments.
        generator: drew the samples.
        decomposer: measured the samples.
        seed: of the samples.
        truncation: of the samples.
        ridge: penalty in units of the mean variance of w.

    Raises:
        ConfigError: no semantic varies with w.
    """
    model = LinearSemantics(ridge=ridge).fit_moments(found.fit)
    r2 = model.score_moments(found.held_out)
    y_std = np.sqrt(np.diag(found.fit.y_cov))
    percentiles = np.percentile(found.kept, [1, 50, 99], axis=0)
    directions = []
    for i, semantic in enumerate(SCALAR_SEMANTICS):
        gradient = model.coef_[i]
        pulled = model.w_cov_ @ gradient
        mean = float(found.fit.y_mean[i])
        if not float(gradient @ pulled) > (MIN_RELATIVE_STD * max(abs(mean), 1e-3)) ** 2:
            console.print(f"{semantic.name} is left out: it is {mean:.4g} {semantic.unit} on every face")
            continue
        p1, median, p99 = (float(v) for v in percentiles[:, i])
        directions.append(
            Direction(
                name=semantic.name,
                unit=semantic.unit,
                sign=semantic.sign,
                description=semantic.description,
                gradient=gradient,
                step=pulled / float(gradient @ pulled),
                standard_error=model.standard_error_[i],
                r2=float(r2[i]),
                residual_std=float(model.residual_std_[i]),
                mean=mean,
                std=float(y_std[i]),
                range_seen=SeenRange(float(found.lowest[i]), p1, median, p99, float(found.highest[i])),
            )
        )
    if not directions:
        raise ConfigError("the decomposer gives the same values for every face; train it longer")
    shape = generator.config
    return Atlas(
        directions=tuple(directions),
        w_mean=model.w_mean_,
        w_cov=model.w_cov_,
        num_samples=found.fit.count,
        num_held_out=found.held_out.count,
        seed=seed,
        truncation=truncation,
        generator_fingerprint=network_fingerprint(generator),
        decomposer_fingerprint=network_fingerprint(decomposer),
        generator={
            "family": generator.family,
            "resolution": shape.resolution,
            "w_dim": shape.w_dim,
            "num_layers": shape.num_ws,
            "class_number": generator.chosen_class,
            "face_box": list(decomposer.face_box),
        },
        lineament_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance={"ridge": ridge},
    )


def with_steady_steps(
    atlas: Atlas, local: Localization, jacobian: PixelJacobian, mask: Bool[np.ndarray, " p"], weight: float
) -> Atlas:
    """The atlas with steady steps of pose and light, which change depth and albedo least; they are not calibrated.

    If there are none, the atlas is returned unchanged and the console says why.

    Args:
        atlas: of the scalar semantics.
        local: holds the groups of layers and the gradients of pose and light for each.
        jacobian: of the maps, for the w of all groups side by side.
        mask: values of the maps that count.
        weight: penalty on changes of the maps, see `lineament.estimators.steady_steps`.
    """
    names, groups = [name for name in HOLDABLE if name in atlas.names], local.layer_groups
    if not names:
        return atlas
    chosen = [atlas.names.index(name) for name in names]
    gradients = local.scalar_gradients[:, chosen].swapaxes(0, 1).reshape(len(names), -1)
    cov = np.kron(np.eye(len(groups)), atlas.w_cov)
    try:
        moves = steady_steps(gradients, cov, mean_square_change(jacobian, mask), weight, names=names)
    except (ConfigError, DataError) as error:
        console.print(f"no steady steps: {error}", soft_wrap=True)
        return atlas
    steps = np.repeat(moves.reshape(len(names), len(groups), -1), [len(group) for group in groups], axis=1)
    stretch = {
        name: step_length(step, atlas.w_cov) / step_length(linear_step(atlas, {name: 1.0}), atlas.w_cov)
        for name, step in zip(names, steps, strict=True)
    }
    longest = max(stretch, key=lambda name: stretch[name])
    if stretch[longest] > MAX_STEADY_STRETCH:
        console.print(
            f"note: the steady step of {longest} is {stretch[longest]:.1f} times as long as that of one w for all "
            "layers; a lower --steady shortens it",
            soft_wrap=True,
        )
    directions = [
        replace(direction, layer_steps=steps[names.index(direction.name)]) if direction.name in names else direction
        for direction in atlas.directions
    ]
    return replace(atlas, directions=tuple(directions), provenance=atlas.provenance | {"steady": weight})


def with_parts(
    atlas: Atlas,
    found: Discovery,
    generator: Generator,
    decomposer: Decomposer,
    settings: PartsConfig,
    *,
    held_out: int,
    steady: float,
    batch_size: int | None = None,
) -> tuple[Atlas, Float[np.ndarray, "p d"] | None]:
    """Find the parts of the face and score them on held-out images; find steady steps if ``steady`` is not 0.

    Args:
        atlas: of the scalar semantics.
        found: the samples' moments, with folds.
        generator: drew the samples.
        decomposer: measured the samples.
        settings: of the parts.
        held_out: number of images for scoring the parts, on which nothing was fitted; at most `MAX_SCORED` are used.
        steady: weight of steady steps; 0 keeps one step for all layers.
        batch_size: images at a time; if None, as many as the free memory allows.

    Returns:
        The atlas with parts and steady steps, and the Jacobian of the maps for one w of all layers. If no parts are
        found, the unchanged atlas and None; the console says why.

    Raises:
        ConfigError: impossible settings, such as more parts than the rank of the Jacobian.
    """
    groups = settings.groups(generator.num_ws)
    chosen = [SEMANTIC_NAMES.index(name) for name in atlas.names]
    mixed = LinearSemantics().fit_moments(found.mixed).coef_[chosen]
    gradients = mixed.reshape(len(chosen), len(groups), -1).swapaxes(0, 1)
    try:
        jacobian = merged(found.folds)
        local = find_parts(jacobian, found.folds, groups, atlas.w_cov, gradients, face_mask(decomposer), settings)
    except DataError as error:
        console.print(f"no parts of the face: {error}", soft_wrap=True)
        return atlas, None
    count = min(held_out, MAX_SCORED)
    seen = [
        sample_and_map(generator, decomposer, atlas.seed, numbers, atlas.truncation)
        for numbers in batches(HELD_OUT, 0, count, batch_size or images_at_a_time(generator))
    ]
    w = np.concatenate([one.double().cpu().numpy() for one, _, _ in seen])
    maps = np.concatenate([maps for _, _, maps in seen])
    J = summed(jacobian, len(groups))
    if steady:
        atlas = with_steady_steps(atlas, local, jacobian, map_mask(decomposer), steady)
    return replace(atlas, local=score(local, J, w, atlas.w_mean, maps)), J


def solve(
    found: Discovery,
    generator: Generator,
    decomposer: Decomposer,
    *,
    seed: int,
    truncation: float,
    ridge: float = 0.0,
    parts: PartsConfig,
    held_out: int,
    steady: float,
    calibration_faces: int,
    batch_size: int | None = None,
) -> tuple[Atlas, list[Calibration], Float[np.ndarray, "p d"] | None]:
    """Make a calibrated atlas from sampled moments; with parts if there are samples for them.

    The arguments are those of `uncalibrated_atlas`, `with_parts` and `calibrate`.

    Returns:
        The atlas, the measured effect of its steps before calibration, and the Jacobian of the maps for one w of all
        layers (None without parts).
    """
    atlas = uncalibrated_atlas(found, generator, decomposer, seed=seed, truncation=truncation, ridge=ridge)
    J = None
    if found.folds:
        atlas, J = with_parts(
            atlas, found, generator, decomposer, parts, held_out=held_out, steady=steady, batch_size=batch_size
        )
    return *calibrate(calibration_faces, atlas, generator, decomposer), J
