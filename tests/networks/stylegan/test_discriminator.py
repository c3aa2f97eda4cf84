"""Minibatch standard deviation against loops, and the discriminator at every batch size."""

from dataclasses import replace

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.stylegan.discriminator import (
    Discriminator,
    DiscriminatorBlock,
    DiscriminatorConfig,
    minibatch_std,
)
from tests import tiny
from tests.twins.minibatch_std_twin import minibatch_std_loop


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 12])
def test_minibatch_std_twin(n: int) -> None:
    x = torch.randn(n, 3, 2, 5, generator=torch.Generator().manual_seed(n), dtype=torch.float64, requires_grad=True)
    fast, slow = minibatch_std(x), minibatch_std_loop(x)
    torch.testing.assert_close(fast, slow)
    for mine, twin in zip(
        torch.autograd.grad(fast.pow(3).sum(), x), torch.autograd.grad(slow.pow(3).sum(), x), strict=True
    ):
        torch.testing.assert_close(mine, twin)


def test_equal_samples_have_no_deviation() -> None:
    x = torch.randn(1, 3, 4, 4).expand(4, -1, -1, -1)
    assert minibatch_std(x)[:, 3].max().item() <= 1.01e-4  # the square root of its epsilon


@pytest.mark.parametrize("n", [1, 3, 5, 8])
def test_batch_sizes(n: int) -> None:
    torch.manual_seed(0)
    network = Discriminator(tiny.DISCRIMINATOR)
    logits = network(torch.randn(n, 3, 32, 32))
    assert logits.shape == (n,)
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_blocks_halve_and_channels_grow() -> None:
    network = Discriminator(tiny.DISCRIMINATOR)
    x = network.from_rgb(torch.randn(1, 3, 32, 32))
    shapes = [tuple(x.shape[1:])]
    for block in network.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    channels = tiny.GENERATOR.channels
    assert shapes == [(channels(r), r, r) for r in (32, 16, 8, 4)]


def test_residual_block_keeps_the_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 32, 16, 16)
    block = DiscriminatorBlock(DiscriminatorConfig(channel_base=10**6, channel_max=32), 64)
    with torch.no_grad():
        # The low-pass filters take high frequencies away, so the variance falls; it does not double.
        assert 0.05 < block(x).var().item() < 1.0


def test_penalty_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    network = Discriminator(tiny.DISCRIMINATOR)
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert network.from_rgb.weight.grad is not None
    assert network.from_rgb.weight.grad.abs().max() > 0


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize(("c_dim", "class_dim"), [(0, 0), (3, 0), (3, 5)])
def test_architectures_and_classes(architecture: str, c_dim: int, class_dim: int) -> None:
    torch.manual_seed(0)
    config = replace(tiny.DISCRIMINATOR, architecture=architecture, c_dim=c_dim, class_dim=class_dim)
    network = Discriminator(config).eval()
    images = torch.randn(4, 3, 32, 32)
    if not c_dim:
        assert network(images).shape == (4,)
        with pytest.raises(ConfigError, match="has no classes"):
            network(images, torch.eye(3)[:1].expand(4, -1))
        return
    logits = torch.stack([network(images, torch.eye(3)[[i] * 4]) for i in range(3)])
    assert logits.shape == (3, 4)
    assert (logits[0] - logits[1]).abs().min() > 1e-6  # the class counts
    with pytest.raises(ConfigError, match="has 3 classes"):
        network(images)


def test_the_skip_architecture_looks_at_smaller_images() -> None:
    torch.manual_seed(0)
    network = Discriminator(replace(tiny.DISCRIMINATOR, architecture="skip")).eval()
    images = torch.randn(2, 3, 32, 32)
    before = network(images)
    network.from_smaller[-1].weight.data.zero_()
    assert not torch.allclose(network(images), before)


def test_clamped_outputs() -> None:
    torch.manual_seed(0)
    network = Discriminator(replace(tiny.DISCRIMINATOR, conv_clamp=0.01)).eval()
    assert network.from_rgb(torch.randn(2, 3, 32, 32)).abs().max().item() == pytest.approx(0.01)


def test_wrong_settings() -> None:
    for change in ({"architecture": "unet"}, {"c_dim": -1}, {"resolution": 63}, {"image_channels": 0}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(tiny.DISCRIMINATOR, **change)
