"""The fast layer against the equations sample by sample, in every way that it may be computed."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F

from lineament.ops import styled_convolution
from lineament.ops.styled_convolution import modulated_pointwise, prepare_weight, styled_conv2d
from tests.twins.modulation_twin import modulated_conv2d_loop

SIZE, WAYS = 8, ("tiled", "direct", "upsample")


def inputs(n: int, channels: int = 4, num_out: int = 5, size: int = SIZE) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    shapes = (n, channels, size, size), (num_out, channels, 3, 3), (n, channels), (num_out,)
    return tuple(torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes)


@cache
def convolved(n: int, upsample: bool) -> torch.Tensor:
    x, weight, style, bias = inputs(n)
    return modulated_conv2d_loop(x, weight, style, upsample=upsample, gain=1.7) + bias[:, None, None]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("strip_size", [1, 300, 1 << 18])
@pytest.mark.parametrize("way", WAYS)
def test_twin(way: str, strip_size: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # With one sample the map is larger than the weight, which takes over the scales.
    monkeypatch.setattr(styled_convolution, "LEAST_TILED", 1 if way == "tiled" else 100)
    monkeypatch.setattr(styled_convolution, "STRIP_SIZE", strip_size)
    x, weight, style, bias = inputs(n)
    upsample = way == "upsample"
    plain = convolved(n, upsample)
    prepared = prepare_weight(weight, upsample=upsample, size=plain.shape[2])
    assert prepared.tiled == (way == "tiled")
    rng = torch.Generator().manual_seed(1)
    each = torch.randn((n, 1, *plain.shape[2:]), generator=rng, dtype=torch.float64)
    for noise, memory_format in (
        (None, torch.contiguous_format),
        (each[:1], torch.channels_last),
        (each, torch.contiguous_format),
        (each, torch.channels_last),
    ):
        given = x.clone(memory_format=memory_format)
        slow = F.leaky_relu(plain if noise is None else plain + noise, 0.2)
        for limit in (0.0, 0.6):
            made = styled_conv2d(
                given, style, prepared, bias, noise, upsample=upsample, gain=1.7, slope=0.2, limit=limit
            )
            if limit:
                assert slow.max() > limit > -limit > slow.min()
                slow = slow.clamp(-limit, limit)
            torch.testing.assert_close(made, slow, rtol=1e-10, atol=1e-10)
            assert made.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(given, x)


def test_four_pixels_are_too_few_for_tiles() -> None:
    weight = torch.zeros(styled_convolution.LEAST_TILED, styled_convolution.LEAST_TILED, 3, 3)
    assert not prepare_weight(weight, upsample=False, size=4).tiled
    assert prepare_weight(weight, upsample=False, size=8).tiled
    assert not prepare_weight(weight, upsample=True, size=8).tiled
    assert not prepare_weight(weight[1:], upsample=False, size=8).tiled


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("n", [1, 3])
def test_pointwise_twin(n: int, memory_format: torch.memory_format) -> None:
    x, weight, style, bias = inputs(n)
    x, weight = x.contiguous(memory_format=memory_format), weight[:, :, :1, :1]
    slow = modulated_conv2d_loop(x, weight, style, demodulate=False) + bias[:, None, None]
    torch.testing.assert_close(modulated_pointwise(x, style, weight[:, :, 0, 0], bias), slow)
