"""Inversion of images whose latents are known, and the distribution that it is pulled to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lineament.checkpoints.growth import check_encoder_matches
from lineament.errors import ConfigError, MismatchError, ShapeError
from lineament.faces.inversion import invert_images, quality
from lineament.faces.latent_spread import LatentSpread, latent_spread
from lineament.faces.likeness import Likeness
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.ssim import ssim
from lineament.recipes.train.encoder import new_encoder
from lineament.records.inversion_settings import InversionSettings, LikenessConfig
from lineament.records.shapes import EncoderConfig
from tests import tiny

SETTINGS = InversionSettings(steps=20, learning_rate=0.1)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny.generator()


@pytest.fixture(scope="module")
def spread(generator: Generator) -> LatentSpread:
    return latent_spread(generator, 2000)


def some_ws(generator: Generator, n: int = 3) -> torch.Tensor:
    with torch.no_grad():
        return generator.broadcast(generator.map(torch.randn(n, 8, generator=torch.Generator().manual_seed(5))))


def some_images(generator: Generator, n: int = 3) -> torch.Tensor:
    with torch.no_grad():
        return generator.synthesize(some_ws(generator, n)).clamp(-1, 1)


def test_own_samples_are_standard_normal_when_whitened(generator: Generator, spread: LatentSpread) -> None:
    with torch.no_grad():
        w = generator.map(torch.randn(4000, 8, generator=torch.Generator().manual_seed(3)))
    ws = generator.broadcast(w)
    assert float(spread.distance(ws).square().mean()) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(spread.offset(ws), torch.zeros(4000), atol=1e-3, rtol=0)
    torch.testing.assert_close(spread.of_whitened(spread.whitened(ws)), ws, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(spread.root, spread.root.T)
    moved = ws.clone()
    moved[:, 0] += spread.root[0]  # one standard deviation along a whitened axis, at one of 8 layers
    # Of 8 layers one is off by 7/8 and the others by 1/8, along one of 8 axes.
    expected = ((7 / 8) ** 2 + 7 * (1 / 8) ** 2) / 64
    torch.testing.assert_close(spread.offset(moved).square(), torch.full((4000,), expected), atol=1e-4, rtol=1e-3)


def test_a_generator_without_spread_has_finite_distances(generator: Generator) -> None:
    still = tiny.generator()
    for name, parameter in still.mapping.named_parameters():
        if name.endswith("weight"):
            parameter.zero_()
    assert torch.isfinite(latent_spread(still, 100).distance(some_ws(generator))).all()


def test_inversion_comes_closer(generator: Generator, spread: LatentSpread) -> None:
    images = some_images(generator)
    start = invert_images(generator, None, images, replace(SETTINGS, steps=0), spread=spread)
    torch.testing.assert_close(start.ws, spread.mean.expand_as(start.ws))
    found = invert_images(generator, None, images, SETTINGS, spread=spread)
    before, after = quality(start, images, spread), quality(found, images, spread)
    assert (after["ssim"] > before["ssim"] + 0.1).all()
    assert (after["rmse"] < 0.7 * before["rmse"]).all()
    torch.testing.assert_close(found.images, generator.synthesize(found.ws).clamp(-1, 1))
    np.testing.assert_allclose(after["ssim"], ssim(found.images, images).numpy())


def test_penalties_hold(generator: Generator, spread: LatentSpread) -> None:
    images = some_images(generator, 2)

    def scores(**changes: float) -> dict[str, np.ndarray]:
        settings = replace(SETTINGS, steps=6, **changes)
        return quality(invert_images(generator, None, images, settings, spread=spread), images, spread)

    free, held = scores(offset_weight=0.0, distance_weight=0.0), scores(offset_weight=1e3)
    assert (held["offset"] < 0.2 * free["offset"]).all()
    near = scores(distance_weight=1e3)
    assert (near["distance"] < 0.3 * free["distance"]).all()


def test_each_image_by_itself(generator: Generator, spread: LatentSpread) -> None:
    images, settings = some_images(generator), replace(SETTINGS, steps=4)
    together = invert_images(generator, None, images, settings, spread=spread)
    alone = torch.cat([invert_images(generator, None, image[None], settings, spread=spread).ws for image in images])
    torch.testing.assert_close(together.ws, alone, atol=1e-3, rtol=1e-3)
    again = invert_images(generator, None, images, settings, spread=spread)
    assert torch.equal(together.ws, again.ws)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_works_wherever_it_is_called(mode: type, generator: Generator, spread: LatentSpread) -> None:
    with mode():
        found = invert_images(generator, None, some_images(generator), replace(SETTINGS, steps=2), spread=spread)
    assert not found.ws.requires_grad
    assert not found.ws.is_inference()
    assert invert_images(generator, None, torch.zeros(0, 3, 32, 32), SETTINGS, spread=spread).ws.shape == (0, 8, 8)


def test_starts_where_the_encoder_says(generator: Generator, spread: LatentSpread) -> None:
    encoder = new_encoder(generator, spread, EncoderConfig(channels=4, channel_max=6)).eval()
    assert encoder.config.resolution == 32
    assert encoder.config.num_ws == generator.num_ws
    torch.nn.init.normal_(encoder.common.weight)
    images = some_images(generator)
    found = invert_images(generator, encoder, images, replace(SETTINGS, steps=0), spread=spread)
    torch.testing.assert_close(found.ws, encoder(images).detach())


def test_other_encoders_and_sizes_are_refused(generator: Generator, spread: LatentSpread) -> None:
    encoder = new_encoder(tiny.generator(seed=1), spread, EncoderConfig(channels=4, channel_max=6))
    with pytest.raises(MismatchError, match="use that generator's own encoder"):
        invert_images(generator, encoder, some_images(generator), SETTINGS, spread=spread)
    with pytest.raises(MismatchError, match="generator unknown, but g is"):
        check_encoder_matches(Encoder(EncoderConfig()), generator, "g")
    with pytest.raises(ShapeError, match=r"expected \(n, 3, 32, 32\)"):
        invert_images(generator, None, torch.zeros(1, 3, 64, 64), SETTINGS, spread=spread)


@pytest.mark.parametrize(
    "changes", [{"steps": -1}, {"coarse_factor": 0.5}, {"learning_rate": 0.0}, {"offset_weight": float("nan")}]
)
def test_settings_that_cannot_be(changes: dict) -> None:
    with pytest.raises(ConfigError):
        InversionSettings(**changes)


def test_likeness_is_nought_for_equal_images_and_adds_up() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = torch.nn.AvgPool2d(4)
    torch.testing.assert_close(Likeness(images, features, LikenessConfig()).loss(images), torch.zeros(2))
    others = images + 0.25
    parts = [
        Likeness(images, features, LikenessConfig(*weights)).loss(others)
        for weights in ((2.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 4.0), (2.0, 3.0, 4.0))
    ]
    torch.testing.assert_close(parts[0], torch.full((2,), 0.5))
    torch.testing.assert_close(parts[1], 3 * (1 - ssim(others, images)))
    torch.testing.assert_close(parts[2], torch.full((2,), 0.25))
    torch.testing.assert_close(sum(parts[:3]), parts[3])
    with pytest.raises(ConfigError):
        LikenessConfig(pixels=-1.0)
