"""The arms of the experiment: the training pictures of each network."""

from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError

from .renders import Imbalance
from .sets import Labelled
from .training import Kind, TrainingSet

Arm: TypeAlias = Literal[
    "as is",
    "oversampling",
    "standard",
    "re-weighting",
    "standard + oversampling",
    "generator alone",
    "ours",
    "ours + standard",
    "upper bound",
    "upper bound + standard",
]

ARMS: tuple[Arm, ...] = get_args(Arm)

ORACLES: tuple[Arm, ...] = ("upper bound", "upper bound + standard")
"""Arms that are trained on rendered pictures with rare values."""

OURS: tuple[Arm, ...] = ("generator alone", "ours", "ours + standard")
"""Arms that are trained on pictures from guided extrapolation: the generator's, or with the photographs' own pixels."""

BINS = 18
"""Number of bins in which the angle is counted; each is 5 degrees, or a tenth of slope, wide."""

REAL_SHARE = 0.2
"""Share of real pictures among the rare ones that our arms show for a regression; they are shown more often, because
there are so few. For a verification they are not, because they show so few people."""


def rarity(values: Float[np.ndarray, " n"], imbalance: Imbalance, power: float = 1.0) -> Float[np.ndarray, " n"]:
    """Rarity of each picture: (1 / number of pictures in its bin of the angle) ** power, scaled to mean one."""
    edges = np.linspace(-imbalance.reach, imbalance.reach, BINS + 1)[1:-1]
    of = np.searchsorted(edges, values)
    rare = (1 / np.bincount(of, minlength=BINS)[of]) ** power
    return rare / rare.mean()


def training_set(
    arm: Arm,
    kind: Kind,
    imbalance: Imbalance,
    lopsided: Labelled,
    balanced: Labelled,
    made: Labelled | None,
    power: float,
) -> TrainingSet:
    """The training set of an arm.

    Args:
        arm: name of the arm.
        kind: kind of task.
        imbalance: the values that are rare.
        lopsided: the lopsided training set.
        balanced: as many pictures of the same people with an even distribution.
        made: pictures from guided extrapolation; only our arms need them.
        power: exponent of the rarity by which rare pictures are drawn or weighted; 1 makes all bins count the same.
    """
    shown = [balanced if arm in ORACLES else lopsided]
    if arm in OURS:
        if made is None:
            raise ConfigError(f"the arm {arm!r} needs generated pictures, got none; make them first")
        shown.append(made)
    values = np.concatenate([some.labels[imbalance.semantic] for some in shown])
    chance, weight = np.ones(len(values)), np.ones(len(values))
    if "oversampling" in arm:
        chance = rarity(values, imbalance, power)
    elif arm == "re-weighting":
        weight = rarity(values, imbalance, power)
    elif arm in OURS and kind == "regression":
        rare = imbalance.rare(values)
        real = np.arange(len(values)) < len(lopsided)
        chance[rare & real] = REAL_SHARE * rare.sum() / (rare & real).sum()
        chance[rare & ~real] = (1 - REAL_SHARE) * rare.sum() / (rare & ~real).sum()
    return TrainingSet(
        np.concatenate([some.images for some in shown]),
        values,
        np.concatenate([some.people for some in shown]),
        np.concatenate([some.sources for some in shown]),
        chance,
        weight,
        augment="standard" in arm,
    )
