"""Find the parts of the face: localized directions with places, names and evidence, from Jacobians of samples."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from lineament.engine.console import progress_bar
from lineament.estimators.folds import merged, summed
from lineament.estimators.local_components import LocalComponents, find_components
from lineament.estimators.part_analysis import match, place_of, shape_of, zones
from lineament.estimators.part_scores import PartReader
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.sparse_factors import SparseFactors
from lineament.networks.decomposer import Decomposer
from lineament.ops.shapes import face_oval
from lineament.records.direction import Direction, SeenRange
from lineament.records.part_settings import PartsConfig
from lineament.records.parts import Localization, Part, channel_units

MAX_UNIT = 4.0
"""Maximum unit of a part, in standard deviations of the w of its layers. With larger units, edits by a few units would
leave the faces that the generator knows."""

MIN_FACE = 0.3
"""Minimum share of the mask that remains without hair. Below it the template has found no face, and the whole mask is
used."""


def factors_of(settings: PartsConfig) -> SparseFactors:
    """The sparse factorisation to apply to each group of layers."""
    return SparseFactors(
        settings.components or settings.energy,
        max_components=settings.max_components,
        alpha=settings.sparsity,
        beta=settings.decorrelation,
        n_restarts=settings.restarts,
    )


def face_mask(decomposer: Decomposer) -> Bool[np.ndarray, "h w"]:
    """Pixels in which parts are looked for: the oval of a face, without the columns whose depth is fixed."""
    inside = face_oval(decomposer.config.resolution) & (decomposer.border[0].cpu() == 0)
    return inside.numpy()


def without_hair(mean_depth: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask without the zone of hair and border; the whole mask if less than `MIN_FACE` of it would remain."""
    inner = mask & ~zones(mean_depth, mask)["hair and border"]
    return inner if inner.sum() >= MIN_FACE * mask.sum() else mask


def layers_of(layer_groups: Sequence[tuple[int, ...]], group: int) -> tuple[int, ...] | None:
    """The layers of a group; None if that is all of them."""
    return layer_groups[group] if len(layer_groups) > 1 else None


def find_parts(
    jacobian: PixelJacobian,
    folds: Sequence[PixelJacobian],
    layer_groups: tuple[tuple[int, ...], ...],
    w_cov: Float[np.ndarray, "d d"],
    scalar_gradients: Float[np.ndarray, "b m d"],
    mask: Bool[np.ndarray, "h w"],
    config: PartsConfig,
) -> Localization:
    """Factorise the Jacobian of all samples and, to test the stability of the parts, that of every half of the folds.

    Parts are found only inside of the face according to a template of its proportions
    (`lineament.estimators.part_analysis.zones`). Hair varies more than anything else in a portrait; with it, only parts
    of the hair would be found.

    The directions' ``r2``, ``std`` and ``range_seen`` are placeholders, those of a perfectly linear generator, until
    `score` measures them.

    Args:
        jacobian: of all samples (`merged`), for the w of all groups side by side.
        folds: the same samples, disjoint, as filled by `add_to_folds`; they are not changed.
        layer_groups: of the generator's layers.
        w_cov: of the w of each group.
        scalar_gradients: of pose and light, which no part may move, with respect to the w of each group.
        mask: pixels to search; those of hair are removed from it.
        config: settings.

    Raises:
        ConfigError: too few samples, or settings that leave no part.
        DataError: nothing varies within the mask apart from pose and light.
    """
    mean = (jacobian.intercept_ + jacobian.coef_ @ jacobian.w_mean_).reshape(4, *mask.shape)
    mask = without_hair(mean[0], mask)
    everywhere = np.tile(mask.ravel(), 4)

    def components(solved: PixelJacobian, count: int | None, max_alike: float) -> LocalComponents:
        return find_components(
            solved,
            w_cov,
            scalar_gradients,
            everywhere,
            factors_of(config),
            evenness=config.evenness,
            count=count,
            max_alike=max_alike,
        )

    found = components(jacobian, config.count, config.max_alike)
    halves = []
    with progress_bar() as bar, warnings.catch_warnings():
        # No warnings for halves that do not converge or lose a part: the stability shows it.
        warnings.simplefilter("ignore", RuntimeWarning)
        pairs = list(combinations(folds, max(len(folds) // 2, 1)))
        task = bar.add_task("finding parts again in halves", total=len(pairs), note="")
        for pair in pairs:
            halves.append(components(merged(pair), None, 1.0))
            bar.advance(task)
    return _described(jacobian, found, halves, layer_groups, w_cov, scalar_gradients, mask, mean)


def _found_again(
    found: LocalComponents, halves: Sequence[LocalComponents]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"]]:
    """Stability of the components and standard errors of their gradients, from the components found again in halves."""
    cosines, squares = np.zeros((len(halves), len(found))), np.zeros_like(found.gradients)
    for group in np.unique(found.groups):
        own = np.flatnonzero(found.groups == group)
        for i, half in enumerate(halves):
            there = np.flatnonzero(half.groups == group)
            order, alike = match(found.maps[:, own].T / found.units, half.maps[:, there].T / found.units)
            again = half.gradients[there][order] * np.sign(alike)[:, None]
            squares[own] += (np.where((order >= 0)[:, None], again, 0.0) - found.gradients[own]) ** 2 / len(halves)
            cosines[i, own] = np.abs(alike)
    # Delete-half jackknife: estimates from halves scatter about that of all samples as that one does about the truth.
    return np.median(cosines, axis=0), np.sqrt(squares)


def _described(
    jacobian: PixelJacobian,
    found: LocalComponents,
    halves: Sequence[LocalComponents],
    layer_groups: tuple[tuple[int, ...], ...],
    cov: np.ndarray,
    scalar_gradients: np.ndarray,
    mask: np.ndarray,
    mean: np.ndarray,
) -> Localization:
    """The components as parts with names, places, shapes and errors; and the maps of the scalar semantics."""
    units = channel_units(found.scales)[:, None, None]
    maps = found.maps.T.reshape(len(found), 4, *mask.shape) / units
    coming_back, errors = _found_again(found, halves)
    regions = zones(mean[0], mask)
    parts, taken = [], {}
    for i, (gradient, group) in enumerate(zip(found.gradients, found.groups.tolist(), strict=True)):
        energy = (maps[i] ** 2).sum(axis=0)
        shape = shape_of(maps[i], mask)
        place = place_of(shape, energy, regions)
        word = re.sub(r"\W+", "_", place.removesuffix(", both sides"))
        taken[word] = taken.get(word, 0) + 1
        name = word if taken[word] == 1 else f"{word}_{taken[word]}"
        parts.append(
            Part(
                direction=Direction(
                    name=name,
                    unit="sd",
                    sign="as its map shows",
                    description=f"a part: {place}",
                    gradient=gradient,
                    step=cov @ gradient / (gradient @ cov @ gradient),
                    standard_error=errors[i],
                    r2=1.0,
                    residual_std=0.0,
                    mean=0.0,
                    std=1.0,
                    range_seen=SeenRange(0.0, 0.0, 0.0, 0.0, 0.0),
                    layers=layers_of(layer_groups, group),
                ),
                place=place,
                explained=float(found.explained[i]),
                contrast=float(found.contrasts[i]),
                stability=float(coming_back[i]),
                shape=shape,
            )
        )
    # Change of the maps by one unit of each scalar semantic while the other scalar semantics are held fixed.
    gradients = scalar_gradients.sum(axis=0)
    pulled = cov @ gradients.T
    response = summed(jacobian, len(layer_groups)) @ (
        pulled @ np.linalg.pinv(gradients @ pulled, rcond=1e-10, hermitian=True)
    )
    scalar_maps = response.T.reshape(len(gradients), 4, *mask.shape) / units
    return Localization(
        parts=tuple(parts),
        layer_groups=layer_groups,
        scalar_gradients=scalar_gradients,
        maps=maps.astype(np.float32),
        scalar_maps=scalar_maps.astype(np.float32),
        mean=mean.astype(np.float32),
        mask=mask,
        scales=found.scales,
        num_samples=jacobian.n_samples_seen_,
    )


def _in_units(local: Localization, units: Float[np.ndarray, " k"]) -> Localization:
    """The same parts, with the unit of each multiplied by ``units``."""
    parts = tuple(
        replace(
            part,
            direction=replace(
                part.direction,
                gradient=part.direction.gradient / unit,
                step=part.direction.step * unit,
                standard_error=part.direction.standard_error / unit,
            ),
        )
        for part, unit in zip(local.parts, units.tolist(), strict=True)
    )
    return replace(local, parts=parts, maps=local.maps * units[:, None, None, None].astype(np.float32))


def score(
    local: Localization,
    J: Float[np.ndarray, "p d"],
    w: Float[np.ndarray, "n d"],
    w_mean: Float[np.ndarray, " d"],
    maps: Float[np.ndarray, "n p"],
) -> Localization:
    """Score every part on held-out images: its values, their range, and how well w predicts them.

    This also sets the unit of a part to the standard deviation of its score over faces. All layers contribute to the
    score, so one standard deviation of the w of the part's own layers changes it far less. The unit is at most
    `MAX_UNIT` of those standard deviations.

    Args:
        local: the parts, in standard deviations of the w of their layers.
        J: the Jacobian for one w of all layers, see `summed`.
        w: of the images, the same for all layers.
        w_mean: mean of w.
        maps: of the images.
    """
    reader = PartReader(local)
    seen = reader.read(maps)
    spread = seen.std(axis=0)
    units = np.where(spread > 0, spread, 1.0).clip(max=MAX_UNIT)
    local, seen, said = _in_units(local, units), seen / units, (w - w_mean) @ reader.gradients(J).T / units
    parts = []
    for i, part in enumerate(local.parts):
        y, error = seen[:, i] - seen[:, i].mean(), seen[:, i] - said[:, i]
        error = error - error.mean()
        percentiles = np.percentile(seen[:, i], [0, 1, 50, 99, 100])
        direction = replace(
            part.direction,
            r2=float(1 - (error @ error) / max(y @ y, np.finfo(np.float64).tiny)),
            residual_std=float(error.std()),
            mean=float(seen[:, i].mean()),
            std=float(y.std()),
            range_seen=SeenRange(*map(float, percentiles)),
        )
        parts.append(replace(part, direction=direction))
    return replace(local, parts=tuple(parts))
