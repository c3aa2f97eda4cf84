"""StyleGAN3: numbers of the original on the same weights, latents, transforms, batches, gradients, bad settings."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.errors import ConfigError
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config
from lineament.ops.seeding import latents

T = StyleGAN3Config(
    resolution=32,
    z_dim=5,
    w_dim=6,
    c_dim=3,
    channel_base=160,
    channel_max=12,
    num_layers=6,
    margin_size=4,
    output_scale=1.0,
)
R = replace(T, c_dim=0, conv_kernel=1, use_radial_filters=True, conv_clamp=0.5, image_channels=4)


def ramp(network: StyleGAN3) -> StyleGAN3:
    """Fill every tensor by a formula that other code can follow: no random numbers, nothing at its default."""
    for name, tensor in network.state_dict().items():
        count = torch.arange(tensor.numel(), dtype=torch.float64) * 37 + 11 * len(name)
        values = (count % 101) / 50 - 1
        if name.endswith("magnitude_ema"):
            values = 0.6 + values.abs()
        elif name.endswith(("affine.bias", "freqs")):
            values = 1 + 0.5 * values
        elif name.startswith("mapping.layers"):
            values = 50 * values
        elif name == "input.transform":
            c, s = math.cos(0.3), math.sin(0.3)
            values = torch.tensor([c, -s, 0.1, s, c, -0.2, 0, 0, 1])
        tensor.copy_(values.reshape(tensor.shape))
    return network


def made(config: StyleGAN3Config) -> StyleGAN3:
    return ramp(StyleGAN3(config).eval().requires_grad_(False))


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    return made(T)


def some(config: StyleGAN3Config, num: int = 2) -> tuple[Tensor, Tensor | None]:
    z = torch.linspace(-1, 1, num * config.z_dim).reshape(num, -1).sin()
    return z, torch.eye(config.c_dim)[1:].repeat(num, 1)[:num] if config.c_dim else None


def numbers(images: Tensor) -> list[float]:
    """Mean, deviation, and a few pixels."""
    picks = images[0, 0, 3, 5], images[0, 1, 30, 2], images[-1, 2, 16, 16], images[-1, -1, 31, 31]
    return [float(v) for v in (images.mean(), images.std(), *picks)]


# What the original code gives for the same weights: three numbers of w, three of a truncated w, `numbers` of images.
GOLDEN = {
    "T": (
        [-0.05516, 0.20385, -0.1411],
        [-0.09559, 0.36283, -0.3637],
        [0.35878, 0.40089, -0.11577, 0.31909, 0.86924, 0.8574],
    ),
    "R": (
        [-0.02391, 0.15995, -0.18272],
        [-0.07259, 0.27619, -0.36454],
        [-0.03502, 0.41721, -0.37294, 0.2384, 0.5, -0.5],
    ),
}


@pytest.mark.parametrize("name", ["T", "R"])
def test_numbers_of_the_original(name: str) -> None:
    config = {"T": T, "R": R}[name]
    generator = made(config)
    z, label = some(config)
    w = generator.map(z, label=label)
    truncated = generator.map(z, 0.6, label)
    found = w[0, :3].tolist(), truncated[1, :3].tolist(), numbers(generator(z, 0.6, label=label))
    for mine, original in zip(found, GOLDEN[name], strict=True):
        assert mine == pytest.approx(original, abs=1e-4)


@pytest.mark.parametrize(("resolution", "kernel"), [(16, 3), (32, 1), (64, 3)])
def test_shapes(resolution: int, kernel: int) -> None:
    config = StyleGAN3Config(resolution, 2, 5, 7, channel_base=64, channel_max=3, conv_kernel=kernel)
    network = StyleGAN3(config).requires_grad_(False)
    w = network.map(latents(0, range(2), 5))
    assert w.shape == (2, 7)
    ws = network.broadcast(w)
    assert ws.shape == (2, network.num_ws, 7)
    assert network.num_ws == config.num_ws == 16
    assert network.synthesize(ws).shape == (2, 2, resolution, resolution)


def test_published_sizes() -> None:
    # Names of the layers in the published stylegan3-t-ffhq-1024x1024: L0_36_512, ..., L14_1024_3.
    plans = StyleGAN3Config(1024).plans()
    sizes = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [plan.out_size for plan in plans] == sizes
    channels = [512, 512, 512, 512, 512, 512, 512, 323, 203, 128, 81, 51, 32, 32, 3]
    assert [plan.out_channels for plan in plans] == channels


def test_image_does_not_depend_on_the_batch(network: StyleGAN3) -> None:
    z, label = some(T, 3)
    whole = network(z, 0.8, label=label)
    for i in range(3):
        assert torch.equal(network(z[i : i + 1], 0.8, label=label[i : i + 1])[0], whole[i])  # pyright: ignore


def test_noise_mode_has_no_effect(network: StyleGAN3) -> None:
    z, label = some(T)
    ws = network.broadcast(network.map(z, label=label))
    images = [network.synthesize(ws, mode) for mode in ("const", "random", "none")]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_every_w_acts(network: StyleGAN3) -> None:
    z, label = some(T, 1)
    ws = network.broadcast(network.map(z, label=label)).clone()
    base = network.synthesize(ws)
    for layer in range(network.num_ws):
        changed = ws.clone()
        changed[:, layer] += 0.5 * torch.arange(6)
        assert not torch.allclose(network.synthesize(changed), base, atol=1e-4), layer


def test_label_is_asked_for(network: StyleGAN3) -> None:
    z, label = some(T)
    one, other = network.map(z, label=label), network.map(z, label=label.roll(1, 1))  # pyright: ignore
    assert not torch.allclose(one, other)
    with pytest.raises(ConfigError, match="the generator has 3 classes, but got no label"):
        network.map(z)


def test_transform_moves_the_image() -> None:
    # A translation moves the image, almost exactly: that is what the family is about.
    config = replace(R, conv_clamp=0.0, margin_size=8)
    network = made(config)
    z, _ = some(config, 1)
    network.input.transform.copy_(torch.eye(3))
    still = network(z)
    network.input.transform[0, 2] = -4 / 32  # where pixels are looked up: to the left, so that they move to the right
    moved = network(z)
    middle = still[..., 8:24, 6:18]
    unmoved, left = (
        (middle - other).square().mean().sqrt() for other in (still[..., 8:24, 10:22], moved[..., 8:24, 10:22])
    )
    assert left < 0.05 * unmoved


@pytest.mark.parametrize("config", [T, R], ids=["T", "R"])
def test_paths_with_and_without_gradients_agree(config: StyleGAN3Config) -> None:
    network = made(config)
    z, label = some(config, 1)
    ws = network.broadcast(network.map(z, label=label)).clone()
    with torch.inference_mode():
        plain = network.synthesize(ws).clone()
    torch.testing.assert_close(copy.deepcopy(network).synthesize(ws), plain)  # what is kept can be copied
    ws.requires_grad_()
    images = network.synthesize(ws)
    torch.testing.assert_close(images.detach(), plain, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(images.square().sum(), ws)
    assert (gradient.norm(dim=2) > 0).all()


def test_changed_weights_count_at_once(network: StyleGAN3) -> None:
    z, label = some(T, 1)
    fresh, changed = made(T), made(T)
    before = changed(z, label=label)
    state = {k: v.flip(0) if k.endswith("2.weight") else v for k, v in fresh.state_dict().items()}
    changed.load_state_dict(state)
    after = changed(z, label=label)
    assert not torch.allclose(after, before, atol=1e-3)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(z, label=label), after)
    changed.double().float()
    changed.layers[1].weight = torch.nn.Parameter(-state["layers.1.weight"], requires_grad=False)
    assert not torch.allclose(changed(z, label=label), after, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "resolution is 48, expected a power of two from 16 to 4096"),
        ({"z_dim": 0}, "z_dim is 0, expected at least 1"),
        ({"c_dim": -1}, "c_dim is -1, expected at least 0"),
        ({"filter_size": 65}, "filter_size is 65, expected at least 1 and at most 64"),
        ({"conv_clamp": math.nan}, "conv_clamp is nan, expected at least 0"),
        ({"conv_kernel": 5}, "conv_kernel is 5, expected 3"),
        ({"num_critical": 14}, "num_critical is 14, expected less than num_layers"),
        ({"output_scale": 0.0}, "output_scale is 0.0, expected a positive number"),
        ({"first_cutoff": 5.0}, "first_cutoff is 5.0 and first_stopband 4.28"),
        ({"last_stopband_rel": 1.0}, "last_stopband_rel is 1.0, expected more than 1"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StyleGAN3Config(**changes)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, at its first derivative
def test_forward_mode_derivatives() -> None:
    # As `faces.maps` takes them: gradients off, tangents along many directions of w at a time.
    torch.manual_seed(0)
    config = StyleGAN3Config(32, z_dim=8, w_dim=8, channel_base=256, channel_max=8, num_layers=6)
    network = StyleGAN3(config).eval().requires_grad_(False).double()
    w, along = torch.randn(2, 8).double(), torch.randn(3, 2, 8).double()

    def images(w: torch.Tensor) -> torch.Tensor:
        return network.synthesize(network.broadcast(w))

    with torch.no_grad():
        found = torch.func.vmap(lambda t: torch.func.jvp(images, (w,), (t,))[1])(along)
        expected = torch.stack([(images(w + 1e-6 * t) - images(w - 1e-6 * t)) / 2e-6 for t in along])
    # But for the few pixels where a rectifier turns over within the difference.
    assert float(((found - expected).abs() > 1e-5).double().mean()) < 0.02
    assert float(expected.abs().mean()) > 0.01
