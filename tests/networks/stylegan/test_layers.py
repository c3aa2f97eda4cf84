"""Equalised layers against plain ones."""

import math

import pytest
import torch
import torch.nn.functional as F

from lineament.networks.stylegan.layers import Conv, Dense
from tests.twins.resample_twin import downsample_loop, filter_loop


def test_dense_at_start_keeps_variance_whatever_its_learning_rate() -> None:
    torch.manual_seed(0)
    x = torch.randn(4000, 64)
    for rate in (1.0, 0.01):
        layer = Dense(64, 32, lr_multiplier=rate)
        assert layer(x).std().item() == pytest.approx(1, rel=0.1)
    activated = Dense(64, 32, activate=True)(x)
    assert activated.square().mean().sqrt().item() == pytest.approx(1, rel=0.15)


def test_dense_learning_rate_multiplier() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 8)
    slow = Dense(8, 4, bias_init=0.5, lr_multiplier=0.1)
    expected = F.linear(x, slow.weight * 0.1 / math.sqrt(8), torch.full((4,), 0.5))
    torch.testing.assert_close(slow(x), expected)
    (gradient,) = torch.autograd.grad(slow(x).sum(), slow.bias)
    torch.testing.assert_close(gradient, torch.full((4,), 0.5))  # 5 rows times 0.1


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("downsample", [True, False])
def test_conv(kernel: int, bias: bool, activate: bool, downsample: bool) -> None:
    torch.manual_seed(0)
    layer = Conv(3, 4, kernel, bias=bias, activate=activate, downsample=downsample).double()
    x, gain = torch.randn(2, 3, 6, 8, dtype=torch.float64), 0.7
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    weight = layer.weight / math.sqrt(3 * kernel**2)
    if not downsample:
        plain = F.conv2d(x, weight, layer.bias, padding=kernel // 2)
    elif kernel == 1:
        plain = F.conv2d(downsample_loop(x), weight, layer.bias)
    else:  # low-pass, then the strided kernel: its centre meets every second pixel
        plain = F.conv2d(filter_loop(x, 2), weight, layer.bias, stride=2)
    if activate:
        plain = F.leaky_relu(plain, 0.2) * math.sqrt(2)
    assert plain.shape[2:] == ((3, 4) if downsample else (6, 8))
    torch.testing.assert_close(layer(x, gain), plain * gain)
