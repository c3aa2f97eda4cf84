"""FIR resampling against loops over pixels, at borders and for H != W."""

import pytest
import torch
from torch.autograd import gradcheck

from lineament.ops.resample import downsample_fir, fir_filter, fir_kernel, upsample_fir
from tests.twins.resample_twin import downsample_loop, filter_loop, upsample_by_zeros


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_kernel_is_binomial_and_sums_to_its_gain() -> None:
    kernel = fir_kernel(4.0, like=torch.zeros(()))
    assert kernel.sum().item() == pytest.approx(4.0)
    torch.testing.assert_close(kernel[0] / kernel[0, 0], torch.tensor([1.0, 3.0, 3.0, 1.0]))
    torch.testing.assert_close(kernel, kernel.T)


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_filter_twin(padding: int) -> None:
    x = noise(2, 3, 4, 7)
    torch.testing.assert_close(fir_filter(x, padding, 2.5), filter_loop(x, padding, 2.5))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 7), (1, 2, 5, 2)])
def test_upsample_twin(shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    torch.testing.assert_close(upsample_fir(x), upsample_by_zeros(x))


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 4, 10), (1, 2, 8, 6)])
def test_downsample_twin(shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    torch.testing.assert_close(downsample_fir(x), downsample_loop(x))


def test_constants_survive_inside_and_fade_at_the_border() -> None:
    up, down = upsample_fir(torch.ones(1, 1, 4, 6)), downsample_fir(torch.ones(1, 1, 8, 12))
    assert (up[:, :, 1:-1, 1:-1] == 1).all()
    assert up[0, 0, 0, 5].item() == pytest.approx(3 / 4)  # a quarter of its weight lies outside
    torch.testing.assert_close(down[:, :, 1:-1, 1:-1], torch.ones(1, 1, 2, 4))
    assert down[0, 0, 0, 2].item() == pytest.approx(7 / 8)


def test_down_is_the_transpose_of_up() -> None:
    # <up(x), y> = 4 <x, down(y)>: the same filter, run the other way.
    x, y = noise(1, 2, 3, 5), noise(1, 2, 6, 10)
    torch.testing.assert_close((upsample_fir(x) * y).sum(), 4 * (x * downsample_fir(y)).sum())


@pytest.mark.parametrize("function", [upsample_fir, downsample_fir])
def test_gradients(function) -> None:
    assert gradcheck(function, noise(1, 2, 4, 6).requires_grad_())
