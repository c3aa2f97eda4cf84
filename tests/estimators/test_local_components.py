"""Localized components of a planted world: bumps that w moves, beside a pose that moves everything."""

from dataclasses import dataclass

import numpy as np
import pytest

from lineament.errors import ShapeError
from lineament.estimators.local_components import LocalComponents, concentrated, find_components
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.estimators.sparse_factors import SparseFactors

SIDE, D, K = 16, 12, 4
P = 4 * SIDE**2


def bumps() -> np.ndarray:
    """Blobs far from each other, one in the depth and three in a colour channel each: p k."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    maps = np.zeros((K, 4, SIDE, SIDE))
    for i, (y, x) in enumerate([(4, 4), (4, 11), (11, 4), (11, 11)]):
        maps[i, i] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
    maps[:, 0] *= 0.01  # depth is small in its unit
    return maps.reshape(K, P).T


@dataclass(frozen=True)
class World:
    """Two groups of layers, each with a stretched w of its own; two parts and a share of the pose for each."""

    jacobian: PixelJacobian
    cov: np.ndarray  # d d, of the w of either
    gradients: np.ndarray  # k d, of the parts: variance 1, uncorrelated with the pose
    groups: np.ndarray  # k
    pose: np.ndarray  # 2 1 d


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(D, D)) * np.geomspace(3, 0.1, D)
    w = rng.normal(size=(6000, 2, D)) @ root.T
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0][: K + 1]
    gradients = axes @ np.linalg.inv(root)
    groups = np.array([0, 0, 1, 1])
    scores = np.stack([w[:, group] @ gradients[k] for k, group in enumerate(groups)], axis=1)
    turned = (w @ gradients[K]).sum(axis=1)
    maps = rng.normal(size=P) * np.repeat([0.01, 1, 1, 1], SIDE**2)
    y = scores @ bumps().T + np.outer(turned, maps)
    jacobian = PixelJacobian().partial_fit(w.reshape(len(w), -1), y).solve()
    return World(jacobian, root @ root.T, gradients[:K], groups, np.stack([gradients[K:]] * 2))


def found(world: World, pose: np.ndarray, mask: np.ndarray | None = None, **settings) -> LocalComponents:
    mask = np.ones(P, dtype=bool) if mask is None else mask
    return find_components(world.jacobian, world.cov, pose, mask, SparseFactors(2, alpha=0.01), **settings)


def test_planted_parts_come_back_at_their_layers_in_standard_deviations_and_own_units(world: World) -> None:
    components = found(world, world.pose)
    np.testing.assert_allclose(np.diagonal(components.gradients @ world.cov @ components.gradients.T), 1, rtol=1e-6)
    between = components.gradients @ world.cov @ world.gradients.T
    match = np.abs(between).argmax(axis=1)
    assert sorted(match) == list(range(K))
    assert np.abs(between).max(axis=1).min() > 0.99
    np.testing.assert_array_equal(components.groups, world.groups[match])
    signs = np.sign(between[np.arange(K), match])
    np.testing.assert_allclose(components.maps * signs, bumps()[:, match], atol=0.05)
    assert components.scales["depth"] < 0.1 * components.scales["albedo"]
    strongest = components.maps[np.abs(components.maps).argmax(axis=0), np.arange(K)]
    assert (strongest > 0).all()


def test_strongest_first_and_no_more_than_asked_for(world: World) -> None:
    every, few = found(world, world.pose), found(world, world.pose, count=3)
    strengths = every.contrasts * np.linalg.norm(every.maps / every.units[:, None], axis=0)
    assert (np.diff(strengths) <= 1e-6 * strengths[0]).all()
    np.testing.assert_allclose(few.gradients, every.gradients[:3])


def test_no_component_moves_the_pose(world: World) -> None:
    components = found(world, world.pose)
    pose = world.pose[0, 0]
    assert np.abs(components.gradients @ world.cov @ pose).max() < 1e-5
    # It matters: else the pose, which moves every pixel, is found instead of a part.
    kept = found(world, world.pose[:, :0])
    assert np.abs(kept.gradients @ world.cov @ pose).max() > 0.9


def test_what_acts_as_a_stronger_one_does_is_left_out(world: World) -> None:
    """Two groups of layers that do the same: each part is found once."""
    d = D
    same = PixelJacobian()
    w = np.random.default_rng(1).normal(size=(3000, 2, d)) @ np.linalg.cholesky(world.cov).T
    scores = (w @ world.gradients[:2].T).sum(axis=1)
    same.partial_fit(w.reshape(len(w), -1), scores @ bumps()[:, :2].T).solve()
    mask = np.ones(P, dtype=bool)
    both = find_components(same, world.cov, world.pose, mask, SparseFactors(2, alpha=0.01))
    once = find_components(same, world.cov, world.pose, mask, SparseFactors(2, alpha=0.01), max_alike=0.7)
    assert (len(both), len(once)) == (4, 2)
    assert abs(float(once.maps[:, 0] @ once.maps[:, 1])) < 0.1 * np.square(once.maps).sum(axis=0).min()


def test_a_direction_is_concentrated_where_its_map_is() -> None:
    """Two directions move one spot alike, but one of them also the rest: the other is the better one."""
    rng = np.random.default_rng(3)
    pixels, d = 60, 5
    rows = 0.2 * rng.normal(size=(4, pixels, d))
    rows[:, :10, :2] = 1.0  # the spot
    rows[:, 10:, 1] = 0.6  # the rest follows the second direction
    flat = rows.reshape(-1, d).astype(np.float32)
    U = np.zeros((4, pixels, 1))
    U[:, :10] = 1.0
    start = np.ones((d, 1)) * np.sqrt([[0.5], [0.5], [0], [0], [0]])
    better, contrast = concentrated(flat, U.reshape(-1, 1), start)
    assert np.linalg.norm(better) == pytest.approx(1)
    assert abs(better[0, 0]) > 0.9 > 3 * abs(better[1, 0])

    def ratio(v: np.ndarray) -> float:
        change = np.linalg.norm((rows @ v)[..., 0], axis=0)
        return float(change[:10].mean() / change[10:].mean())

    assert contrast[0] == pytest.approx(ratio(better), rel=1e-5)
    assert contrast[0] > 1.5 * ratio(start)
    turned, _ = concentrated(-flat, U.reshape(-1, 1), start)
    np.testing.assert_allclose(turned, -better, atol=1e-6)


def test_a_map_that_acts_everywhere_keeps_its_direction() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    V = np.eye(3)[:, :1]
    same, contrast = concentrated(rows, np.ones((40, 1)), V)
    np.testing.assert_array_equal(np.abs(same), V)
    assert contrast[0] == 1


def test_outside_of_the_mask_nothing_is_found(world: World) -> None:
    mask = np.tile(np.arange(SIDE**2) % 2 == 0, 4)
    components = found(world, world.pose, mask)
    assert (components.maps[~mask] == 0).all()
    assert (components.maps[mask] != 0).any()


def test_what_does_not_fit(world: World) -> None:
    with pytest.raises(ShapeError, match="do not fit a Jacobian of 1024 x 24"):
        found(world, world.pose, np.ones(3, dtype=bool))
    with pytest.raises(ShapeError, match="do not fit"):
        found(world, world.pose[:1])
