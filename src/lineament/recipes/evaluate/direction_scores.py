"""Compute the numbers of the tables from the measured edits, one method at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lineament.estimators.dci import DCIScores, lasso_dci, pooled
from lineament.estimators.direction_measures import (
    IntervalEstimate,
    Statistic,
    attribute_dependencies,
    bootstrap,
    calibration_errors,
    leakages,
    linearity,
    mean_of_others,
    moved,
    ratio_of_means,
    usable_range,
    weighted_mean,
)
from lineament.ops.seeding import philox
from lineament.recipes.evaluate.direction_bench import GRID, MAIN, PAIR_OF_STEPS, SIDE, Bench, Chosen, EditResponse
from lineament.records.attributes import is_local
from lineament.records.found_directions import FoundDirections
from lineament.records.semantics import SEMANTIC_NAMES

_STREAM_BOOTSTRAP, _STREAM_CODES, _STREAM_SPLIT = 41, 42, 43

ASKED = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
"""Requested changes, in standard deviations of the judge's readings."""

CODE_SPREAD = 0.7
"""Typical length of the step by all random codes together, in typical distances of w from its mean. It is the same for
every method."""

LINEAR_UP_TO = 2.0
"""Largest step for measuring linearity, in standard deviations of the target."""

IDENTITY_LIMIT = 0.5
"""A usable range ends where the mean face has moved this share of the distance between two people."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Effects of the edits of one method with one seed.

    Attributes:
        found: the method's directions.
        chosen: the direction that is taken for each attribute.
        amounts: amounts by attribute, in units of the step for one standard deviation.
        responses: effects of these amounts, by attribute.
        asked: requested changes and the judged changes of every face, by attribute; only of directions with units.
        codes: scores of all directions together, and their standard errors; None for a single direction.
    """

    found: FoundDirections
    chosen: dict[str, Chosen]
    amounts: dict[str, Float[np.ndarray, " s"]]
    responses: dict[str, EditResponse]
    asked: dict[str, tuple[Float[np.ndarray, " a"], Float[np.ndarray, "n a"]]]
    codes: tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]] | None


@dataclass(frozen=True)
class AttributeScores:
    """How well one method moves one attribute; scores that were not measured are None.

    Attributes:
        direction: the direction that is taken for the attribute, with the first seed.
        by_name: whether the method names it after the attribute; else the judge chose it.
        leakage: mean absolute change of the other attributes, in standard deviations, per standard deviation of the
            target; mean over these attributes.
        row: the same for every attribute: a row of the re-scoring matrix.
        identity: distance from the unedited face at one standard deviation, in units of the mean distance between two
            people.
        mean_ad, max_ad: attribute dependency on images whose target changed by one standard deviation.
        linearity: R^2 of the judge's value against the step, mean over the faces.
        range_sd: effect at which a limit is reached, in standard deviations; mean of both signs of the step.
        error, error_of_mean: errors of requested changes, in the attribute's unit: mean over faces, and of the mean
            face.
    """

    direction: str
    by_name: bool
    leakage: IntervalEstimate
    row: tuple[float, ...]
    identity: IntervalEstimate
    mean_ad: IntervalEstimate | None
    max_ad: IntervalEstimate | None
    linearity: IntervalEstimate | None
    range_sd: IntervalEstimate | None
    error: IntervalEstimate | None
    error_of_mean: IntervalEstimate | None


@dataclass(frozen=True)
class MethodScores:
    """All scores of one method.

    Attributes:
        name: name of the method.
        supervised: whether the method uses labels.
        peer: whether it is an unsupervised method of others.
        seeds: number of seeds with which it was run.
        directions: number of directions that it found.
        labels, samples, seconds: its cost, mean over the seeds.
        judged: number of images that the judge read to choose directions; 0 if the method names them all.
        attributes: scores by attribute; attributes that no direction moves are missing.
        dci: scores of all directions together.
    """

    name: str
    supervised: bool
    peer: bool
    seeds: int
    directions: int
    labels: int
    samples: int
    seconds: float
    judged: int
    attributes: dict[str, AttributeScores]
    dci: DCIScores | None


def measure_method(
    bench: Bench,
    found: FoundDirections,
    ask: Callable[[str, float], Float[np.ndarray, "l d"]],
    num_codes: int,
    seed: int,
    on_progress: Callable[[str], None],
) -> Measured:
    """Choose directions, edit the faces, and have them judged.

    On a bench that carries, only pose and light are measured: everything else is as on one that does not.

    Args:
        bench: holds the faces and the judge.
        found: the method's directions.
        ask: gives the method's step for an attribute and a requested change in its unit.
        num_codes: number of faces for the scores of all directions together.
        seed: seed of the random codes.
        on_progress: called with the name of what is being measured.
    """
    on_progress("choosing")
    chosen = bench.choose(found)
    if bench.carries:
        chosen, num_codes = {name: one for name, one in chosen.items() if name in SEMANTIC_NAMES}, 0
    amounts, responses, asked = {}, {}, {}
    for name, one in chosen.items():
        on_progress(name)
        amounts[name] = np.array(GRID if name in MAIN else PAIR_OF_STEPS)
        responses[name] = bench.respond(one.amount * found.steps[one.index], amounts[name].tolist(), target=name)
        if name in MAIN and one.by_name and found.units[one.index]:
            target, std = bench.names.index(name), float(bench.stds[bench.names.index(name)])
            requests = np.array(ASKED) * std
            steps = [ask(name, float(request)) for request in requests]
            judged = [bench.respond(step, (1.0,), target=name).changes[:, 0, target] * std for step in steps]
            asked[name] = (requests, np.stack(judged, axis=1))
    on_progress("all together")
    codes = measure_codes(bench, found, num_codes, seed) if len(found.steps) > 1 and num_codes else None
    return Measured(found, chosen, amounts, responses, asked, codes)


def measure_codes(
    bench: Bench, found: FoundDirections, count: int, seed: int
) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]]:
    """DCI of all directions, which are moved at random at the same time; see `lasso_dci`."""
    norms = np.linalg.norm(found.steps, axis=2)
    # A direction in a fifth of the layers moves a face by a fifth; in total, all methods move faces equally far.
    weight = (norms > 0).mean(axis=1).sum()
    scale = CODE_SPREAD * bench.typical / np.sqrt(weight) / norms.max(axis=1)
    codes = philox(seed, _STREAM_CODES, 0).standard_normal((count, len(scale)))
    changes = bench.respond_to_codes(found.steps * scale[:, None, None], codes)
    local = [i for i, name in enumerate(bench.names) if is_local(name)] or list(range(len(bench.names)))
    return lasso_dci(codes, changes, local, philox(seed, _STREAM_SPLIT, 0))


def scores_of_attribute(bench: Bench, name: str, measured: Sequence[Measured], seed: int) -> AttributeScores | None:
    """The numbers of one attribute, with intervals over faces and seeds; None if no seed has a direction for it."""
    able = [one for one in measured if name in one.responses]
    if not able:
        return None
    target = bench.names.index(name)
    num_faces = len(able[0].responses[name].changes)

    def estimate(make: Callable[[Measured], Statistic | None]) -> IntervalEstimate | None:
        statistics = [statistic for one in able if (statistic := make(one)) is not None]
        if not statistics:
            return None
        found = bootstrap(statistics, num_faces, philox(seed, _STREAM_BOOTSTRAP, target))
        return None if np.isnan(found.value) else found

    def rows(one: Measured) -> Statistic:
        chosen = np.abs(one.amounts[name]) == 1
        return leakages(one.responses[name].changes[:, chosen], one.amounts[name][chosen], target)

    def identity(one: Measured) -> Statistic:
        chosen = np.abs(one.amounts[name]) == 1
        response = one.responses[name]
        effect = moved(response.changes[:, chosen], one.amounts[name][chosen], target)
        return ratio_of_means(response.identity[:, chosen].mean(axis=1), effect)

    def full(make: Callable[[Measured], Statistic]) -> IntervalEstimate | None:
        return estimate(lambda one: make(one) if len(one.amounts[name]) > 2 else None)

    def line(one: Measured) -> Statistic:
        small = np.abs(one.amounts[name]) <= LINEAR_UP_TO
        values = one.responses[name].changes[:, small, target]
        zero = np.zeros((len(values), 1))
        return weighted_mean(linearity(np.append(one.amounts[name][small], 0.0), np.hstack([values, zero])))

    def reach(one: Measured) -> Statistic:
        return both_sides(one.responses[name], one.amounts[name], target)

    def errors(number: int) -> IntervalEstimate | None:
        return estimate(lambda one: calibration_errors(*one.asked[name])[number] if name in one.asked else None)

    even = np.full((1, num_faces), 1 / num_faces)
    leakage, kept = estimate(lambda one: mean_of_others(rows(one), target)), estimate(identity)
    assert leakage is not None
    assert kept is not None
    first = able[0].chosen[name]
    return AttributeScores(
        direction=able[0].found.names[first.index],
        by_name=first.by_name,
        leakage=leakage,
        row=tuple(np.mean([rows(one)(even)[0] for one in able], axis=0).tolist()),
        identity=kept,
        mean_ad=full(lambda one: attribute_dependencies(one.responses[name].changes, target)[0]),
        max_ad=full(lambda one: attribute_dependencies(one.responses[name].changes, target)[1]),
        linearity=full(line),
        range_sd=full(reach),
        error=errors(0),
        error_of_mean=errors(1),
    )


def both_sides(response: EditResponse, amounts: Float[np.ndarray, " s"], target: int) -> Statistic:
    """Mean of the two ranges, one for each sign of the step."""
    sides = []
    for sign in (-1.0, 1.0):
        order = [int(np.flatnonzero(amounts == sign * size)[0]) for size in SIDE]
        start = np.zeros((len(response.changes), 1))
        effects, identity, score = (
            np.hstack([start, values[:, order]])
            for values in (sign * response.changes[:, :, target], response.identity / IDENTITY_LIMIT, response.score)
        )
        sides.append(usable_range(effects, [identity, score]))
    return lambda weights: np.mean([side(weights) for side in sides], axis=0)


def scores_of_method(
    bench: Bench, name: str, measured: Sequence[Measured], facts: Mapping[str, bool], screened: int, seed: int
) -> MethodScores:
    """The numbers of one method, over its seeds; ``facts`` are ``supervised`` and ``peer``."""
    attributes = {
        attribute: scores
        for attribute in bench.names
        if (scores := scores_of_attribute(bench, attribute, measured, seed)) is not None
    }
    codes = [one.codes for one in measured if one.codes is not None]
    found = [one.found for one in measured]
    unnamed = any(attribute not in found[0].names for attribute in bench.names)
    return MethodScores(
        name=name,
        supervised=facts["supervised"],
        peer=facts["peer"],
        seeds=len(measured),
        directions=len(found[0].names),
        labels=round(np.mean([one.labels_used for one in found])),
        samples=round(np.mean([one.samples_used for one in found])),
        seconds=float(np.mean([one.seconds for one in found])),
        judged=len(found[0].names) * len(PAIR_OF_STEPS) * screened if unnamed else 0,
        attributes=attributes,
        dci=pooled(codes) if codes else None,
    )
