"""The generator: shapes, latents, truncation, mixing, noise, determinism."""

from dataclasses import replace

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.generator import Generator
from lineament.networks.stylegan2 import GeneratorConfig, StyleGAN2, mix_styles
from lineament.ops.seeding import latents
from lineament.store.pictures import to_uint8
from tests import tiny


@pytest.fixture(scope="module")
def network() -> Generator:
    return tiny.generator()


@pytest.mark.parametrize("resolution", [32, 64, 256, 1024])
def test_shapes(resolution: int) -> None:
    config = GeneratorConfig(
        resolution=resolution, z_dim=5, w_dim=7, num_mapping_layers=2, channel_base=resolution, channel_max=2
    )
    network = StyleGAN2(config).requires_grad_(False)
    assert network.num_ws == config.num_ws == len([m for m in network.modules() if hasattr(m, "noise_const")]) + 1
    w = network.map(latents(0, range(1), 5))
    assert w.shape == (1, 7)
    ws = network.broadcast(w)
    assert ws.shape == (1, config.num_ws, 7)
    assert network.synthesize(ws).shape == (1, 3, resolution, resolution)


@pytest.mark.parametrize(("resolution", "num_ws"), [(32, 8), (64, 10), (128, 12), (256, 14), (512, 16), (1024, 18)])
def test_num_ws(resolution: int, num_ws: int) -> None:
    assert GeneratorConfig(resolution=resolution).num_ws == num_ws


@pytest.mark.parametrize("resolution", [0, 16, 48, 100, 2048, -64])
def test_wrong_resolution(resolution: int) -> None:
    with pytest.raises(ConfigError, match=rf"resolution is {resolution}, expected a power of two from 32 to 1024"):
        GeneratorConfig(resolution=resolution)


@pytest.mark.parametrize("name", ["z_dim", "w_dim", "num_mapping_layers", "channel_base", "channel_max"])
def test_wrong_sizes(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0, expected at least 1"):
        replace(GeneratorConfig(), **{name: 0})


def test_channels() -> None:
    config = GeneratorConfig(channel_base=100, channel_max=20)
    assert [config.channels(r) for r in (4, 8, 16, 1024)] == [20, 12, 6, 1]


def test_same_seed_same_bytes() -> None:
    pictures = [to_uint8(tiny.generator(seed=4)(latents(9, range(3), 8))).tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]


def test_image_does_not_depend_on_the_batch(network: Generator) -> None:
    whole = network(latents(0, range(12), 8), 0.8)
    for size in (1, 5):
        parts = torch.cat([network(latents(0, range(i, min(i + size, 12)), 8), 0.8) for i in range(0, 12, size)])
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
        differing = (to_uint8(parts) != to_uint8(whole)).mean()
        assert differing < 1e-3  # rounding of a value that lies between two bytes


def test_only_the_direction_of_z_counts(network: Generator) -> None:
    z = latents(0, range(2), 8)
    torch.testing.assert_close(network.map(z), network.map(7 * z), atol=1e-5, rtol=1e-5)


def test_truncation(network: Generator) -> None:
    z, mean = latents(0, range(4), 8), network.mapping.w_avg
    w = network.map(z)
    torch.testing.assert_close(network.map(z, 0.0), mean.expand(4, -1))
    torch.testing.assert_close(network.map(z, 0.3), mean + 0.3 * (w - mean))
    assert torch.equal(network.map(z, 1.0), w)
    images = network(z, 0.0)
    torch.testing.assert_close(images, images[:1].expand_as(images), atol=1e-5, rtol=0)


def test_every_layer_of_ws_acts_and_only_from_its_resolution_on(network: Generator) -> None:
    ws = network.broadcast(network.map(latents(0, range(1), 8))).clone()
    base = network.synthesize(ws)
    for layer in range(network.num_ws):
        changed = ws.clone()
        changed[:, layer] += 0.5
        assert not torch.equal(network.synthesize(changed), base), layer


def test_gradient_with_respect_to_ws(network: Generator) -> None:
    ws = network.broadcast(network.map(latents(0, range(2), 8))).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.synthesize(ws).square().sum(), ws)
    assert (gradient.norm(dim=2) > 0).all()


def test_mixing_cutoffs() -> None:
    a, b = torch.zeros(4, 6, 2), torch.ones(4, 6, 2)
    mixed = mix_styles(a, b, [0, 1, 4, 6])
    assert mixed[:, :, 0].sum(dim=1).tolist() == [6, 5, 2, 0]
    assert (mixed[1, 0] == 0).all()
    assert (mixed[1, 1:] == 1).all()


def test_noise_modes(network: Generator) -> None:
    ws = network.broadcast(network.map(latents(0, range(2), 8)))
    const, none = network.synthesize(ws), network.synthesize(ws, "none")
    assert torch.equal(const, network.synthesize(ws, "const"))
    random = [network.synthesize(ws, "random", torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(random[0], random[1])
    for one, other in ((const, none), (const, random[0]), (random[0], random[2])):
        assert not torch.allclose(one, other, atol=1e-3)


def test_random_noise_differs_between_images(network: Generator) -> None:
    ws = network.broadcast(network.map(latents(0, [0, 0], 8)))
    images = network.synthesize(ws, "random", torch.Generator().manual_seed(0))
    assert not torch.allclose(images[0], images[1], atol=1e-3)


def test_learned_noise_strength_starts_at_zero() -> None:
    torch.manual_seed(0)
    fresh = StyleGAN2(tiny.GENERATOR).requires_grad_(False)
    ws = fresh.broadcast(fresh.map(latents(0, range(1), 8)))
    assert torch.equal(fresh.synthesize(ws), fresh.synthesize(ws, "none"))


def test_published_size() -> None:
    # Config F at 1024 px, as the official code counts it: 30,370,060 and 29,012,513 trainable parameters.
    config = GeneratorConfig(1024, z_dim=512, w_dim=512, num_mapping_layers=8, channel_base=32768, channel_max=512)
    with torch.device("meta"):
        networks = StyleGAN2(config), Discriminator(DiscriminatorConfig.matching(config))
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [30_370_060, 29_012_513]
