"""FIR resampling against loops over pixels, at borders and for H != W."""

import pytest
import torch
from torch.autograd import gradcheck

from lineament.ops.resample import (
    crop_box,
    downsample_fir,
    face_of,
    fir_filter,
    fir_kernel,
    gaussian_blur,
    upsample_fir,
)
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


def test_crop_box_takes_shares_of_width_and_height() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(40.0), indexing="ij")
    images = torch.stack([x, y])[None]
    cut = crop_box(images, (0.25, 0.1, 0.75, 0.6))
    assert cut.shape == (1, 2, 10, 20)
    assert cut[0, 0, 0].tolist() == list(range(10, 30))
    assert cut[0, 1, :, 0].tolist() == list(range(2, 12))
    assert crop_box(images, (0.5, 0.5, 0.501, 0.501)).shape == (1, 2, 1, 1)


def test_face_of_cuts_out_shrinks_and_colours() -> None:
    image = torch.full((1, 1, 64, 64), -1.0)
    image[:, :, 16:48, 8:40] = 1.0
    face = face_of(image, 16, (0.125, 0.25, 0.625, 0.75))
    torch.testing.assert_close(face, torch.ones(1, 3, 16, 16))
    assert face_of(torch.zeros(1, 4, 64, 64), 16, (0.0, 0.0, 1.0, 1.0)).shape == (1, 3, 16, 16)
    ready = torch.randn(2, 3, 16, 16)
    assert torch.equal(face_of(ready, 16, (0.3, 0.3, 0.6, 0.6)), ready)


def test_a_gaussian_blur_spreads_a_point_and_keeps_what_is_flat() -> None:
    point = torch.zeros(1, 2, 33, 33)
    point[0, 1, 16, 16] = 1
    blurred = gaussian_blur(point, 2.0)
    assert float(blurred[0, 0].abs().max()) == 0  # channels do not mix
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    offset = torch.arange(33) - 16.0
    spread = (blurred[0, 1].sum(dim=0) * offset.square()).sum().sqrt()
    assert float(spread) == pytest.approx(2, rel=0.03)
    torch.testing.assert_close(blurred[0, 1], blurred[0, 1].T)
    flat = torch.full((2, 1, 9, 9), 0.7)
    torch.testing.assert_close(gaussian_blur(flat, 3.0), flat)
