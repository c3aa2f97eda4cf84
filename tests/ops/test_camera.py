import math

import pytest
import torch

from lineament.errors import ShapeError
from lineament.ops.camera import canon_from_view, pixel_rays, project, rotation_matrices, unproject, view_from_canon
from lineament.records.camera import Camera
from tests.worlds import bumps, motion, sight_rays, view_tensor

CAMERA = Camera()
NOSE = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
CROWN = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


def random_views(num: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(num, 6, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor([2, 2, 2, 0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("turn", "point", "moved"),
    [
        ({"yaw": 90}, NOSE, [-1, 0, 0]),  # positive yaw: the nose to the image's left
        ({"pitch": 90}, NOSE, [0, 1, 0]),  # positive pitch: the nose down
        ({"roll": 90}, CROWN, [1, 0, 0]),  # positive roll: clockwise, the crown to the right
        ({"pitch": 90, "yaw": 90}, CROWN, [-1, 0, 0]),  # pitch first: the crown comes forward, then goes left
        ({"yaw": 90, "roll": 90}, NOSE, [0, -1, 0]),  # roll last: from the left to the top
    ],
)
def test_rotations_turn_the_nose_and_the_crown_where_the_convention_says(turn, point, moved):
    rotation = rotation_matrices(view_tensor(**turn))[0]
    torch.testing.assert_close(rotation @ point, torch.tensor(moved, dtype=torch.float64), atol=1e-12, rtol=0)


def test_rotations_are_the_product_of_the_elementary_ones_and_orthonormal():
    views = random_views(20)
    rotations = rotation_matrices(views)
    for view, rotation in zip(views, rotations, strict=True):
        torch.testing.assert_close(rotation, motion(view, CAMERA)[0], atol=1e-14, rtol=0)
    identity = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-14, rtol=0)


def test_the_field_of_view_spans_the_width_between_outermost_pixel_centres():
    # W = 11, H = 7: at depth 1 pixel column 10 shows x = tan(5 deg), and row 6 shows y = 3/5 of that.
    edge = math.tan(math.radians(5))
    points = torch.tensor([[0, 0, 1], [edge, 0, 1], [0, 0.6 * edge, 1], [2 * edge, 0, 2]], dtype=torch.float64)
    expected = torch.tensor([[5, 3], [10, 3], [5, 6], [10, 3]], dtype=torch.float64)
    torch.testing.assert_close(project(points, CAMERA, 7, 11), expected)
    rays = pixel_rays(7, 11, CAMERA, dtype=torch.float64)
    torch.testing.assert_close(rays[3, 10], points[1])
    torch.testing.assert_close(rays[6, 5], points[2])
    torch.testing.assert_close(rays.movedim(-1, 0), sight_rays(CAMERA, 7, 11))


def test_project_undoes_unproject():
    depth = bumps(2, 5, 8, size=0.2, seed=1)
    pixels = project(unproject(depth, CAMERA), CAMERA, 5, 8)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(8.0), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([x, y], -1).double().expand(2, 5, 8, 2), atol=1e-12, rtol=0)


def test_a_view_moves_points_as_the_formula_says_and_back():
    views = random_views(3)
    points = unproject(bumps(3, 4, 5, size=0.2, seed=2), CAMERA)
    moved = view_from_canon(points, views, CAMERA)
    for i in range(3):
        rotation, offset = motion(views[i], CAMERA)
        torch.testing.assert_close(moved[i], points[i] @ rotation.T + offset, atol=1e-13, rtol=0)
    torch.testing.assert_close(canon_from_view(moved, views, CAMERA), points, atol=1e-13, rtol=0)
    few = points[:, 0, 0]
    torch.testing.assert_close(view_from_canon(few, views, CAMERA), moved[:, 0, 0])


def test_the_face_turns_about_the_centre_depth_of_its_camera():
    camera = Camera(center_depth=1.5)
    centre = torch.tensor([[0.0, 0.0, 1.5]], dtype=torch.float64)
    view = view_tensor(pitch=20, yaw=-30, roll=10, x=0.1, y=0.2, z=0.3)
    expected = torch.tensor([[0.1, 0.2, 1.8]], dtype=torch.float64)
    torch.testing.assert_close(view_from_canon(centre, view, camera), expected)


@pytest.mark.parametrize("move", [view_from_canon, canon_from_view])
def test_gradients(move):
    depth = bumps(2, 2, 3, size=0.2, seed=3).requires_grad_()
    view = random_views(2).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrices, (view,))
    assert torch.autograd.gradcheck(lambda d: unproject(d, CAMERA), (depth,))
    assert torch.autograd.gradcheck(lambda d, v: move(unproject(d, CAMERA), v, CAMERA), (depth, view))
    points = unproject(depth, CAMERA).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: project(p, CAMERA, 2, 3), (points,))


def test_half_precision_depth_is_unprojected_in_single_precision():
    assert unproject(torch.ones(1, 2, 3, dtype=torch.float16), CAMERA).dtype == torch.float32


@pytest.mark.parametrize("size", [(1, 5), (5, 1)])
def test_an_image_one_pixel_wide_is_refused(size):
    with pytest.raises(ShapeError, match="at least 2 x 2"):
        unproject(torch.ones(1, *size), CAMERA)
