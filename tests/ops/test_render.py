"""Depth, albedo, view and light put together."""

import math

import torch

from lineament.ops.render import render
from lineament.ops.shading import lambert_shading, normals_from_depth, shade
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition

CAMERA = Camera()


def face(size: int = 48, **view: float) -> Decomposition:
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    albedo = torch.stack([torch.sin(3 * x), torch.cos(2 * y), x * y])[None] * 0.5
    depth = 0.95 + 0.05 * (x**2 + y**2)[None] / 2
    names = ("pitch", "yaw", "roll", "tx", "ty", "tz")
    return Decomposition(
        depth, albedo, torch.tensor([[view.get(n, 0.0) for n in names]]), torch.tensor([[0.5, 0.5, 0.3, -0.2]])
    )


def test_frontal_view_is_the_shaded_canonical_image() -> None:
    parts = face()
    rendering = render(parts, CAMERA)
    shading = lambert_shading(normals_from_depth(parts.canon_depth, CAMERA), parts.light)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        rendering.recon_image[inner], shade(parts.canon_albedo, shading)[inner], atol=1e-4, rtol=0
    )
    assert rendering.recon_mask[:, 1:-1, 1:-1].all()


def test_a_turn_to_the_left_moves_the_near_surface_left() -> None:
    size = 49
    parts = face(size, yaw=math.radians(15))
    spot = torch.full_like(parts.canon_albedo, -1.0)
    spot[:, :, 22:27, 22:27] = 1.0  # on the tip, which is nearer than the centre of rotation
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    image = render(Decomposition(parts.canon_depth, spot, parts.view, light), CAMERA).recon_image[0, 0] + 1
    column = float((image.sum(dim=0) * torch.arange(size)).sum() / image.sum())
    # The tip lies at depth 0.95, 0.05 before the axis: it moves by 0.05 sin(15 deg) over 0.175 of image width.
    expected = 24 - 0.05 * math.sin(math.radians(15)) / 0.952 * CAMERA.focal_px(size)
    assert abs(column - expected) < 0.3
    assert expected < 21


def test_gradients_reach_every_part() -> None:
    parts = face(yaw=0.1, pitch=-0.05, tx=0.003)
    leaves = [t.clone().requires_grad_() for t in (parts.canon_depth, parts.canon_albedo, parts.view, parts.light)]
    rendering = render(Decomposition(*leaves), CAMERA, max_slope=10.0)
    (rendering.recon_image.square().mean() + rendering.recon_depth[rendering.recon_mask].mean()).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().max() > 0
