"""Finest resolutions in half precision: near the single precision, within its range, never where derivatives are."""

import pytest
import torch
from torch import Tensor

from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan1 import StyleGAN1, StyleGAN1Config
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config
from lineament.ops.modulation import modulated_conv2d
from lineament.ops.seeding import latents


def made(family: str) -> Generator:
    torch.manual_seed(0)
    generators = {
        "stylegan2 skip": lambda: StyleGAN2(StyleGAN2Config(32, 8, 8, 2, 512, 24, conv_clamp=256.0)),
        "stylegan2 resnet": lambda: StyleGAN2(
            StyleGAN2Config(32, 8, 8, 2, 512, 24, conv_clamp=256.0, architecture="resnet")
        ),
        "stylegan3": lambda: StyleGAN3(
            StyleGAN3Config(resolution=32, z_dim=8, w_dim=8, channel_base=512, channel_max=24, num_layers=6)
        ),
    }
    generator = generators[family]()
    for name, tensor in generator.state_dict().items():
        if name.endswith("noise_strength"):
            tensor.fill_(0.3)
    return generator.eval().requires_grad_(False)


@pytest.fixture(params=["stylegan2 skip", "stylegan2 resnet", "stylegan3"])
def generator(request: pytest.FixtureRequest) -> Generator:
    return made(request.param)


def types_of_features(generator: Generator, ws: Tensor) -> set[torch.dtype]:
    seen = set()
    for module in generator.modules():
        if type(module).__name__ == "SynthesisLayer":
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    generator.synthesize(ws)
    return seen


def test_near_single_precision(generator: Generator) -> None:
    ws = generator.broadcast(generator.map(latents(0, range(3), 8)))
    single = generator.synthesize(ws)
    generator.half_precision = True
    half = generator.synthesize(ws)
    assert half.dtype == torch.float32
    error = float((half - single).abs().max() / single.abs().max())
    assert 1e-6 < error < 1e-2
    coarse = set() if isinstance(generator, StyleGAN3) else {torch.float32}  # whose coarsest rate is above 4 pixels
    assert types_of_features(generator, ws) == {torch.float16, *coarse}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_derivatives_are_of_single_precision(generator: Generator) -> None:
    generator.half_precision = True
    ws = generator.broadcast(generator.map(latents(0, range(1), 8))).clone()
    assert types_of_features(generator, ws.clone().requires_grad_()) == {torch.float32}
    assert types_of_features(generator.train(), ws) == {torch.float32}
    generator.eval()
    seen = torch.func.jvp(generator.synthesize, (ws,), (torch.ones_like(ws),))[1]
    generator.half_precision = False
    torch.testing.assert_close(seen, torch.func.jvp(generator.synthesize, (ws,), (torch.ones_like(ws),))[1])


def test_which_were_trained_in_half(generator: Generator) -> None:
    assert generator.trained_in_half
    assert not StyleGAN2(StyleGAN2Config(32, 8, 8, 2, 64, 2)).trained_in_half
    assert not StyleGAN1(StyleGAN1Config(8, 8, 8, channel_base=32, channel_max=4)).trained_in_half


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("size", [0.1, 1.0, 1e4])
def test_large_weights_and_styles_stay_in_range(upsample: bool, size: float) -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn((2, 16, 8, 8), generator=rng) * 20
    weight = torch.randn((8, 16, 3, 3), generator=rng) * size
    style = torch.randn((2, 16), generator=rng) * size
    single = modulated_conv2d(x, weight, style, upsample=upsample)
    half = modulated_conv2d(x.half(), weight, style, upsample=upsample)
    assert half.dtype == torch.float16
    assert float((half.float() - single).abs().max()) < 4e-3 * float(single.abs().max())


def test_dead_channels_stay_dead() -> None:
    x, weight = torch.ones(1, 2, 4, 4), torch.zeros(3, 2, 3, 3)
    assert torch.equal(modulated_conv2d(x.half(), weight, torch.zeros(1, 2)), torch.zeros(1, 3, 4, 4).half())
