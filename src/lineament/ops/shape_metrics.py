"""How far a predicted face is from the true one: depth, normals, albedo, light and pose.

Convention (all of this module):
    Errors are one number per face, over the true pixels of its mask, and NaN for a face whose mask is empty.

Source:
    Wu et al., CVPR 2020 (Unsup3D), section 4.1, for both shape errors and for the eroded masks. The scale-invariant
    depth error is that of Eigen et al., "Depth Map Prediction from a Single Image", NeurIPS 2014, Equation 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lineament.errors import ShapeError
from lineament.ops.shading import normals_from_depth
from lineament.records.camera import Camera


def eroded(mask: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Where a mask holds for a pixel and all of its eight neighbours; beyond the image's border it does not hold."""
    return F.avg_pool2d(mask[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0.99


def scale_invariant_depth_error(
    pred: Float[Tensor, "n h w"], true: Float[Tensor, "n h w"], mask: Bool[Tensor, "n h w"]
) -> Float[Tensor, " n"]:
    """SIDE: the standard deviation of log pred - log true; a common factor of the depth is not penalised.

    Args:
        pred: positive in the mask.
        true: positive in the mask.
        mask: pixels that count.

    Returns:
        Not negative.

    Source:
        Eigen et al., NeurIPS 2014, square root of Equation 1, as in the published evaluation of Wu et al., CVPR 2020:
        sqrt(mean(e^2) - mean(e)^2). Computed as the mean square about the mean, which loses no digits to cancellation.
    """
    error = torch.where(mask, pred / true, 1).log()
    centred = error - _mean_in(error, mask)[:, None, None]
    return _mean_in(centred.square(), mask).sqrt()


def normal_angle_error_deg(
    pred_depth: Float[Tensor, "n h w"], true_depth: Float[Tensor, "n h w"], mask: Bool[Tensor, "n h w"], camera: Camera
) -> Float[Tensor, " n"]:
    """MAD: the mean angle between the normals of two depth maps, in degrees.

    Args:
        pred_depth: positive.
        true_depth: positive.
        mask: pixels that count; eroded once, so that no normal is taken across its edge.
        camera: the pinhole camera.

    Source:
        Wu et al., CVPR 2020, section 4.1. Deviation: their normals come out too short, and so their angles of nearly
        equal surfaces too large (see `normals_from_depth`).
    """
    angle = angle_between_deg(normals_from_depth(pred_depth, camera), normals_from_depth(true_depth, camera))
    return _mean_in(angle, mask)


def angle_between_deg(a: Float[Tensor, "n 3 ..."], b: Float[Tensor, "n 3 ..."]) -> Float[Tensor, "n ..."]:
    """Angle between vectors in degrees, precise near 0 and 180 too, where an arc cosine is not."""
    cross = torch.linalg.cross(a, b, dim=1).norm(dim=1)
    return torch.rad2deg(torch.atan2(cross, (a * b).sum(dim=1)))


def scale_invariant_albedo_error(
    pred: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"], mask: Bool[Tensor, "n h w"]
) -> Float[Tensor, " n"]:
    """Root mean square of s pred - true with the best factor s of each face, as brightness belongs to the light.

    Args:
        pred: linear, black at 0.
        true: linear, in [0, 1].
        mask: pixels that count.
    """
    inside = mask[:, None].expand_as(pred)
    pred, true = torch.where(inside, pred, 0), torch.where(inside, true, 0)
    product, square = (pred * true).sum(dim=(1, 2, 3)), pred.square().sum(dim=(1, 2, 3))
    scale = product / square.clamp_min(torch.finfo(square.dtype).tiny)
    return _mean_in((scale[:, None, None, None] * pred - true).square().mean(dim=1), mask).sqrt()


def is_convex(canon_depth: Float[Tensor, "n h w"]) -> Bool[Tensor, " n"]:
    """Whether the nose is nearer than the cheeks, seen from the front; False for a hollow mask."""
    size = canon_depth.shape[-1]
    middle, side = slice(int(size * 0.45), int(size * 0.55)), slice(int(size * 0.22), int(size * 0.3))
    rows = slice(int(size * 0.45), int(size * 0.65))
    return canon_depth[:, rows, side].mean(dim=(1, 2)) > canon_depth[:, rows, middle].mean(dim=(1, 2))


def mean_rotation(pred: Float[Tensor, "n 3 3"], true: Float[Tensor, "n 3 3"]) -> Float[Tensor, "3 3"]:
    """The one rotation G with pred ~ true G, which turns the predicted canonical frame into the true one.

    Convention:
        Both rotations turn their own canonical frame into the view: p_view = R_true p = R_pred q, so p = G q. G turns
        a direction, such as the light's, from the predicted into the true frame. A predicted pose becomes R_pred G^T.

    Returns:
        A proper rotation, in double precision.

    Source:
        The chordal L2 mean of Hartley et al., "Rotation Averaging", IJCV 2013, section 5.3.
    """
    u, _, vh = torch.linalg.svd((true.double().mT @ pred.double()).sum(dim=0))
    proper = torch.ones(3, dtype=u.dtype, device=u.device)
    proper[2] = torch.linalg.det(u @ vh).sign()
    return u @ torch.diag(proper) @ vh


def rotation_size_deg(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, ""]:
    """The angle by which a rotation turns, in degrees, 0 to 180."""
    skew = rotation - rotation.mT
    sine = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]]).norm() / 2
    return torch.rad2deg(torch.atan2(sine, (rotation.diagonal().sum() - 1) / 2))


def euler_angles_deg(rotation: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3"]:
    """(pitch, yaw, roll) in degrees, yaw within 90: the inverse of `lineament.ops.camera.rotation_matrices`."""
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = torch.atan2(-rotation[:, 2, 0], rotation[:, :2, 0].norm(dim=1))
    roll = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return torch.rad2deg(torch.stack([pitch, yaw, roll], dim=1))


def extend_outside(maps: Float[Tensor, "n c h w"], mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n c h w"]:
    """Maps whose pixels outside of the mask take the value of the nearest pixel inside.

    Raises:
        ShapeError: a mask is empty, so there is no value to take.
    """
    if not bool(mask.flatten(1).any(dim=1).all()):
        raise ShapeError("a mask without a pixel, expected at least one inside; leave such faces out")
    height, width = mask.shape[1:]
    rows = torch.arange(height, dtype=torch.float32, device=mask.device)
    columns = torch.arange(width, dtype=torch.float32, device=mask.device)
    row_gap = (rows[:, None] - rows).square()[:, :, None]  # h h 1
    column_gap = (columns[:, None] - columns).square()  # w w
    extended = []
    for face, inside in zip(maps, mask, strict=True):
        # The squared distance is a sum over both axes, so the nearest pixel is found along one and then the other.
        distance, row = torch.where(inside, row_gap, torch.inf).min(dim=1)  # over the rows of each column: h w
        column = (distance[:, None, :] + column_gap).argmin(dim=2)
        nearest = row.gather(1, column) * width + column
        extended.append(face.flatten(1)[:, nearest.flatten()].view_as(face))
    return torch.stack(extended)


def _mean_in(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true pixels of each face; NaN where there are none."""
    return torch.where(mask, values, 0).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
