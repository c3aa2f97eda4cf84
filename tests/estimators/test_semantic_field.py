"""Semantic fields and the spatial test on planted Jacobians."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from lineament.errors import ConfigError, ShapeError
from lineament.estimators import semantic_field
from lineament.estimators.semantic_field import semantic_fields, spatial_test

SIDE, D = 24, 12
MASK = np.ones((SIDE, SIDE), dtype=bool)
FAST = {"num_pixels": 150, "permutations": 199}


def covariance(seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(D, D)) * np.geomspace(2, 0.05, D)
    return root @ root.T


def jacobian(depth: np.ndarray, albedo: np.ndarray | None = None) -> np.ndarray:
    """Directions in whitened coordinates, "h w d" and "3 h w d", as gradients in those of `covariance`."""
    albedo = np.zeros((3, *depth.shape)) if albedo is None else albedo
    rows = np.concatenate([depth[None], albedo]).reshape(-1, D)
    return rows @ np.linalg.inv(np.linalg.cholesky(covariance()))


def smooth(seed: int, *, sigma: float = 2.0, mirror: float = 0.0) -> np.ndarray:
    """A random field of directions, "h w d"; in part its own mirror image."""
    noise = np.random.default_rng(seed).normal(size=(SIDE + 32, SIDE + 32, D))
    field = gaussian_filter(noise, (sigma, sigma, 0))[16:-16, 16:-16]
    return field + mirror * field[:, ::-1]


def shuffled(field: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(field.reshape(-1, D)).reshape(field.shape)


def test_the_field_of_a_block_is_the_block() -> None:
    depth = np.zeros((SIDE, SIDE, D))
    depth[..., 1], depth[..., 0] = 1.0, 0.0
    depth[4:9, 6:14] = np.eye(D)[0] * np.random.default_rng(0).uniform(0.1, 5, (5, 8, 1))
    depth[6, 8] *= -1
    depth[20] = 0
    mask = MASK.copy()
    mask[:, 12] = False
    (field,) = semantic_fields(jacobian(depth), covariance(), mask, [(5, 7)], "depth")
    expected = np.zeros((SIDE, SIDE))
    expected[4:9, 6:14] = 1
    expected[6, 8] = -1
    expected[:, 12] = np.nan
    np.testing.assert_allclose(field, expected, atol=1e-6)


def test_the_field_is_the_correlation_of_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    J = jacobian(rng.normal(size=(SIDE, SIDE, D)), rng.normal(size=(3, SIDE, SIDE, D)))
    w = rng.normal(size=(50_000, D)) @ np.linalg.cholesky(covariance()).T
    pixels = [(3, 17), (20, 2)]
    fields = semantic_fields(J, covariance(), MASK, pixels, "depth")
    for field, pixel in zip(fields, pixels, strict=True):
        assert field[pixel] == pytest.approx(1, abs=1e-9)
        for other in [(0, 0), (3, 18), (23, 23)]:
            mine, its = (w @ J[row * SIDE + column] for row, column in (pixel, other))
            assert field[other] == pytest.approx(np.corrcoef(mine, its)[0, 1], abs=0.02)
    # Albedo: the three rows as one long direction.
    parts = J.reshape(4, SIDE, SIDE, D)[1:]
    product = np.einsum("cd,de,ce->", parts[:, 3, 17], covariance(), parts[:, 5, 5])
    norms = [np.einsum("cd,de,ce->", p, covariance(), p) for p in (parts[:, 3, 17], parts[:, 5, 5])]
    albedo = semantic_fields(J, covariance(), MASK, pixels, "albedo")
    assert albedo[0, 5, 5] == pytest.approx(product / np.sqrt(norms[0] * norms[1]), abs=1e-9)
    monkeypatch.setattr(semantic_field, "BLOCK_VALUES", 7 * D)  # the blocks do not show
    np.testing.assert_allclose(semantic_fields(J, covariance(), MASK, pixels, "albedo"), albedo, atol=1e-12)


def test_single_precision_does_as_well() -> None:
    rng = np.random.default_rng(2)
    J = jacobian(rng.normal(size=(SIDE, SIDE, D)))
    exact = semantic_fields(J, covariance(), MASK, [(3, 4)], "depth")
    np.testing.assert_allclose(
        semantic_fields(J.astype(np.float32), covariance(), MASK, [(3, 4)], "depth"), exact, atol=1e-3
    )


def test_smooth_and_mirrored_directions_are_found_to_be_so() -> None:
    field = smooth(0, mirror=0.7)
    J = jacobian(field, np.stack([field, smooth(1, mirror=0.7), field]))
    for kind in ("depth", "albedo"):
        result = spatial_test(J, covariance(), MASK, kind, seed=1, **FAST)
        assert result.distance_p <= 0.01
        assert result.distance_correlation < result.distance_null[0] < 0 < result.distance_null[2]
        assert result.mirror_p <= 0.01
        assert result.mirror_excess > result.mirror_null[2]
        assert result.mirror_similarity == pytest.approx(2 * 0.7 / (1 + 0.7**2), abs=0.05)
        assert result.num_pixels == 150


def test_of_shuffled_pixels_nothing_is_said() -> None:
    J = jacobian(shuffled(smooth(0, mirror=0.7), 5))
    result = spatial_test(J, covariance(), MASK, "depth", seed=1, **FAST)
    assert result.distance_p > 0.05
    assert result.mirror_p > 0.05
    assert abs(result.mirror_excess) < 0.05


def test_smoothness_alone_is_no_mirror_image() -> None:
    results = [spatial_test(jacobian(smooth(seed)), covariance(), MASK, "depth", **FAST) for seed in range(12)]
    assert max(result.distance_p for result in results) <= 0.01
    # Were the null too narrow, as with partners drawn one by one, many would be small.
    assert sum(result.mirror_p <= 0.05 for result in results) <= 1
    assert np.median([result.mirror_p for result in results]) > 0.2


def test_the_distance_correlation_is_spearmans() -> None:
    J, size = jacobian(smooth(3)), SIDE**2
    result = spatial_test(J, covariance(), MASK, "depth", num_pixels=size, permutations=20)
    assert result.num_pixels == size
    alike = np.abs(semantic_fields(J, covariance(), MASK, list(np.ndindex(SIDE, SIDE)), "depth")).reshape(size, size)
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2)
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    upper = np.triu_indices(size, 1)
    assert result.distance_correlation == pytest.approx(spearmanr(alike[upper], apart[upper])[0], abs=1e-9)
    off = np.abs(np.linspace(-1, 1, SIDE)) >= 0.2
    mirror = alike.reshape(SIDE, SIDE, SIDE, SIDE)[:, np.arange(SIDE), :, np.arange(SIDE)[::-1]][off]
    assert result.mirror_similarity == pytest.approx(mirror.diagonal(axis1=1, axis2=2).mean(), abs=1e-9)
    assert result.num_pairs == off.sum() * SIDE


def test_pairs_need_both_pixels_on_the_mask() -> None:
    mask = MASK.copy()
    mask[:8, :6] = False
    J = jacobian(smooth(3))
    J[np.flatnonzero(~mask)] = np.nan  # never looked at
    result = spatial_test(J, covariance(), mask, "depth", num_pixels=SIDE**2, permutations=50)
    assert result.num_pixels == mask.sum()
    off = np.abs(np.linspace(-1, 1, SIDE)) >= 0.2
    assert result.num_pairs == (mask & mask[:, ::-1])[:, off].sum()


def test_the_seed_decides() -> None:
    J = jacobian(smooth(3))
    first, again, other = (spatial_test(J, covariance(), MASK, "depth", seed=s, **FAST) for s in (4, 4, 5))
    assert astuple(first) == astuple(again)
    assert first.distance_correlation != other.distance_correlation


def test_what_cannot_be_answered() -> None:
    J, cov = jacobian(smooth(0)), covariance()
    with pytest.raises(ConfigError, match="kind of map is 'colour'"):
        semantic_fields(J, cov, MASK, [(0, 0)], "colour")
    with pytest.raises(ShapeError, match="2304 rows, expected 4"):
        semantic_fields(J, cov, MASK[:5], [(0, 0)], "depth")
    for pixel in [(SIDE, 0), (-1, 0), (3, 3)]:
        with pytest.raises(ConfigError, match="not in the mask"):
            semantic_fields(J, cov, MASK & (np.arange(SIDE) > 5), [pixel], "depth")
    with pytest.raises(ConfigError, match=r"albedo of pixel \(0, 0\) does not move"):
        semantic_fields(J, cov, MASK, [(0, 0)], "albedo")
    with pytest.raises(ConfigError, match="0 pixels move with w"):
        spatial_test(J, cov, MASK, "albedo")
    with pytest.raises(ConfigError, match="leaves 0 mirror pairs"):
        spatial_test(J, cov, MASK & (np.arange(SIDE) > SIDE // 2), "depth")
    for bad in (np.nan, np.inf):
        J[SIDE + 2, 3] = bad
        with pytest.raises(ShapeError, match=r"NaN or infinity at pixel \(1, 2\)"):
            spatial_test(J, cov, MASK, "depth")
