"""Modulated convolution against the equations sample by sample, forward and backward."""

import pytest
import torch
from torch.autograd import gradcheck

from lineament.ops.modulation import demodulation, modulated_conv2d, modulated_conv2d_grouped
from tests.twins.modulation_twin import modulated_conv2d_loop

CASES = [(d, u) for d in (True, False) for u in (True, False)]


def inputs(kernel: int = 3, height: int = 4, width: int = 5) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    shapes = (3, 4, height, width), (5, 4, kernel, kernel), (3, 4)
    return tuple(torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes)


@pytest.mark.parametrize("fast", [modulated_conv2d, modulated_conv2d_grouped])
@pytest.mark.parametrize(("demodulate", "upsample"), CASES)
def test_twin_forward_and_backward(fast, demodulate: bool, upsample: bool) -> None:
    tensors = inputs()
    options = {"demodulate": demodulate, "upsample": upsample, "gain": 1.7}
    value, slow = fast(*tensors, **options), modulated_conv2d_loop(*tensors, **options)
    torch.testing.assert_close(value, slow)
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, twin in zip(
        torch.autograd.grad((value * weight).sum(), tensors),
        torch.autograd.grad((slow * weight).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(mine, twin)


@pytest.mark.parametrize("demodulate", [True, False])
def test_pointwise_kernel(demodulate: bool) -> None:
    tensors = inputs(kernel=1)
    torch.testing.assert_close(
        modulated_conv2d(*tensors, demodulate=demodulate), modulated_conv2d_loop(*tensors, demodulate=demodulate)
    )


@pytest.mark.parametrize(("demodulate", "upsample"), CASES)
def test_gradcheck(demodulate: bool, upsample: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_()
        for s in ((2, 2, 2, 3), (2, 2, 3, 3), (2, 2))
    ]
    assert gradcheck(lambda *t: modulated_conv2d(*t, demodulate=demodulate, upsample=upsample), tensors)


def test_demodulation_gives_filters_of_unit_norm() -> None:
    _, weight, style = inputs()
    factors = demodulation(weight, style)
    modulated = weight[None] * style[:, None, :, None, None] * factors[:, :, None, None, None]
    norms = modulated.square().sum(dim=(2, 3, 4)).sqrt()
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-7, rtol=0)


def test_scale_of_the_style_does_not_matter_when_demodulated() -> None:
    x, weight, style = inputs()
    torch.testing.assert_close(
        modulated_conv2d(x, weight, style), modulated_conv2d(x, weight, 100 * style), rtol=1e-6, atol=1e-8
    )


def test_samples_do_not_touch_each_other() -> None:
    x, weight, style = inputs()
    alone = torch.cat([modulated_conv2d(x[i : i + 1], weight, style[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(modulated_conv2d(x, weight, style), alone)
