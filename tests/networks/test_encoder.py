"""The encoder: where it starts, sizes, independence of the batch."""

from dataclasses import replace

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.encoder import Encoder
from lineament.records.shapes import EncoderConfig

SMALL = EncoderConfig(resolution=32, w_dim=8, num_ws=8, channels=4, channel_max=6, offset_dim=5)


def encoder(config: EncoderConfig = SMALL, *, started: bool = True) -> Encoder:
    torch.manual_seed(0)
    network = Encoder(config)
    network.mean.copy_(torch.arange(config.w_dim))
    network.root.copy_(2 * torch.eye(config.w_dim))
    if not started:
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.normal_(parameter)
    return network.eval().requires_grad_(False)


def images(n: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_an_untrained_one_predicts_the_mean() -> None:
    torch.testing.assert_close(encoder()(images()), torch.arange(8.0).expand(3, 8, 8))


def test_offsets_can_be_left_out() -> None:
    common = encoder(replace(SMALL, offsets=False), started=False)(images())
    torch.testing.assert_close(common, common[:, :1].expand_as(common))
    own = encoder(started=False)(images())
    assert (own - own.mean(dim=1, keepdim=True)).abs().max() > 0.1


def test_each_image_by_itself_and_shrunk() -> None:
    network = encoder(started=False)
    torch.testing.assert_close(network(images())[1:2], network(images()[1:2]), atol=1e-4, rtol=1e-4)
    large = images().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert network(large).shape == (3, 8, 8)


def test_small_enough_to_ship() -> None:
    values = sum(tensor.numel() for tensor in Encoder(EncoderConfig()).state_dict().values())
    assert 2 * values <= 1.6e6


@pytest.mark.parametrize("changes", [{"resolution": 48}, {"resolution": 8}, {"num_ws": 0}, {"channels": 0}])
def test_settings_that_cannot_be(changes: dict) -> None:
    with pytest.raises(ConfigError):
        EncoderConfig(**changes)
