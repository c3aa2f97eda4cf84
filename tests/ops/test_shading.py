import math

import pytest
import torch

from lineament.errors import ShapeError
from lineament.ops.camera import pixel_rays, unproject
from lineament.ops.shading import lambert_shading, light_directions, normals_from_depth, shade
from lineament.records.camera import Camera
from tests.worlds import FILLING_ELLIPSOID, FILLING_SPHERE, Plane, bumps, sphere

CAMERA = Camera()


def light(ambient: float, diffuse: float, dx: float, dy: float) -> torch.Tensor:
    return torch.tensor([[ambient, diffuse, dx, dy]], dtype=torch.float64)


def test_normals_of_a_plane_are_exact_up_to_the_border():
    # A depth map of a plane is not affine in the pixel (1 / z is), yet the three points used lie on the plane.
    sight = Plane(1.0, slope_x=0.4, slope_y=-0.7).seen(CAMERA, 7, 9)
    normal = normals_from_depth(sight.depth[None], CAMERA)[0]
    torch.testing.assert_close(normal, sight.normal.expand(3, 7, 9), atol=1e-12, rtol=0)
    # z grows to the right, so the surface faces left and its normal, which points away, goes right: to -slope.
    expected = torch.tensor([-0.4, 0.7, 1.0], dtype=torch.float64) / math.sqrt(1 + 0.4**2 + 0.7**2)
    torch.testing.assert_close(normal[:, 3, 4], expected, atol=1e-12, rtol=0)


def test_normals_are_the_cross_product_of_differences_of_points():
    depth = bumps(2, 6, 5, size=0.05, seed=0)
    points = unproject(depth, CAMERA)
    along_x = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    along_y = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    cross = torch.linalg.cross(along_x, along_y)
    expected = (cross / cross.norm(dim=-1, keepdim=True)).movedim(-1, 1)
    torch.testing.assert_close(normals_from_depth(depth, CAMERA)[:, :, 1:-1, 1:-1], expected, atol=1e-12, rtol=0)
    corner = torch.linalg.cross(points[:, 0, 1] - points[:, 0, 0], points[:, 1, 0] - points[:, 0, 0])
    torch.testing.assert_close(
        normals_from_depth(depth, CAMERA)[:, :, 0, 0], corner / corner.norm(dim=-1, keepdim=True), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("world", [FILLING_SPHERE, FILLING_ELLIPSOID])
def test_normals_of_curved_surfaces_converge_with_the_square_of_the_pitch(world):
    errors = []
    for size, inner in ((33, slice(1, -1)), (65, slice(2, -2, 2))):  # the same points of the surface
        sight = world.seen(CAMERA, size, size)
        normal = normals_from_depth(sight.depth[None], CAMERA)[0]
        errors.append((normal - sight.normal)[:, inner, inner].abs().max())
    assert errors[1] < 2e-3
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_normals_have_unit_length_and_point_away_in_single_precision():
    depth = bumps(2, 64, 64, size=0.01, seed=1, dtype=torch.float32)
    normal = normals_from_depth(depth, CAMERA)
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(2, 64, 64), atol=1e-6, rtol=0)
    assert (normal[:, 2] > 0).all()
    rugged = normals_from_depth(bumps(2, 64, 64, size=0.2, seed=1), CAMERA)
    rays = pixel_rays(64, 64, CAMERA, dtype=torch.float64)
    assert (torch.einsum("nihw,hwi->nhw", rugged, rays)[:, 1:-1, 1:-1] > 0).all()


def test_light_directions_have_unit_length_and_known_values():
    torch.testing.assert_close(
        light_directions(light(0, 1, 2, -2)), torch.tensor([[2, -2, 1]], dtype=torch.float64) / 3
    )


@pytest.mark.parametrize(
    ("dx", "dy", "lit", "dark"),
    [
        (0.8, 0.0, (16, 6), (16, 26)),  # positive dx: the image's left side
        (-0.8, 0.0, (16, 26), (16, 6)),
        (0.0, 0.8, (6, 16), (26, 16)),  # positive dy: the top
    ],
)
def test_the_side_of_a_sphere_that_the_light_comes_from_is_lit(dx, dy, lit, dark):
    sight = sphere((0, 0, 1.08), 0.08).seen(CAMERA, 33, 33)
    shading = lambert_shading(sight.normal[None], light(0.1, 0.8, dx, dy))[0]
    assert shading[lit] > shading[dark] + 0.3


def test_lambert_shading_known_values():
    normal = torch.tensor([[0, 0, 1.0], [1, 0, 0], [-1, 0, 0]], dtype=torch.float64).T[None, :, None, :]
    shading = lambert_shading(normal, light(0.2, 0.5, 1.0, 0.0))
    lit = 0.2 + 0.5 / math.sqrt(2)
    torch.testing.assert_close(shading, torch.tensor([[[lit, lit, 0.2]]], dtype=torch.float64))


def test_shade_keeps_black_black_and_grey_proportional():
    albedo = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    image = shade(albedo, torch.full((1, 1, 1), 0.5))
    torch.testing.assert_close(image.flatten(), torch.tensor([-1.0, -0.5, 0.0]))
    torch.testing.assert_close(shade(albedo, torch.ones(1, 1, 1)), albedo)


def test_gradients():
    depth = bumps(2, 3, 4, size=0.02, seed=2).requires_grad_()
    lamp = torch.tensor([[0.3, 0.6, 0.5, -0.4], [0.2, 0.7, -0.3, 0.1]], dtype=torch.float64).requires_grad_()
    albedo = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: normals_from_depth(d, CAMERA), (depth,))
    assert torch.autograd.gradcheck(light_directions, (lamp,))
    assert torch.autograd.gradcheck(lambda d, m: lambert_shading(normals_from_depth(d, CAMERA), m), (depth, lamp))
    shading = torch.ones(2, 3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(shade, (albedo, shading))


def test_a_single_row_has_no_normals():
    with pytest.raises(ShapeError, match="at least 2 x 2"):
        normals_from_depth(torch.ones(1, 1, 4), CAMERA)
