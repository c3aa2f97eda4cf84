"""Whether a decomposer's training is going well: its loss does not tell, a few numbers of each step do.

A sign must be bad on average and for many steps on end before it counts, as batches of 8 to 64 faces are noisy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

PIXEL_ERROR, SEEN, DEPTH_STD = "health/pixel_error", "health/seen", "health/depth_std"
CONVEX_SHARE, SATURATED_SHARE = "health/convex_share", "health/saturated_share"
PITCH_STD, YAW_STD, ROLL_STD = "health/pitch_std_deg", "health/yaw_std_deg", "health/roll_std_deg"
GRADIENT_NORM = "gradient_norm"

_LEVELS = (PIXEL_ERROR, SEEN, DEPTH_STD, CONVEX_SHARE, SATURATED_SHARE, PITCH_STD, YAW_STD, ROLL_STD)
_SLOW_ERROR = "slow error"

FAST_STEPS = 20
"""Length of the average that is judged: leaves a sixth of the noise of a step, 2 % of a batch of 8's pixel error."""
SLOW_STEPS = 100
"""Length of the average whose lowest value the pixel error is held against. It trails a falling error by as much:
with 200 steps a jump by 40 % early in a training would not stand out."""
GRACE_STEPS = 200
"""Nothing is reported so soon after a start or restart: views are narrow then and errors high."""
PERSISTENCE_STEPS = 40
"""A sign counts when it holds for so many steps on end: a single wild batch has left the fast average long before."""
FROZEN_PERSISTENCE_STEPS = 150
"""The same of frozen views: a slow start looks like them, and a training is given up for them."""
LEARNING_STEPS = 500
"""By then the pixel error must be below that of the mean image; on renders, 0.34, it was at 0.19 after 150."""

ERROR_RISE = 1.2
"""The pixel error over its best that is an explosion: those seen rose by 40 % and more, noise stays within 8 %."""
ERROR_RISE_WIDE = 1.1
"""The same where the yaw spreads beyond `WIDE_YAW_DEG`, which on its own may be the data's."""
WIDE_YAW_DEG = 30.0
"""Spread of the yaw that explosions go beyond; 35 is as good as random within 60. Healthy ones are 5 to 20."""
ERROR_LIMIT = 0.2
"""Final pixel error of a healthy training at most: they end at 0.10 to 0.20, collapsed ones above."""
HOLLOW_SHARE = 0.5
"""With fewer convex faces the canonical face is a hollow mask; the share is near 1 or near 0, as all faces flip."""
FLAT_DEPTH_STD = 0.013
"""A flat face in its clamped border has 0.010 at 64 px and 0.007 at 128 px, not 0; healthy ones have 0.02 to 0.06."""
FROZEN_DEG = 1.0
"""Yaw and pitch that both spread less than this are noise; of healthy ones the yaw spreads by 5 and more."""
SATURATED_LIMIT = 0.25
"""Share of view and light outputs at the end of their range, where they hardly learn; a single one may well be."""
SEEN_LIMIT = 0.2
"""Share of the pixels compared; 0.78 to 0.96 was seen, and a surface that has left the image fills little."""
GRADIENT_RISE = 5.0
"""The gradient over its running median. Chosen, not measured: beyond what batches and the pace of a training do."""
MEDIAN_STEPS = 200
"""Length of the running median, of calm steps: an explosion must not become what is usual."""
MIN_BASELINE = 0.05
"""Images that differ from their mean by less are nearly one image: that the mean is hard to beat then says nothing."""

_INCURABLE = ("frozen views", "no learning")
_PERSISTENCE = {"frozen views": FROZEN_PERSISTENCE_STEPS}

ONLY_SAID = ("frozen views",)
"""Signs that are worth a warning but may be the truth: faces that all look straight ahead, for one."""


@dataclass(frozen=True)
class Collapse:
    """What went wrong with a training."""

    kind: str
    """One of "explosion", "gradients", "unseen", "hollow", "flat", "saturated", "frozen views", "no learning"."""
    message: str
    """What was seen and what helps, in one line."""
    curable: bool
    """Whether a restart from a healthy state with a smaller learning rate may help; if not, the data are at fault."""


class HealthMonitor:
    """Watches a training step by step.

    Args:
        baseline_error: pixel error of the mean image, `recipes.train.image_checks.baseline_error`. If None, or if
            the images hardly differ, the training is not held against it.
    """

    def __init__(self, *, baseline_error: float | None = None) -> None:
        self._baseline = baseline_error
        self._forget()

    def _forget(self) -> None:
        self._started: int | None = None
        self._best: float | None = None
        self._suspicious = False
        self._means: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._signs: dict[str, int] = {}
        self._norms: list[float] = []

    @property
    def suspicious(self) -> bool:
        """Whether some sign is bad right now: such a state must not become the last healthy one."""
        return self._suspicious

    def update(self, step: int, values: Mapping[str, float]) -> Collapse | None:
        """Take in the numbers of a step; called once for each.

        Args:
            step: its number.
            values: the numbers by name; what is missing is not judged, NaN and infinity are bad.

        Returns:
            What is wrong, at every step for as long as it is, until `restarted`; or None.
        """
        if self._started is None:
            self._started = step
        age = step - self._started
        signs = self._take_in(values) | self._judge(age)
        if GRADIENT_NORM in values and "gradients" not in signs:
            self._norms = [*self._norms[1 - MEDIAN_STEPS :], float(values[GRADIENT_NORM])]
        if age < GRACE_STEPS:
            self._suspicious = any(kind not in _INCURABLE for kind in signs)
            return None
        self._suspicious = bool(signs)
        self._signs = {kind: self._signs.get(kind, 0) + 1 for kind in signs}
        for kind, message in signs.items():
            if self._signs[kind] >= _PERSISTENCE.get(kind, PERSISTENCE_STEPS):
                return Collapse(kind, message, curable=kind not in _INCURABLE)
        return None

    def restarted(self, step: int) -> None:
        """Forget the past, as the training goes on at ``step`` from an earlier state; nothing is judged for a while."""
        self._forget()
        self._started = step

    def state(self) -> dict[str, float | list[float] | int]:
        """What is remembered, in JSON's types; a training that goes on with it is judged as if never interrupted."""
        state: dict[str, float | list[float] | int] = {
            "suspicious": int(self._suspicious),
            "gradient_norms": list(self._norms),
        }
        if self._started is not None:
            state["started"] = self._started
        if self._best is not None:
            state["best"] = self._best
        for group, entries in (("mean", self._means), ("count", self._counts), ("sign", self._signs)):
            state |= {f"{group}/{name}": value for name, value in entries.items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._started, self._best = state.get("started"), state.get("best")
        self._suspicious, self._norms = bool(state["suspicious"]), list(state["gradient_norms"])
        groups: dict[str, dict[str, Any]] = {"mean": {}, "count": {}, "sign": {}}
        for key, value in state.items():
            group, _, name = key.partition("/")
            if name:
                groups[group][name] = value
        self._means, self._counts, self._signs = groups["mean"], groups["count"], groups["sign"]

    def _average(self, name: str, value: float, num_steps: int) -> float:
        """An exponential mean, at first a plain one, so that it does not begin at the noise of one step."""
        self._counts[name] = self._counts.get(name, 0) + 1
        mean = self._means.get(name, value)
        self._means[name] = mean + (value - mean) / min(self._counts[name], num_steps)
        return self._means[name]

    def _take_in(self, values: Mapping[str, float]) -> dict[str, str]:
        """Update the averages; signs of what is not finite, which no average could take up and forget again."""
        broken: dict[str, str] = {}
        for name in (*_LEVELS, GRADIENT_NORM):
            value = values.get(name)
            if value is None:
                continue
            if not math.isfinite(value):
                kind = "gradients" if name == GRADIENT_NORM else "explosion"
                broken[kind] = f"{name} became {value}; a smaller learning rate helps"
            elif name == GRADIENT_NORM:
                # Its logarithm, so that one spike by a factor of thousands does not outweigh a hundred calm steps.
                self._average(name, math.log(max(value, 1e-12)), FAST_STEPS)
            else:
                self._average(name, value, FAST_STEPS)
                if name == PIXEL_ERROR:
                    slow = self._average(_SLOW_ERROR, value, SLOW_STEPS)
                    if self._counts[_SLOW_ERROR] >= FAST_STEPS:
                        self._best = slow if self._best is None else min(self._best, slow)
        return broken

    def _judge(self, age: int) -> dict[str, str]:
        """Kinds and messages of the signs that are bad now, the most telling first."""
        signs: dict[str, str] = {}
        best, error = self._best, self._means.get(PIXEL_ERROR, 0.0)
        yaw = self._means.get(YAW_STD, 0.0)
        wide = yaw > WIDE_YAW_DEG
        if best is not None and error > best * (ERROR_RISE_WIDE if wide else ERROR_RISE):
            spread = f" while the yaw spread to {yaw:.0f} degrees" if wide else ""
            signs["explosion"] = (
                f"the pixel error rose from {best:.2f} to {error:.2f}{spread}; a smaller learning rate helps"
            )
        if len(self._norms) >= MEDIAN_STEPS // 2:
            norm, usual = math.exp(self._means[GRADIENT_NORM]), median(self._norms)
            if norm > GRADIENT_RISE * usual:
                signs["gradients"] = (
                    f"the norm of the gradient rose from {usual:.2g} to {norm:.2g}; a smaller learning rate helps"
                )
        signs |= _bad_levels(self._means)
        late = age > LEARNING_STEPS - PERSISTENCE_STEPS
        if (
            late
            and self._baseline is not None
            and best is not None
            and MIN_BASELINE < self._baseline <= min(best, error)
        ):
            signs["no learning"] = (
                f"after {age} steps the pixel error of {error:.2f} is not below that of the mean image, "
                f"{self._baseline:.2f}; look whether the images are aligned faces"
            )
        return signs


def _bad_levels(values: Mapping[str, float]) -> dict[str, str]:
    """Kinds and messages of what averages say on their own; what is missing (or NaN) is not judged."""
    seen, depth_std, convex_share, saturated_share, pitch, yaw = (
        values.get(name, math.nan) for name in (SEEN, DEPTH_STD, CONVEX_SHARE, SATURATED_SHARE, PITCH_STD, YAW_STD)
    )
    signs: dict[str, str] = {}
    if seen < SEEN_LIMIT:
        signs["unseen"] = (
            f"only {seen:.0%} of the pixels are compared, the surface left the image; a smaller learning rate helps"
        )
    if convex_share < HOLLOW_SHARE:
        signs["hollow"] = (
            f"only {convex_share:.0%} of the faces have their nose nearer than their cheeks, the shape is a hollow "
            "mask; a start from an ellipsoid and a smaller learning rate help"
        )
    if depth_std < FLAT_DEPTH_STD:
        signs["flat"] = (
            f"the depth varies by {depth_std:.3f} within a face, it is flat (healthy: 0.02 to 0.06); "
            "a smaller learning rate helps"
        )
    if saturated_share > SATURATED_LIMIT:
        signs["saturated"] = (
            f"{saturated_share:.0%} of the view and light outputs are at the end of their range; "
            "a smaller learning rate helps"
        )
    if yaw < FROZEN_DEG and pitch < FROZEN_DEG:
        signs["frozen views"] = (
            f"the yaw varies by {yaw:.1f} and the pitch by {pitch:.1f} degrees, every face gets the same view; "
            "look whether the heads turn in the images"
        )
    return signs


def healthy(values: Mapping[str, float]) -> list[str]:
    """What is wrong with a finished training.

    Args:
        values: its last numbers, averaged, by the names that `HealthMonitor.update` takes; what is missing is not
            judged, nor is the gradient, which has no scale of its own.

    Returns:
        One line for each thing; empty if nothing is.
    """
    wrong = [f"{name} is {values[name]}" for name in _LEVELS if name in values and not math.isfinite(values[name])]
    if (error := values.get(PIXEL_ERROR, 0.0)) > ERROR_LIMIT:
        wrong.append(f"the pixel error is {error:.2f} (healthy: at most {ERROR_LIMIT})")
    if (yaw := values.get(YAW_STD, 0.0)) > WIDE_YAW_DEG:
        wrong.append(f"the yaw spreads by {yaw:.0f} degrees (healthy: at most {WIDE_YAW_DEG:.0f})")
    return wrong + list(_bad_levels(values).values())
