"""Worlds with a known answer.

Geometry: planes, spheres and ellipsoids with analytic depth and normals, in any view. Written from the conventions
alone (rotations as products of elementary matrices, rays intersected in closed form); nothing here calls the package's
own geometry.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.records.camera import Camera

FRONTAL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

# --------------------------------------------------------------------------------------------------------------------
# Geometry


@dataclass(frozen=True)
class Sight:
    """What a view sees of a surface: z depth (inf beside it), where it is, unit normals that point away."""

    depth: Tensor  # h w
    mask: Tensor  # h w
    normal: Tensor  # 3 h w


def view_tensor(*, pitch=0.0, yaw=0.0, roll=0.0, x=0.0, y=0.0, z=0.0, dtype=torch.float64) -> Tensor:
    """A view of batch size 1 from degrees and world units."""
    angles = [math.radians(angle) for angle in (pitch, yaw, roll)]
    return torch.tensor([[*angles, x, y, z]], dtype=dtype)


def motion(view, camera: Camera) -> tuple[Tensor, Tensor]:
    """Rotation R and offset o of p_view = R p + o, where o = c0 + t - R c0."""
    pitch, yaw, roll, tx, ty, tz = (float(v) for v in view)
    s, c = math.sin, math.cos
    rx = [[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]]
    ry = [[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]]
    rz = [[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]]
    rotation = torch.eye(3, dtype=torch.float64)
    for factor in (rz, ry, rx):
        rotation = rotation @ torch.tensor(factor, dtype=torch.float64)
    centre = torch.tensor([0, 0, camera.center_depth], dtype=torch.float64)
    return rotation, centre + torch.tensor([tx, ty, tz], dtype=torch.float64) - rotation @ centre


def sight_rays(camera: Camera, height: int, width: int) -> Tensor:
    """The points at depth 1 that pixels see, 3 h w."""
    focal = (width - 1) / 2 / math.tan(math.radians(camera.fov_deg / 2))
    y, x = torch.meshgrid(
        (torch.arange(height, dtype=torch.float64) - (height - 1) / 2) / focal,
        (torch.arange(width, dtype=torch.float64) - (width - 1) / 2) / focal,
        indexing="ij",
    )
    return torch.stack([x, y, torch.ones_like(x)])


@dataclass(frozen=True)
class Plane:
    """The canonical plane z = depth + slope_x x + slope_y y."""

    depth: float
    slope_x: float = 0.0
    slope_y: float = 0.0

    def seen(self, camera: Camera, height: int, width: int, view=FRONTAL) -> Sight:
        rotation, offset = motion(view, camera)
        normal = rotation @ torch.tensor([-self.slope_x, -self.slope_y, 1.0], dtype=torch.float64)
        point = rotation @ torch.tensor([0, 0, self.depth], dtype=torch.float64) + offset
        slant = torch.einsum("i,ihw->hw", normal, sight_rays(camera, height, width))
        depth = (normal @ point) / slant
        mask = depth > 0
        away = torch.where(slant > 0, 1.0, -1.0) * (normal / normal.norm())[:, None, None]
        return Sight(torch.where(mask, depth, math.inf), mask, away)


@dataclass(frozen=True)
class Ellipsoid:
    """The outer side of an ellipsoid with half axes along x, y and z of the canonical frame."""

    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]

    def seen(self, camera: Camera, height: int, width: int, view=FRONTAL) -> Sight:
        rotation, offset = motion(view, camera)
        axes = torch.tensor(self.half_axes, dtype=torch.float64)
        centre = torch.tensor(self.centre, dtype=torch.float64)
        rays = sight_rays(camera, height, width)
        # In the canonical frame the eye is at R'(0 - o); scaled by the axes, the ellipsoid is a unit ball.
        eye = (rotation.T @ -offset - centre) / axes
        along = torch.einsum("ji,jhw->ihw", rotation, rays) / axes[:, None, None]
        a = along.square().sum(0)
        b = torch.einsum("i,ihw->hw", eye, along)
        rest = b.square() - a * (eye.square().sum() - 1)
        mask = rest > 0
        depth = (-b - rest.clamp_min(0).sqrt()) / a  # the ray's z is 1, so its parameter is the depth
        ball = eye[:, None, None] + depth * along
        inward = -torch.einsum("ij,jhw->ihw", rotation, ball / axes[:, None, None])
        return Sight(torch.where(mask, depth, math.inf), mask, inward / inward.norm(dim=0))


def sphere(centre: tuple[float, float, float], radius: float) -> Ellipsoid:
    return Ellipsoid(centre, (radius, radius, radius))


FILLING_SPHERE = sphere((0.01, -0.02, 1.15), 0.2)
"""Fills every pixel of a square image at depths 0.95 to 1.0."""

FILLING_ELLIPSOID = Ellipsoid((0.0, 0.01, 1.2), (0.15, 0.2, 0.25))
"""Fills every pixel of a square image, and is curved differently in x and y."""


def bumps(num: int, height: int, width: int, *, size: float, seed: int, dtype=torch.float64) -> Tensor:
    """Rugged canonical depth maps around depth 1, n h w, without structure."""
    generator = torch.Generator().manual_seed(seed)
    return 1.0 + size * (torch.rand(num, height, width, generator=generator, dtype=dtype) - 0.5)


def nose(height: int, width: int, *, at: tuple[float, float], relief: float = 0.04, dtype=torch.float64) -> Tensor:
    """A flat face at depth 1 with one Gaussian bump at pixel (x, y), 1 h w."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    square = (x - at[0]).square() + (y - at[1]).square()
    return (1.0 - relief * torch.exp(-square.to(dtype) / (2 * (width / 10) ** 2)))[None]
