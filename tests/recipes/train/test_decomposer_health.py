"""Healthy trainings are left alone however noisy, and every known way to fail is recognised soon."""

import json
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from lineament.recipes.train.decomposer_health import (
    CONVEX_SHARE,
    DEPTH_STD,
    GRACE_STEPS,
    GRADIENT_NORM,
    LEARNING_STEPS,
    PERSISTENCE_STEPS,
    PITCH_STD,
    PIXEL_ERROR,
    ROLL_STD,
    SATURATED_SHARE,
    SEEN,
    YAW_STD,
    Collapse,
    HealthMonitor,
    healthy,
)

BASELINE = 0.34
SOON = 300

Curves = dict[str, np.ndarray]


def healthy_curves(seed: int, num_steps: int, *, pace: float = 400.0, batch: int = 8) -> Curves:
    """A training that goes well: errors fall, views widen from nothing; as noisy as batches of 8 faces are."""
    rng = np.random.default_rng(seed)
    t = np.arange(num_steps)
    done = 1 - np.exp(-t / pace)

    def noisy(curve: np.ndarray, noise: float) -> np.ndarray:
        return curve * np.exp(noise * rng.standard_normal(num_steps))

    return {
        PIXEL_ERROR: noisy(0.3 - 0.16 * done - 0.03 * t / num_steps, rng.uniform(0.05, 0.1)),
        SEEN: noisy(0.7 + 0.2 * done, 0.02),
        DEPTH_STD: noisy(0.02 + 0.03 * done, 0.05),
        CONVEX_SHARE: rng.binomial(batch, 0.9, num_steps) / batch,
        YAW_STD: noisy(20 * done + 0.2, 0.25),
        PITCH_STD: noisy(5 * done + 0.1, 0.25),
        ROLL_STD: noisy(3 * done + 0.1, 0.25),
        SATURATED_SHARE: rng.binomial(9 * batch, 0.03, num_steps) / (9 * batch),
        # Heavy tails: a batch in a hundred has a gradient many times the usual one.
        GRADIENT_NORM: noisy(5 * np.exp(-t / pace) + 2, 0.5) * np.where(rng.random(num_steps) < 0.01, 30, 1),
    }


def steps(curves: Curves) -> Iterator[dict[str, float]]:
    names = list(curves)
    for row in np.stack(list(curves.values()), axis=1).tolist():
        yield dict(zip(names, row, strict=True))


def first_collapse(curves: Curves, monitor: HealthMonitor | None = None) -> tuple[int, Collapse] | None:
    monitor = monitor or HealthMonitor(baseline_error=BASELINE)
    for step, values in enumerate(steps(curves)):
        if (collapse := monitor.update(step, values)) is not None:
            return step, collapse
    return None


def fade(curves: Curves, name: str, to: float, begin: int, within: int, noise: float = 0.08) -> None:
    """Lead a curve to a value within some steps, and hold it there."""
    rng = np.random.default_rng(begin)
    t = np.arange(len(curves[name]))
    share = np.clip((t - begin) / within, 0, 1)
    there = to * np.exp(noise * rng.standard_normal(len(t)))
    curves[name] = np.where(t < begin, curves[name], curves[name] * (1 - share) + there * share)


def planted(kind: str, begin: int, seed: int) -> Curves:
    """A training that goes well until ``begin``."""
    curves = healthy_curves(seed, begin + SOON + 1)
    error = np.median(curves[PIXEL_ERROR][begin - 50 : begin])
    if kind == "explosion":
        fade(curves, PIXEL_ERROR, 1.57 * error, begin, 40)
        fade(curves, YAW_STD, 37.0, begin, 40)
    elif kind == "explosion without yaw":
        fade(curves, PIXEL_ERROR, 1.42 * error, begin, 20)
    elif kind == "hollow":
        fade(curves, CONVEX_SHARE, 0.0, begin, 100)
    elif kind == "flat":
        fade(curves, DEPTH_STD, 0.0097, begin, 100)  # what the clamped border alone makes
    elif kind == "frozen views":
        for name in (YAW_STD, PITCH_STD, ROLL_STD):
            fade(curves, name, 0.3, begin, 40, noise=0.25)
    elif kind == "saturated":
        fade(curves, SATURATED_SHARE, 0.4, begin, 60)
    elif kind == "unseen":
        fade(curves, SEEN, 0.1, begin, 100)
    elif kind == "gradients":
        fade(curves, GRADIENT_NORM, 12 * np.median(curves[GRADIENT_NORM][begin - 50 : begin]), begin, 40, noise=0.5)
    return curves


KINDS = ["explosion", "explosion without yaw", "hollow", "flat", "frozen views", "saturated", "unseen", "gradients"]


@pytest.mark.parametrize("seed", range(20))
def test_healthy_trainings_are_left_alone(seed: int) -> None:
    assert first_collapse(healthy_curves(seed, 600)) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_long_healthy_trainings_are_left_alone(seed: int) -> None:
    assert first_collapse(healthy_curves(seed, 20_000, pace=(100.0, 400.0, 1500.0)[seed % 3])) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("begin", "seed"), [(300, 0), (450, 1), (600, 2)])
def test_collapses_are_recognised_soon_and_never_before_they_begin(kind: str, begin: int, seed: int) -> None:
    found = first_collapse(planted(kind, begin, seed))
    assert found is not None
    step, collapse = found
    assert begin < step <= begin + SOON
    assert collapse.kind == kind.removesuffix(" without yaw")
    assert collapse.curable is (kind != "frozen views")
    assert "\n" not in collapse.message


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_collapses_are_recognised_in_every_seed(kind: str) -> None:
    for seed in range(20):
        for begin in (300, 500, 1900):
            found = first_collapse(planted(kind, begin, seed))
            assert found is not None
            assert begin < found[0] <= begin + SOON
            assert found[1].kind == kind.removesuffix(" without yaw")


def test_the_message_of_an_explosion_has_the_numbers() -> None:
    curves = constant(600)
    curves[PIXEL_ERROR][400:], curves[YAW_STD][400:] = 0.22, 37.0
    found = first_collapse(curves)
    assert found is not None
    assert found[1].message.startswith("the pixel error rose from 0.14 to 0.2")
    assert "while the yaw spread to 3" in found[1].message


def test_a_widening_yaw_alone_is_no_explosion() -> None:
    curves = healthy_curves(0, 1000)
    fade(curves, YAW_STD, 34.0, 500, 300, noise=0.25)
    assert first_collapse(curves) is None
    curves = constant(1500)  # heads that turn far, and an error that falls no more
    curves[YAW_STD][:] = 34.0
    fade(curves, PIXEL_ERROR, 0.14, 0, 1)
    assert first_collapse(curves) is None


def test_a_little_error_with_a_wide_yaw_is_an_explosion() -> None:
    curves = constant(900)
    curves[PIXEL_ERROR][500:] = 0.165  # too little on its own
    assert first_collapse(curves) is None
    curves[YAW_STD][500:] = 36.0
    found = first_collapse(curves)
    assert found is not None
    assert found[1].kind == "explosion"


def test_a_training_that_begins_badly_is_judged_after_the_grace_period() -> None:
    curves = constant(GRACE_STEPS + PERSISTENCE_STEPS + 10)
    curves[CONVEX_SHARE][:] = 0.0
    found = first_collapse(curves)
    assert found is not None
    assert (found[0], found[1].kind) == (GRACE_STEPS + PERSISTENCE_STEPS - 1, "hollow")


def test_views_may_be_narrow_at_the_start() -> None:
    assert first_collapse(healthy_curves(0, 700, pace=1500.0)) is None
    curves = constant(600)
    for name in (YAW_STD, PITCH_STD):
        curves[name][:] = 0.1
    found = first_collapse(curves)
    assert found is not None
    assert found[1].kind == "frozen views"
    assert not found[1].curable
    curves[PITCH_STD][:] = 2.0  # heads that only nod
    assert first_collapse(curves) is None


def test_no_learning() -> None:
    curves = constant(LEARNING_STEPS + 100)
    curves[PIXEL_ERROR][:] = BASELINE + 0.01
    found = first_collapse(curves)
    assert found is not None
    assert (found[0], found[1].kind, found[1].curable) == (LEARNING_STEPS, "no learning", False)
    for baseline in (None, 0.0, 0.01):  # unknown, one image, nearly one image
        assert first_collapse(curves, HealthMonitor(baseline_error=baseline)) is None
    curves[PIXEL_ERROR][:] = BASELINE - 0.02
    assert first_collapse(curves) is None


def test_what_was_learned_before_counts() -> None:
    curves = constant(900)
    curves[PIXEL_ERROR][:] = 0.3
    curves[PIXEL_ERROR][400:] = 0.35  # above the baseline again, but it has been below
    assert first_collapse(curves) is None


@pytest.mark.parametrize("name", [PIXEL_ERROR, SEEN, DEPTH_STD, CONVEX_SHARE, YAW_STD, SATURATED_SHARE, GRADIENT_NORM])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_bad(name: str, value: float) -> None:
    curves = healthy_curves(0, 500)
    curves[name][300:] = value
    found = first_collapse(curves)
    assert found is not None
    assert found[0] == 300 + PERSISTENCE_STEPS - 1
    assert found[1].kind == ("gradients" if name == GRADIENT_NORM else "explosion")


def test_a_few_of_them_are_not_remembered() -> None:
    curves = healthy_curves(0, 700)
    for name in curves:
        curves[name][300:320], curves[name][500:510] = math.nan, math.inf
    assert first_collapse(curves) is None


def test_short_disturbances_pass() -> None:
    curves = healthy_curves(0, 1000)
    curves[PIXEL_ERROR][400:410] *= 2
    curves[CONVEX_SHARE][500:520] = 0.0
    curves[GRADIENT_NORM][600:610] = 1e6
    curves[SEEN][700:715] = 0.0
    assert first_collapse(curves) is None


def test_what_is_missing_is_not_judged() -> None:
    monitor = HealthMonitor(baseline_error=BASELINE)
    assert all(monitor.update(step, {}) is None for step in range(700))
    assert not monitor.suspicious
    curves = planted("hollow", 450, 0)
    assert first_collapse({name: curves[name] for name in (CONVEX_SHARE, YAW_STD)}) is not None
    assert first_collapse({name: curves[name] for name in (PIXEL_ERROR, YAW_STD, PITCH_STD)}) is None


def test_large_gradients_do_not_become_what_is_usual() -> None:
    monitor, curves = HealthMonitor(), constant(1000)
    curves[GRADIENT_NORM][400:] = 30.0
    reported = [monitor.update(step, values) is not None for step, values in enumerate(steps(curves))]
    begin = reported.index(True)
    assert begin <= 400 + SOON
    assert all(reported[begin:])


def test_a_wild_first_batch_is_soon_forgotten() -> None:
    monitor = HealthMonitor()
    monitor.update(0, {SEEN: 0.0})
    assert monitor.suspicious
    monitor.update(1, {SEEN: 0.85})
    assert not monitor.suspicious


@pytest.mark.parametrize("kind", KINDS)
def test_a_collapse_is_suspected_before_it_is_reported_and_reported_until_restarted(kind: str) -> None:
    monitor, suspected, collapse = HealthMonitor(baseline_error=BASELINE), [], None
    rows = list(steps(planted(kind, 400, 3)))
    while collapse is None:
        collapse = monitor.update(len(suspected), rows[len(suspected)])
        suspected.append(monitor.suspicious)
    assert all(suspected[-PERSISTENCE_STEPS:])
    assert not any(suspected[350:400])
    assert monitor.update(len(suspected), rows[len(suspected)]) is not None
    monitor.restarted(100)
    assert not monitor.suspicious
    assert all(monitor.update(100 + i, row) is None for i, row in enumerate(steps(healthy_curves(1, 300))))


def test_a_second_explosion_soon_after_a_restart_is_suspected_then_reported() -> None:
    monitor, curves = HealthMonitor(baseline_error=BASELINE), constant(500)
    curves[PIXEL_ERROR][80:] = 0.22
    monitor.restarted(1000)
    suspected, reported = [], []
    for step, values in enumerate(steps(curves)):
        reported.append(monitor.update(1000 + step, values) is not None)
        suspected.append(monitor.suspicious)
    assert not any(suspected[:80])
    assert all(suspected[120:])
    assert reported.index(True) == GRACE_STEPS + PERSISTENCE_STEPS - 1


def test_the_baseline_survives_a_restart() -> None:
    monitor, curves = HealthMonitor(baseline_error=BASELINE), constant(LEARNING_STEPS + 1)
    curves[PIXEL_ERROR][:] = BASELINE + 0.02
    monitor.restarted(0)
    found = first_collapse(curves, monitor)
    assert found is not None
    assert found[1].kind == "no learning"


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_is_judged_as_an_uninterrupted_one(kind: str) -> None:
    whole, resumed = HealthMonitor(baseline_error=BASELINE), HealthMonitor(baseline_error=BASELINE)
    reported = False
    for step, values in enumerate(steps(planted(kind, 320, 4))):
        if step in (0, 10, 250, 380, 420):
            state = json.loads(json.dumps(resumed.state(), allow_nan=False))
            resumed = HealthMonitor(baseline_error=BASELINE)
            resumed.restore(state)
            assert resumed.state() == whole.state()
        collapse = whole.update(step, values)
        assert resumed.update(step, values) == collapse
        assert resumed.suspicious == whole.suspicious
        reported |= collapse is not None
    assert reported
    assert resumed.state() == whole.state()


def test_restoring_forgets_what_was_there() -> None:
    fresh, used = HealthMonitor(), HealthMonitor()
    for step, values in enumerate(steps(planted("hollow", 300, 0))):
        used.update(step, values)
    used.restore(fresh.state())
    assert used.state() == fresh.state()


def test_the_state_does_not_change_with_the_monitor() -> None:
    monitor = HealthMonitor()
    rows = list(steps(healthy_curves(0, 100)))
    for step, values in enumerate(rows[:50]):
        monitor.update(step, values)
    state = monitor.state()
    kept = json.dumps(state)
    for step, values in enumerate(rows[50:]):
        monitor.update(50 + step, values)
    assert json.dumps(state) == kept


GOOD: Mapping[str, float] = {
    PIXEL_ERROR: 0.14,
    SEEN: 0.85,
    DEPTH_STD: 0.04,
    CONVEX_SHARE: 0.97,
    YAW_STD: 15.0,
    PITCH_STD: 4.0,
    ROLL_STD: 3.0,
    SATURATED_SHARE: 0.02,
    GRADIENT_NORM: 3.0,
}


def constant(num_steps: int) -> Curves:
    """A training that stands still in a healthy state, without noise."""
    return {name: np.full(num_steps, value) for name, value in GOOD.items()}


def test_a_healthy_result() -> None:
    assert healthy(GOOD) == []
    assert healthy({}) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({PIXEL_ERROR: 0.22}, "pixel error"),
        ({YAW_STD: 37.0}, "yaw"),
        ({SEEN: 0.1}, "compared"),
        ({CONVEX_SHARE: 0.1}, "hollow"),
        ({DEPTH_STD: 0.0097}, "flat"),
        ({SATURATED_SHARE: 0.3}, "range"),
        ({YAW_STD: 0.5, PITCH_STD: 0.5}, "same view"),
        ({DEPTH_STD: math.nan}, "nan"),
    ],
)
def test_an_unhealthy_result(changes: dict[str, float], word: str) -> None:
    (wrong,) = healthy({**GOOD, **changes})
    assert word in wrong
