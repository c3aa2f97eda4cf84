"""The bench on which directions are measured: one generator, one judge, the same faces for every method."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.estimators.direction_measures import moved, smallest_leakage
from lineament.faces.carrying import carried_edit
from lineament.faces.labelled import Labeller, chosen_columns, judge_labeller, w_of
from lineament.faces.measure import measure, read, synthesize_edited
from lineament.faces.samples import HELD_OUT, REPORT
from lineament.networks.decomposer import Decomposer
from lineament.networks.judge import Judge
from lineament.networks.stylegan.generator import Generator
from lineament.records.attributes import NOT_IDENTITY
from lineament.records.found_directions import FoundDirections
from lineament.records.semantics import SEMANTIC_NAMES

MAIN = ("yaw", "pitch", "light_x", "light_y")
"""Attributes that are measured at all steps of `GRID`; the others only at `PAIR_OF_STEPS`."""

SIDE = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.5)
GRID = (*(-one for one in reversed(SIDE)), *SIDE)
"""Steps of the full measurement, in units of the step that moves the target by one standard deviation."""

PAIR_OF_STEPS = (-1.0, 1.0)
POPULATION, MORE = 512, HELD_OUT + (1 << 20)
"""Number of unedited faces from which standard deviations, distances between people and scores are computed; and number
of the first sample for random codes, far from all others."""

SCREENED_STEP = 0.3
"""Size of the steps by which directions are screened, in units of the typical distance of w from its mean."""

LEAST_EFFECT = 0.1
"""Smallest effect on the target, in standard deviations, for a direction to be considered."""

CANDIDATES = 2
"""Number of directions that are tried at the size of the final step, before one is chosen."""

LONGEST_STEP = 4.0
"""Longest step for one standard deviation of the target, in typical distances of w from its mean. A longer one no
longer gives faces."""

SCORE_QUANTILE = 0.05
"""A usable range ends where the discriminator's mean score falls to this quantile of the scores of untruncated
samples."""


@dataclass(frozen=True, eq=False)
class EditResponse:
    """Effect of an edit by several amounts on faces.

    Attributes:
        changes: changes of every attribute, in standard deviations.
        identity: distance from the unedited face, in units of the mean distance between two people.
        score: fall of the discriminator's score, in units of the allowed fall; 0 without a discriminator.
    """

    changes: Float[np.ndarray, "n s m"]
    identity: Float[np.ndarray, "n s"]
    score: Float[np.ndarray, "n s"]


@dataclass(frozen=True)
class Chosen:
    """The direction that is taken for an attribute.

    Attributes:
        index: number of the direction.
        amount: amount of the direction for one standard deviation of the attribute on the screening faces; negative
            if the direction points the other way.
        by_name: whether the method names the direction after the attribute; else the judge chose it.
    """

    index: int
    amount: float
    by_name: bool


class Bench:
    """Networks, faces and units that all methods share.

    Args:
        generator: the generator whose directions are measured.
        judge: reads attributes off images.
        discriminator: tells whether an image is still like the generator's; if None, usable ranges are limited only by
            the judge's identity.
        truncation: truncation of the faces.
        seed: seed of the faces.
        faces: number of faces to measure on.
        screened: number of other faces, on which directions and sizes of steps are chosen.

    Attributes:
        names: names of the attributes.
        r2: the judge's R^2 on renders, for each attribute.
        stds: standard deviation of each attribute over unedited faces, in the truth's units.
        typical: root mean square distance of w from its mean.

    Raises:
        ConfigError: the judge reads too few attributes well, or the discriminator belongs to another generator.
    """

    def __init__(
        self,
        generator: Generator,
        judge: Judge,
        discriminator: nn.Module | None,
        truncation: float,
        seed: int,
        faces: int,
        screened: int,
    ) -> None:
        self.generator, self.judge, self.discriminator = generator, judge, discriminator
        self.truncation, self.seed = truncation, seed
        like = generator.mapping.w_avg

        def latents(first: int, count: int, psi: float) -> Float[Tensor, "n d"]:
            return torch.from_numpy(w_of(generator, seed, range(first, first + count), psi)).to(like)

        population = latents(HELD_OUT, POPULATION, truncation)
        self.typical = float((population - population.mean(dim=0)).square().sum(dim=1).mean().sqrt())
        images = synthesize_edited(generator, population)
        values = read(judge, images)
        spread = values.std(axis=0)
        self._columns = chosen_columns(judge, spread)
        if len(self._columns) < 2:
            raise ConfigError(
                f"the judge reads {len(self._columns)} attributes of this generator well, expected 2 or more; train it "
                "longer, or on renders like the generator's images"
            )
        self.names = tuple(judge.names[i] for i in self._columns)
        truth_std, r2 = (buffer.double().cpu().numpy() for buffer in (judge.std, judge.r2))
        self.r2, self._spread = r2[self._columns], spread[self._columns]
        self.stds = self._spread * truth_std[self._columns]
        self._people = [i for i, name in enumerate(judge.names) if not name.startswith(NOT_IDENTITY)]
        identity = values[:, self._people]
        # The distance is 0 if the judge reads no attribute of identity; then divide by 1.
        self.person = float(np.linalg.norm(identity - np.roll(identity, 1, axis=0), axis=1).mean()) or 1.0
        self._fall = 1.0
        self._carrier: Decomposer | None = None
        if discriminator is not None:
            wild = synthesize_edited(generator, latents(HELD_OUT + POPULATION, POPULATION // 2, 1.0))
            low = np.quantile(self._scores(wild, len(wild)), SCORE_QUANTILE)
            self._fall = float(self._scores(images, len(images)).mean() - low)
            if not self._fall > 0:
                raise ConfigError("the discriminator likes untruncated samples best; it is not this generator's")
        self._faces = {True: latents(REPORT + faces, screened, truncation), False: latents(REPORT, faces, truncation)}
        self._before = {key: self._readings(synthesize_edited(generator, w)) for key, w in self._faces.items()}

    @property
    def carries(self) -> bool:
        """Whether edits of pose and light are carried."""
        return self._carrier is not None

    def carrying(self, decomposer: Decomposer) -> "Bench":
        """The same bench, on which edits of pose and light are carried by this decomposer."""
        twin = copy.copy(self)
        twin._carrier = decomposer
        return twin

    def respond(
        self, step: Float[np.ndarray, "l d"], amounts: Iterable[float], *, screened: bool = False, target: str = ""
    ) -> EditResponse:
        """Effect of a step, times each of the amounts, on the measured faces or on the screening faces.

        On a bench that carries, faces keep their own pixels if ``target`` is a semantic of pose or light: they are
        moved by as much of it as the decomposer sees in the images of the step, in the mean over the faces.
        """
        w, before = self._faces[screened], self._before[screened]
        sizes = np.array(list(amounts))
        moves = np.repeat(np.multiply.outer(sizes, step), len(w), axis=0)
        images = synthesize_edited(self.generator, w.repeat(len(sizes), 1), moves)
        if self._carrier is not None and target in SEMANTIC_NAMES:
            images = _carried(self._carrier, synthesize_edited(self.generator, w), images, target)
        readings = self._readings(images, len(w))
        values, people, scores = (
            part.reshape(len(sizes), *one.shape) - one for part, one in zip(readings, before, strict=True)
        )
        return EditResponse(
            changes=values.swapaxes(0, 1),
            identity=np.linalg.norm(people, axis=2).T / self.person,
            score=-scores.T / self._fall,
        )

    def respond_to_codes(self, steps: Float[np.ndarray, "k l d"], codes: Float[np.ndarray, "n k"]) -> np.ndarray:
        """Changes of every attribute ("n m", in standard deviations) when each of n new faces is moved by its codes."""
        numbers = range(MORE, MORE + len(codes))
        w = torch.from_numpy(w_of(self.generator, self.seed, numbers, self.truncation)).to(self.generator.mapping.w_avg)
        moves = np.einsum("nk,kld->nld", codes, steps, optimize=True)
        before, after = (read(self.judge, synthesize_edited(self.generator, w, step)) for step in (None, moves))
        return (after - before)[:, self._columns] / self._spread

    def images(self, number: int, step: Float[np.ndarray, "s l d"]) -> Float[Tensor, "s 3 h w"]:
        """One of the measured faces, moved by each of the steps."""
        return synthesize_edited(self.generator, self._faces[False][number : number + 1].expand(len(step), -1), step)

    def labeller(self) -> Labeller:
        """The judge as the source of labels for methods that need them: all attributes, in the truth's units."""
        return judge_labeller(self.judge, self._columns)

    def _readings(
        self, images: Float[Tensor, "n 3 h w"], faces: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attributes in standard deviations, attributes of identity, and scores; each edit has ``faces`` images."""
        values = read(self.judge, images)
        scores = np.zeros(len(images)) if self.discriminator is None else self._scores(images, faces or len(images))
        return values[:, self._columns] / self._spread, values[:, self._people], scores

    @torch.inference_mode()
    def _scores(self, images: Float[Tensor, "n 3 h w"], faces: int) -> Float[np.ndarray, " n"]:
        """Scores of the discriminator. It compares images within a batch, so every edit gets the same batches."""
        assert self.discriminator is not None
        parts = (part for edit in images.split(faces) for part in edit.split(32))
        return torch.cat([self.discriminator(part).flatten() for part in parts]).double().cpu().numpy()

    def units_of(self, found: FoundDirections) -> Float[np.ndarray, " k"]:
        """Amounts that give every step the length `SCREENED_STEP` in the layer that it moves most."""
        return SCREENED_STEP * self.typical / np.linalg.norm(found.steps, axis=2).max(axis=1)

    def choose(self, found: FoundDirections) -> dict[str, Chosen]:
        """The direction for every attribute: the one of that name if the method has it, else the one that leaks least.

        The judge chooses, on faces that are not measured afterwards. That favours methods without names: by themselves
        they do not tell which component turns a head. Attributes that no direction moves are missing.
        """
        units, pair = self.units_of(found), np.array(PAIR_OF_STEPS)
        unnamed = [name for name in self.names if name not in found.names]
        screened = range(len(found.steps)) if unnamed else [found.names.index(name) for name in self.names]
        seen = {i: self.respond(found.steps[i], units[i] * pair, screened=True).changes for i in screened}
        numbers = list(seen)
        changes = np.stack([seen[i] for i in numbers])
        chosen: dict[str, Chosen] = {}
        for target, name in enumerate(self.names):
            by_name = name in found.names
            tried: list[tuple[float, Chosen]] = []
            left = [numbers.index(found.names.index(name))] if by_name else list(range(len(numbers)))
            for _ in range(1 if by_name else CANDIDATES):
                best = left[0] if by_name else _least_leaking(changes, left, pair, target)
                if best is None:
                    break
                left.remove(best)
                index = numbers[best]
                effect = float(moved(changes[best], pair, target).mean())
                one = self._sized(found.steps[index], units[index] / effect, target) if effect else None
                if one is not None:
                    tried.append((one[1], Chosen(index, one[0], by_name)))
            if tried:
                chosen[name] = min(tried, key=lambda pair: pair[0])[1]
        return chosen

    def _sized(self, step: np.ndarray, amount: float, target: int) -> tuple[float, float] | None:
        """The amount for one standard deviation of the target, refined from a first guess, and its leakage.

        None if the step would be too long or has too little effect.
        """
        if abs(amount) * np.linalg.norm(step, axis=1).max() > LONGEST_STEP * self.typical:
            return None
        pair = np.array(PAIR_OF_STEPS)
        changes = self.respond(step, amount * pair, screened=True).changes
        effect = float(moved(changes, pair, target).mean())
        if effect < LEAST_EFFECT:
            return None
        leak = np.delete(np.abs(changes).mean(axis=(0, 1)), target).mean() / effect
        return amount / min(max(effect, 0.5), 2.0), float(leak)


def _carried(
    decomposer: Decomposer, before: Float[Tensor, "n 3 h w"], after: Float[Tensor, "sn 3 h w"], name: str
) -> Float[Tensor, "sn 3 h w"]:
    """Edited images of the same faces, one amount after the other, made of the faces' own pixels."""
    column, n = SEMANTIC_NAMES.index(name), len(before)
    present = measure(decomposer, before)[:, column].mean()
    parts = []
    for images in after.split(n):
        change = measure(decomposer, images)[:, column].mean() - present
        parts.append(carried_edit(decomposer, before, images, {name: np.full(n, change)})[0])
    return torch.cat(parts)


def _least_leaking(changes: np.ndarray, left: list[int], pair: np.ndarray, target: int) -> int | None:
    best = smallest_leakage(changes[left], pair, target, LEAST_EFFECT) if left else None
    return None if best is None else left[best]


def by_layers(found: FoundDirections, groups: Sequence[Sequence[int]]) -> FoundDirections:
    """Every direction once for all layers and once for each group of layers, as users of these methods try by hand."""
    steps, names = [found.steps], list(found.names)
    for group in groups:
        alone = np.zeros_like(found.steps)
        alone[:, list(group)] = found.steps[:, list(group)]
        steps.append(alone)
        names += [f"{name}, layers {group[0]}-{group[-1]}" for name in found.names]
    return replace(
        found,
        method=f"{found.method}, by layers",
        steps=np.concatenate(steps),
        names=tuple(names),
        units=found.units * (1 + len(groups)),
    )
