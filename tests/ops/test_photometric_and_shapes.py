"""Losses with known minima, and the ellipsoid to start from."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from lineament.ops.photometric import gaussian_loss, laplace_loss, masked_mean
from lineament.ops.shapes import FRONT_HALF_WIDTH, ellipsoid_depth, face_oval, head_front


def test_masked_mean() -> None:
    x = torch.arange(6.0).view(1, 2, 3)
    mask = torch.tensor([[[True, False, False], [False, False, True]]])
    assert masked_mean(x, mask).item() == 2.5
    assert masked_mean(x, torch.zeros_like(mask)).item() == 0


@pytest.mark.parametrize(("error", "sigma"), [(0.0, 0.1), (0.3, 0.2), (1.0, 2.0)])
def test_closed_form(error: float, sigma: float) -> None:
    image, mask = torch.full((1, 3, 2, 4), error), torch.ones(1, 2, 4, dtype=torch.bool)
    deviation = torch.full((1, 2, 4), sigma)
    laplace = laplace_loss(image, torch.zeros_like(image), deviation, mask)
    assert laplace.item() == pytest.approx(math.sqrt(2) * error / sigma + math.log(math.sqrt(2) * sigma), rel=1e-5)
    gauss = gaussian_loss(image, torch.zeros_like(image), deviation, mask)
    assert gauss.item() == pytest.approx(error**2 / (2 * sigma**2) + math.log(sigma), rel=1e-5)


def test_best_sigma() -> None:
    # Laplace: sigma = sqrt(2) |d|; normal: sigma = |d|. There the derivative vanishes.
    image, mask = torch.full((1, 3, 1, 1), 0.3, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.bool)
    for loss, best in ((laplace_loss, 0.3 * math.sqrt(2)), (gaussian_loss, 0.3)):
        sigma = torch.full((1, 1, 1), best, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(image, torch.zeros_like(image), sigma, mask), sigma)
        assert slope.item() == pytest.approx(0, abs=1e-9)


def test_gradients() -> None:
    rng = torch.Generator().manual_seed(0)
    image, recon = (torch.randn(1, 3, 2, 3, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    sigma = (torch.rand(1, 2, 3, generator=rng, dtype=torch.float64) + 0.1).requires_grad_()
    mask = torch.tensor([[[True, False, True], [True, True, True]]])
    for loss in (laplace_loss, gaussian_loss):
        assert gradcheck(lambda *t, loss=loss: loss(*t, mask), (image, recon, sigma))


def test_ellipsoid() -> None:
    depth = ellipsoid_depth(65, near=0.9, far=1.0, half_width=0.3, half_height=0.4)
    assert depth[32, 32].item() == pytest.approx(0.9)
    assert depth[0, 0].item() == depth[32, 64].item() == 1.0
    # On the ellipse's half radius the height is sqrt(3) / 2 of the whole: x = 0.15 lies at pixel 32 + 0.15 * 64.
    at = depth[32, 32:44].flip(0)
    assert (at.diff() < 0).all()  # rises outwards, so it falls inwards
    x = 40 / 64 - 0.5
    assert depth[32, 40].item() == pytest.approx(1.0 - 0.1 * math.sqrt(1 - (x / 0.3) ** 2), abs=1e-5)
    y = 45 / 64 - 0.5
    assert depth[45, 32].item() == pytest.approx(1.0 - 0.1 * math.sqrt(1 - (y / 0.4) ** 2), abs=1e-5)
    torch.testing.assert_close(depth, depth.flip(0))
    torch.testing.assert_close(depth, depth.flip(1))


@pytest.mark.parametrize("size", [64, 128])
def test_the_front_of_the_head_is_the_oval_without_its_sides(size: int) -> None:
    front, oval = head_front(size), face_oval(size)
    columns = torch.linspace(-1, 1, size).abs() < FRONT_HALF_WIDTH
    assert torch.equal(front[:, columns], oval[:, columns])
    assert not front[:, ~columns].any()
    assert oval[:, ~columns].any()
    assert torch.equal(front, front.flip(1))
