"""The judge's network."""

from typing import Any

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.judge import Judge
from lineament.records.shapes import JudgeConfig

CONFIG = JudgeConfig(attributes="yaw smile light_x", resolution=16, channels=4, channel_max=8, hidden_dim=8)


@pytest.fixture
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(CONFIG).eval()


def test_a_mirror_image_turns_what_has_a_side_and_nothing_else(judge: Judge) -> None:
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    here, there = judge.standardised(images), judge.standardised(images.flip(3))
    torch.testing.assert_close(there, here * torch.tensor([-1.0, 1.0, -1.0]))
    assert here.abs().min() > 1e-4


def test_larger_images_are_shrunk(judge: Judge) -> None:
    assert judge(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_the_loss_is_the_likelihood_of_errors_of_their_own_size(judge: Judge) -> None:
    images, truth = torch.zeros(4, 3, 16, 16), torch.randn(4, 3)
    judge.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    judge.std.copy_(torch.tensor([2.0, 1.0, 0.5]))
    with torch.no_grad():
        judge.log_variance.copy_(torch.tensor([0.0, 1.0, -1.0]))
    loss, squares = judge.loss(images, truth)
    normal = torch.distributions.Normal(judge(images), (judge.log_variance / 2).exp())
    target = (truth - judge.mean) / judge.std
    expected = -normal.log_prob(target).mean() - torch.log(torch.tensor(2 * torch.pi)) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(squares, (target - judge(images)).square().mean(dim=0).detach())


@pytest.mark.parametrize("wrong", [{"resolution": 48}, {"resolution": 8}, {"channels": 0}])
def test_impossible_shapes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        JudgeConfig(**wrong)
