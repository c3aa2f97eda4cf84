"""Carrying pixels: nothing moves without a change, and a turned face is where a renderer puts it."""

import math

import pytest
import torch

from lineament.ops.carry import carry
from lineament.ops.render import render
from lineament.ops.shapes import ellipsoid_depth, face_oval
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition

CAMERA = Camera()


def face(size: int = 64, n: int = 1) -> Decomposition:
    """An ellipsoid with a smooth pattern, slightly turned, lit from the side."""
    axis = torch.linspace(-4, 4, size)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    albedo = torch.stack([rows.sin(), columns.cos(), (rows + columns).sin()])[None] * 0.4
    view = torch.tensor([[0.02, 0.1, -0.03, 0.002, 0.001, 0.0]])
    light = torch.tensor([[0.5, 0.4, 0.3, 0.1]])
    depth = ellipsoid_depth(size, near=0.95, far=1.03)[None]
    return Decomposition(*(x.repeat(n, *[1] * (x.ndim - 1)) for x in (depth, albedo, view, light)))


def turned(parts: Decomposition, yaw_deg: float = 0.0, **light: float) -> tuple[torch.Tensor, torch.Tensor]:
    view, new = parts.view.clone(), parts.light.clone()
    view[:, 1] += math.radians(yaw_deg)
    new[:, 2] += light.get("x", 0.0)
    return view, new


@pytest.mark.parametrize("size", [64, 128, 200])
def test_without_a_change_the_image_is_itself_at_any_resolution(size: int) -> None:
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    parts = face(64, 2)
    made = carry(image, parts, parts.view, parts.light, CAMERA)
    torch.testing.assert_close(made.images, image, atol=2e-4, rtol=0)
    assert made.weight[..., size // 2, size // 2].min() > 0.99
    assert made.seen.min() > 0.95


@pytest.mark.parametrize(("yaw", "x"), [(15.0, 0.0), (-20.0, 0.0), (0.0, 0.5), (10.0, -0.4)])
def test_a_carried_image_is_what_a_renderer_draws(yaw: float, x: float) -> None:
    parts = face()
    view, light = turned(parts, yaw, x=x)
    truth = render(Decomposition(parts.canon_depth, parts.canon_albedo, view, light), CAMERA).recon_image
    image = render(parts, CAMERA).recon_image
    made = carry(image, parts, view, light, CAMERA)
    sure = (made.weight > 0.99).expand_as(truth)
    assert sure.float().mean() > 0.3
    error = (made.images - truth)[sure].abs().mean()
    assert error < 0.02
    assert error < 0.2 * (image - truth)[sure].abs().mean()


def test_what_was_hidden_is_not_carried() -> None:
    # A nose that hides what lies to its right, seen after a turn of 50 degrees the other way.
    parts = face()
    parts.canon_depth[:, 26:38, 30:34] -= 0.05
    parts.view[:, 1] = math.radians(35)
    view, light = turned(parts, -50)
    made = carry(torch.zeros(1, 3, 64, 64), parts, view, light, CAMERA)
    flat = face()
    flat.view[:, 1] = math.radians(35)
    plain = carry(torch.zeros(1, 3, 64, 64), flat, view, light, CAMERA)
    assert made.seen < plain.seen - 0.02
    assert plain.seen < 0.9


def test_hair_and_background_are_not_carried() -> None:
    parts = face()
    made = carry(torch.zeros(1, 3, 64, 64), parts, torch.zeros(1, 6), parts.light, CAMERA)
    assert made.weight[0, 0][~face_oval(64)].mean() < 0.5
    assert made.weight[0, 0, :, 0].max() < 0.01
