import math

import pytest
import torch

from lineament.errors import ShapeError
from lineament.ops.camera import rotation_matrices
from lineament.ops.shading import light_directions
from lineament.ops.shape_metrics import (
    angle_between_deg,
    eroded,
    euler_angles_deg,
    extend_outside,
    is_convex,
    mean_rotation,
    normal_angle_error_deg,
    rotation_size_deg,
    scale_invariant_albedo_error,
    scale_invariant_depth_error,
)
from lineament.records.camera import Camera
from tests.worlds import FILLING_SPHERE, Plane, bumps, motion, nose, view_tensor

CAMERA = Camera()
FULL = torch.ones(1, 9, 9, dtype=torch.bool)


def views(num: int, seed: int, spread: float = 0.4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 6, generator=generator, dtype=torch.float64) * spread


def test_eroding_takes_one_pixel_from_every_edge_and_from_holes():
    mask = torch.ones(1, 7, 9, dtype=torch.bool)
    mask[0, 3, 4] = False
    expected = torch.zeros_like(mask)
    expected[0, 1:-1, 1:-1] = True
    expected[0, 2:5, 3:6] = False
    assert (eroded(mask) == expected).all()


def test_a_scaled_depth_has_no_scale_invariant_error():
    depth = bumps(2, 9, 9, size=0.1, seed=0)
    error = scale_invariant_depth_error(depth * torch.tensor([0.7, 1.9])[:, None, None], depth, FULL.expand(2, -1, -1))
    torch.testing.assert_close(error, torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_scale_invariant_error_is_the_spread_of_the_logarithm():
    # e is +a on one half of the mask and -a on the other: mean 0, so the error is a; outside anything may be.
    true, mask = torch.ones(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    pred = true.clone()
    pred[:, 0], pred[:, 1], pred[:, 2:] = math.exp(0.03), math.exp(-0.03), -5.0
    torch.testing.assert_close(scale_invariant_depth_error(pred, true, mask), torch.tensor([0.03]), atol=1e-7, rtol=0)


def test_a_face_without_a_pixel_has_no_error():
    empty = torch.zeros(1, 9, 9, dtype=torch.bool)
    depth, albedo = torch.ones(1, 9, 9), torch.ones(1, 3, 9, 9)
    assert scale_invariant_depth_error(depth, depth, empty).isnan().all()
    assert normal_angle_error_deg(depth, depth, empty, CAMERA).isnan().all()
    assert scale_invariant_albedo_error(albedo, albedo, empty).isnan().all()


@pytest.mark.parametrize("slope", [1e-3, 0.3, 2.0])
def test_the_angle_of_a_tilted_plane_is_its_tilt(slope):
    flat, tilted = (Plane(1.0, slope_x=s).seen(CAMERA, 9, 9).depth[None] for s in (0.0, slope))
    error = normal_angle_error_deg(tilted, flat, FULL, CAMERA)
    torch.testing.assert_close(error, torch.tensor([math.degrees(math.atan(slope))], dtype=torch.float64))


def test_the_angle_to_a_sphere_is_that_of_its_analytic_normals():
    sight = FILLING_SPHERE.seen(CAMERA, 65, 65)
    mask = eroded(torch.ones(1, 65, 65, dtype=torch.bool))
    error = normal_angle_error_deg(torch.ones(1, 65, 65, dtype=torch.float64), sight.depth[None], mask, CAMERA)
    expected = torch.rad2deg(torch.acos(sight.normal[2]))[mask[0]].mean()
    assert float(error) == pytest.approx(float(expected), rel=2e-3)
    assert float(expected) > 10


def test_small_and_flat_angles_are_precise_in_single_precision():
    tiny = math.radians(1e-3)
    a = torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1)
    b = torch.tensor([[math.sin(tiny), 0, math.cos(tiny)], [0, 0, 1], [math.sin(tiny), 0, -math.cos(tiny)]])
    torch.testing.assert_close(angle_between_deg(a, b), torch.tensor([1e-3, 0, 180 - 1e-3]), rtol=1e-4, atol=0)


def test_albedo_of_any_brightness_is_right_and_its_pattern_counts():
    true = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)) * 0.5
    factors = torch.tensor([0.4, 3.0])[:, None, None, None]
    mask = FULL.expand(2, -1, -1)
    torch.testing.assert_close(
        scale_invariant_albedo_error(true * factors, true, mask), torch.zeros(2), atol=1e-6, rtol=0
    )
    # Of a uniform prediction the best scale is the mean, and the error is the standard deviation.
    error = scale_invariant_albedo_error(torch.full_like(true, 0.2), true, mask)
    torch.testing.assert_close(error, true.flatten(1).std(dim=1, correction=0))
    black = scale_invariant_albedo_error(torch.zeros_like(true), true, mask)
    torch.testing.assert_close(black, true.square().flatten(1).mean(dim=1).sqrt())


def test_a_nose_is_convex_and_its_mould_is_not():
    face = nose(64, 64, at=(31.5, 34))
    assert is_convex(torch.cat([face, 2 - face])).tolist() == [True, False]


def test_euler_angles_undo_the_rotation():
    angles = torch.tensor([[10, -50, 20], [-70, 80, 160], [0, 0, 0]], dtype=torch.float64)
    made = torch.stack([motion(view_tensor(pitch=p, yaw=y, roll=r)[0], CAMERA)[0] for p, y, r in angles.tolist()])
    torch.testing.assert_close(euler_angles_deg(made), angles, atol=1e-9, rtol=0)


def test_a_planted_rotation_of_the_frame_is_found():
    true, (planted,) = rotation_matrices(views(40, 0)), rotation_matrices(views(1, 1))
    pred = true @ planted
    found = mean_rotation(pred.float(), true.float())
    torch.testing.assert_close(found, planted, atol=1e-6, rtol=0)
    torch.testing.assert_close(pred @ found.T, true, atol=1e-6, rtol=0)
    noisy = pred @ rotation_matrices(views(40, 2, spread=0.1))
    assert 0.1 < float(rotation_size_deg(mean_rotation(noisy, true) @ planted.T)) < 5


def test_light_that_turns_with_the_frame_has_no_error():
    # p_view = R_true p = R_pred q with R_pred = R_true G, so p = G q: a light at l_p appears in q at G^T l_p.
    true, (planted,) = rotation_matrices(views(5, 0)), rotation_matrices(views(1, 1))
    toward = light_directions(torch.rand(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    seen_in_q = torch.einsum("ij,ni->nj", planted, toward)
    back = seen_in_q @ mean_rotation(true @ planted, true).T
    torch.testing.assert_close(angle_between_deg(back, toward), torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)
    # The directions in the view do not depend on the choice of the frame.
    in_view = torch.einsum("nij,nj->ni", true, toward)
    torch.testing.assert_close(torch.einsum("nij,nj->ni", true @ planted, seen_in_q), in_view)


def test_the_mean_rotation_is_never_a_reflection():
    half_turns = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])])
    found = mean_rotation(half_turns, torch.eye(3).expand(3, 3, 3))
    assert float(torch.linalg.det(found)) == pytest.approx(1)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 30.0, 90.0, 179.9])
def test_the_size_of_a_rotation(angle):
    rotation, _ = motion(view_tensor(yaw=angle)[0], CAMERA)
    assert float(rotation_size_deg(rotation)) == pytest.approx(angle, abs=1e-9)


def test_outside_of_the_mask_the_nearest_pixel_stands_in():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(3, 7, 9, generator=generator) < torch.tensor([0.05, 0.3, 0.9])[:, None, None]
    mask[:, 2, 3] = True
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    own = torch.stack([y, x]).expand(3, 2, 7, 9)  # every pixel's value is its own place
    taken = extend_outside(own, mask)
    gap = (own[:, :, :, :, None] - own.flatten(2)[:, :, None, None, :]).square().sum(1)
    nearest = torch.where(mask.flatten(1)[:, None, None], gap, torch.inf).amin(-1)
    torch.testing.assert_close((taken - own).square().sum(1), nearest)
    for face, inside in zip(taken, mask, strict=True):
        assert inside[face[0].long(), face[1].long()].all()


def test_an_empty_mask_has_nothing_to_extend():
    with pytest.raises(ShapeError, match="without a pixel"):
        extend_outside(torch.ones(1, 1, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool))
