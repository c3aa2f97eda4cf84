"""The upsampler begins as interpolation, and the critic sees the finest details."""

import torch

from lineament.networks.upsampler import DetailCritic, Upsampler
from lineament.ops.resample import upsample_fir
from lineament.records.shapes import UpsamplerConfig


def test_untrained_it_interpolates() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 12) * 2 - 1
    torch.testing.assert_close(Upsampler(UpsamplerConfig(channels=4))(images), upsample_fir(images))


def test_details_depend_on_the_surroundings_alone() -> None:
    torch.manual_seed(0)
    network = Upsampler(UpsamplerConfig(channels=4, num_blocks=2))
    torch.nn.init.normal_(network.last.weight)
    images = torch.rand(1, 3, 32, 32)
    changed = images.clone()
    changed[:, :, 16, 16] += 1
    moved = (network(changed) - network(images)).abs().sum(dim=(0, 1)) > 1e-6
    rows = moved.any(dim=1).nonzero().flatten()
    assert rows.min() >= 2 * (16 - 6)
    assert rows.max() <= 2 * (16 + 6) + 1


def test_the_critic_sees_what_a_filter_before_a_stride_would_take_away() -> None:
    torch.manual_seed(0)
    critic, coarse = DetailCritic(8), torch.rand(1, 3, 16, 16)
    smooth = upsample_fir(coarse)
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 0.05 - 0.025
    fine, rough = critic(coarse, smooth + board), critic(coarse, smooth)
    assert fine.shape == (1, 1, 4, 4)
    assert float((fine - rough).detach().abs().mean() / rough.detach().std()) > 0.1


def test_the_critic_sees_the_coarse_image() -> None:
    torch.manual_seed(0)
    critic, coarse, details = DetailCritic(8), torch.rand(2, 3, 16, 16), torch.rand(1, 3, 32, 32) * 0.1
    logits = critic(coarse, upsample_fir(coarse) + details)
    assert float((logits[0] - logits[1]).detach().abs().max()) > 1e-3
