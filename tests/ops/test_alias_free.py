"""Alias-free filters against their definitions and responses; the filtered rectifier against its slow twin."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from lineament.ops import alias_free
from lineament.ops.alias_free import filtered_leaky_relu, kaiser_beta, lowpass_filter, radial_lowpass_filter
from lineament.ops.winograd import winograd_conv2d, winograd_filters
from tests.twins.alias_free_twin import filtered_leaky_relu_loop, jinc_by_integration


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- filters ----


@pytest.mark.parametrize(("num_taps", "width"), [(6, 0.05), (12, 0.4), (24, 0.2), (24, 0.9)])
def test_kaiser_window_is_that_of_scipy(num_taps: int, width: float) -> None:
    attenuation = scipy.signal.kaiser_atten(num_taps, width)
    assert kaiser_beta(num_taps, width) == pytest.approx(scipy.signal.kaiser_beta(attenuation))


@pytest.mark.parametrize(("num_taps", "cutoff", "half_width"), [(12, 2.0, 3.0), (24, 5.0, 2.5), (7, 12.0, 3.0)])
def test_lowpass_filter_is_that_of_scipy(num_taps: int, cutoff: float, half_width: float) -> None:
    expected = scipy.signal.firwin(num_taps, cutoff, width=2 * half_width, fs=64.0)
    np.testing.assert_allclose(lowpass_filter(num_taps, cutoff, half_width, 64.0), expected, atol=1e-14)


def test_one_tap_is_the_identity() -> None:
    assert lowpass_filter(1, 8.0, 4.0, 64.0).tolist() == [1.0]


def test_lowpass_response() -> None:
    # Half the gain at the cutoff frequency; one below the transition band, nothing above it.
    taps = lowpass_filter(48, 8.0, 4.0, 64.0)
    response = [abs(np.exp(-2j * np.pi * f / 64 * np.arange(48)) @ taps) for f in (0.0, 4.0, 8.0, 12.0, 30.0)]
    np.testing.assert_allclose(response, [1, 1, 0.5, 0, 0], atol=0.01)


@pytest.mark.parametrize("num_taps", [9, 12])
def test_radial_filter_is_a_windowed_disc(num_taps: int) -> None:
    cutoff, half_width, rate = 6.0, 5.0, 64.0
    taps = radial_lowpass_filter(num_taps, cutoff, half_width, rate)
    x = (np.arange(num_taps) - (num_taps - 1) / 2) / rate
    window = scipy.signal.get_window(("kaiser", kaiser_beta(num_taps, 4 * half_width / rate)), num_taps, fftbins=False)
    plain = [[jinc_by_integration(float(np.hypot(a, b)), cutoff) for b in x] for a in x]
    expected = np.array(plain) * np.outer(window, window)
    np.testing.assert_allclose(taps, expected / expected.sum(), atol=1e-8)


# ---- filtered leaky rectifier ----

TAPS = {"up": torch.tensor([0.1, 0.5, 0.3, -0.2, 0.15, 0.05]), "down": torch.tensor([0.2, 0.6, -0.1, 0.25, 0.05])}
SQUARE = noise(4, 4, seed=3)


def settings(up: int, down: int, padding: tuple[int, int], **options: Any) -> dict[str, Any]:
    return {"up": up, "down": down, "padding": padding} | options


PADDINGS = [(0, 0), (9, 2), (1, 8), (-7, 3)]
RATES = [(1, 1), (2, 2), (4, 2), (3, 1)]
CASES = [settings(*rates, padding) for rates, padding in product(RATES, PADDINGS)]
CASES += [settings(2, 2, (4, 1), gain=1.7, slope=0.1, clamp=0.4), settings(1, 3, (-2, -1), clamp=0.3)]
DOWN_FILTERS = {"separable": TAPS["down"].double(), "radial": SQUARE, "one tap": torch.ones(1).double()}


@pytest.mark.parametrize("options", CASES, ids=str)
def test_twin_forward_and_backward(options: dict[str, Any]) -> None:
    # Asymmetric filters and H != W pin the direction of filters, and the sides of the padding.
    up_filter = TAPS["up"].double()
    for name, down_filter in DOWN_FILTERS.items():
        x = noise(2, 2, 15, 18).requires_grad_()
        value, slow = (f(x, up_filter, down_filter, **options) for f in (filtered_leaky_relu, filtered_leaky_relu_loop))
        torch.testing.assert_close(value, slow, msg=lambda text, name=name: f"{name}: {text}")
        weight = noise(*value.shape, seed=1)
        mine, twin = (torch.autograd.grad((v * weight).sum(), x)[0] for v in (value, slow))
        torch.testing.assert_close(mine, twin, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("strip_bytes", [1, 3000, 9000])
@pytest.mark.parametrize("options", CASES[2::5], ids=str)
@pytest.mark.parametrize("size", [(40, 17), (23, 30)])
def test_strips_make_no_difference(
    strip_bytes: int, options: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, up_filter = noise(2, 3, *size).to(memory_format=torch.channels_last), TAPS["up"].double()
    for down_filter in (TAPS["down"].double(), SQUARE):
        with torch.inference_mode():
            monkeypatch.setattr(alias_free, "STRIP_BYTES", 2**40)
            whole = filtered_leaky_relu(x, up_filter, down_filter, **options)
            monkeypatch.setattr(alias_free, "STRIP_BYTES", strip_bytes)
            strips = filtered_leaky_relu(x, up_filter, down_filter, **options)
        torch.testing.assert_close(strips, whole)


def test_input_is_left_alone() -> None:
    x = noise(1, 2, 5, 6)
    copy = x.clone()
    for taps in (torch.ones(1), TAPS["down"]):
        filtered_leaky_relu(x, taps.double(), torch.ones(1).double(), up=1, down=1, padding=(0, 0), clamp=0.1)
        assert torch.equal(x, copy)


def test_gradients_to_the_second_order() -> None:
    x, ups, downs = noise(1, 1, 2, 3), TAPS["up"].double(), TAPS["down"][:3].double()
    tensors = [t.requires_grad_() for t in (x, ups.clone(), downs.clone())]

    def run(*t: Tensor) -> Tensor:
        return filtered_leaky_relu(*t, up=2, down=2, padding=(4, 2), gain=1.3)

    assert gradcheck(run, tensors)
    assert gradgradcheck(run, tensors)


def test_a_low_frequency_survives() -> None:
    # A positive cosine below the cutoff passes the rectifier unchanged, and so the whole operation, up to its ripple.
    rate, size = 32.0, 32
    ups, downs = (torch.from_numpy(lowpass_filter(24, 8.0, 5.0, 2 * rate)) for _ in range(2))
    pixels = torch.arange(size, dtype=torch.float64)
    x = 2 + torch.cos(2 * torch.pi * 2 * pixels / rate).expand(1, 1, size, size)
    y = filtered_leaky_relu(x, ups, downs, up=2, down=2, padding=(23, 22))
    assert y.shape == x.shape
    torch.testing.assert_close(y[..., 12:-12, 12:-12], x[..., 12:-12, 12:-12], atol=0.02, rtol=0)


# ---- convolution with half the multiplications ----


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(6, 5), (9, 4), (12, 13)])
def test_winograd_convolution(padding: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, scale = noise(1, 3, *size), noise(4, 3, 3, 3), noise(1, 3, seed=2)
    expected = F.conv2d(x * scale[:, :, None, None], weight, padding=padding)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for tile_bytes in (1, 2000, 2**30):
            monkeypatch.setattr("lineament.ops.winograd.TILE_BYTES", tile_bytes)
            y = winograd_conv2d(x.contiguous(memory_format=memory_format), scale, winograd_filters(weight), padding)
            torch.testing.assert_close(y, expected)
