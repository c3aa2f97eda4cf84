"""The convolution by tiles against the direct one."""

import pytest
import torch
import torch.nn.functional as F

from lineament.ops import tiled_convolution
from lineament.ops.tiled_convolution import tile_filters, tiled_conv2d


def nothing(strip: torch.Tensor, rows: slice) -> None:
    pass


def direct(
    x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, out_scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    made = F.conv2d(x * scale[:, :, None, None], weight, padding=1)
    return made * out_scale[:, :, None, None] + bias[:, None, None]


def inputs(n: int, c: int, o: int, h: int, w: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    shapes = (n, c, h, w), (n, c), (o, c, 3, 3), (n, o), (o,)
    return tuple(torch.randn(s, generator=rng, dtype=dtype) for s in shapes)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("strip_bytes", [1, 40_000, 2**30])
@pytest.mark.parametrize("shape", [(1, 1, 1, 4, 4), (3, 5, 7, 8, 12), (2, 3, 2, 20, 4)])
def test_twin(
    shape: tuple[int, int, int, int, int],
    strip_bytes: int,
    memory_format: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiled_convolution, "STRIP_BYTES", strip_bytes)
    x, scale, weight, out_scale, bias = inputs(*shape, torch.float64)
    x = x.contiguous(memory_format=memory_format)
    made = tiled_conv2d(x, scale, tile_filters(weight), out_scale, bias, nothing)
    torch.testing.assert_close(made, direct(x, scale, weight, out_scale, bias), rtol=1e-12, atol=1e-12)
    assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("strip_bytes", [1, 2**30])
def test_every_row_is_finished_once_and_is_complete_then(strip_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_convolution, "STRIP_BYTES", strip_bytes)
    x, scale, weight, out_scale, bias = inputs(2, 3, 4, 16, 8, torch.float64)
    rows_seen: list[int] = []

    def finish(strip: torch.Tensor, rows: slice) -> None:
        rows_seen.extend(range(rows.start, rows.stop))
        strip.mul_(2).add_(torch.arange(16.0)[rows, None])

    made = tiled_conv2d(x, scale, tile_filters(weight), out_scale, bias, finish)
    expected = 2 * direct(x, scale, weight, out_scale, bias) + torch.arange(16.0)[:, None]
    assert rows_seen == list(range(16))
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)


def test_input_and_filters_stay_as_they_are() -> None:
    x, scale, weight, out_scale, bias = inputs(1, 3, 4, 8, 8, torch.float64)
    filters = tile_filters(weight)
    before = [t.clone() for t in (x, scale, filters, out_scale, bias)]
    tiled_conv2d(x, scale, filters, out_scale, bias, nothing)
    for was, now in zip(before, (x, scale, filters, out_scale, bias), strict=True):
        assert torch.equal(was, now)


def test_rounding_errors() -> None:
    # 1.0e-6, and 0.8e-6 of the direct convolution in channels_last; with the points 1 and 2 it would be 2.2e-6.
    tensors = inputs(1, 256, 64, 16, 16, torch.float32)
    x, scale, weight, out_scale, bias = tensors
    exact = direct(*(t.double() for t in tensors))
    error = tiled_conv2d(x, scale, tile_filters(weight), out_scale, bias, nothing) - exact
    assert error.norm() < 1.5e-6 * exact.norm()
