"""The first StyleGAN's generator: its operations against loops, shapes, latents, noise, inference mode, derivatives."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lineament.errors import ConfigError
from lineament.networks.layouts.stylegan1 import spread
from lineament.networks.stylegan import stylegan1
from lineament.networks.stylegan.stylegan1 import (
    ConvLayer,
    StyleGAN1,
    StyleGAN1Config,
    UpscalingLayer,
    blur,
    finish_layer,
    finish_layer_in_place,
)
from lineament.ops.seeding import latents
from tests.twins.stylegan1_twin import blur_loop, finish_layer_loop, upscale_convolve_loop, upscale_fused_loop

TINY = StyleGAN1Config(
    resolution=32, z_dim=8, w_dim=7, num_mapping_layers=2, mapping_dim=9, channel_base=96, channel_max=6
)


def network(config: StyleGAN1Config = TINY) -> StyleGAN1:
    """Untrained, but with noise, biases and a mean w that are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = StyleGAN1(config).eval().requires_grad_(False)
        for name, value in made.state_dict().items():
            if name.endswith(("noise_strength", "bias", "w_avg", "const")):
                value.add_(0.3 * torch.randn_like(value))
    return made


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer_input(n: int = 3, c: int = 2, h: int = 12, w: int = 5, noises: int = 1) -> list[Tensor | None]:
    noise = randn(noises, 1, h, w, seed=1) if noises else None
    return [randn(n, c, h, w), noise, randn(c, seed=2), randn(n, c, seed=3), randn(n, c, seed=4)]


# ---- operations ----


def test_blur_twin() -> None:
    x, bias = randn(2, 3, 5, 7), randn(3, seed=1)
    torch.testing.assert_close(blur(x), blur_loop(x))
    torch.testing.assert_close(blur(x, bias), blur_loop(x) + bias[:, None, None])
    assert torch.autograd.gradcheck(blur, (x[:1, :2, :3, :4].requires_grad_(), bias[:2].requires_grad_()))


@pytest.mark.parametrize("twin", [upscale_convolve_loop, upscale_fused_loop])
def test_upscaling_twins(twin: Callable[[Tensor, Tensor], Tensor]) -> None:
    x, kernel = randn(2, 3, 3, 5), randn(4, 3, 3, 3, seed=1)
    layer = UpscalingLayer(3, 4, 7, 8).double().requires_grad_(False)
    layer.bias.copy_(randn(4, seed=2))
    stored = kernel if twin is upscale_fused_loop else kernel.flip(2, 3)
    layer.weight.copy_(spread(stored).transpose(0, 1))
    torch.testing.assert_close(layer.source(x, 2), blur_loop(twin(x, kernel)) + layer.bias[:, None, None])


def test_the_two_ways_of_upscaling_differ_by_a_mirror_image_alone() -> None:
    x, kernel = randn(1, 2, 3, 4), randn(2, 2, 3, 3, seed=1)
    torch.testing.assert_close(upscale_fused_loop(x, kernel), upscale_convolve_loop(x, kernel.flip(2, 3)))
    assert not torch.allclose(upscale_fused_loop(x, kernel), upscale_convolve_loop(x, kernel), atol=0.1)


@pytest.mark.parametrize("noises", [0, 1, 3])
def test_finish_layer_twin(noises: int) -> None:
    inputs = layer_input(noises=noises)
    torch.testing.assert_close(finish_layer(*inputs), finish_layer_loop(*inputs))  # pyright: ignore


@pytest.mark.parametrize("noises", [0, 2])
def test_finish_layer_derivative(noises: int) -> None:
    inputs = layer_input(n=2, h=2, w=3, noises=noises)
    assert torch.autograd.gradcheck(finish_layer, [None if t is None else t.requires_grad_() for t in inputs])


@pytest.mark.parametrize("strip_size", [1, 40, 100, 10**6])  # strips of 1, 1, 3 and 12 rows
@pytest.mark.parametrize("noises", [0, 1, 3])
def test_finish_layer_in_place_twin(strip_size: int, noises: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylegan1, "STRIP_SIZE", strip_size)
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = layer_input(noises=noises)
        x, *rest = inputs
        assert x is not None
        x = x.contiguous(memory_format=layout)
        expected = finish_layer(x, *rest)  # pyright: ignore
        finished = finish_layer_in_place(x, *rest)  # pyright: ignore
        assert finished is x
        torch.testing.assert_close(finished, expected)


def test_moments_stay_exact_where_the_mean_is_large_and_the_map_too() -> None:
    x = 1 + 0.02 * randn(1, 2, 256, 512, dtype=torch.float32)
    style = [torch.ones(2), torch.ones(1, 2), torch.zeros(1, 2)]
    expected = finish_layer(x.double(), None, *(t.double() for t in style)).float()
    for finish in (finish_layer, finish_layer_in_place):
        given = x.clone(memory_format=torch.channels_last)
        torch.testing.assert_close(finish(given, None, *style), expected, atol=3e-5, rtol=0)


def test_constant_map_becomes_the_shift() -> None:
    for finish in (finish_layer, finish_layer_in_place):
        out = finish(torch.full((1, 1, 4, 4), 3.0), None, torch.ones(1), torch.ones(1, 1), torch.full((1, 1), 0.5))
        torch.testing.assert_close(out, torch.full((1, 1, 4, 4), 0.5), atol=1e-2, rtol=0)


# ---- settings ----


@pytest.mark.parametrize("resolution", [8, 128, 1024])
def test_shapes(resolution: int) -> None:
    config = replace(TINY, resolution=resolution, channel_base=resolution, channel_max=2, image_channels=1)
    made = network(config)
    assert made.num_ws == config.num_ws == len(made.layers)
    ws = made.broadcast(made.map(latents(0, range(1), 8)))
    assert ws.shape == (1, config.num_ws, 7)
    with torch.inference_mode():
        assert made.synthesize(ws).shape == (1, 1, resolution, resolution)


@pytest.mark.parametrize(("resolution", "num_ws"), [(8, 4), (64, 10), (1024, 18)])
def test_num_ws(resolution: int, num_ws: int) -> None:
    assert StyleGAN1Config(resolution=resolution).num_ws == num_ws


@pytest.mark.parametrize("resolution", [0, 4, 48, 2048, -64])
def test_wrong_resolution(resolution: int) -> None:
    with pytest.raises(ConfigError, match=rf"resolution is {resolution}, expected a power of two from 8 to 1024"):
        StyleGAN1Config(resolution=resolution)


def test_wrong_sizes() -> None:
    for name in ("z_dim", "w_dim", "image_channels", "num_mapping_layers", "channel_base", "channel_max"):
        with pytest.raises(ConfigError, match=f"{name} is 0, expected at least 1"):
            replace(TINY, **{name: 0})
    for name in ("c_dim", "mapping_dim"):
        with pytest.raises(ConfigError, match=f"{name} is -1, expected 0 or more"):
            replace(TINY, **{name: -1})
    for widths in ((6, 6, 6), (6, 6, 6, 0)):
        with pytest.raises(ConfigError, match="expected 4 numbers of channels, one for each size from 4 to 32 pixels"):
            replace(TINY, widths=widths)


def test_channels() -> None:
    assert [TINY.channels(r) for r in (4, 8, 16, 32)] == [6, 6, 6, 3]
    odd = replace(TINY, widths=(5, 4, 2, 3))
    assert [odd.channels(r) for r in (4, 8, 16, 32)] == [5, 4, 2, 3]
    assert [len(layer.bias) for layer in network(odd).layers] == [5, 5, 4, 4, 2, 2, 3, 3]  # pyright: ignore
    assert StyleGAN1Config(**odd.to_dict()) == odd


def test_published_size() -> None:
    # "Our generator has 26.2M trainable parameters" (section 2): with 3 x 3 kernels and with images of all sizes.
    with torch.device("meta"):
        full = StyleGAN1(StyleGAN1Config())
    stored = sum(p.numel() for p in full.parameters())
    spread_kernels = sum(layer.weight.numel() for layer in full.layers if isinstance(layer, UpscalingLayer))
    smaller_images = sum(3 * full.config.channels(4 * 2**k) + 3 for k in range(8))
    assert stored - spread_kernels * 7 // 16 + smaller_images == 26_219_627


# ---- latents ----


def test_truncation_and_direction_of_z() -> None:
    made, z = network(), latents(0, range(4), 8)
    w, mean = made.map(z), made.mapping.w_avg
    torch.testing.assert_close(made.map(z, 0.0), mean.expand(4, -1))
    torch.testing.assert_close(made.map(z, 0.3), mean + 0.3 * (w - mean))
    torch.testing.assert_close(made.map(7 * z), w, atol=1e-5, rtol=1e-5)


def test_classes_act_and_must_be_given() -> None:
    made, z = network(replace(TINY, c_dim=3)), latents(0, [5, 5, 5], 8)
    w = made.map(z, label=torch.eye(3))
    assert (torch.pdist(w) > 1e-3).all()
    with pytest.raises(ConfigError, match="has 3 classes, but got no label"):
        made.map(z)
    with pytest.raises(ConfigError, match="has no classes, but got a label of 3"):
        network().map(z, label=torch.eye(3))


def test_every_layer_of_ws_acts() -> None:
    made = network()
    ws = made.broadcast(made.map(latents(0, range(1), 8))).clone()
    base = made.synthesize(ws)
    for layer in range(made.num_ws):
        changed = ws.clone()
        changed[:, layer] += 0.5
        assert not torch.allclose(made.synthesize(changed), base, atol=1e-4), layer


def test_image_does_not_depend_on_the_batch() -> None:
    made = network()
    whole = made(latents(0, range(6), 8), 0.8)
    parts = torch.cat([made(latents(0, [i], 8), 0.8) for i in range(6)])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


# ---- noise ----


def test_noise_modes() -> None:
    made = network()
    ws = made.broadcast(made.map(latents(0, [0, 0], 8)))
    const, none = made.synthesize(ws), made.synthesize(ws, "none")
    assert torch.equal(const, made.synthesize(ws, "const"))
    random = [made.synthesize(ws, "random", torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(random[0], random[1])
    for one, other in ((const, none), (const, random[0]), (random[0], random[2]), (random[0][:1], random[0][1:])):
        assert not torch.allclose(one, other, atol=1e-3)


def test_learned_noise_strength_starts_at_zero() -> None:
    torch.manual_seed(0)
    fresh = StyleGAN1(TINY).requires_grad_(False)
    ws = fresh.broadcast(fresh.map(latents(0, range(1), 8)))
    assert torch.equal(fresh.synthesize(ws), fresh.synthesize(ws, "none"))


# ---- inference mode, derivatives ----


@pytest.mark.parametrize("mode", ["const", "none", "random"])
def test_inference_mode_gives_the_same_and_leaves_the_weights_alone(mode: str) -> None:
    made = network().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    before = {k: v.clone() for k, v in made.state_dict().items()}
    for n in (1, 3):
        ws = made.broadcast(made.map(latents(0, range(n), 8)))
        expected = made.synthesize(ws, mode, torch.Generator().manual_seed(0))  # pyright: ignore[reportArgumentType]
        with torch.inference_mode():
            fast = made.synthesize(ws, mode, torch.Generator().manual_seed(0))  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(fast, expected, atol=1e-5, rtol=0)
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own use of it
def test_derivatives_backward_and_forward_agree() -> None:
    made = network(replace(TINY, resolution=16)).double()
    w = made.map(latents(0, range(1), 8).double())[0]

    def image(w: Tensor) -> Tensor:
        return made.synthesize(made.broadcast(w[None]))[0].flatten()

    backward = torch.func.jacrev(image)(w)
    with torch.no_grad():
        forward = torch.func.vmap(lambda v: torch.func.jvp(image, (w,), (v,))[1])(torch.eye(7, dtype=w.dtype)).T
    torch.testing.assert_close(forward, backward)
    assert (backward.norm(dim=0) > 0).all()


def test_layers_keep_channels_last() -> None:
    made = network()
    seen: list[bool] = []
    for layer in made.layers:
        layer.register_forward_hook(
            lambda module, args, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    with torch.inference_mode():
        made(latents(0, range(2), 8))
    assert isinstance(made.layers[1], ConvLayer)
    assert seen == [True] * 8
