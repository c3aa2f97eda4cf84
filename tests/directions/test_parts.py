"""Parts found in a world where they are known."""

from dataclasses import replace

import numpy as np
import pytest

from lineament.directions.parts import MAX_UNIT, face_mask, find_parts, score, without_hair
from lineament.errors import ConfigError, DataError, ShapeError
from lineament.estimators.folds import NUM_FOLDS, add_to_folds, merged, summed
from lineament.estimators.part_scores import PartReader
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.steps import mahalanobis_norm
from lineament.records.part_settings import PartsConfig
from lineament.records.parts import Localization
from tests import tiny
from tests.localized import PartWorld, part_world

ALL = ((0, 1, 2),)
"""All layers in one group."""


def found_in(world: PartWorld, config: PartsConfig) -> Localization:
    folds = folds_of(world)
    return find_parts(merged(folds), folds, ALL, np.cov(world.w.T), world.scalar_gradients[None], world.mask, config)


def folds_of(world: PartWorld, batch: int = 50) -> list[PixelJacobian]:
    folds = [PixelJacobian() for _ in range(NUM_FOLDS)]
    for first in range(0, len(world.w), batch):
        part = slice(first, first + batch)
        add_to_folds(folds, first, world.w[part], world.maps[part])
    return folds


@pytest.fixture(scope="module")
def world() -> PartWorld:
    return part_world(600)


@pytest.fixture(scope="module")
def local(world: PartWorld) -> Localization:
    return found_in(world, PartsConfig(components=4))


def test_planted_parts_come_back(local: Localization, world: PartWorld) -> None:
    cov = np.cov(world.w.T)
    sizes = np.sqrt(np.einsum("kd,de,ke->k", world.gradients, cov, world.gradients))
    cosines = np.abs(local.gradients @ cov @ world.gradients.T / sizes)
    assert sorted(cosines.argmax(axis=1)) == [0, 1, 2, 3]
    assert cosines.max(axis=1).min() > 0.99
    np.testing.assert_allclose(np.einsum("kd,de,ke->k", local.gradients, cov, local.gradients), 1, atol=1e-6)
    for i, j in enumerate(cosines.argmax(axis=1)):
        truth = world.bumps[j] * local.mask
        mine = local.maps[i] * local.units[:, None, None]
        assert abs(float((mine * truth).sum())) > 0.99 * np.linalg.norm(mine) * np.linalg.norm(truth)
        assert local.parts[i].shape.depth_share == pytest.approx(j % 2, abs=0.05)
    assert all(part.stable for part in local.parts)
    assert local.num_samples == 600


def test_no_part_moves_pose(local: Localization, world: PartWorld) -> None:
    steps = np.array([part.direction.step for part in local.parts])
    sizes = np.sqrt(np.einsum("md,de,me->m", world.scalar_gradients, np.cov(world.w.T), world.scalar_gradients))
    assert np.abs(steps @ world.scalar_gradients.T / sizes).max() < 1e-6


def test_standard_errors_are_those_of_repeated_experiments(world: PartWorld) -> None:
    noisy = [part_world(300, noise=1.0, seed=0)]
    errors, gradients = [], []
    for seed in range(6):
        again = replace(noisy[0], **_resampled(noisy[0], seed))
        found = found_in(again, PartsConfig(components=4))
        cosines = found.gradients @ np.cov(again.w.T) @ again.gradients.T
        order = np.abs(cosines).argmax(axis=0)
        signs = np.sign(cosines[order, range(4)])[:, None]
        gradients.append(found.gradients[order] * signs)
        errors.append(np.array([part.direction.standard_error for part in found.parts])[order])
    spread = np.std(gradients, axis=0, ddof=1)
    assert 0.5 < np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(spread))) < 2


def _resampled(world: PartWorld, seed: int) -> dict[str, np.ndarray]:
    chosen = np.random.default_rng(seed).integers(0, len(world.w), len(world.w))
    fresh = part_world(len(world.w), noise=1.0, seed=0)
    return {"w": fresh.w[chosen], "maps": fresh.maps[chosen], "y": fresh.y[chosen]}


def test_what_is_not_there_does_not_come_back(world: PartWorld) -> None:
    found = found_in(part_world(80, noise=3.0), PartsConfig(components=9))
    assert not all(part.stable for part in found.parts)
    assert {part.name for part in found.parts if part.stable} != set(found.names)


def test_the_number_of_parts_is_that_of_the_leading_directions(world: PartWorld) -> None:
    found = found_in(world, PartsConfig(energy=0.98))
    assert len(found.parts) == 4
    few = found_in(world, PartsConfig(energy=0.98, max_components=2))
    assert len(few.parts) == 2


def test_samples_go_to_folds_by_their_number(world: PartWorld) -> None:
    one, other = folds_of(world, batch=7), folds_of(world, batch=50)
    for a, b in zip(one, other, strict=True):
        assert a.moments.count == b.moments.count == 150
        np.testing.assert_allclose(a.solve().coef_, b.solve().coef_, rtol=1e-4, atol=1e-6)


def test_scores_are_read_off_maps(local: Localization, world: PartWorld) -> None:
    fresh = part_world(200, seed=0)
    mean = world.w.mean(axis=0)
    J = summed(merged(folds_of(world)), 1)
    expected = (fresh.w - mean) @ PartReader(local).gradients(J).T
    seen = PartReader(local).read(fresh.maps)
    np.testing.assert_allclose(seen, expected, atol=0.1)
    assert np.corrcoef(expected[:, 0], (fresh.w - mean) @ local.gradients[0])[0, 1] > 0.9
    scored = score(local, J, fresh.w, mean, fresh.maps)
    for i, part in enumerate(scored.parts):
        assert part.direction.r2 > 0.99
        # What is seen of a part has become its unit.
        assert part.direction.std == pytest.approx(1, rel=1e-4)
        before = local.parts[i].direction
        assert before.step * seen[:, i].std() == pytest.approx(part.direction.step)
        np.testing.assert_allclose(scored.maps[i], local.maps[i] * seen[:, i].std(), rtol=1e-4)
    blind = score(local, J, np.random.default_rng(0).permutation(fresh.w), mean, fresh.maps)
    assert max(part.direction.r2 for part in blind.parts) < 0


def test_the_unit_of_a_part_is_no_step_beyond_the_faces(local: Localization, world: PartWorld) -> None:
    """What is seen varies a hundred times as much as the part's own layers make it vary."""
    J = summed(merged(folds_of(world)), 1)
    wild = (100 * (world.maps - world.maps.mean(axis=0)) + world.maps.mean(axis=0)).astype(np.float32)
    scored = score(local, J, world.w, world.w.mean(axis=0), wild)
    cov = np.cov(world.w.T)
    lengths = mahalanobis_norm(np.array([part.direction.step for part in scored.parts]), cov)
    np.testing.assert_allclose(lengths, MAX_UNIT)
    assert min(part.direction.std for part in scored.parts) > 10


def test_a_step_of_one_reads_as_one_and_of_no_other_part(local: Localization) -> None:
    moved = local.mean + local.maps * local.units[:, None, None]
    np.testing.assert_allclose(PartReader(local).read(moved.reshape(4, -1)), np.eye(4), atol=1e-4)


def test_turning_is_not_taken_for_a_part(local: Localization) -> None:
    """A pure change of pose in the maps reads as zero of every part."""
    moved = local.mean + local.scalar_maps[0] * local.units[:, None, None]
    assert np.abs(PartReader(local).read(moved.reshape(1, -1))).max() < 0.02


def test_names_are_unique_words(local: Localization) -> None:
    assert len(set(local.names)) == 4
    assert all(name.replace("_", "").isalnum() for name in local.names)


def test_the_mask_is_the_oval_without_the_fixed_columns() -> None:
    decomposer = tiny.decomposer()
    mask = face_mask(decomposer)
    fixed = (decomposer.border[0] != 0).numpy()
    assert mask.shape == (fixed.size, fixed.size)
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2]
    assert not mask[0, 0]
    assert not (mask & fixed).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0},
        {"components": 0},
        {"samples": 0},
        {"layer_groups": 0},
        {"max_alike": -0.1},
        {"sparsity": -1.0},
        {"restarts": 0},
        {"energy": 1.0},
        {"evenness": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(changes: dict) -> None:
    with pytest.raises(ConfigError, match=f"parts.{next(iter(changes))} is"):
        PartsConfig(**changes)


def test_hair_is_not_looked_at_unless_that_leaves_no_face() -> None:
    y, x = np.mgrid[-1:1:33j, -1:1:33j]
    shape = 1.05 - 0.15 * np.sqrt(np.clip(1 - (x / 0.8) ** 2 - (y / 0.95) ** 2, 0, None))
    mask = np.ones((33, 33), bool)
    inner = without_hair(shape, mask)
    assert inner[16, 16]
    assert not inner[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert not inner[:, [0, -1]].any()
    corner = np.zeros_like(mask)
    corner[:4, :4] = True
    np.testing.assert_array_equal(without_hair(shape, corner), corner)


def test_evenness_lets_the_quiet_pixels_speak() -> None:
    """A part of a tenth of the others' strength is found among the first if pixels are made to vary alike."""
    world = part_world(600, noise=1e-4)
    quiet = np.array([1.0, 1.0, 1.0, 0.1])
    means = world.maps.reshape(600, 4, 16, 16) - 0.9
    scores = (world.w - 0.5) @ world.gradients.T
    weak = np.einsum("nk,kchw->nchw", scores * (quiet - 1), world.bumps) + means + 0.9
    fainter = replace(world, maps=weak.reshape(600, -1).astype(np.float32))
    ranks = []
    for evenness in (0.0, 1.0):
        config = PartsConfig(components=4, evenness=evenness, sparsity=0.02)
        found = found_in(fainter, config)
        cosines = np.abs(found.gradients @ np.cov(world.w.T) @ world.gradients[3])
        ranks.append(found.parts[int(cosines.argmax())].explained if cosines.max() > 0.9 else 0.0)
    assert ranks[1] > 2 * ranks[0]


def test_settings_that_leave_no_part_are_errors_and_not_an_empty_atlas(world: PartWorld) -> None:
    with pytest.raises(ConfigError, match=r"n_components is 11, expected at most the rank of J, 10"):
        found_in(world, PartsConfig(components=11))
    with pytest.raises(ConfigError, match="leaves no entry of U"):
        found_in(world, PartsConfig(components=2, sparsity=100.0))


def test_maps_that_say_nothing_are_told(world: PartWorld) -> None:
    still = replace(world, maps=np.full_like(world.maps, 0.5))
    with pytest.raises(DataError, match="the same on every face"):
        found_in(still, PartsConfig())
    everything = np.eye(world.w.shape[1])
    with pytest.raises(DataError, match="pose and light use up all 12 dimensions"):
        found_in(replace(world, scalar_gradients=everything), PartsConfig())
    broken = replace(world, maps=np.where(np.arange(len(world.maps))[:, None] == 3, np.nan, world.maps))
    with pytest.raises(ShapeError, match="NaN or infinity"):
        folds_of(broken)


def test_layers_are_cut_into_runs_of_like_length() -> None:
    assert PartsConfig(layer_groups=3).groups(10) == ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert PartsConfig(layer_groups=5).groups(2) == ((0,), (1,))
    assert PartsConfig(layer_groups=1).groups(4) == ((0, 1, 2, 3),)


def test_too_few_samples_are_refused_before_any_is_taken() -> None:
    assert PartsConfig().num_samples(10, 16) == 16 * 5 * 16
    assert PartsConfig(samples=400, layer_groups=2).num_samples(10, 16) == 400
    with pytest.raises(ConfigError, match=r"half of 60 samples do not determine 32 coefficients.*more than 67"):
        PartsConfig(samples=60, layer_groups=2).num_samples(10, 16)


def test_parts_say_which_layers_they_move(world: PartWorld) -> None:
    """The same faces under w of two groups of layers, of which one does nothing."""
    idle = np.random.default_rng(8).standard_normal(world.w.shape) @ np.linalg.cholesky(np.cov(world.w.T)).T
    folds = [PixelJacobian() for _ in range(NUM_FOLDS)]
    add_to_folds(folds, 0, np.concatenate([idle, world.w], axis=1), world.maps)
    gradients = np.stack([np.zeros_like(world.scalar_gradients), world.scalar_gradients])
    groups = ((0, 1), (2, 3, 4))
    config = PartsConfig(components=4, count=4)
    local = find_parts(merged(folds), folds, groups, np.cov(world.w.T), gradients, world.mask, config)
    assert [part.direction.layers for part in local.parts] == [groups[1]] * 4
    cosines = np.abs(local.gradients @ np.cov(world.w.T) @ world.gradients.T)
    assert sorted(cosines.argmax(axis=1)) == [0, 1, 2, 3]
    np.testing.assert_allclose(local.scalar_gradients, gradients)
