"""What edits do to planted faces, where everything is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.directions.steps import HOLDABLE, linear_change, linear_step, step_length
from lineament.errors import ConfigError
from lineament.estimators.part_analysis import shape_of
from lineament.estimators.steps import mahalanobis_norm
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.recipes.evaluate import part_response as part_judge
from lineament.recipes.evaluate.part_response import SIZE_SD, Drift, PartObserver, random_steps, ratio_of_changes
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.parts import Localization, Part
from lineament.records.semantics import SEMANTIC_NAMES
from tests.localized import SIDE, WIDTH, PartWorld, part_world
from tests.made_up import with_parts

SCALARS = ("yaw", "ambient")
GLOBAL = 3
ALL_PARTS = tuple(f"part_{i}" for i in range(4))
"""This part moves all pixels alike."""


def a_direction(name: str, gradient: np.ndarray, cov: np.ndarray) -> Direction:
    pulled = cov @ gradient
    return Direction(
        name=name, unit="", sign="", description="", gradient=gradient, step=pulled / (gradient @ pulled),
        standard_error=np.zeros(WIDTH), r2=1.0, residual_std=0.0, mean=0.0, std=float(np.sqrt(gradient @ pulled)),
        range_seen=SeenRange(-3.0, -2.5, 0.0, 2.5, 3.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> PartWorld:
    planted = part_world(400)
    planted.bumps[GLOBAL] = 0.1
    return planted


@pytest.fixture(scope="module")
def planted_atlas(world: PartWorld) -> Atlas:
    """The atlas that a perfect discovery of the planted world would give."""
    mean, cov = world.w.mean(axis=0), np.cov(world.w.T)
    parts = []
    for i, gradient in enumerate(world.gradients):
        direction = a_direction(f"part_{i}", gradient, cov)
        parts.append(
            Part(
                direction, "whole face" if i == GLOBAL else "nose", 0.2, 3.0, 0.99, shape_of(world.bumps[i], world.mask)
            )
        )
    local = Localization(
        tuple(parts), ((0, 1),), world.scalar_gradients[None], world.bumps, np.zeros((2, 4, SIDE, SIDE)),
        np.ones((4, SIDE, SIDE)), world.mask,
        {"depth": 0.02, "albedo": 0.3}, 400,
    )  # fmt: skip
    return Atlas(
        directions=tuple(map(a_direction, SCALARS, world.scalar_gradients, (cov, cov))),
        w_mean=mean, w_cov=cov, num_samples=400, num_held_out=0, seed=0, truncation=1.0, generator_fingerprint="",
        decomposer_fingerprint="", generator={}, lineament_version="", created="2026-01-01", local=local,
    )  # fmt: skip


@pytest.fixture
def planted(
    world: PartWorld,
    planted_atlas: Atlas,
    tiny_networks: tuple[Generator, Decomposer],
    monkeypatch: pytest.MonkeyPatch,
) -> PartObserver:
    """A judge in a world whose images are the planted maps themselves: grey, and as bright as the parts say."""
    flat = torch.from_numpy(np.abs(world.bumps).max(axis=1).reshape(4, -1))

    def images_of_layers(generator: Generator, ws: Tensor, decomposer: Decomposer) -> Tensor:
        w = ws if ws.ndim == 2 else ws.mean(dim=1)  # every layer counts alike
        scores = (w - torch.from_numpy(planted_atlas.w_mean)) @ torch.from_numpy(world.gradients).T
        turned = (w - torch.from_numpy(planted_atlas.w_mean)) @ torch.from_numpy(world.scalar_gradients).T
        pictures = (scores @ flat).reshape(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1).clone()
        pictures[:, 0, 0, :2] += turned  # pose and light can be read off two pixels beyond the face
        return pictures

    def synthesize_edited(generator: Generator, w: Tensor, step: np.ndarray | None, shown_to: Decomposer) -> Tensor:
        return images_of_layers(generator, w if step is None else w + torch.from_numpy(step.mean(axis=0)), shown_to)

    def measure(decomposer: Decomposer, images: Tensor) -> np.ndarray:
        columns = np.zeros((len(images), len(SEMANTIC_NAMES)))
        shown = (images[:, 0, 0, :2] - images[:, 1, 0, :2]).numpy()
        columns[:, [SEMANTIC_NAMES.index(name) for name in SCALARS]] = shown
        return columns

    def maps_of_images(decomposer: Decomposer, images: Tensor) -> Tensor:
        return torch.cat([images[:, :1] * 0.02, images * 0.3], dim=1).flatten(1)

    for one in (images_of_layers, synthesize_edited, measure, maps_of_images):
        monkeypatch.setattr(part_judge, one.__name__, one)
    face = world.mask.copy()
    face[0] = False
    regions = {
        f"region {i}": (bump > bump.max() / 2) & face for i, bump in enumerate(np.abs(world.bumps).max(axis=1)[:3])
    }
    w = torch.from_numpy(world.w[:20])
    return PartObserver(planted_atlas, *tiny_networks, w, regions, face)


def test_a_planted_part_acts_in_its_region_and_a_global_one_everywhere(planted: PartObserver, world: PartWorld) -> None:
    face = world.mask.copy()
    face[0] = False
    for i, name in enumerate(planted.atlas.part_names):
        response = planted.response(linear_step(planted.atlas, {name: SIZE_SD}))
        if i == GLOBAL:
            np.testing.assert_allclose(response.ratios(), 1, rtol=1e-6)
            continue
        bump = np.abs(world.bumps[i]).max(axis=0)
        inside = (bump > bump.max() / 2) & face
        expected = bump[inside].mean() / bump[face & ~inside].mean()
        assert expected > 10
        for kind in ("images", "maps"):
            assert response.ratios(kind)[i] == pytest.approx(expected, rel=1e-4)
            assert response.ratios(kind).argmax() == i
        np.testing.assert_allclose(response.images[0, :, i], SIZE_SD * bump[inside].mean(), rtol=1e-4)


def test_faces_are_turned_to_the_front(planted: PartObserver) -> None:
    assert planted.front_deg == pytest.approx(0, abs=1e-6)


def test_drift_of_pose_and_light(planted: PartObserver) -> None:
    """One unit of light is a fifth of the range from -2.5 to 2.5."""
    drift = planted.drift(linear_step(planted.atlas, {"yaw": 3.0, "ambient": 0.5}, ()))
    assert drift.pose_deg == pytest.approx(3)
    assert drift.light == pytest.approx(0.1)
    still = planted.drift(linear_step(planted.atlas, {"part_0": SIZE_SD}))
    assert max(still.pose_deg, still.light) < 1e-6


def test_random_steps_are_as_long_as_edits_and_keep_pose(planted_atlas: Atlas) -> None:
    steps = np.concatenate(random_steps(planted_atlas, 5, 3))
    edits = [step_length(linear_step(planted_atlas, {name: SIZE_SD}), planted_atlas.w_cov) for name in ALL_PARTS]
    assert set(mahalanobis_norm(steps, planted_atlas.w_cov).round(6)) == set(np.round(edits, 6))
    np.testing.assert_allclose(steps @ planted_atlas.gradients().T, 0, atol=1e-9)
    np.testing.assert_array_equal(steps, np.concatenate(random_steps(planted_atlas, 5, 3)))
    assert np.linalg.matrix_rank(steps) == 5


def test_random_steps_move_the_layers_that_parts_move(tiny_atlas: Atlas) -> None:
    """Two parts of three are of the layers 4 to 6; the third of 7 to 9."""
    layered = with_parts(tiny_atlas)
    steps = np.array(random_steps(layered, 6, 0))
    moved = np.abs(steps).max(axis=2) > 0
    np.testing.assert_array_equal(moved[:, [0, 4, 9]], [[False, True, False]] * 4 + [[False, False, True]] * 2)
    edits = [step_length(linear_step(layered, {name: SIZE_SD}), layered.w_cov) for name in layered.part_names]
    np.testing.assert_allclose([step_length(step, layered.w_cov) for step in steps], np.repeat(edits, 2))
    held = [name for name in HOLDABLE if name in layered.names]
    np.testing.assert_allclose(linear_change(layered, held, steps), 0, atol=1e-9)


def test_an_atlas_without_parts_is_refused(planted: PartObserver, planted_atlas: Atlas) -> None:
    bare = replace(planted_atlas, local=None)
    with pytest.raises(ConfigError, match="has no parts of the face"):
        PartObserver(
            bare, planted.generator, planted.decomposer, torch.zeros(2, WIDTH), {}, np.ones((SIDE, SIDE), bool)
        )


def test_drifts_are_summed_up_by_kind() -> None:
    drifts = [Drift(1.0, 0.3), Drift(2.0, 0.1), Drift(6.0, 0.2)]
    assert (Drift.middle(drifts), Drift.most(drifts)) == (Drift(2.0, 0.2), Drift(6.0, 0.3))


def test_where_nothing_changes_there_is_no_ratio() -> None:
    np.testing.assert_array_equal(ratio_of_changes(np.array([[0.0, 2.0], [0.0, 1.0]])), [0, 2])
