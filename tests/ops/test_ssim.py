"""Structural similarity: against its definition written out, and what it must do."""

import math

import pytest
import torch

from lineament.errors import ShapeError
from lineament.ops.ssim import ssim


def slow_ssim(a: torch.Tensor, b: torch.Tensor, data_range: float) -> float:
    """One channel, window by window, with double loops and no shared arithmetic."""
    g = [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, g))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            cells = [
                (g[i][j] / total, float(a[top + i, left + j]), float(b[top + i, left + j]))
                for i in range(11)
                for j in range(11)
            ]
            mx, my = sum(w * x for w, x, _ in cells), sum(w * y for w, _, y in cells)
            vx, vy = sum(w * (x - mx) ** 2 for w, x, _ in cells), sum(w * (y - my) ** 2 for w, _, y in cells)
            cxy = sum(w * (x - mx) * (y - my) for w, x, y in cells)
            values.append((2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(values) / len(values)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_is_what_the_paper_says(data_range: float) -> None:
    rng = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 14, 13, generator=rng, dtype=torch.float64)
    b = (a + 0.2 * torch.rand(2, 3, 14, 13, generator=rng, dtype=torch.float64)).clamp(0, 1)
    slow = [sum(slow_ssim(a[n, c], b[n, c], data_range) for c in range(3)) / 3 for n in range(2)]
    torch.testing.assert_close(ssim(a, b, data_range), torch.tensor(slow, dtype=torch.float64), atol=1e-10, rtol=0)


def test_equal_images_and_opposite_ones() -> None:
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ssim(x, x), torch.ones(3))
    assert (ssim(x, 1 - x) < 0).all()
    torch.testing.assert_close(ssim(x, x / 2), ssim(x / 2, x))


def test_units_do_not_matter() -> None:
    rng = torch.Generator().manual_seed(2)
    x, y = torch.rand(2, 3, 16, 16, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    torch.testing.assert_close(ssim(x, y, 1.0), ssim(255 * x, 255 * y, 255.0), atol=1e-5, rtol=1e-5)


def test_can_be_differentiated() -> None:
    rng = torch.Generator().manual_seed(3)
    x = torch.rand(1, 2, 12, 13, generator=rng, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 2, 12, 13, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim(x, y), x)


def test_small_images_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 11"):
        ssim(torch.zeros(1, 3, 10, 20), torch.zeros(1, 3, 10, 20))
