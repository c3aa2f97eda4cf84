"""Shape, place, matching and order of planted components."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from lineament.errors import ShapeError
from lineament.estimators.part_analysis import cluster_order, cosine_matrix, match, place_of, positions, shape_of, zones

SIDE = 64
EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)
NAMES = {"hair and border", "brows", "temples", "forehead", "eyes", "nose", "mouth", "chin and jaw", "cheeks"}


def bump(x: float, y: float, size: float = 0.06, side: int = SIDE) -> np.ndarray:
    columns, rows = positions((side, side))
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * size**2))


def change(depth: np.ndarray | float = 0.0, albedo: np.ndarray | float = 0.0) -> np.ndarray:
    return np.stack([np.broadcast_to(part, (SIDE, SIDE)) for part in (depth, albedo, 0.0, 0.0)]).astype(np.float32)


def head(tip: float = 0.1, half_width: float = 0.72, side: int = SIDE) -> np.ndarray:
    """Half an ellipsoid with a nose before a plane; beside the nose it falls off halfway at half its width."""
    x, y = positions((side, side))
    # Halfway from 0.92 to 1.05 is 0.065 before the plane: there the root below is 0.65.
    rest = (1 - (x / half_width) ** 2 * (1 - 0.65**2) - ((y - tip) / 1.1) ** 2).clip(0)
    return 1.05 - 0.1 * np.sqrt(rest) - 0.03 * bump(0, tip, 0.08, side)


def word(energy: np.ndarray, **changed: Any) -> str:
    return place_of(shape_of(change(np.sqrt(energy)), EVERYWHERE), energy, zones(head(**changed), EVERYWHERE))


def test_a_bump_is_where_it_was_planted() -> None:
    shape = shape_of(change(bump(0.4, -0.3), 2 * bump(0.4, -0.3)), EVERYWHERE)
    assert (shape.x, shape.y) == pytest.approx((0.4, -0.3), abs=1e-3)
    assert shape.depth_share == pytest.approx(1 / 5)
    assert shape.sidedness == pytest.approx(1, abs=1e-6)
    assert shape.symmetry == pytest.approx(0, abs=1e-6)
    # Energy is a bump of variance s^2 / 2: 80 % of it lie within r^2 = s^2 ln 5, an area of pi r^2 of the square's 4.
    wide = shape_of(change(bump(0, 0, 0.2)), EVERYWHERE)
    assert wide.extent == pytest.approx(np.pi * 0.2**2 * np.log(5) / 4, rel=0.05)


def test_extent_is_a_share_of_the_mask_and_counts_whole_pixels() -> None:
    assert shape_of(change(1.0), EVERYWHERE).extent == pytest.approx(0.8, abs=1 / SIDE**2)
    mask = EVERYWHERE & (np.arange(SIDE) < 10)
    assert shape_of(change(1.0), mask).extent == pytest.approx(0.8, abs=1 / mask.sum())
    one = np.zeros((SIDE, SIDE))
    one[3, 4] = 5
    assert shape_of(change(one), mask).extent == 1 / mask.sum()


def test_symmetry_of_even_odd_and_mixed_maps() -> None:
    left, right = bump(-0.4, 0), bump(0.4, 0)
    assert shape_of(change(left + right), EVERYWHERE).symmetry == pytest.approx(1)
    odd = shape_of(change(albedo=left - right), EVERYWHERE)
    assert odd.symmetry == pytest.approx(-1)
    assert odd.sidedness == pytest.approx(0, abs=1e-9)
    mixed = shape_of(change(left + right, np.sqrt(3) * (left - right)), EVERYWHERE)
    assert mixed.symmetry == pytest.approx(-0.5)
    assert mixed.depth_share == pytest.approx(0.25)


def test_what_lies_off_the_mask_does_not_count() -> None:
    mask = EVERYWHERE & (np.arange(SIDE) < SIDE // 2)
    shape = shape_of(change(bump(-0.5, 0) + 9 * bump(0.5, 0)), mask)
    assert shape.x == pytest.approx(-0.5, abs=1e-3)
    assert shape.sidedness == pytest.approx(-1)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_map_of_nothing_has_no_shape(bad: float) -> None:
    with pytest.raises(ShapeError, match="leave the component out"):
        shape_of(change(bump(0, 0) * bad if bad == 0 else np.full((SIDE, SIDE), bad)), EVERYWHERE)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_zones_cut_up_the_mask_alike_at_every_resolution(side: int) -> None:
    mask = np.arange(side)[:, None] + np.zeros(side) > side / 16
    found = zones(head(side=side), mask)
    assert set(found) == NAMES
    np.testing.assert_array_equal(sum(zone.astype(int) for zone in found.values()), mask)
    for zone in found.values():
        np.testing.assert_array_equal(zone, zone[:, ::-1])
        assert zone.any()
    share = {name: zone.mean() for name, zone in found.items()}
    for name, zone in zones(head(), EVERYWHERE & (np.arange(SIDE)[:, None] > SIDE / 16)).items():
        assert share[name] == pytest.approx(zone.mean(), abs=2.5 / side)


def test_zones_follow_the_nose_and_the_width_of_the_face() -> None:
    def middle(name: str, **changed: Any) -> float:
        return float(np.nonzero(zones(head(**changed), EVERYWHERE)[name])[0].mean()) * 2 / (SIDE - 1)

    for name in ("eyes", "nose", "mouth"):
        assert middle(name, tip=0.2) - middle(name, tip=0.0) == pytest.approx(0.2, abs=0.05)
    tall, short = (middle("mouth", half_width=w) - middle("eyes", half_width=w) for w in (0.7, 0.55))
    assert tall / short == pytest.approx(0.7 / 0.55, rel=0.1)
    order = [middle(name) for name in ("forehead", "brows", "eyes", "nose", "mouth", "chin and jaw")]
    assert order == sorted(order)


def test_zones_of_a_hopeless_depth() -> None:
    assert set(zones(np.ones((SIDE, SIDE)), EVERYWHERE)) == NAMES
    with pytest.raises(ShapeError, match="NaN"):
        zones(np.full((SIDE, SIDE), np.nan), EVERYWHERE)


def test_words_for_places() -> None:
    # Half the face's width is 0.72, so that the eyes are 0.46 above the tip of the nose.
    eyes, brows = 0.1 - 0.46, 0.1 - 1.48 * 0.46
    assert word(bump(0, 0.1)) == "nose"
    assert word(bump(0, 0.1 + 0.8 * 0.46)) == "mouth"
    assert word(bump(-0.4, eyes) + bump(0.4, eyes)) == "eyes, both sides"
    assert word(bump(-0.4, eyes) + 0.2 * bump(0.4, eyes)) == "left eye"
    assert word(bump(-0.4, eyes) + 0.5 * bump(0.4, eyes)) == "eyes, both sides"
    assert word(bump(0.4, brows, 0.04)) == "right brow"
    assert word(bump(-0.4, brows, 0.04) + bump(0.4, brows, 0.04)) == "brows, both sides"
    assert word(bump(-0.15, 0.1 + 0.8 * 0.46, 0.04)) == "mouth, left side"
    assert word(bump(0, 0.1 + 1.6 * 0.46, 0.04)) == "chin and jaw"
    assert word(bump(0.95, 0.9)) == "hair and border, right side"
    assert word(bump(0, 0.3), tip=0.3) == "nose"


def test_what_is_everywhere_is_the_whole_face() -> None:
    assert word(np.ones((SIDE, SIDE))) == "whole face"
    # The nose is more than twice as dense, but most of the energy is elsewhere.
    nose = zones(head(), EVERYWHERE)["nose"]
    assert word(np.where(nose, 3.0, 1.0)) == "whole face"
    assert word(np.where(nose, 30.0, 1.0)) == "nose"


def test_what_is_here_and_there_is_several_parts() -> None:
    regions = zones(head(), EVERYWHERE)
    middle = [regions[name] for name in ("forehead", "cheeks", "eyes", "nose", "mouth")]
    half = np.logical_or.reduce(middle)
    assert 0.5 < half.mean() < 0.6
    assert word(np.where(half, 1.0, 0.01)) == "several parts"


def gradients(seed: int, k: int = 6, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Random gradients of variance 1, and the covariance of w, far from round."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) * np.geomspace(1, 0.01, d)
    cov = root @ root.T
    found = rng.normal(size=(k, d)) @ np.linalg.inv(root)
    return found / np.sqrt(np.einsum("kd,de,ke->k", found, cov, found))[:, None], cov


def test_match_is_the_best_of_all_assignments() -> None:
    a, cov = gradients(0, k=4)
    b = gradients(1, k=4)[0] + 0.5 * a[::-1]
    order, cosines = match(a, b, cov)
    size = np.sqrt(np.outer(np.diag(a @ cov @ a.T), np.diag(b @ cov @ b.T)))
    between = a @ cov @ b.T / size
    best = max(permutations(range(4)), key=lambda p: sum(abs(between[i, p[i]]) for i in range(4)))
    assert tuple(order) == best
    np.testing.assert_allclose(cosines, between[np.arange(4), order], rtol=1e-9)


def test_match_of_sets_of_unequal_size() -> None:
    a, cov = gradients(0)
    order, cosines = match(a, -a[[4, 1]], cov)
    assert order.tolist() == [-1, 1, -1, -1, 0, -1]
    np.testing.assert_allclose(cosines, [0, -1, 0, 0, -1, 0], atol=1e-9)
    order, cosines = match(a[[4, 1]], a, cov)
    assert order.tolist() == [4, 1]
    assert match(np.zeros((1, 20)), a, cov)[1] == 0


def test_without_a_covariance_match_takes_plain_cosines() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 40))
    turned = np.array([3, 1, 4, 0, 2])
    order, cosines = match(maps, -2.0 * maps[turned])
    assert turned[order].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(cosines, -1)


def test_cosine_matrix_is_that_of_the_covariance() -> None:
    a, cov = gradients(0)
    w = np.random.default_rng(1).normal(size=(200_000, 20)) @ np.linalg.cholesky(cov).T
    cosines = cosine_matrix(a, cov)
    np.testing.assert_allclose(cosines, np.corrcoef(w @ a.T, rowvar=False), atol=0.01)
    np.testing.assert_array_equal(cosines, cosines.T)
    np.testing.assert_array_equal(np.diag(cosines), 1)


def test_cluster_order_puts_blocks_together() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.permutation(np.repeat(np.arange(4), 5))
    g = np.eye(4)[blocks] * rng.choice([-1.0, 1.0], (20, 1)) + 0.2 * rng.normal(size=(20, 4))
    order = cluster_order(cosine_matrix(g, np.eye(4)))
    assert sorted(order) == list(range(20))
    assert np.count_nonzero(np.diff(blocks[order])) == 3
    assert order[0] < order[-1]


def test_cluster_order_of_a_chain_is_the_chain() -> None:
    angles = np.array([0.6, 0.0, 0.9, 0.3])
    g = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert cluster_order(cosine_matrix(g, np.eye(2))).tolist() in ([1, 3, 0, 2], [2, 0, 3, 1])


@pytest.mark.parametrize("k", [1, 2])
def test_cluster_order_of_few(k: int) -> None:
    assert cluster_order(cosine_matrix(np.eye(2)[:k], np.eye(2))).tolist() == list(range(k))
