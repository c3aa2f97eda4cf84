"""The generator: shapes, latents, truncation, mixing, noise, determinism."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.stylegan import stylegan2
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.generator import Generator, NoiseMode
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config, mix_styles
from lineament.ops import styled_convolution
from lineament.ops.modulation import modulated_conv2d_grouped
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import latents
from lineament.records.shapes import GeneratorConfig
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


# ---- the fast way of inference against the plain one ----


def styled(config: GeneratorConfig, count: int = 3) -> tuple[StyleGAN2, torch.Tensor]:
    """A generator in which everything acts, and ws that differ from layer to layer."""
    torch.manual_seed(0)
    network = StyleGAN2(config).eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for name, parameter in network.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network, torch.randn(count, network.num_ws, config.w_dim)


def plainly(network: StyleGAN2, ws: torch.Tensor, mode: NoiseMode = "const") -> torch.Tensor:
    """Images by the way that can be differentiated."""
    network.train()
    try:
        return network.synthesize(ws, mode, torch.Generator().manual_seed(1))
    finally:
        network.eval()


def assert_same(images: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def narrow(resolution: int, architecture: str = "skip", clamp: float = 0.0, channels: int = 3) -> StyleGAN2Config:
    return StyleGAN2Config(
        resolution, 4, 6, 2, 4 * resolution, 8, architecture=architecture, conv_clamp=clamp, image_channels=channels
    )


@pytest.mark.parametrize("least_tiled", [1, 100])
@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_fast_equals_plain_and_grouped(
    architecture: str, noise_mode: NoiseMode, least_tiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(styled_convolution, "LEAST_TILED", least_tiled)
    clamp, channels = (0.7, 1) if noise_mode == "random" else (0.0, 3)
    network, ws = styled(narrow(32, architecture, clamp, channels))
    for group in (ws, ws[:1]):
        fast = network.synthesize(group, noise_mode, torch.Generator().manual_seed(1))
        assert fast.shape == (len(group), channels, 32, 32)
        assert_same(fast, plainly(network, group, noise_mode))
        with monkeypatch.context() as patch:
            patch.setattr(stylegan2, "modulated_conv2d", modulated_conv2d_grouped)
            assert_same(fast, plainly(network, group, noise_mode))


@pytest.mark.parametrize("resolution", [64, 128, 256, 512, 1024])
def test_fast_equals_plain_at(resolution: int) -> None:
    config = StyleGAN2Config(resolution, 4, 6, 2, 2 * resolution, 4, conv_clamp=1.0)
    network, ws = styled(config, count=2 if resolution <= 256 else 1)
    assert_same(network.synthesize(ws), plainly(network, ws))


def test_fast_equals_plain_in_wide_networks() -> None:
    network, ws = styled(GeneratorConfig(32, 8, 8, 2, 4096, 128), count=5)
    with torch.inference_mode():
        fast = network.synthesize(ws)
    assert_same(fast, plainly(network, ws))
    layers = [layer for block in network.synthesis_blocks() for layer in block.layers()]
    assert any(layer._kept(layer.weight, layer._prepared).tiled for layer in layers)
    assert_same(torch.cat([network.synthesize(ws[i : i + 1]) for i in range(5)]), fast)


def test_noise_goes_with_its_image_when_batches_are_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    network, ws = styled(narrow(32), count=7)
    monkeypatch.setattr(stylegan2, "VALUES_AT_A_TIME", network.config.channels(8) * 8 * 8 * 3)
    fast = network.synthesize(ws, "random", torch.Generator().manual_seed(1))
    assert_same(fast, plainly(network, ws, "random"))


def test_changed_weights_are_seen() -> None:
    network, ws = styled(narrow(32))
    before = network.synthesize(ws)
    for parameter in network.parameters():
        parameter.mul_(1.1)
    after = network.synthesize(ws)
    assert not torch.allclose(before, after)
    assert_same(after, plainly(network, ws))
    network.double()
    assert_same(network.synthesize(ws.double()), after.double())
    network.load_state_dict(styled(narrow(32))[0].state_dict())
    assert_same(network.synthesize(ws.double()), before.double())


def test_images_do_not_share_memory() -> None:
    network, ws = styled(narrow(32))
    first = network.synthesize(ws)
    kept = first.clone()
    network.synthesize(-ws)
    assert torch.equal(first, kept)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_derivatives_take_the_plain_way() -> None:
    network, ws = styled(narrow(32), count=1)
    ws, network = ws.double(), network.double()
    direction = torch.randn(ws.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-6 * direction
    slope = (network.synthesize(ws + step) - network.synthesize(ws - step)) / 2e-6
    with torch.no_grad():
        value, tangent = torch.func.jvp(network.synthesize, (ws,), (direction,))[:2]
        several = torch.func.vmap(lambda w: network.synthesize(w[None])[0])(ws)
    torch.testing.assert_close(tangent, slope, rtol=1e-4, atol=1e-5)
    for images in (value, several):
        torch.testing.assert_close(images, network.synthesize(ws))
    leaf = ws.clone().requires_grad_()
    weight = torch.randn(slope.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((network.synthesize(leaf) * weight).sum(), leaf)
    torch.testing.assert_close((gradient * direction).sum(), (slope * weight).sum(), rtol=1e-4, atol=1e-5)


def test_no_images_of_no_latents() -> None:
    network, ws = styled(narrow(32), count=0)
    assert network.synthesize(ws).shape == (0, 3, 32, 32)


def test_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only traced, as not every machine has a compiler; the checks of shapes cannot be.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    network, ws = styled(narrow(32), count=1)
    compiled = torch.compile(network.synthesize, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_same(compiled(ws), network.synthesize(ws))
