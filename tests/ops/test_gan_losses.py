"""The losses in closed form, R1 on a linear discriminator, path lengths from an explicit Jacobian."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from lineament.ops.gan_losses import discriminator_loss, generator_loss, path_lengths, r1_penalty


def test_closed_form_values() -> None:
    zero, sure = torch.zeros(3), torch.tensor([math.log(3.0)])
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert generator_loss(sure).item() == pytest.approx(math.log(4 / 3))  # -log(3 / 4)
    assert discriminator_loss(zero, torch.zeros(5)).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(sure, -sure).item() == pytest.approx(2 * math.log(4 / 3))
    assert torch.isfinite(generator_loss(torch.tensor([-1e4, 1e4])))


def test_r1_of_a_linear_discriminator() -> None:
    # D(x) = a.x has the gradient a everywhere, so R1 = |a|^2.
    a = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert r1_penalty((x * a).sum(dim=(1, 2, 3)), x).item() == pytest.approx(a.square().sum().item())


def test_r1_of_a_quadratic_discriminator_and_its_gradient() -> None:
    # D(x) = c |x|^2 / 2: R1 = c^2 mean |x_i|^2, and its derivative in c is twice that over c.
    c = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(c * x.square().sum(dim=(1, 2, 3)) / 2, x)
    mean = x.square().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(penalty, c**2 * mean)
    torch.testing.assert_close(torch.autograd.grad(penalty, c)[0], 2 * c * mean)


def test_path_lengths_from_the_jacobian() -> None:
    rng = torch.Generator().manual_seed(0)
    n, num_ws, d, h, w = 2, 3, 4, 2, 5
    mix = torch.randn(num_ws * d, 3 * h * w, generator=rng, dtype=torch.float64)
    ws = torch.randn(n, num_ws, d, generator=rng, dtype=torch.float64).requires_grad_()
    y = torch.randn(n, 3, h, w, generator=rng, dtype=torch.float64)

    def toy(latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(latents.flatten(1) @ mix).view(-1, 3, h, w)

    lengths = path_lengths(toy(ws), ws, y)
    for i in range(n):
        matrix = jacobian(lambda one: toy(one[None])[0].flatten(), ws[i].detach()).reshape(3 * h * w, num_ws * d)
        pulled = (matrix.T @ y[i].flatten()).view(num_ws, d) / math.sqrt(h * w)
        assert lengths[i].item() == pytest.approx(pulled.square().sum(dim=1).mean().sqrt().item())
    (second,) = torch.autograd.grad(lengths.sum(), ws)  # the regulariser differentiates the length once more
    assert torch.isfinite(second).all()
    assert second.abs().max() > 0
