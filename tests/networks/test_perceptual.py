"""Perceptual features are the discriminator's own maps, scaled."""

import pytest
import torch

from lineament.networks.perceptual import DiscriminatorFeatures, downsample_mask
from lineament.networks.stylegan.discriminator import Discriminator
from tests import tiny


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(tiny.DISCRIMINATOR).eval()


def noise(n: int = 6, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_equal_to_the_intermediate_maps(discriminator: Discriminator) -> None:
    maps: list[torch.Tensor] = []
    handle = discriminator.blocks[1].register_forward_hook(lambda module, args, output: maps.append(output.detach()))
    images = noise()
    discriminator(images)
    handle.remove()
    features = DiscriminatorFeatures.from_discriminator(discriminator, images)
    std = maps[0].std(dim=(0, 2, 3))
    torch.testing.assert_close(features(images), maps[0] / std[:, None, None])
    torch.testing.assert_close(features(images).std(dim=(0, 2, 3)), torch.ones(len(std)))
    assert features(images).shape[2:] == (8, 8)
    assert features(noise(2, 64)).shape[2:] == (16, 16)  # any size: the blocks are convolutions


def test_frozen_and_independent_of_the_discriminator(discriminator: Discriminator) -> None:
    features = DiscriminatorFeatures.from_discriminator(discriminator, noise())
    assert not any(p.requires_grad for p in features.parameters())
    before = features(noise(2))
    with torch.no_grad():
        discriminator.from_rgb.weight.zero_()
    assert torch.equal(features(noise(2)), before)
    images = noise(2).requires_grad_()
    (gradient,) = torch.autograd.grad(features(images).square().sum(), images)
    assert gradient.abs().max() > 0


def test_dead_channel_does_not_divide_by_zero(discriminator: Discriminator) -> None:
    features = DiscriminatorFeatures.from_discriminator(discriminator, torch.zeros(2, 3, 32, 32))
    assert torch.isfinite(features.scale).all()


def test_mask_is_true_where_every_pixel_below_is() -> None:
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[0, 3, 5] = False
    small = downsample_mask(mask, 2)
    assert small.dtype == torch.bool
    assert small[0].tolist() == [[True, False], [True, True]]
    assert small[1].all()
