"""Detect the collapse of a decomposer's training. The loss does not show it; a few other numbers of each step do.

Batches of 8 to 64 faces are noisy. So a sign of collapse counts only if an average is bad for many steps in a row.
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
"""Length of the average that is judged. It leaves a sixth of a step's noise: 2 % of the pixel error at batch size 8."""
SLOW_STEPS = 100
"""Length of the slow average; the pixel error is compared with its lowest value. It lags a falling error by as many
steps, so that with 200 a jump by 40 % early in a training would not stand out."""
GRACE_STEPS = 200
"""Nothing is reported in so many steps after a start or restart: views are still narrow and errors high."""
PERSISTENCE_STEPS = 40
"""A sign counts when it holds for so many steps in a row; a single bad batch leaves the fast average sooner."""
FROZEN_PERSISTENCE_STEPS = 150
"""The same for frozen views. Longer, because a slow start looks like them and they end a training."""
LEARNING_STEPS = 500
"""After so many steps the pixel error must be below that of the mean image. On renders that is 0.34, and 0.19 was
reached after 150 steps."""

ERROR_RISE = 1.2
"""Pixel error over its best value that counts as an explosion. Observed explosions rose by 40 % and more; noise stays
within 8 %."""
ERROR_RISE_WIDE = 1.1
"""The same where the yaw also spreads beyond `WIDE_YAW_DEG`; a wide yaw alone may come from the data."""
WIDE_YAW_DEG = 30.0
"""Standard deviation of the yaw that explosions exceed. Random yaws within 60 degrees give 35; healthy trainings have
5 to 20."""
ERROR_LIMIT = 0.2
"""Largest final pixel error of a healthy training: they end at 0.10 to 0.20, collapsed ones above."""
HOLLOW_SHARE = 0.5
"""Smallest share of convex faces; below it the canonical face is a hollow mask. All faces flip together, so the share
is near 1 or near 0."""
FLAT_DEPTH_STD = 0.013
"""Depth spread below which a face is flat. A flat face with its clamped border has 0.010 at 64 px and 0.007 at 128 px,
not 0; healthy faces have 0.02 to 0.06."""
FROZEN_DEG = 1.0
"""Views are frozen if yaw and pitch both spread less than this; in healthy trainings the yaw spreads by 5 or more."""
SATURATED_LIMIT = 0.25
"""Largest share of view and light outputs at the end of their range, where gradients vanish; single ones may be."""
SEEN_LIMIT = 0.2
"""Smallest share of compared pixels. 0.78 to 0.96 was observed; a surface that has left the image covers few."""
GRADIENT_RISE = 5.0
"""Gradient norm over its running median that counts as an explosion. Chosen, not measured: well above the variation
between batches and during a training."""
MEDIAN_STEPS = 200
"""Length of the running median. Only calm steps enter it, so that an explosion does not become the norm."""
MIN_BASELINE = 0.05
"""Smallest pixel error of the mean image that a training is compared with. Below it the images are nearly all the
same, and failing to beat their mean says nothing."""

_INCURABLE = ("frozen views", "no learning")
_PERSISTENCE = {"frozen views": FROZEN_PERSISTENCE_STEPS}

ONLY_SAID = ("frozen views",)
"""Signs that only give a warning, because the data may really be so: all faces may look straight ahead."""


@dataclass(frozen=True)
class Collapse:
    """What went wrong with a training."""

    kind: str
    """One of "explosion", "gradients", "unseen", "hollow", "flat", "saturated", "frozen views", "no learning"."""
    message: str
    """What was observed and what helps, in one line."""
    curable: bool
    """Whether a restart from a healthy state with a smaller learning rate may help; else the data are the cause."""


class HealthMonitor:
    """Watches a training step by step.

    Args:
        baseline_error: pixel error of the mean image, `recipes.train.image_checks.baseline_error`. If None, or below
            `MIN_BASELINE`, the training is not compared with it.
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
        """Whether some sign is bad right now; such a state must not be saved as healthy."""
        return self._suspicious

    def update(self, step: int, values: Mapping[str, float]) -> Collapse | None:
        """Take in the numbers of a step; to be called once for each step.

        Args:
            step: number of the step.
            values: the numbers by name. Missing ones are not judged; NaN and infinity are bad.

        Returns:
            The collapse, again at every step while it lasts, until `restarted` is called; or None.
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
        """Forget the past: the training continues at ``step`` from an earlier state. Nothing is judged for a while."""
        self._forget()
        self._started = step

    def state(self) -> dict[str, float | list[float] | int]:
        """The monitor's memory, in JSON's types; a resumed training is judged as if it was never interrupted."""
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
        """Update an exponential mean. It begins as a plain mean, so that it does not start at one noisy step."""
        self._counts[name] = self._counts.get(name, 0) + 1
        mean = self._means.get(name, value)
        self._means[name] = mean + (value - mean) / min(self._counts[name], num_steps)
        return self._means[name]

    def _take_in(self, values: Mapping[str, float]) -> dict[str, str]:
        """Update the averages, and return signs for values that are not finite; an average could never forget those."""
        broken: dict[str, str] = {}
        for name in (*_LEVELS, GRADIENT_NORM):
            value = values.get(name)
            if value is None:
                continue
            if not math.isfinite(value):
                kind = "gradients" if name == GRADIENT_NORM else "explosion"
                broken[kind] = f"{name} became {value}; a smaller learning rate helps"
            elif name == GRADIENT_NORM:
                # The logarithm, so that one spike by a factor of thousands does not outweigh a hundred calm steps.
                self._average(name, math.log(max(value, 1e-12)), FAST_STEPS)
            else:
                self._average(name, value, FAST_STEPS)
                if name == PIXEL_ERROR:
                    slow = self._average(_SLOW_ERROR, value, SLOW_STEPS)
                    if self._counts[_SLOW_ERROR] >= FAST_STEPS:
                        self._best = slow if self._best is None else min(self._best, slow)
        return broken

    def _judge(self, age: int) -> dict[str, str]:
        """Kinds and messages of the signs that are bad now, the clearest first."""
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
                f"{self._baseline:.2f}; check that the images are aligned faces"
            )
        return signs


def _bad_levels(values: Mapping[str, float]) -> dict[str, str]:
    """Kinds and messages of averages that are bad by themselves; missing or NaN values are not judged."""
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
            "check that the heads turn in the images"
        )
    return signs


def healthy(values: Mapping[str, float]) -> list[str]:
    """What is wrong with a finished training.

    Args:
        values: averages of its last numbers, by the names that `HealthMonitor.update` takes. Missing ones are not
            judged, nor is the gradient, which has no fixed scale.

    Returns:
        One line for each fault; empty if there is none.
    """
    wrong = [f"{name} is {values[name]}" for name in _LEVELS if name in values and not math.isfinite(values[name])]
    if (error := values.get(PIXEL_ERROR, 0.0)) > ERROR_LIMIT:
        wrong.append(f"the pixel error is {error:.2f} (healthy: at most {ERROR_LIMIT})")
    if (yaw := values.get(YAW_STD, 0.0)) > WIDE_YAW_DEG:
        wrong.append(f"the yaw spreads by {yaw:.0f} degrees (healthy: at most {WIDE_YAW_DEG:.0f})")
    return wrong + list(_bad_levels(values).values())
