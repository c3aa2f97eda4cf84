import pytest
import torch

from lineament.ops.camera import canon_from_view, project, unproject
from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.warp import inverse_warp_grid, warp_image
from lineament.records.camera import Camera
from tests.worlds import FILLING_SPHERE, Plane, bumps, motion, nose, sight_rays, view_tensor

CAMERA = Camera()


def pixel_grid(height: int, width: int) -> torch.Tensor:
    axes = (torch.linspace(-1, 1, size, dtype=torch.float64) for size in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def random_image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_frontal_view_takes_every_colour_from_its_own_pixel():
    grid = inverse_warp_grid(bumps(1, 5, 8, size=0.2, seed=0), view_tensor(), CAMERA)
    torch.testing.assert_close(grid, pixel_grid(5, 8), atol=1e-12, rtol=0)
    image = random_image(5, 8)
    torch.testing.assert_close(warp_image(image, grid), image, atol=1e-12, rtol=0)


def test_the_grid_is_the_projection_of_the_points_moved_back():
    depth = bumps(2, 5, 8, size=0.2, seed=2)
    views = torch.cat([view_tensor(pitch=9, yaw=-25, roll=30, x=0.01), view_tensor(yaw=40, y=-0.02, z=0.1)])
    pixels = project(canon_from_view(unproject(depth, CAMERA), views, CAMERA), CAMERA, 5, 8)
    grid = inverse_warp_grid(depth, views, CAMERA)
    torch.testing.assert_close(grid, pixels / torch.tensor([3.5, 2.0]) - 1, atol=1e-12, rtol=0)


def test_the_grid_spans_the_centres_of_the_outermost_pixels():
    # align_corners: +-1 are pixel centres, so halfway between the first two columns of five is -0.75.
    grid = torch.tensor([[[[-1.0, -1.0], [-0.75, -1.0], [1.0, 1.0]]]])
    image = torch.arange(15.0).view(1, 1, 3, 5)
    torch.testing.assert_close(warp_image(image, grid).flatten(), torch.tensor([0.0, 0.5, 14.0]))


@pytest.mark.parametrize(("axis", "shift"), [("x", 3), ("y", -2)])
def test_a_shifted_flat_face_is_the_shifted_image(axis, shift):
    height, width = 9, 12
    view = view_tensor(**{axis: shift / CAMERA.focal_px(width)})
    depth = torch.ones(1, height, width, dtype=torch.float64)
    image = random_image(height, width)
    warped = warp_image(image, inverse_warp_grid(depth, view, CAMERA))
    # Positive x moves the face to the image's right: its pixel p is now at p + shift.
    shifted = image.roll(shift, dims=3 if axis == "x" else 2)
    valid = (slice(None), slice(shift, None)) if axis == "x" else (slice(None, shift), slice(None))
    torch.testing.assert_close(warped[0, :, *valid], shifted[0, :, *valid], atol=1e-10, rtol=0)


def test_the_grid_inverts_the_motion_on_a_sphere():
    view = view_tensor(pitch=12, yaw=-18, roll=7, x=0.004, y=-0.003, z=0.02)
    height, width = 21, 25
    depth = FILLING_SPHERE.seen(CAMERA, height, width, view[0]).depth
    grid = inverse_warp_grid(depth[None], view, CAMERA)[0]
    rotation, offset = motion(view[0], CAMERA)
    points = depth * sight_rays(CAMERA, height, width)
    canon = torch.einsum("ji,jhw->ihw", rotation, points - offset[:, None, None])
    focal = CAMERA.focal_px(width)
    torch.testing.assert_close(grid[..., 0], canon[0] / canon[2] * focal / ((width - 1) / 2), atol=1e-12, rtol=0)
    torch.testing.assert_close(grid[..., 1], canon[1] / canon[2] * focal / ((height - 1) / 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("turn", "moves"), [({"yaw": 20}, (-1, 0)), ({"pitch": 20}, (0, 1))])
def test_colour_moves_with_the_nose(turn, moves):
    # The tip of the nose is painted; after rasterising and warping, the paint is still on the tip.
    height, width = 41, 49
    canon_depth, view = nose(height, width, at=(24, 20), relief=0.06), view_tensor(**turn)
    paint = torch.exp(-(nose(height, width, at=(24, 20)) - 0.96) / 0.005)[None]
    recon_depth, mask = rasterize_depth(canon_depth, view, CAMERA)
    image = warp_image(paint, inverse_warp_grid(recon_depth, view, CAMERA))[0, 0] * mask[0]
    rotation, offset = motion(view[0], CAMERA)
    tip = rotation @ torch.tensor([0, 0, 0.94], dtype=torch.float64) + offset
    tip_px = CAMERA.focal_px(width) * tip[:2] / tip[2] + torch.tensor([24, 20])
    at = image.argmax().item()
    assert abs(at % width - tip_px[0]) < 1
    assert abs(at // width - tip_px[1]) < 1
    moved = (tip_px - torch.tensor([24, 20])).tolist()
    assert all(
        step * expected > 4 if expected else abs(step) < 0.1 for step, expected in zip(moved, moves, strict=True)
    )


def test_a_warped_view_of_a_smooth_texture_matches_the_texture_of_the_surface():
    plane, view, size = Plane(1.0, slope_x=0.2), view_tensor(yaw=15, roll=10), 65
    focal = CAMERA.focal_px(size)

    def texture(points: torch.Tensor) -> torch.Tensor:
        return torch.sin(40 * points[0]) * torch.cos(30 * points[1])

    rays = sight_rays(CAMERA, size, size)
    canon_image = texture(plane.seen(CAMERA, size, size).depth * rays)
    recon_depth, mask = rasterize_depth(plane.seen(CAMERA, size, size).depth[None], view, CAMERA)
    grid = inverse_warp_grid(recon_depth, view, CAMERA)
    rotation, offset = motion(view[0], CAMERA)
    seen = plane.seen(CAMERA, size, size, view[0]).depth * rays
    truth = texture(torch.einsum("ji,jhw->ihw", rotation, seen - offset[:, None, None]))
    warped = warp_image(canon_image[None, None], grid)[0, 0]
    # Bilinear interpolation errs by at most (pitch^2 / 8) (|f_xx| + |f_yy|).
    bound = (1.05 / focal) ** 2 / 8 * (40**2 + 30**2)
    assert (warped - truth)[mask[0]].abs().max() < bound


def test_gradients():
    depth = bumps(2, 3, 4, size=0.1, seed=1).requires_grad_()
    views = torch.cat([view_tensor(pitch=5, yaw=20, roll=-8, y=0.003), view_tensor(yaw=-30, z=-0.04)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, v: inverse_warp_grid(d, v, CAMERA), (depth, views))
    image = random_image(4, 5).requires_grad_()
    grid = (pixel_grid(3, 4) * 0.83 + 0.021).requires_grad_()
    assert torch.autograd.gradcheck(warp_image, (image, grid))
