"""From requested changes to latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lineament.directions.steps import (
    HOLDABLE,
    MAX_CORRECTION,
    MAX_STRETCH,
    affordable_hold,
    calibrated_step,
    candidates_to_hold,
    linear_change,
    linear_step,
    step_length,
)
from lineament.errors import ConfigError
from lineament.estimators.steps import mahalanobis_norm
from lineament.faces.measure import measure, synthesize_edited
from lineament.ops.seeding import latents
from lineament.recipes.edit import parse_edits
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.semantics import SEMANTIC_NAMES
from tests import tiny
from tests.made_up import with_parts

RANGE = SeenRange(-3.0, -2.0, 0.0, 2.0, 3.0)


def atlas(*names: str, d: int = 8, seed: int = 0, **options) -> Atlas:
    rng = np.random.default_rng(seed)
    root = np.eye(d) + 0.3 * rng.normal(size=(d, d))
    cov = root @ root.T
    directions = []
    for name in names:
        gradient = rng.normal(size=d)
        pulled = cov @ gradient
        step = pulled / (gradient @ pulled)
        directions.append(
            Direction(name, "deg", "+", "-", gradient, step, np.ones(d), 0.9, 0.1, 0.0, 1.0, RANGE, **options)
        )
    return Atlas(tuple(directions), np.zeros(d), cov, 9, 9, 0, 1.0, "g", "d", {"num_layers": 5}, "0", "2025-01-31")


def test_alone_it_is_the_direction_times_the_change() -> None:
    found = atlas("yaw", "nose")
    np.testing.assert_allclose(linear_step(found, {"nose": 3.0}, ()), 3 * found.direction("nose").step[None])


def test_held_semantics_stay_and_missing_ones_are_ignored() -> None:
    found = atlas("yaw", "pitch", "light_x", "nose")
    (step,) = linear_step(found, {"yaw": 20.0, "nose": -1.0}, HOLDABLE)
    changes = dict(zip(found.names, found.gradients() @ step, strict=True))
    assert changes == pytest.approx({"yaw": 20, "pitch": 0, "light_x": 0, "nose": -1}, abs=1e-9)
    (free,) = linear_step(found, {"yaw": 20.0}, hold=())
    assert abs((found.gradients() @ free)[1]) > 1e-3
    inverse = np.linalg.inv(found.w_cov)
    assert free @ inverse @ free < step @ inverse @ step  # holding costs


def test_what_is_tied_to_the_edit_is_not_held() -> None:
    """Roll follows yaw but for a hundredth; holding it would take a step thirty times as long."""
    base = atlas("yaw", "pitch", "light_x")
    yaw = base.direction("yaw")
    rng = np.random.default_rng(5)
    tied = yaw.gradient + 0.03 * rng.normal(size=base.w_dim) * np.linalg.norm(yaw.gradient) / base.w_dim**0.5
    pulled = base.w_cov @ tied
    roll = replace(yaw, name="roll", gradient=tied, step=pulled / (tied @ pulled), standard_error=np.zeros_like(tied))
    found = replace(base, directions=(*base.directions, roll))
    held = affordable_hold(found, ("yaw",))
    assert "roll" not in held
    free, chosen, all_held = (linear_step(found, {"yaw": 1.0}, hold)[0] for hold in ((), None, HOLDABLE))
    lengths = mahalanobis_norm(np.stack([free, chosen, all_held]), found.w_cov)
    assert lengths[1] <= MAX_STRETCH * lengths[0] < lengths[2] / 3
    changes = dict(zip(found.names, found.gradients() @ chosen, strict=True))
    assert changes == pytest.approx(changes | {"yaw": 1.0} | dict.fromkeys(held, 0.0), abs=1e-9)


def test_calibration_corrects_the_step() -> None:
    found = atlas("yaw", calibration=((-10.0, -8.0), (0.0, 0.0), (10.0, 8.0)))
    np.testing.assert_allclose(calibrated_step(found, {"yaw": 4.0}), linear_step(found, {"yaw": 5.0}))


def test_calibration_does_not_push_beyond_the_faces() -> None:
    """A direction that achieves a tenth of its promise is not taken ten times as far."""
    found = atlas("yaw", calibration=((-10.0, -1.0), (0.0, 0.0), (10.0, 1.0)))
    limit = linear_step(found, {"yaw": 4.0 * MAX_CORRECTION})
    np.testing.assert_allclose(calibrated_step(found, {"yaw": 4.0}), limit)
    np.testing.assert_allclose(calibrated_step(found, {"yaw": -4.0}), -limit)


def test_impossible_and_unknown() -> None:
    twice = atlas("yaw", "pitch")
    same = Atlas(
        (twice.directions[0], atlas("x", "pitch").directions[1]),
        *(getattr(twice, n) for n in ("w_mean", "w_cov", "num_samples", "num_held_out", "seed", "truncation")),
        "g",
        "d",
        {},
        "0",
        "2025-01-31",
    )
    same.directions[1].gradient[:] = same.directions[0].gradient
    with pytest.raises(ConfigError, match="nearly collinear"):
        linear_step(same, {"yaw": 1.0}, ("pitch",))
    with pytest.raises(ConfigError, match="did you mean 'yaw'"):
        linear_step(twice, {"yaww": 1.0})


def test_a_direction_moves_its_own_layers_or_those_named() -> None:
    everywhere, some = atlas("yaw"), atlas("yaw", layers=(1, 3))
    step = everywhere.direction("yaw").step
    np.testing.assert_allclose(linear_step(everywhere, {"yaw": 1.0}, ()), step[None])
    np.testing.assert_allclose(linear_step(some, {"yaw": 1.0}, ()), np.outer([0, 1, 0, 1, 0], step))
    np.testing.assert_allclose(linear_step(everywhere, {"yaw": 1.0}, (), layers=[4]), np.outer([0, 0, 0, 0, 1], step))
    np.testing.assert_allclose(linear_step(some, {"yaw": 1.0}, (), layers=[4]), np.outer([0, 0, 0, 0, 1], step))
    nameless = replace(some, generator={})
    with pytest.raises(ConfigError, match="does not say how many layers"):
        linear_step(nameless, {"yaw": 1.0}, ())


def test_a_plain_step_is_the_shortest_one() -> None:
    found = atlas("yaw", "pitch")
    gradient = found.direction("yaw").gradient
    plain = linear_step(found, {"yaw": 2.0}, (), plain=True)
    np.testing.assert_allclose(plain, 2 * gradient[None] / (gradient @ gradient))


@pytest.fixture
def layered(tiny_atlas: Atlas) -> Atlas:
    """Mouth and brows at layers 4 to 6, nose at 7 to 9; every group of layers answers to pose and light by a share."""
    return with_parts(tiny_atlas)


def test_edits_of_different_layers_add_up_and_hold_each_other(layered: Atlas) -> None:
    changes = {"mouth": 1.5, "nose": -1.0, "yaw": 4.0}
    held = ("pitch", "brows")
    step = linear_step(layered, changes, held)
    assert step.shape == (10, layered.w_dim)
    np.testing.assert_array_equal(step[0], step[3])
    np.testing.assert_array_equal(step[4], step[6])
    names = (*changes, *held)
    achieved = dict(zip(names, linear_change(layered, names, step[None])[0], strict=True))
    assert achieved == pytest.approx(changes | dict.fromkeys(held, 0.0), abs=1e-9)
    alone = linear_step(layered, {"mouth": 1.5}, ())
    assert not alone[:4].any()
    assert not alone[7:].any()
    assert abs(linear_change(layered, ["pitch"], alone[None])[0, 0]) > 1e-3


def test_a_part_holds_the_parts_of_its_own_layers(layered: Atlas) -> None:
    assert "brows" in candidates_to_hold(layered, ["mouth"])
    assert not {"mouth", "nose"} & set(candidates_to_hold(layered, ["mouth"]))
    assert not {"mouth", "brows", "nose"} & set(candidates_to_hold(layered, ["yaw"]))


def test_the_length_of_a_step_is_that_of_the_layer_moved_most(layered: Atlas) -> None:
    step = linear_step(layered, {"mouth": 2.0}, ())
    assert step_length(step, layered.w_cov) == pytest.approx(2.0)
    step[9] = 3 * step[4]
    assert step_length(step, layered.w_cov) == pytest.approx(6.0)


def test_edited_images() -> None:
    generator = tiny.generator()
    w = generator.map(latents(0, range(3), 8))
    still = synthesize_edited(generator, w)
    torch.testing.assert_close(still, generator.synthesize(generator.broadcast(w)).clamp(-1, 1))
    move = np.random.default_rng(0).normal(size=8)
    step = np.zeros((generator.num_ws, 8))
    step[2] = move
    ws = generator.broadcast(w).clone()
    ws[:, 2] += torch.tensor(move, dtype=torch.float32)
    moved = synthesize_edited(generator, w, step)
    torch.testing.assert_close(moved, generator.synthesize(ws).clamp(-1, 1))
    per_face = synthesize_edited(generator, w, np.stack([0 * step, step, step]))
    torch.testing.assert_close(per_face, torch.cat([still[:1], moved[1:]]))
    everywhere = generator.synthesize(generator.broadcast(w + torch.tensor(move, dtype=torch.float32))).clamp(-1, 1)
    torch.testing.assert_close(synthesize_edited(generator, w, move[None]), everywhere)
    assert moved.abs().max() <= 1


def test_measure_takes_larger_images() -> None:
    decomposer = tiny.decomposer(gain=20.0)
    images = torch.rand(70, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    values = measure(decomposer, images)
    assert values.shape == (70, len(SEMANTIC_NAMES))
    assert values.dtype == np.float64
    np.testing.assert_allclose(measure(decomposer, images[66:67]), values[66:67], rtol=1e-4, atol=1e-4)
    doubled = images[:2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert measure(decomposer, doubled).shape == (2, len(SEMANTIC_NAMES))


def test_parse_edits() -> None:
    assert parse_edits(["yaw=+20", "light_x = -0.5", "pitch=3", "roll=@-4"]) == (
        {"yaw": 20.0, "light_x": -0.5},
        {"pitch": 3.0, "roll": -4.0},
    )
    assert parse_edits([]) == ({}, {})


@pytest.mark.parametrize("text", ["yaw", "yaw=", "=3", "yaw=left", "yaw=nan", "yaw=inf", "yaw=1=2", ""])
def test_not_an_edit(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an edit; expected name=number"):
        parse_edits([text])


def test_given_twice() -> None:
    with pytest.raises(ConfigError, match="yaw is given twice"):
        parse_edits(["yaw=+1", "yaw=2"])
