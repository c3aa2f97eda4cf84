"""Errors of a network, in particular for values that are rare in the lopsided set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .renders import Imbalance
from .sets import Labelled
from .training import Kind

MIDDLING = 0.3
"""Share of the reach within which a picture counts as taken from the front."""

_CELLS = 4000
"""Number of bins of the histogram of cosines, from which error rates are computed."""


def errors_of(kind: Kind, said: Float[np.ndarray, "n d"], judged: Labelled, imbalance: Imbalance) -> dict[str, float]:
    """Errors of a network.

    Regression: mean absolute error over the ``rare`` values, the ``common`` ones, and ``all``. Verification: the equal
    error rate (in percent) of telling whether two pictures show one person. ``rare`` compares a frontal picture (see
    `MIDDLING`) with a rare one, ``common`` two frontal ones, ``all`` any two. ``rare_auc`` is 100 times the probability
    that, in pairs as for ``rare``, two people have a larger cosine than two pictures of one person: 100 (1 - AUC).
    """
    values = judged.labels[imbalance.semantic]
    rare, once = imbalance.rare(values), np.ones((1, judged.people.max() + 1))
    everything = np.full(len(values), True)
    if kind == "regression":
        groups = {"rare": rare, "common": ~rare, "all": everything}
        return {
            name: float(_mean_errors(said, values, judged.people, imbalance, use, once)[0])
            for name, use in groups.items()
        }
    middling = np.abs(values) <= MIDDLING * imbalance.reach
    found = {}
    for name, left, right in (
        ("rare", middling, rare),
        ("common", middling, middling),
        ("all", everything, everything),
    ):
        rates = Pairs.of(said, judged.people, left, right).rates(once[0])
        found[name] = rates[0]
        if name == "rare":
            found["rare_auc"] = rates[1]
    return found


def resampled_errors(
    kind: Kind,
    said: Float[np.ndarray, "n d"],
    judged: Labelled,
    imbalance: Imbalance,
    draws: Float[np.ndarray, "r people"],
) -> Float[np.ndarray, " r"]:
    """The main error (``rare`` or ``rare_auc``) if each person were drawn as often as in each row of ``draws``."""
    values = judged.labels[imbalance.semantic]
    rare = imbalance.rare(values)
    if kind == "regression":
        return _mean_errors(said, values, judged.people, imbalance, rare, draws)
    pairs = Pairs.of(said, judged.people, np.abs(values) <= MIDDLING * imbalance.reach, rare)
    return np.array([pairs.rates(times)[1] for times in draws])


def _mean_errors(
    said: Float[np.ndarray, "n 1"],
    values: Float[np.ndarray, " n"],
    people: Int[np.ndarray, " n"],
    imbalance: Imbalance,
    use: Bool[np.ndarray, " n"],
    draws: Float[np.ndarray, "r people"],
) -> Float[np.ndarray, " r"]:
    """Mean absolute error of some pictures, for every draw of people."""
    wrong = np.abs(said[:, 0].astype(np.float64) * imbalance.reach - values)
    weight = draws[:, people[use]]
    return weight @ wrong[use] / weight.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures: the bins of the histogram in which their cosines lie, and the people they show.

    ``own`` are pairs of one person, ``strange`` pairs of two.
    """

    own: Int[np.ndarray, " p"]
    own_people: Int[np.ndarray, " p"]
    strange: Int[np.ndarray, " q"]
    strange_people: Int[np.ndarray, "2 q"]

    @classmethod
    def of(
        cls,
        said: Float[np.ndarray, "n d"],
        people: Int[np.ndarray, " n"],
        left: Bool[np.ndarray, " n"],
        right: Bool[np.ndarray, " n"],
    ) -> "Pairs":
        """All pairs of a picture of the first kind and another one of the second kind."""
        unit = said.astype(np.float64) / np.linalg.norm(said.astype(np.float64), axis=1, keepdims=True)
        a, b = np.flatnonzero(left), np.flatnonzero(right)
        cells = np.clip(((unit[a] @ unit[b].T + 1) / 2 * _CELLS).astype(np.int64), 0, _CELLS - 1)
        same = people[a][:, None] == people[b][None]
        own, strange = same & (a[:, None] != b[None]), ~same
        whom = np.broadcast_to(people[a][:, None], same.shape), np.broadcast_to(people[b][None], same.shape)
        return cls(cells[own], whom[0][own], cells[strange], np.stack([part[strange] for part in whom]))

    def rates(self, times: Float[np.ndarray, " people"] | Sequence[float]) -> tuple[float, float]:
        """Equal error rate and one minus the area under the curve, in percent, if people are drawn so many times.

        Pairs of one person count as often as that person was drawn, pairs of two people by the product of both numbers.
        """
        times = np.asarray(times, float)
        one, other = self.strange_people
        own = np.bincount(self.own, times[self.own_people], _CELLS)
        strange = np.bincount(self.strange, times[one] * times[other], _CELLS)
        own, strange = own / own.sum(), strange / strange.sum()
        missed, accepted = np.cumsum(own), 1 - np.cumsum(strange)
        at = int(np.argmin(np.abs(missed - accepted)))
        return 50 * float(missed[at] + accepted[at]), 100 * float((own * (accepted + strange / 2)).sum())
