"""The first StyleGAN's discriminator: its downscaling against loops, batches, classes, and what features need of it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import ConfigError
from lineament.networks.layouts.stylegan1 import spread
from lineament.networks.perceptual import QUARTER_BLOCKS
from lineament.networks.stylegan.discriminator import minibatch_std
from lineament.networks.stylegan.progressive_discriminator import (
    DownscalingConv,
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)
from tests.twins.stylegan1_twin import blur_loop, convolve_downscale_loop

TINY = ProgressiveDiscriminatorConfig(resolution=32, channel_base=96, channel_max=6, dense_dim=5)


def network(config: ProgressiveDiscriminatorConfig = TINY) -> ProgressiveDiscriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ProgressiveDiscriminator(config)


def images(n: int, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(n))


def test_downscaling_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    x, kernel, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 4, 6), (4, 3, 3, 3), (4,))
    )
    layer = DownscalingConv(3, 4).double().requires_grad_(False)
    layer.weight.copy_(spread(kernel) / 4)
    layer.bias.copy_(bias)
    expected = F.leaky_relu(convolve_downscale_loop(blur_loop(x), kernel) + bias[:, None, None], 0.2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_batch_sizes(n: int) -> None:
    made = network()
    logits = made(images(n))
    assert logits.shape == (n,)
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


def test_groups_and_channels_of_standard_deviations() -> None:
    x = images(8)
    with torch.no_grad():
        fours, pairs = network()(x), network(replace(TINY, group_size=2))(x)
        assert not torch.allclose(fours, pairs, atol=1e-6)
        # Samples i and i + 4 share a group of two.
        torch.testing.assert_close(network(replace(TINY, group_size=2))(x[[0, 4]]), pairs[[0, 4]])
        none = network(replace(TINY, num_std_channels=0))
        torch.testing.assert_close(none(x)[:1], none(x[:1]))
        assert network(replace(TINY, num_std_channels=2)).final_conv.weight.shape[1] == 8


def test_logits_follow_from_the_last_layers() -> None:
    made, x = network(), images(4)
    with torch.no_grad():
        features = made.from_rgb(x)
        for block in made.blocks:
            features = block(features)
        assert features.shape == (4, 6, 4, 4)
        dense = made.final_dense(made.final_conv(minibatch_std(features)).flatten(1))
        torch.testing.assert_close(made(x), made.logit(dense)[:, 0])


def test_classes() -> None:
    made, x = network(replace(TINY, c_dim=3)), images(3)
    with torch.no_grad():
        each = torch.stack([made(x, F.one_hot(torch.full((3,), k), 3).float()) for k in range(3)])
        torch.testing.assert_close(made(x, torch.eye(3)), each.diagonal())
        assert (each.std(dim=0) > 1e-4).all()
    with pytest.raises(ConfigError, match="has 3 classes, got a label of none"):
        made(x)
    with pytest.raises(ConfigError, match="has no classes, got a label of 3"):
        network()(x, torch.eye(3))


def test_first_blocks_are_features_at_a_quarter_of_the_size() -> None:
    made = network()
    features = made.from_rgb(images(2, 64))  # any size: they are convolutions
    for block in list(made.blocks)[:QUARTER_BLOCKS]:
        features = block(features)
    assert features.shape == (2, TINY.channels(TINY.resolution // 4), 16, 16)
    state = made.state_dict()
    assert {"from_rgb.weight", "blocks.0.conv0.weight", "blocks.1.conv1.bias"} <= state.keys()


def test_penalty_can_be_differentiated_twice() -> None:
    made, x = network(), images(4).requires_grad_()
    (gradient,) = torch.autograd.grad(made(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert made.from_rgb.weight.grad is not None
    assert made.from_rgb.weight.grad.abs().max() > 0


def test_published_size() -> None:
    # 23.1M trainable parameters (section 2): with 3 x 3 kernels and with layers for images of all sizes.
    with torch.device("meta"):
        full = ProgressiveDiscriminator(ProgressiveDiscriminatorConfig())
    stored = sum(p.numel() for p in full.parameters())
    spread_kernels = sum(layer.weight.numel() for layer in full.modules() if isinstance(layer, DownscalingConv))
    smaller_images = sum(4 * full.config.channels(4 * 2**k) for k in range(8))
    assert stored - spread_kernels * 7 // 16 + smaller_images == 23_087_249


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="resolution is 48, expected a power of two from 8 to 1024"):
        replace(TINY, resolution=48)
    for name in ("channel_base", "channel_max", "dense_dim", "image_channels", "group_size"):
        with pytest.raises(ConfigError, match=f"{name} is 0, expected at least 1"):
            replace(TINY, **{name: 0})
    for name in ("c_dim", "num_std_channels"):
        with pytest.raises(ConfigError, match=f"{name} is -1, expected 0 or more"):
            replace(TINY, **{name: -1})
    with pytest.raises(ConfigError, match="expected 4 numbers of channels"):
        replace(TINY, widths=(1, 2))
    assert ProgressiveDiscriminatorConfig(**TINY.to_dict()) == TINY
