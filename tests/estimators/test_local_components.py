"""Localized components of a planted world: bumps that w moves, beside a pose that moves everything."""

import numpy as np
import pytest

from lineament.errors import ShapeError
from lineament.estimators.local_components import LocalComponents, find_components
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


@pytest.fixture(scope="module")
def world() -> tuple[PixelJacobian, np.ndarray, np.ndarray]:
    """Samples of stretched w; the gradients of the four parts, uncorrelated with that of the pose; and that one."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(D, D)) * np.geomspace(3, 0.1, D)
    w = rng.normal(size=(3000, D)) @ root.T
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0][: K + 1]
    gradients = axes @ np.linalg.inv(root)  # each of variance 1, uncorrelated
    pose = rng.normal(size=P) * np.repeat([0.01, 1, 1, 1], SIDE**2)
    y = w @ gradients[:K].T @ bumps().T + np.outer(w @ gradients[K], pose)
    return PixelJacobian().partial_fit(w, y).solve(), gradients[:K], gradients[K:]


def found(world, pose: np.ndarray, mask: np.ndarray | None = None) -> LocalComponents:
    mask = np.ones(P, dtype=bool) if mask is None else mask
    return find_components(world[0], pose, mask, SparseFactors(K, alpha=0.01))


def test_planted_parts_come_back_in_standard_deviations_and_own_units(world) -> None:
    components = found(world, world[2])
    cov = world[0].w_cov_
    np.testing.assert_allclose(np.diagonal(components.gradients @ cov @ components.gradients.T), 1, rtol=1e-6)
    std = np.sqrt(np.diagonal(world[1] @ cov @ world[1].T))  # of these samples, 1 in the mean
    between = components.gradients @ cov @ world[1].T / std
    match = np.abs(between).argmax(axis=1)
    assert sorted(match) == list(range(K))
    assert np.abs(between).max(axis=1).min() > 0.99
    signs = np.sign(between[np.arange(K), match])
    np.testing.assert_allclose(components.maps * signs, (bumps() * std)[:, match], atol=0.05)
    assert components.scales["depth"] < 0.1 * components.scales["albedo"]


def test_no_component_moves_the_pose(world) -> None:
    components = found(world, world[2])
    assert np.abs(components.gradients @ world[0].w_cov_ @ world[2].T).max() < 1e-5
    # It matters: else the pose, which moves every pixel, is found instead of a part.
    kept = found(world, world[2][:0])
    assert np.abs(kept.gradients @ world[0].w_cov_ @ world[2].T).max() > 0.9


def test_outside_of_the_mask_nothing_is_found(world) -> None:
    mask = np.arange(P) % 2 == 0
    components = found(world, world[2], mask)
    assert (components.maps[~mask] == 0).all()
    assert (components.maps[mask] != 0).any()


def test_what_does_not_fit(world) -> None:
    with pytest.raises(ShapeError, match="do not fit a Jacobian of 1024 x 12"):
        found(world, world[2], np.ones(3, dtype=bool))
    with pytest.raises(ShapeError, match="do not fit"):
        found(world, np.ones((1, 5)))
