"""The rasteriser as its definition: every pixel asks every triangle, in plain loops and double precision."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.records.camera import Camera


@dataclass(frozen=True)
class TwinResult:
    depth: Tensor  # n h w, differentiable
    mask: Tensor  # n h w
    num_layers: Tensor  # n h w, how many triangles lie behind a pixel
    back_facing: Tensor  # n h w, whether the winner is seen from behind


def rasterize_depth_twin(canon_depth: Tensor, view: Tensor, camera: Camera) -> TwinResult:
    n, h, w = canon_depth.shape
    background = camera.max_depth + 0.5 * (camera.max_depth - camera.min_depth)
    layers = torch.zeros(n, h, w, dtype=torch.int64)
    back = torch.zeros(n, h, w, dtype=torch.bool)
    rows = []
    for i in range(n):
        points = _points(canon_depth[i], view[i], camera)
        shown = _pixels(points.detach(), camera, h, w).tolist()
        heights = points.detach()[..., 2].tolist()
        for py in range(h):
            for px in range(w):
                best, winner = float("inf"), None
                for triangle in _triangles(h, w):
                    corners = [shown[r][c] for r, c in triangle]
                    inside = _inside(px, py, corners)
                    if inside is None:
                        continue
                    layers[i, py, px] += 1
                    shares, orientation = inside
                    z = 1 / sum(share / heights[r][c] for share, (r, c) in zip(shares, triangle, strict=True))
                    if z < best:  # strict: the first triangle wins between equals
                        best, winner = z, triangle
                        back[i, py, px] = orientation > 0
                if winner is None:
                    rows.append(canon_depth.new_tensor(background))
                else:
                    rows.append(_ray_plane([points[r, c] for r, c in winner], _ray(px, py, camera, h, w)))
    depth = torch.stack(rows).view(n, h, w)
    return TwinResult(depth, layers > 0, layers, back)


def _ray(px: float, py: float, camera: Camera, h: int, w: int) -> Tensor:
    focal = camera.focal_px(w)
    return torch.tensor([(px - (w - 1) / 2) / focal, (py - (h - 1) / 2) / focal, 1.0], dtype=torch.float64)


def _points(depth: Tensor, view: Tensor, camera: Camera) -> Tensor:
    h, w = depth.shape
    rays = torch.stack([torch.stack([_ray(px, py, camera, h, w) for px in range(w)]) for py in range(h)])
    (sx, sy, sz), (cx, cy, cz) = view[:3].sin(), view[:3].cos()
    one, nil = torch.ones_like(sx), torch.zeros_like(sx)
    about_x = torch.stack([one, nil, nil, nil, cx, -sx, nil, sx, cx]).view(3, 3)
    about_y = torch.stack([cy, nil, sy, nil, one, nil, -sy, nil, cy]).view(3, 3)
    about_z = torch.stack([cz, -sz, nil, sz, cz, nil, nil, nil, one]).view(3, 3)
    centre = torch.tensor([0.0, 0.0, camera.center_depth], dtype=torch.float64)
    return (depth[..., None] * rays - centre) @ (about_z @ about_y @ about_x).T + centre + view[3:]


def _pixels(points: Tensor, camera: Camera, h: int, w: int) -> Tensor:
    centre = torch.tensor([(w - 1) / 2, (h - 1) / 2], dtype=torch.float64)
    return camera.focal_px(w) * points[..., :2] / points[..., 2:] + centre


def _triangles(h: int, w: int):
    for row in range(h - 1):
        for column in range(w - 1):
            a, b, c, d = (row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)
            yield a, c, b
            yield b, c, d


def _inside(px: float, py: float, corners) -> tuple[list[float], float] | None:
    """Barycentric shares of a pixel and the signed area, or None when it is outside; edges belong to the inside."""
    (x0, y0), (x1, y1), (x2, y2) = corners
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    if area == 0:
        return None
    first = ((x1 - px) * (y2 - py) - (y1 - py) * (x2 - px)) / area
    second = ((x2 - px) * (y0 - py) - (y2 - py) * (x0 - px)) / area
    shares = [first, second, 1 - first - second]
    return (shares, area) if min(shares) >= 0 else None


def _ray_plane(corners: list[Tensor], ray: Tensor) -> Tensor:
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    return (normal @ corners[0]) / (normal @ ray)
