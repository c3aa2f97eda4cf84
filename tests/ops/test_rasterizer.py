import math
from itertools import pairwise

import pytest
import torch

from lineament.errors import ShapeError
from lineament.ops import rasterizer
from lineament.ops.rasterizer import rasterize_depth
from lineament.records.camera import Camera
from tests.twins.rasterizer_twin import rasterize_depth_twin
from tests.worlds import FILLING_ELLIPSOID, FILLING_SPHERE, Plane, bumps, nose, view_tensor

CAMERA = Camera()
BACKGROUND = 1.2  # max_depth 1.1 and half of the range 0.2
FRONTAL = torch.zeros(1, 6)


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 64), (5, 3)])
def test_the_frontal_view_is_the_canonical_depth_up_to_the_last_border_pixel(size):
    depth = 0.9 + 0.2 * torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    recon, mask = rasterize_depth(depth, FRONTAL.expand(2, 6), CAMERA)
    assert mask.all()
    torch.testing.assert_close(recon, depth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [0.02, 0.1, 0.3])
def test_agrees_with_its_twin_on_rugged_meshes_that_hide_parts_of_themselves(size):
    views = torch.cat(
        [view_tensor(pitch=8, yaw=35, roll=-10, x=0.01), view_tensor(pitch=-40, yaw=-15, roll=25, z=0.05)]
    )
    depth = bumps(2, 7, 9, size=size, seed=3).requires_grad_()
    views.requires_grad_()
    recon, mask = rasterize_depth(depth, views, CAMERA)
    twin = rasterize_depth_twin(depth, views, CAMERA)
    assert (mask == twin.mask).all()
    assert 0.2 < mask.double().mean() < 1
    torch.testing.assert_close(recon, twin.depth, atol=1e-9, rtol=0)
    if size > 0.02:
        assert (twin.num_layers > 1).sum() >= 8  # the world does hide parts of itself ...
    if size > 0.1:
        assert twin.back_facing.any()  # ... and shows its back

    weights = torch.randn(recon.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad((recon * weights).sum(), (depth, views))
    theirs = torch.autograd.grad((twin.depth * weights).sum(), (depth, views))
    for ours_of, theirs_of in zip(ours, theirs, strict=True):
        assert theirs_of.abs().max() > 0.1
        torch.testing.assert_close(ours_of, theirs_of, atol=1e-8, rtol=1e-7)


def test_gradcheck():
    depth = bumps(2, 4, 5, size=0.03, seed=4).requires_grad_()
    views = torch.cat([view_tensor(pitch=5, yaw=20, roll=-8, y=0.003), view_tensor(yaw=-30, z=-0.04)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, v: rasterize_depth(d, v, CAMERA)[0], (depth, views))
    # Differentiating twice is refused rather than wrong.
    loss = rasterize_depth(depth, views, CAMERA)[0].square().sum()
    (first,) = torch.autograd.grad(loss, depth, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("turn", [{"yaw": 25}, {"pitch": -20, "roll": 30}, {"yaw": -40, "x": 0.01, "z": 0.1}])
def test_a_plane_in_any_view_is_exact(turn):
    plane, view = Plane(0.98, slope_x=0.3, slope_y=-0.2), view_tensor(**turn)
    recon, mask = rasterize_depth(plane.seen(CAMERA, 20, 24).depth[None], view, CAMERA)
    truth = plane.seen(CAMERA, 20, 24, view[0]).depth[None]
    assert 0.3 < mask.double().mean() <= 1
    # Not 1e-12: a pixel outside by less than the tolerance of 1e-4 px takes the depth of the edge beside it.
    torch.testing.assert_close(recon[mask], truth[mask], atol=1e-6, rtol=0)
    assert (recon - truth)[mask].abs().median() < 1e-13
    torch.testing.assert_close(recon[~mask], torch.full_like(recon[~mask], BACKGROUND))


@pytest.mark.parametrize("world", [FILLING_SPHERE, FILLING_ELLIPSOID])
@pytest.mark.parametrize("turn", [{"yaw": 20}, {"pitch": 15, "yaw": -10, "roll": 20}])
def test_the_error_on_curved_surfaces_falls_with_the_square_of_the_pitch(world, turn):
    view, errors = view_tensor(**turn), []
    for size in (25, 49, 97):
        recon, mask = rasterize_depth(world.seen(CAMERA, size, size).depth[None], view, CAMERA)
        truth = world.seen(CAMERA, size, size, view[0]).depth[None]
        assert mask.double().mean() > 0.6
        errors.append((recon - truth)[mask].square().mean().sqrt().item())
    assert errors[2] < 1e-5
    for coarse, fine in pairwise(errors):
        assert 3.3 < coarse / fine < 4.7


@pytest.mark.parametrize(
    ("start", "turn", "moves"),
    [
        ((20, 14), {"yaw": 15}, (-1, 0)),  # to the image's left
        ((20, 14), {"pitch": 15}, (0, 1)),  # down
        ((28, 14), {"roll": 25}, (0, 1)),  # clockwise: from the right downwards
        ((20, 14), {"x": 0.02}, (1, 0)),
        ((20, 14), {"y": 0.02}, (0, 1)),
    ],
)
def test_views_move_a_nose_where_the_convention_says(start, turn, moves):
    depth = nose(29, 41, at=start)
    recon, _ = rasterize_depth(depth, view_tensor(**turn), CAMERA)
    # Depth of the nose relative to the turned flat face, so that the face's own slant does not matter.
    flat, mask = rasterize_depth(torch.ones_like(depth), view_tensor(**turn), CAMERA)
    at = torch.where(mask, recon - flat, 0).argmin().item()
    moved = (at % 41 - start[0], at // 41 - start[1])
    for step, expected in zip(moved, moves, strict=True):
        assert step * expected >= 2 if expected else abs(step) <= 1


def test_a_shift_by_whole_pixels_is_watertight_though_pixels_lie_on_corners():
    pitch = 1 / CAMERA.focal_px(32)
    recon, mask = rasterize_depth(torch.ones(1, 32, 32), view_tensor(x=3 * pitch, dtype=torch.float32), CAMERA)
    assert not mask[:, :, :3].any()
    assert mask[:, :, 3:].all()
    torch.testing.assert_close(recon[mask], torch.ones_like(recon[mask]))


def test_a_turned_surface_has_no_pinholes_in_single_precision():
    for yaw in range(0, 60, 7):
        view = view_tensor(yaw=yaw, pitch=yaw / 3, dtype=torch.float32)
        _, mask = rasterize_depth(nose(48, 64, at=(40, 20), dtype=torch.float32), view, CAMERA)
        middle = mask[:, 14:-14, 26:-26]
        assert middle.all()


def test_results_do_not_depend_on_the_batch_or_on_chunks(monkeypatch):
    depth = bumps(3, 16, 16, size=0.1, seed=5, dtype=torch.float32)
    views = torch.cat([view_tensor(yaw=yaw, pitch=5, dtype=torch.float32) for yaw in (10, -30, 50)])
    recon, mask = rasterize_depth(depth, views, CAMERA)
    for i in range(3):
        alone, alone_mask = rasterize_depth(depth[i : i + 1], views[i : i + 1], CAMERA)
        assert torch.equal(alone[0], recon[i])
        assert torch.equal(alone_mask[0], mask[i])
    monkeypatch.setattr(rasterizer, "_CHUNK_CPU", 7)
    chunked, chunked_mask = rasterize_depth(depth, views, CAMERA)
    assert torch.equal(chunked, recon)
    assert torch.equal(chunked_mask, mask)


def test_the_nearer_of_two_layers_wins():
    # A step in depth, seen from the side: the front half hides a part of the rear half.
    depth = torch.full((1, 32, 32), 1.05, dtype=torch.float64)
    depth[:, :, 16:] = 0.95
    recon, mask = rasterize_depth(depth, view_tensor(yaw=30), CAMERA)
    rear = Plane(1.05).seen(CAMERA, 32, 32, view_tensor(yaw=30)[0]).depth[None]
    front = Plane(0.95).seen(CAMERA, 32, 32, view_tensor(yaw=30)[0]).depth[None]
    on_front = torch.logical_and(mask, (recon - front).abs() < 1e-9)
    on_rear = torch.logical_and(mask, (recon - rear).abs() < 1e-9)
    assert on_front[0, 16].sum() > 8
    assert on_rear[0, 16].sum() > 3
    assert (recon[mask] <= rear[mask] + 1e-9).all()


def test_edge_on_surfaces_cover_nothing_and_have_finite_gradients():
    depth = torch.ones(2, 12, 12, dtype=torch.float64).requires_grad_()
    views = torch.cat([view_tensor(yaw=90), view_tensor(yaw=89.99, pitch=3)]).requires_grad_()
    recon, mask = rasterize_depth(depth, views, CAMERA)
    recon.sum().backward()
    assert torch.isfinite(recon).all()
    assert not mask[0, :, [0, -1]].any()
    for gradient in (depth.grad, views.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_rugged_meshes_have_finite_gradients_in_single_precision():
    depth = bumps(4, 32, 32, size=0.4, seed=6, dtype=torch.float32).requires_grad_()
    views = view_tensor(yaw=60, pitch=-30, dtype=torch.float32).expand(4, 6).clone().requires_grad_()
    recon, _ = rasterize_depth(depth, views, CAMERA)
    recon.sum().backward()
    for gradient in (depth.grad, views.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_max_slope_scales_the_gradients_of_slanted_triangles_only():
    plane, view = Plane(1.0), view_tensor(yaw=75)
    canon = plane.seen(CAMERA, 16, 16).depth[None].requires_grad_()

    def gradient(max_slope: float | None) -> torch.Tensor:
        recon, _ = rasterize_depth(canon, view, CAMERA, max_slope=max_slope)
        return torch.autograd.grad(recon[0, 7, 7], canon)[0]

    # 1 / cos of the angle between the ray of pixel (7, 7) and the turned normal.
    sight = plane.seen(CAMERA, 16, 16, view[0])
    ray = torch.tensor([-0.5 / CAMERA.focal_px(16), -0.5 / CAMERA.focal_px(16), 1.0], dtype=torch.float64)
    normal = sight.normal.expand(3, 16, 16)[:, 7, 7]
    slope = (ray.norm() / (normal @ ray)).item()
    assert math.isclose(slope, 1 / math.cos(math.radians(75)), rel_tol=0.05)
    torch.testing.assert_close(gradient(2.0), gradient(None) * 2.0 / slope)
    torch.testing.assert_close(gradient(slope * 1.01), gradient(None))


def test_values_that_are_not_finite_stay_where_they_are():
    depth = torch.ones(3, 8, 8)
    depth[0, 4, 4] = math.nan
    views = torch.zeros(3, 6)
    views[1, 1] = math.nan
    depth, views = depth.requires_grad_(), views.requires_grad_()
    recon, mask = rasterize_depth(depth, views, CAMERA)
    assert torch.isfinite(recon).all()
    assert not mask[0, 4, 4]
    assert mask[0].sum() == 63
    assert not mask[1].any()
    assert mask[2].all()
    recon.sum().backward()
    assert depth.grad is not None
    assert torch.isfinite(depth.grad[2]).all()


def test_a_surface_behind_the_camera_or_outside_of_the_image_is_not_drawn():
    for turn in ({"z": -2.0}, {"x": 1.0}):
        recon, mask = rasterize_depth(torch.ones(1, 6, 6), view_tensor(dtype=torch.float32, **turn), CAMERA)
        assert not mask.any()
        torch.testing.assert_close(recon, torch.full_like(recon, BACKGROUND))


def test_half_precision_is_rasterised_in_single_precision():
    recon, mask = rasterize_depth(torch.ones(1, 6, 6, dtype=torch.float16), FRONTAL.half(), CAMERA)
    assert recon.dtype == torch.float32
    assert mask.all()


def test_a_single_row_is_refused():
    with pytest.raises(ShapeError, match="at least 2 x 2"):
        rasterize_depth(torch.ones(1, 1, 6), FRONTAL, CAMERA)
