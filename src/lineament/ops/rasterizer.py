"""The depth of a canonical surface as a view sees it, with gradients through the visible triangles.

The canonical depth map is a grid of points, two triangles per cell:

    a --- b        triangle 2 i     = (a, c, b)
    |   / |        triangle 2 i + 1 = (b, c, d)        where i is the index of a among all pixels of the batch
    | /   |
    c --- d

Which triangle a pixel sees is found without gradients; the pixel's depth is the intersection of its ray with that
triangle's plane, z = (n . v0) / (n . ray), and its gradient is that of this formula (see `_VisibleDepth.backward`).

Source:
    Wu et al., CVPR 2020, section 3.2 (depth alone is rasterised, in their code by Kato et al., "Neural 3D Mesh
    Renderer", CVPR 2018). Deviations: exact gradients of the depth inside of a triangle and none for the outline, and
    an optional bound on the gradients at contours, whose explosion is a known failure of the published method.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lineament.ops.camera import pixel_rays, rotation_matrices
from lineament.records.camera import Camera

EDGE_TOLERANCE_PX2 = 1e-4
"""A pixel counts as inside of a triangle when no edge function is below minus this (twice an area in square pixels).

Several times the rounding of pixel coordinates in single precision, so that the border of the image stays covered in
the frontal view and no gap opens between neighbours."""

MIN_AREA_PX2 = 1e-4
"""Triangles whose projection has less than half of this area are seen edge-on and cover nothing.

Not above the tolerance, so that the neighbours cover a pixel on such a sliver. It also bounds every gradient."""

NEAREST_DEPTH = 1e-2
"""Cells with a point nearer than this, or behind the camera, are not drawn."""

_MAX_OFFSET_PX = 1e5
_CHUNK_CPU, _CHUNK_ACCELERATOR = 1 << 16, 1 << 22
_NOTHING = torch.iinfo(torch.int64).max


def rasterize_depth(
    canon_depth: Float[Tensor, "n h w"],
    view: Float[Tensor, "n 6"],
    camera: Camera,
    *,
    max_slope: float | None = None,
) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, "n h w"]]:
    """Depth of the canonical surface as seen in a view.

    Convention:
        Both depth maps have the same size and camera; `view` moves the surface (see `lineament.ops.camera`). The
        surface has two sides: triangles seen from behind are drawn too, and the nearest wins.

    Args:
        canon_depth: positive.
        view: (pitch, yaw, roll, tx, ty, tz) in radians and world units.
        camera: the pinhole camera.
        max_slope: bound on gradients at contours. Where 1 / cos of the angle between a pixel's ray and the normal of
            its triangle exceeds this, the gradient is scaled down by the ratio. None leaves the exact gradient, which
            grows with that slope (to about 1e4 for triangles seen all but edge-on).

    Returns:
        The depth, differentiable once in `canon_depth` and `view`, and where it is covered by the surface. Uncovered
        pixels have depth max_depth + (max_depth - min_depth) / 2 and no gradient. Non-finite arguments leave the
        pixels they reach uncovered; the gradient of such a view is undefined.

    Raises:
        ShapeError: fewer than two rows or columns.
    """
    # Depths differ in the fourth digit from pixel to pixel: mixed precision must not reach them.
    dtype = torch.promote_types(torch.promote_types(canon_depth.dtype, view.dtype), torch.float32)
    view = view.to(dtype)
    return _VisibleDepth.apply(canon_depth.to(dtype), rotation_matrices(view), view[:, 3:], camera, max_slope)


class _VisibleDepth(torch.autograd.Function):
    """Depth of the visible triangles as a function of canonical depth, rotation and translation."""

    @staticmethod
    def forward(
        ctx: Any, canon_depth: Tensor, rotation: Tensor, shift: Tensor, camera: Camera, max_slope: float | None
    ) -> tuple[Tensor, Tensor]:
        h, w = canon_depth.shape[1:]
        rays = pixel_rays(h, w, camera, dtype=canon_depth.dtype, device=canon_depth.device)
        x, y, inverse_z = _projected(canon_depth, rotation, shift, rays, camera)
        winner = _winning_triangles(x, y, inverse_z)
        covered = winner >= 0
        weights, depth, slope_x, slope_y = _intersection(winner.clamp_min(0), covered, x, y, inverse_z)
        ctx.save_for_backward(rotation, shift, winner, weights, depth, slope_x, slope_y)
        ctx.camera, ctx.max_slope = camera, max_slope
        ctx.mark_non_differentiable(covered)
        background = camera.max_depth + (camera.max_depth - camera.min_depth) / 2
        return torch.where(covered, depth, background), covered

    @staticmethod
    @once_differentiable  # pyright sees its positional argument as another signature
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Chain rule through z = (n . v0) / (n . ray).

        Moving corner i by dv moves the plane at the pixel, and dz = b_i (n . dv) / (n . ray) with b_i the share of
        that corner in the point hit. With m the plane's covector, m . v = 1 for all of its points, this is
        z b_i m . dv; so the gradient for rotation and shift needs only the point hit and no corner.
        """
        rotation, shift, winner, weights, depth, slope_x, slope_y = ctx.saved_tensors
        camera: Camera = ctx.camera
        n, h, w = depth.shape
        rays = pixel_rays(h, w, camera, dtype=depth.dtype, device=depth.device)
        focal = camera.focal_px(w)
        covered = winner >= 0

        # 1 / z = m . ray is affine in the pixel's coordinates.
        mx, my = slope_x * focal, slope_y * focal
        mz = 1 / depth - mx * rays[..., 0] - my * rays[..., 1]
        grad = torch.where(covered, grads[0] * depth, 0)
        if ctx.max_slope is not None:
            length = (mx.square() + my.square() + mz.square()).sqrt()
            slope = depth * length * rays.square().sum(-1).sqrt()
            grad = grad * (ctx.max_slope / slope).clamp_max(1)
        plane = torch.stack([mx, my, mz], dim=1).flatten(2) * grad.flatten(1)[:, None]  # n 3 hw

        grad_rotation = grad_shift = grad_depth = None
        if ctx.needs_input_grad[1]:
            centre = depth.new_tensor([0.0, 0.0, camera.center_depth])
            hit = (depth[..., None] * rays - centre).flatten(1, 2) - shift[:, None]
            grad_rotation = plane @ hit @ rotation
        if ctx.needs_input_grad[2]:
            grad_shift = plane.sum(dim=2)
        if ctx.needs_input_grad[0]:
            # The covector in the canonical frame, times the canonical ray along which each corner moves.
            canon_plane = (rotation.mT @ plane).view(n, 3, h, w)
            corners = _corners(winner.clamp_min(0), w)
            grad_depth = depth.new_zeros(n * h * w)
            flat_rays = rays.view(h * w, 3)
            for weight, corner in zip(weights, corners, strict=True):
                ray = flat_rays.index_select(0, (corner % (h * w)).view(-1)).view(n, h, w, 3)
                moved = canon_plane[:, 0] * ray[..., 0] + canon_plane[:, 1] * ray[..., 1] + canon_plane[:, 2]
                grad_depth.scatter_add_(0, corner.view(-1), torch.where(covered, weight * moved, 0).view(-1))
            grad_depth = grad_depth.view(n, h, w)
        return grad_depth, grad_rotation, grad_shift, None, None


def _projected(
    canon_depth: Tensor, rotation: Tensor, shift: Tensor, rays: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel coordinates and 1 / z of all points in the view; x is NaN where a point cannot be drawn."""
    h, w = canon_depth.shape[1:]
    focal = camera.focal_px(w)
    point = (canon_depth * rays[..., 0], canon_depth * rays[..., 1], canon_depth - camera.center_depth)
    r = rotation[:, :, :, None, None]
    t = shift[:, :, None, None]
    x, y, z = (r[:, i, 0] * point[0] + r[:, i, 1] * point[1] + r[:, i, 2] * point[2] + t[:, i] for i in range(3))
    z = z + camera.center_depth
    inverse_z = 1 / z
    x = x * inverse_z * focal + (w - 1) / 2
    y = y * inverse_z * focal + (h - 1) / 2
    drawable = (z > NEAREST_DEPTH) & (x.abs() < _MAX_OFFSET_PX) & (y.abs() < _MAX_OFFSET_PX)
    return torch.where(drawable, x, torch.nan), y, inverse_z


def _corners(triangle: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of a triangle's corners among all pixels of the batch; see the drawing at the top."""
    first = triangle >> 1
    second_half = triangle & 1
    return first + second_half, first + width, first + 1 + second_half * width


def _winning_triangles(x: Tensor, y: Tensor, inverse_z: Tensor) -> Tensor:
    """The nearest triangle at every pixel, -1 where there is none; the lowest index wins between equals."""
    n, h, w = x.shape
    left, right = (_over_cells(x, reduce) for reduce in (torch.minimum, torch.maximum))
    top, bottom = (_over_cells(y, reduce) for reduce in (torch.minimum, torch.maximum))
    left = (left - EDGE_TOLERANCE_PX2).ceil().clamp_min(0)
    top = (top - EDGE_TOLERANCE_PX2).ceil().clamp_min(0)
    columns = (right + EDGE_TOLERANCE_PX2).floor().clamp_max(w - 1) - left + 1
    rows = (bottom + EDGE_TOLERANCE_PX2).floor().clamp_max(h - 1) - top + 1
    # Comparisons with NaN are false, which is how cells that cannot be drawn drop out.
    drawn = torch.nonzero(((columns > 0) & (rows > 0)).view(-1)).view(-1)
    corner = torch.arange(n * h * w, dtype=torch.int32, device=x.device).view(n, h, w)[:, :-1, :-1]
    boxes = [part.reshape(-1).index_select(0, drawn).int() for part in (corner, left, top, columns, rows)]
    counts = boxes[3] * boxes[4]
    ends = counts.cumsum(0)

    nearest = torch.full((n * h * w,), _NOTHING, dtype=torch.int64, device=x.device)
    # Chunks bound the memory of a torn surface, whose cells are as long as the image; on a CPU they fit its cache.
    chunk = _CHUNK_CPU if x.device.type == "cpu" else _CHUNK_ACCELERATOR
    total = int(ends[-1]) if len(ends) else 0
    cuts = torch.arange(0, total, chunk, device=x.device)
    starts = [*torch.searchsorted(ends, cuts, right=True).tolist(), len(ends)]
    flat = (x.view(-1), y.view(-1), inverse_z.view(-1))
    for start, stop in pairwise(starts):
        if start < stop:
            pixel, key = _hits([part[start:stop] for part in boxes[:4]], counts[start:stop], flat, h, w)
            nearest.scatter_reduce_(0, pixel, key, "amin")
    return torch.where(nearest == _NOTHING, -1, nearest & 0x7FFFFFFF).view(n, h, w)


def _over_cells(points: Tensor, reduce: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Reduce over the four corners of every cell."""
    pairs = reduce(points[:, :, :-1], points[:, :, 1:])
    return reduce(pairs[:, :-1], pairs[:, 1:])


def _hits(
    boxes: list[Tensor], counts: Tensor, flat: tuple[Tensor, Tensor, Tensor], h: int, w: int
) -> tuple[Tensor, Tensor]:
    """Every pixel that a triangle of these cells covers, with the key (depth, triangle) by which the nearest wins.

    Each box is the index of the cell's first corner, its leftmost and topmost pixel and its number of columns;
    `counts` says how many pixels it holds.
    """
    box = torch.repeat_interleave(counts)
    first = (counts.cumsum(0) - counts).int()
    order = torch.arange(len(box), dtype=torch.int32, device=box.device) - first.index_select(0, box)
    corner, left, top, columns = (part.index_select(0, box) for part in boxes)
    down = torch.div(order, columns, rounding_mode="floor")
    pixel_x, pixel_y = left + order - down * columns, top + down

    # Corners relative to the pixel, so that an edge function changes its sign exactly when its edge is reversed.
    x, y, inverse_z = flat
    px, py = pixel_x.to(x.dtype), pixel_y.to(x.dtype)
    a, b, c, d = (
        (x.index_select(0, i) - px, y.index_select(0, i) - py, inverse_z.index_select(0, i))
        for i in (corner, corner + 1, corner + w, corner + w + 1)
    )
    cb = _edge(c, b)
    upper = _inverse_depth((cb, _edge(b, a), _edge(a, c)), (a, c, b))
    lower = _inverse_depth((_edge(c, d), _edge(d, b), -cb), (b, c, d))
    del a, b, c, d
    pixel = (torch.div(corner, h * w, rounding_mode="floor") * h + pixel_y) * w + pixel_x
    found_pixels, keys = [], []
    for half, found in enumerate((upper, lower)):
        hit = torch.nonzero(found > 0).view(-1)
        depth = found.index_select(0, hit).reciprocal().float()
        triangle = corner.index_select(0, hit).long() * 2 + half
        # Positive floats and their bits, read as integers, have the same order.
        keys.append(depth.view(torch.int32).long() << 32 | triangle)
        found_pixels.append(pixel.index_select(0, hit).long())
    return torch.cat(found_pixels), torch.cat(keys)


def _edge(start: tuple[Tensor, Tensor, Tensor], end: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Twice the signed area between an edge and the pixel at the origin."""
    return start[0] * end[1] - start[1] * end[0]


def _inverse_depth(edges: tuple[Tensor, Tensor, Tensor], corners: tuple[tuple[Tensor, Tensor, Tensor], ...]) -> Tensor:
    """1 / z of a triangle at the pixel, 0 where it does not cover it; edge i lies opposite of corner i."""
    shares, area, inside = _shares(edges)
    total = shares[0] * corners[0][2] + shares[1] * corners[1][2] + shares[2] * corners[2][2]
    return torch.where(inside, total / area, 0)


def _shares(edges: tuple[Tensor, Tensor, Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Areas opposite of the three corners, their sum, and whether the pixel is inside.

    A pixel outside by less than the tolerance is treated as lying on the edge, so that no depth is ever extrapolated
    beyond those of the triangle's corners.
    """
    area = edges[0] + edges[1] + edges[2]
    sign = area.sign()
    oriented = [edge * sign for edge in edges]
    lowest = torch.minimum(torch.minimum(oriented[0], oriented[1]), oriented[2])
    inside = (lowest >= -EDGE_TOLERANCE_PX2) & (area.abs() >= MIN_AREA_PX2)
    shares = [edge.clamp_min(0) for edge in oriented]
    return shares, shares[0] + shares[1] + shares[2], inside


def _intersection(
    triangle: Tensor, covered: Tensor, x: Tensor, y: Tensor, inverse_z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where pixels' rays meet their triangles: corners' shares in the point hit, depth, and the slopes of 1 / z."""
    n, h, w = x.shape
    columns = torch.arange(w, dtype=x.dtype, device=x.device)
    rows = torch.arange(h, dtype=x.dtype, device=x.device)[:, None]
    corners = []
    for index in _corners(triangle, w):
        at = index.view(-1)
        px, py, pz = (part.view(-1).index_select(0, at).view(n, h, w) for part in (x, y, inverse_z))
        corners.append((px - columns, py - rows, pz))
    p, q, r = corners
    edges = (_edge(q, r), _edge(r, p), _edge(p, q))
    shares, total, _ = _shares(edges)
    total = torch.where(covered, total, 1)
    area = torch.where(covered, edges[0] + edges[1] + edges[2], 1)
    screen = [torch.where(covered, share / total, 1 / 3) for share in shares]
    pz, qz, rz = (torch.where(covered, corner[2], 1) for corner in corners)
    inverse = screen[0] * pz + screen[1] * qz + screen[2] * rz
    depth = 1 / inverse
    weights = torch.stack([screen[0] * pz, screen[1] * qz, screen[2] * rz]) * depth
    # Gradient of the plane through the three values of 1 / z.
    slope_x = torch.where(covered, (pz * (q[1] - r[1]) + qz * (r[1] - p[1]) + rz * (p[1] - q[1])) / area, 0)
    slope_y = torch.where(covered, (pz * (r[0] - q[0]) + qz * (p[0] - r[0]) + rz * (q[0] - p[0])) / area, 0)
    return weights, depth, slope_x, slope_y
