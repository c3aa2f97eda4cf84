"""The Jacobian of tiny networks: exact derivatives against differences, regression against both."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import exact_jacobian as exact_jacobian_module
from benchmarks.exact_jacobian import exact_jacobian, exact_semantics_gradient, regression_weights, sampled_jacobian
from lineament.errors import ConfigError, NonFiniteError, ShapeError
from lineament.estimators.pixel_jacobian import PixelJacobian, agreement
from lineament.faces.maps import Albedo, images_of, map_mask, maps_of
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.records.decomposition import Decomposition
from lineament.records.shapes import DecomposerConfig
from tests import tiny

PLAIN = DecomposerConfig(
    channels=4, channel_max=8, code_dim=8, pose_channels=4, aligned=False, mean_shape=False, mean_albedo=False,
    equivariant=False, symmetric_depth=False, tied_shape=False, face_light=False, mean_head=False, shape_blur=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny.generator(tiny.GENERATOR64)


def some_w(generator: Generator, num: int) -> Tensor:
    return generator.map(latents(0, range(num), generator.config.z_dim), 0.5)


def differences(function: Any, w: Tensor) -> np.ndarray:
    """Mean central differences; the networks must be in double precision."""
    step = 1e-7  # an image looked up between pixels has a kink at every pixel; a longer step crosses some
    with torch.no_grad():
        columns = [
            ((function(w + step * e) - function(w - step * e)) / (2 * step)).mean(dim=0)
            for e in torch.eye(w.shape[1], dtype=w.dtype)
        ]
    return torch.stack(columns, dim=1).numpy()


@pytest.mark.parametrize(
    ("config", "layout", "albedo"),
    [(tiny.DECOMPOSER, torch.channels_last, "seen"), (PLAIN, torch.contiguous_format, "network")],
)
def test_exact_derivatives_are_the_limit_of_differences(
    config: DecomposerConfig, layout: torch.memory_format, albedo: Albedo
) -> None:
    generator, decomposer = tiny.generator(tiny.GENERATOR64), tiny.decomposer(config, gain=20.0)
    for network in (generator, decomposer):
        network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    w = some_w(generator, 1)
    maps = exact_jacobian(decomposer, generator, w, albedo=albedo)
    scalars = exact_semantics_gradient(decomposer, generator, w)
    assert (maps.dtype, maps.shape, scalars.shape) == (np.float32, (4 * 64 * 64, 8), (9, 8))
    generator.double()
    decomposer.double()
    expected = differences(lambda at: maps_of(decomposer, generator, at, albedo), w.double())
    for kind in (slice(0, 4096), slice(4096, None)):
        assert np.linalg.norm(maps[kind] - expected[kind]) < 1e-3 * np.linalg.norm(expected[kind])
    expected = differences(lambda at: decomposer.measure(images_of(generator, at, decomposer)), w.double())
    np.testing.assert_allclose(scalars, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_chunks_do_not_matter_and_the_mean_is_taken(generator: Generator) -> None:
    decomposer = tiny.decomposer()
    w = some_w(generator, 2)
    both = exact_semantics_gradient(decomposer, generator, w, chunk=5)
    each = [exact_semantics_gradient(decomposer, generator, one[None]) for one in w]
    np.testing.assert_allclose(both, np.mean(each, axis=0), rtol=1e-4, atol=1e-5 * np.abs(both).max())


def test_stand_ins_give_the_same_values() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 5, 7, generator=rng)
    grid = torch.rand(2, 4, 6, 2, generator=rng) * 2.6 - 1.3
    grid[0, 0, :2] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])  # exactly on the border

    def sample() -> Tensor:
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)

    norm = torch.nn.GroupNorm(2, 4).requires_grad_(False)
    norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    norm.bias.copy_(torch.arange(4.0))
    x = torch.randn(2, 4, 6, 5, generator=rng).contiguous(memory_format=torch.channels_last)
    sampled, normed = sample(), norm(x)
    with exact_jacobian_module._ForwardMode():
        torch.testing.assert_close(sample(), sampled)
        torch.testing.assert_close(norm(x), normed)
        assert x.contiguous(memory_format=torch.channels_last).is_contiguous()


class LinearWorld(torch.nn.Module):
    """A generator and a decomposer of which the one paints w and the other reads it: the maps are linear in w."""

    def __init__(self, generator: Generator, decomposer: Decomposer) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.paint = 1e-2 * torch.randn(8, 3 * 64 * 64, generator=rng)
        self.generator, self.decomposer = generator, decomposer

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(self.generator, "synthesize", lambda ws: (ws.mean(dim=1) @ self.paint).view(-1, 3, 64, 64))
        patch.setattr(self.decomposer, "forward", self.take_apart)
        patch.setattr(self.decomposer, "seen_albedo", lambda image, parts: parts.canon_albedo)
        patch.setattr(self.decomposer, "measure", lambda image: image.flatten(1)[:, :9])

    @staticmethod
    def take_apart(image: Tensor) -> Decomposition:
        n = len(image)
        return Decomposition(1 + 0.1 * image[:, 0], image.flip(2), torch.zeros(n, 6), torch.zeros(n, 4))

    @property
    def jacobian(self) -> np.ndarray:
        paint = self.paint.view(8, 3, 64, 64)
        return torch.cat([0.1 * paint[:, 0].flatten(1), paint.flip(2).flatten(1)], dim=1).T.numpy()


def test_both_estimators_agree_where_the_world_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    world = LinearWorld(tiny.generator(tiny.GENERATOR64), tiny.decomposer())
    world.install(monkeypatch)
    exact = exact_jacobian(world.decomposer, world.generator, some_w(world.generator, 2))
    sampled = sampled_jacobian(world.decomposer, world.generator, range(60), seed=3, truncation=1.0).solve()
    scale = np.abs(world.jacobian).max()
    np.testing.assert_allclose(exact, world.jacobian, atol=1e-6 * scale)
    twice = np.stack([3 * np.eye(8), np.eye(8)])
    weighted = exact_jacobian(world.decomposer, world.generator, some_w(world.generator, 2), twice)
    np.testing.assert_allclose(weighted, 2 * world.jacobian, atol=1e-6 * scale)
    np.testing.assert_allclose(sampled.coef_, world.jacobian, atol=1e-3 * scale)
    scalars = exact_semantics_gradient(world.decomposer, world.generator, some_w(world.generator, 1))
    np.testing.assert_allclose(scalars, world.paint.T[:9], atol=1e-6 * scale)
    cosines = agreement(exact, sampled.coef_, map_mask(world.decomposer))
    assert min(cosines.values()) > 1 - 1e-3


def bent_w(num: int, seed: int) -> np.ndarray:
    """Samples of a w that is far from normal: skewed in every direction, and correlated."""
    rng = np.random.default_rng(seed)
    turn = np.random.default_rng(0).standard_normal((2, 6, 6)) / 6**0.5
    bent = rng.standard_normal((num, 6)) @ turn[0] + 0.3
    return np.where(bent > 0, bent, 0.1 * bent) @ turn[1]


def least_squares(w: np.ndarray, y: np.ndarray) -> np.ndarray:
    rest = w - w.mean(axis=0)
    return np.linalg.solve(rest.T @ rest, rest.T @ (y - y.mean(axis=0))).T


def distance(J: np.ndarray, truth: np.ndarray, w: np.ndarray) -> float:
    """Relative, in the metric of the covariance of w."""
    root = np.linalg.cholesky(np.cov(w.T))
    return float(np.linalg.norm((J - truth) @ root) / np.linalg.norm(truth @ root))


def test_weighted_derivatives_of_a_quadratic_are_what_regression_finds() -> None:
    samples, w = bent_w(5000, 1), bent_w(40, 2)
    rng = np.random.default_rng(3)
    slope, bend = rng.standard_normal((4, 6)), rng.standard_normal((4, 6, 6))
    bend = bend + bend.transpose(0, 2, 1)
    y = samples @ slope.T + np.einsum("na,pab,nb->np", samples, bend, samples) / 2
    found = least_squares(samples, y)
    G = slope + np.einsum("pab,nb->npa", bend, w)
    weighted = np.einsum("npd,nde->pe", G, regression_weights(w, samples, ridge=1e-9)) / 40
    assert distance(G.mean(axis=0), found, samples) > 0.2
    assert distance(weighted, found, samples) < 1e-6
    # Fewer w than directions determine the quadratic only in part.
    few = np.einsum("npd,nde->pe", G[:5], regression_weights(w[:5], samples, ridge=1e-2)) / 5
    assert distance(few, found, samples) < 0.8 * distance(G[:5].mean(axis=0), found, samples)


def test_weighted_derivatives_agree_with_regression_where_w_is_not_normal() -> None:
    samples, w = bent_w(200_000, 1), bent_w(3000, 2)
    into = np.random.default_rng(4).standard_normal((6, 5)) / 24**0.5

    def answer(w: np.ndarray) -> np.ndarray:
        return np.tanh(w @ into) * (1 + w[:, :1])

    found = least_squares(samples, answer(samples))
    step = 1e-6 * np.eye(6)
    G = np.stack([(answer(w + e) - answer(w - e)) / 2e-6 for e in step], axis=2)
    weighted = np.einsum("npd,nde->pe", G, regression_weights(w, samples)) / len(w)
    assert distance(G.mean(axis=0), found, samples) > 0.15
    assert distance(weighted, found, samples) < 0.02


def test_weights_of_normal_w_of_one_w_and_of_flat_w() -> None:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((100_000, 3)).astype(np.float32)
    weights = regression_weights(normal[:500], normal)
    np.testing.assert_allclose(weights.mean(axis=0), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(regression_weights(normal[:1], normal)[0], np.eye(3), atol=1e-6)
    # A direction in which no sample varies gets zero, as in regression.
    flat = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], np.float32)
    weights = regression_weights(normal[:50] @ flat, normal @ flat)
    np.testing.assert_allclose(weights @ [0.0, 1.0, -1.0], 0.0, atol=1e-5)


def test_weights_multiply_the_derivatives_from_the_right(generator: Generator) -> None:
    decomposer = tiny.decomposer()
    w = some_w(generator, 2)
    weights = np.random.default_rng(0).standard_normal((2, 8, 8))
    each = np.stack([exact_semantics_gradient(decomposer, generator, one[None]) for one in w])
    expected = np.einsum("npd,nde->pe", each, weights) / 2
    found = exact_semantics_gradient(decomposer, generator, w, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_samples_are_those_of_their_numbers(generator: Generator) -> None:
    decomposer = tiny.decomposer()
    found = sampled_jacobian(decomposer, generator, range(100, 112), seed=3, truncation=0.5, batch_size=5).solve()
    w = generator.map(latents(3, range(100, 112), 8), 0.5)
    with torch.no_grad():
        maps = maps_of(decomposer, generator, w).numpy()
    expected = PixelJacobian().partial_fit(w.double().numpy(), maps).solve()
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-3 * np.abs(expected.coef_).max())
    # What never varies is the depth at the border, which the mask leaves out of every map.
    inside = map_mask(decomposer)
    border = ~inside.reshape(4, 64, 64)
    assert border[:, :, [0, 1, 62, 63]].all()
    assert border.sum() == 4 * 64 * 4
    np.testing.assert_array_equal(found.constant_[:4096], ~inside[:4096])


def test_stop_and_resume_gives_the_same_bits(generator: Generator) -> None:
    decomposer = tiny.decomposer()
    arguments: Any = {"numbers": range(24), "seed": 0, "truncation": 0.5, "batch_size": 8}
    whole = sampled_jacobian(decomposer, generator, **arguments).solve()
    seen: list[int] = []

    def stop_at_16(state: PixelJacobian) -> bool:
        seen.append(state.moments.count)
        return state.moments.count == 16

    part = sampled_jacobian(decomposer, generator, **arguments, after_batch=stop_at_16)
    assert seen == [8, 16]
    again = sampled_jacobian(decomposer, generator, **arguments, state=PixelJacobian.from_dict(part.to_dict())).solve()
    np.testing.assert_array_equal(again.coef_, whole.coef_)
    assert again.n_samples_seen_ == 24


def test_nan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, decomposer = tiny.generator(tiny.GENERATOR64), tiny.decomposer()
    w = some_w(generator, 2)
    w[1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="w number 1 are NaN or infinite"):
        exact_semantics_gradient(decomposer, generator, w)
    synthesize = generator.synthesize

    def spoilt(ws: Tensor) -> Tensor:
        images = synthesize(ws)
        images[2] = torch.nan
        return images

    monkeypatch.setattr(generator, "synthesize", spoilt)
    with pytest.raises(ShapeError, match="y holds NaN or infinity, first in row 2"):
        sampled_jacobian(decomposer, generator, range(8), seed=0, truncation=0.5)


def test_bad_settings(generator: Generator) -> None:
    decomposer = tiny.decomposer()
    with pytest.raises(ConfigError, match="at least one; sample some"):
        exact_jacobian(decomposer, generator, torch.zeros(0, 8))
    with pytest.raises(ConfigError, match="2 weights for 1 w"):
        exact_jacobian(decomposer, generator, torch.zeros(1, 8), np.zeros((2, 8, 8)))
    with pytest.raises(ConfigError, match="6 samples of w do not tell its 6 x 6 covariance"):
        regression_weights(np.zeros((2, 6)), np.zeros((6, 6)))
    with pytest.raises(ConfigError, match="all the same or not finite"):
        regression_weights(np.zeros((2, 6)), np.ones((9, 6)))
    with pytest.raises(ConfigError, match="eval mode"):
        exact_jacobian(decomposer.train(), generator, some_w(generator, 1))
