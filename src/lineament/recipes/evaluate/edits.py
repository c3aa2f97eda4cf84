"""Measure an atlas's edits on faces it has never seen: size, sign, monotonicity, leakage, identity."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.table import Table
from torch import Tensor

from lineament.checkpoints.pairs import load_for_judging
from lineament.directions.steps import calibrated_step
from lineament.engine.console import progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.faces.measure import measure, synthesize_edited
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents, philox
from lineament.records.atlas import Atlas
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.evaluate_edits import EvaluateEditsConfig
from lineament.store.atomic import write_text_atomic

_STREAM_RANDOM_DIRECTION = 6


@dataclass(frozen=True)
class EditScore:
    """How well one semantic follows requested changes of -2 to 2 of its standard deviations.

    Attributes:
        name: the semantic.
        r2: held-out R^2 of the linear model, from the atlas.
        slope: of measured over requested change, by least squares through zero on all faces.
        correlation: median over the faces of the correlation of requested and measured change within a face.
        median_error: largest deviation of the median measured change from the requested one, in standard deviations.
        right_sign: share of edits of at least half a standard deviation whose sign is right.
        monotone: share of faces whose measured value rises with every step.
        leak: change of the other semantic that moves most, in its standard deviations per requested standard deviation.
        leak_name: name of that semantic.
    """

    name: str
    r2: float
    slope: float
    correlation: float
    median_error: float
    right_sign: float
    monotone: float
    leak: float
    leak_name: str


@dataclass(frozen=True)
class EditReport:
    """All results of the measurement.

    ``yaw`` holds the measured yaw for requests of plus and minus ``yaw_deg``. ``identity`` compares the drift of the
    canonical albedo under a yaw edit with the drift under random directions of the same yaw effect, and with the
    difference between two people.
    """

    scores: tuple[EditScore, ...]
    yaw: dict[str, float]
    identity: dict[str, float]

    def renderables(self) -> list[Any]:
        """Tables for the terminal."""
        table = Table(title="Edits on unseen faces, requested -2 to 2 standard deviations")
        for heading in ("semantic", "R²", "slope", "corr.", "median error / sd", "right sign", "monotone", "leaks to"):
            table.add_column(heading, justify="left" if heading in ("semantic", "leaks to") else "right")
        for s in self.scores:
            cells = (f"{v:.2f}" for v in (s.r2, s.slope, s.correlation, s.median_error))
            table.add_row(s.name, *cells, f"{s.right_sign:.1%}", f"{s.monotone:.1%}", f"{s.leak_name} {s.leak:.2f}")
        rest = Table(show_header=False)
        for name, value in {**self.yaw, **self.identity}.items():
            rest.add_row(name, f"{value:.3f}")
        return [table, rest]


@torch.no_grad()
def canonical_albedo(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Albedo seen from the front; it should not change when a face turns or the light moves."""
    small = decomposer.shown(images)
    return torch.cat([decomposer(part).canon_albedo for part in small.split(64)])


def drift(a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]) -> float:
    """Median over the faces of the mean absolute difference."""
    return float((a - b).abs().mean(dim=(1, 2, 3)).median())


def score_direction(
    atlas: Atlas,
    name: str,
    generator: Generator,
    decomposer: Decomposer,
    w: Float[Tensor, "n d"],
    before: Float[np.ndarray, "n m"],
) -> EditScore:
    """Edit every face by -2 to 2 standard deviations in nine steps and measure."""
    direction = atlas.direction(name)
    index = SEMANTIC_NAMES.index(name)
    asked = np.linspace(-2, 2, 9) * direction.std
    moved = []
    for change in asked:
        step = calibrated_step(atlas, {name: float(change)})
        moved.append(measure(decomposer, synthesize_edited(generator, w, step, decomposer)) - before)
    changes = np.stack(moved, axis=1)
    own = changes[:, :, index]
    big = np.abs(asked) >= 0.5 * direction.std - 1e-12
    correlations = [np.corrcoef(asked, row)[0, 1] if row.std() > 0 else 0.0 for row in own]
    others = [other for other in atlas.names if other not in (name, "translation_x", "translation_y")]
    leaks = {
        other: abs(
            float(np.median(changes[:, -1, SEMANTIC_NAMES.index(other)] - changes[:, 0, SEMANTIC_NAMES.index(other)]))
        )
        / (4 * atlas.direction(other).std)
        for other in others
    }
    leak_name = max(leaks, key=lambda other: leaks[other]) if leaks else ""
    return EditScore(
        name=name,
        r2=direction.r2,
        slope=float((own * asked).sum() / (asked**2).sum() / len(own)),
        correlation=float(np.median(correlations)),
        median_error=float(np.abs(np.median(own, axis=0) - asked).max() / direction.std),
        right_sign=float((np.sign(own[:, big]) == np.sign(asked[big])).mean()),
        monotone=float((np.diff(own, axis=1) > 0).all(axis=1).mean()),
        leak=leaks.get(leak_name, 0.0),
        leak_name=leak_name,
    )


def random_steps_of_equal_yaw(atlas: Atlas, count: int, yaw_deg: float, seed: int) -> Float[np.ndarray, "n d"]:
    """Random directions, drawn like w itself, each scaled to the given change of yaw by the linear model.

    Directions with less than a third of the typical yaw effect are drawn again. Scaled up, they would no longer give
    faces, which would make our edits look better than they are.
    """
    gradient = atlas.direction("yaw").gradient
    typical = float(np.sqrt(gradient @ atlas.w_cov @ gradient))
    rng = philox(seed, _STREAM_RANDOM_DIRECTION, 0)
    steps: list[np.ndarray] = []
    while len(steps) < count:
        step = rng.multivariate_normal(np.zeros(atlas.w_dim), atlas.w_cov, method="eigh")
        effect = float(gradient @ step)
        if abs(effect) > typical / 3:
            steps.append(step * (yaw_deg / effect))
    return np.stack(steps)


def score_yaw(
    config: EvaluateEditsConfig,
    atlas: Atlas,
    generator: Generator,
    decomposer: Decomposer,
    w: Float[Tensor, "n d"],
    before: Float[np.ndarray, "n m"],
) -> tuple[dict[str, float], dict[str, float]]:
    """Median and sign of yaw edits by plus and minus ``yaw_deg``, and how well they keep the person."""
    yaw, index = config.yaw_deg, SEMANTIC_NAMES.index("yaw")
    numbers: dict[str, float] = {}
    right = []
    images = torch.empty(0)
    for sign in (-1.0, 1.0):
        step = calibrated_step(atlas, {"yaw": sign * yaw})
        images = synthesize_edited(generator, w, step, decomposer)
        change = measure(decomposer, images)[:, index] - before[:, index]
        low, median, high = np.percentile(change, [25, 50, 75])
        label = f"yaw {sign * yaw:+g}"
        numbers |= {f"{label}: median": float(median), f"{label}: lower quartile": float(low)}
        numbers[f"{label}: upper quartile"] = float(high)
        right.append(np.sign(change) == sign)
    numbers[f"yaw ±{yaw:g}: right sign"] = float(np.mean(right))
    original = synthesize_edited(generator, w, shown_to=decomposer)
    albedo = canonical_albedo(decomposer, original)
    steps = random_steps_of_equal_yaw(atlas, len(w), yaw, config.seed)
    shuffled = synthesize_edited(generator, w, steps[:, None], decomposer)
    identity = {
        "albedo drift, yaw edit": drift(albedo, canonical_albedo(decomposer, images)),
        "albedo drift, random direction of equal yaw": drift(albedo, canonical_albedo(decomposer, shuffled)),
        "albedo difference, two people": drift(albedo, albedo.roll(1, dims=0)),
    }
    return numbers, identity


def evaluate(
    config: EvaluateEditsConfig, atlas: Atlas, generator: Generator, decomposer: Decomposer, names: Sequence[str]
) -> EditReport:
    """Measure the edits of ``names`` on fresh faces."""
    device = generator.mapping.w_avg.device
    with torch.no_grad():
        z = latents(config.seed, range(config.faces), generator.config.z_dim).to(device)
        w = generator.map(z, atlas.truncation)
    before = measure(decomposer, synthesize_edited(generator, w, shown_to=decomposer))
    scores = []
    with progress_bar() as bar:
        task = bar.add_task("measuring edits", total=len(names), note="")
        for name in names:
            scores.append(score_direction(atlas, name, generator, decomposer, w, before))
            bar.update(task, advance=1, note=name)
    yaw, identity = score_yaw(config, atlas, generator, decomposer, w, before) if "yaw" in names else ({}, {})
    return EditReport(tuple(scores), yaw, identity)


@writes("out")
def run(config: EvaluateEditsConfig) -> EditReport:
    """Evaluate an atlas.

    Raises:
        MismatchError: the atlas belongs to another generator.
        ConfigError: the seed is the one that made the atlas, so the faces would not be unseen.
    """
    atlas, generator, decomposer = load_for_judging(
        config.atlas, config.seed, config.generator, config.decomposer, config.pair, make_fabric(config.devices).device
    )
    report = evaluate(config, atlas, generator, decomposer, atlas.names)
    if config.out is not None:
        write_text_atomic(config.out, json.dumps(asdict(report), indent=2) + "\n")
    return report
