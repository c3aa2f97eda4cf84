"""The pinhole camera and the rigid motion between the canonical frame and a view.

Convention (all of this module):
    Pixel centres lie at integers, pixel (x, y) is column x of row y; x right, y down, z away from the camera; world
    units in which a face's middle lies at depth 1. The frame is the camera's: the canonical face stands in front of
    it, and a view moves the face, not the camera.

Source:
    Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects", CVPR 2020, section 3.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ShapeError
from lineament.records.camera import Camera


def rotation_matrices(view: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 3"]:
    """The rotations R = Rz Ry Rx of views.

    Convention:
        Radians. Positive pitch turns the nose down, positive yaw turns it to the image's left, positive roll turns
        the head clockwise in the image.

    Args:
        view: (pitch, yaw, roll, tx, ty, tz); the translation is not read.

    Returns:
        Orthonormal matrices that multiply column vectors, differentiable in `view`.
    """
    pitch, yaw, roll = view[:, 0], view[:, 1], view[:, 2]
    sx, sy, sz = pitch.sin(), yaw.sin(), roll.sin()
    cx, cy, cz = pitch.cos(), yaw.cos(), roll.cos()
    # Written out: as a product of three matrices it would lose digits where half precision or TF32 is switched on.
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def pixel_rays(
    height: int, width: int, camera: Camera, *, dtype: torch.dtype, device: torch.device | None = None
) -> Float[Tensor, "h w 3"]:
    """The point at depth 1 that every pixel sees.

    Raises:
        ShapeError: the image has fewer than two rows or columns, so that a pixel has no size.
    """
    if height < 2 or width < 2:
        raise ShapeError(f"an image of {height} x {width} pixels, expected at least 2 x 2; use a larger resolution")
    # Divided in double precision: 1 / focal in single precision would scale the whole image by 3e-8.
    focal = camera.focal_px(width)
    x = (torch.arange(width, dtype=torch.float64, device=device) - (width - 1) / 2) / focal
    y = (torch.arange(height, dtype=torch.float64, device=device) - (height - 1) / 2) / focal
    columns, rows = torch.broadcast_tensors(x.to(dtype), y.to(dtype)[:, None])
    return torch.stack([columns, rows, torch.ones_like(columns)], dim=-1)


def unproject(depth: Float[Tensor, "n h w"], camera: Camera) -> Float[Tensor, "n h w 3"]:
    """The points that depth maps show.

    Args:
        depth: z of every pixel, not the distance along its ray.
        camera: the pinhole camera.

    Returns:
        Points in the frame of the depth map, differentiable in `depth`.

    Raises:
        ShapeError: fewer than two rows or columns.
    """
    height, width = depth.shape[1:]
    dtype = torch.promote_types(depth.dtype, torch.float32)
    return depth[..., None] * pixel_rays(height, width, camera, dtype=dtype, device=depth.device)


def project(points: Float[Tensor, "*b 3"], camera: Camera, height: int, width: int) -> Float[Tensor, "*b 2"]:
    """The pixel (x, y) at which points are seen; the inverse of `unproject`.

    Args:
        points: in front of the camera, z > 0.
        camera: the pinhole camera.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        Pixel coordinates, also outside of the image; differentiable in `points`.
    """
    focal = camera.focal_px(width)
    x, y, z = points.unbind(dim=-1)
    return torch.stack([focal * x / z + (width - 1) / 2, focal * y / z + (height - 1) / 2], dim=-1)


def view_from_canon(
    points: Float[Tensor, "n *p 3"], view: Float[Tensor, "n 6"], camera: Camera
) -> Float[Tensor, "n *p 3"]:
    """Move canonical points into a view: R (p - c0) + c0 + t.

    Convention:
        The face turns about c0 = (0, 0, center_depth); t = (tx, ty, tz) is in world units.

    Returns:
        Moved points, differentiable in `points` and `view`.
    """
    centre, shift = _centre_and_shift(points, view, camera)
    return _rotated(points - centre, rotation_matrices(view)) + (centre + shift)


def canon_from_view(
    points: Float[Tensor, "n *p 3"], view: Float[Tensor, "n 6"], camera: Camera
) -> Float[Tensor, "n *p 3"]:
    """Move points of a view back into the canonical frame; the inverse of `view_from_canon`.

    Returns:
        Moved points, differentiable in `points` and `view`.
    """
    centre, shift = _centre_and_shift(points, view, camera)
    return _rotated(points - centre - shift, rotation_matrices(view).mT) + centre


def _centre_and_shift(points: Tensor, view: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    shift = view[:, 3:].reshape(-1, *[1] * (points.ndim - 2), 3)
    return points.new_tensor([0.0, 0.0, camera.center_depth]), shift


def _rotated(points: Tensor, rotation: Tensor) -> Tensor:
    # A sum of three products rather than a matmul: TF32 or autocast would round points by a tenth of a pixel.
    r = rotation.reshape(-1, 3, 3, *[1] * (points.ndim - 2))
    x, y, z = points.unbind(dim=-1)
    return torch.stack([r[:, i, 0] * x + r[:, i, 1] * y + r[:, i, 2] * z for i in range(3)], dim=-1)
