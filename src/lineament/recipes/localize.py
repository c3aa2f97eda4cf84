"""Parts of the face: from Jacobians of disjoint samples to localized directions with places, names and evidence."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from lineament.errors import ConfigError
from lineament.estimators.local_components import LocalComponents, find_components
from lineament.estimators.part_analysis import match, place_of, shape_of, stability, zones
from lineament.estimators.part_scores import PartReader
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.sparse_factors import SparseFactors
from lineament.networks.decomposer import Decomposer
from lineament.ops.shapes import face_oval
from lineament.recipes.console import progress_bar
from lineament.records.direction import Direction, SeenRange
from lineament.records.parts import Localization, Part, channel_units

NUM_FOLDS = 4
"""Disjoint parts of the samples; any two of them are the half on which the parts are found again."""

MIN_FACE = 0.3
"""Share of the mask that a face covers at least."""


@dataclass(frozen=True)
class PartsConfig:
    """How the parts of the face are found."""

    find: bool = True
    """Look for parts; without, only pose and light are found, in less time."""
    count: int | None = None
    """Number of parts; as many as there are principal directions in --parts.energy if not given."""
    energy: float = 0.99
    """Share of the Jacobian's energy that decides on the number of parts."""
    max_count: int = 48
    """At most so many parts, if their number is not given."""
    sparsity: float = 0.05
    """Share of a typical pixel's answer that is not worth a part of its own (alpha); more gives smaller parts."""
    decorrelation: float = 0.3
    """Weight on directions that are alike (beta), relative to their mean energy."""
    evenness: float = 0.5
    """How far pixels are made to vary alike, from 0 to 1, lest hairlines and jaws outweigh eyes and lips."""
    restarts: int = 2
    """Starts of the factorisation, of which the best is kept."""

    def __post_init__(self) -> None:
        for name, least in (("max_count", 1), ("restarts", 1), ("sparsity", 0), ("decorrelation", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"parts.{name} is {getattr(self, name)}, expected at least {least}")
        if not 0 <= self.evenness <= 1:
            raise ConfigError(f"parts.evenness is {self.evenness}, expected 0 to 1")
        if not 0 < self.energy < 1:
            raise ConfigError(f"parts.energy is {self.energy}, expected between 0 and 1")
        if self.count is not None and self.count < 1:
            raise ConfigError(f"parts.count is {self.count}, expected at least 1")

    def factors(self, count: int | None = None) -> SparseFactors:
        """The factorisation, of ``count`` components if given."""
        return SparseFactors(
            count or self.count or self.energy,
            max_components=self.max_count,
            alpha=self.sparsity,
            beta=self.decorrelation,
            n_restarts=self.restarts,
        )


def check_samples(config: PartsConfig, samples: int, w_dim: int) -> None:
    """Refuse too few samples before any is taken.

    Raises:
        ConfigError: half of them do not determine a gradient.
    """
    if config.find and samples // 2 <= w_dim + 1:
        raise ConfigError(
            f"half of {samples} samples do not determine {w_dim} coefficients, so nobody can tell whether a part comes "
            f"back; take more than {2 * w_dim + 3}, or --parts.no-find"
        )


def face_mask(decomposer: Decomposer) -> Bool[np.ndarray, "h w"]:
    """Pixels in which parts are looked for: the oval of a face, without the columns whose depth is fixed."""
    inside = face_oval(decomposer.config.resolution) & (decomposer.border[0].cpu() == 0)
    return inside.numpy()


def without_hair(mean_depth: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask without the zone of hair and border; as it is where so little would be left that there is no face."""
    inner = mask & ~zones(mean_depth, mask)["hair and border"]
    return inner if inner.sum() >= MIN_FACE * mask.sum() else mask


def add_to_folds(
    folds: Sequence[PixelJacobian], first: int, w: Float[np.ndarray, "n d"], maps: Float[np.ndarray, "n p"]
) -> None:
    """Share samples numbered from ``first`` among the folds; which gets which does not depend on the batches."""
    for i, fold in enumerate(folds):
        chosen = slice((i - first) % len(folds), None, len(folds))
        fold.partial_fit(w[chosen], maps[chosen])


def merged(folds: Sequence[PixelJacobian]) -> PixelJacobian:
    """The solved Jacobian of all samples of some folds, which stay as they are."""
    whole = PixelJacobian(folds[0].max_bytes, folds[0].scratch)
    for fold in folds:
        whole.merge(fold)
    return whole.solve()


def find_parts(
    folds: Sequence[PixelJacobian],
    scalar_gradients: Float[np.ndarray, "m d"],
    mask: Bool[np.ndarray, "h w"],
    config: PartsConfig,
) -> Localization:
    """Factorise the Jacobian of all folds, and again that of every half of them.

    Looks only where the template of a face's proportions (`lineament.estimators.part_analysis.zones`) sees a face: hair
    varies more than anything else in a portrait, and would be all that is found.

    The directions' ``r2``, ``std`` and ``range_seen`` are those of a perfectly linear generator until `score` has
    measured them.

    Args:
        folds: disjoint samples, as filled by `add_to_folds`; they are not changed.
        scalar_gradients: of pose and light, which no part may move.
        mask: where to look at most.
        config: settings.

    Raises:
        ConfigError: too few samples, or settings that leave no part.
        DataError: nothing varies within the mask beside pose and light.
    """
    jacobian = merged(folds)
    mean = (jacobian.intercept_ + jacobian.coef_ @ jacobian.w_mean_).reshape(4, *mask.shape)
    mask = without_hair(mean[0], mask)
    everywhere = np.tile(mask.ravel(), 4)
    found = find_components(jacobian, scalar_gradients, everywhere, config.factors(), config.evenness)
    k = len(found.gradients)
    halves = []
    with progress_bar() as bar, warnings.catch_warnings():
        # A half that does not settle or loses a part is what stability is to tell.
        warnings.simplefilter("ignore", RuntimeWarning)
        pairs = list(combinations(folds, max(len(folds) // 2, 1)))
        task = bar.add_task("finding parts again in halves", total=len(pairs), note="")
        for pair in pairs:
            half = find_components(merged(pair), scalar_gradients, everywhere, config.factors(k), config.evenness)
            halves.append(half.gradients)
            bar.advance(task)
    return _described(jacobian, found, halves, scalar_gradients, mask, mean)


def _described(
    jacobian: PixelJacobian,
    found: LocalComponents,
    halves: list[np.ndarray],
    scalar_gradients: np.ndarray,
    mask: np.ndarray,
    mean: np.ndarray,
) -> Localization:
    """Everything that is known of the components."""
    cov, k = jacobian.w_cov_, len(found.gradients)
    units = channel_units(found.scales)[:, None, None]
    maps = found.maps.T.reshape(k, 4, *mask.shape) / units
    coming_back = stability(found.gradients, halves, cov)
    errors = np.zeros_like(found.gradients)
    for half in halves:
        order, cosines = match(found.gradients, half, cov)
        errors += (half[order] * np.sign(cosines)[:, None] - found.gradients) ** 2 / len(halves)
    # Estimates from all halves scatter about the whole's as the whole's about the truth (delete-half jackknife).
    errors = np.sqrt(errors)
    regions = zones(mean[0], mask)
    parts, taken = [], {}
    for i in range(k):
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
                    gradient=found.gradients[i],
                    step=cov @ found.gradients[i] / (found.gradients[i] @ cov @ found.gradients[i]),
                    standard_error=errors[i],
                    r2=1.0,
                    residual_std=0.0,
                    mean=0.0,
                    std=1.0,
                    range_seen=SeenRange(0.0, 0.0, 0.0, 0.0, 0.0),
                ),
                place=place,
                explained=float(found.explained[i]),
                stability=float(coming_back[i]),
                shape=shape,
            )
        )
    # What one unit of a scalar semantic does to the maps, the others left as they are.
    pulled = cov @ scalar_gradients.T
    response = jacobian.coef_ @ (pulled @ np.linalg.pinv(scalar_gradients @ pulled, rcond=1e-10, hermitian=True))
    scalar_maps = response.T.reshape(len(scalar_gradients), 4, *mask.shape) / units
    return Localization(
        parts=tuple(parts),
        maps=maps.astype(np.float32),
        scalar_maps=scalar_maps.astype(np.float32),
        mean=mean.astype(np.float32),
        mask=mask,
        scales=found.scales,
        num_samples=jacobian.n_samples_seen_,
    )


def score(
    local: Localization, w: Float[np.ndarray, "n d"], w_mean: Float[np.ndarray, " d"], maps: Float[np.ndarray, "n p"]
) -> Localization:
    """Put in how well w says what is seen of every part on images that nothing was fitted on."""
    seen = PartReader(local).read(maps)
    said = (w - w_mean) @ local.gradients.T
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
