"""Scores of a decomposer on faces whose shape, pose, light and albedo are known."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lineament.engine.console import progress_bar
from lineament.networks.decomposer import Decomposer
from lineament.ops.camera import rotation_matrices
from lineament.ops.pixels import to_tensor
from lineament.ops.rasterizer import rasterize_depth
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
from lineament.ops.warp import inverse_warp_grid, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.truth import MEAN_ROW, NULL_ROW, TRUTH_ROW, FaceTruth

RARE_SHARE = 0.01
"""Minimum share of the faces that must cover a pixel for a mean of its own; with fewer, odd faces would decide it."""

_BATCH = 64

Predictor: TypeAlias = Callable[[slice], Decomposition | Tensor]
"""Maps a slice of the faces to a decomposition of each face, or to one depth map for all of them."""


@dataclass(frozen=True)
class MeanEstimate:
    """A number and its standard error, which is None if it is unknown."""

    value: float
    standard_error: float | None


@dataclass(frozen=True)
class DecomposerRow:
    """The scores of one prediction by name; scores that do not apply to it are missing.

    Errors are means over the faces. Those called ``face_`` use only the pixels of the face proper. ``side_ratio`` and
    ``mad_ratio`` are relative to the row of the mean depth. ``covered`` is the share of the eroded true mask where the
    prediction has a surface. ``frame_offset_deg`` is the angle of the rotation between the predicted and the true
    canonical frame, which is removed before pose and light are compared.
    """

    name: str
    scores: dict[str, MeanEstimate]


def _cell(estimate: MeanEstimate | None, digits: int) -> str:
    if estimate is None:
        return "–"
    error = estimate.standard_error
    return f"{estimate.value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def mean_of(values: Float[Tensor, " n"]) -> MeanEstimate | None:
    """Mean and std / sqrt(n) over the faces that have a number; None if no face has."""
    values = values[values.isfinite()].double()
    if not len(values):
        return None
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
    return MeanEstimate(float(values.mean()), error)


def ratio_of(values: Float[Tensor, " n"], reference: Float[Tensor, " n"]) -> MeanEstimate | None:
    """Ratio of two means over the same faces. The error is linearised and includes the correlation of the two."""
    seen = values.isfinite() & reference.isfinite()
    base = float(reference[seen].double().mean())
    if not base > 0:
        return None
    ratio = float(values[seen].double().mean()) / base
    rest = mean_of((values - ratio * reference) / base)
    return MeanEstimate(ratio, rest.standard_error if rest else None)


def correlation_of(pred: Float[Tensor, " n"], true: Float[Tensor, " n"]) -> tuple[MeanEstimate, MeanEstimate] | None:
    """Correlation, its error (1 - r^2) / sqrt(n - 1), and the slope of pred on true; None where either is constant."""
    pred, true, n = pred.double(), true.double(), len(pred)
    spread, true_spread = float(pred.std()), float(true.std())
    if min(spread, true_spread) < 1e-6:
        return None
    r = float(((pred - pred.mean()) * (true - true.mean())).sum()) / ((n - 1) * spread * true_spread)
    r = max(-1.0, min(1.0, r))
    slope_error = math.sqrt((1 - r**2) / max(n - 2, 1)) * spread / true_spread
    return MeanEstimate(r, (1 - r**2) / math.sqrt(n - 1)), MeanEstimate(r * spread / true_spread, slope_error)


def mean_depth(maps: Iterable[tuple[np.ndarray, np.ndarray]]) -> Float[Tensor, "h w"]:
    """Mean depth of every pixel over the faces that cover it.

    A pixel covered by fewer than 1 % of the faces takes the value of the nearest pixel covered by more of them. Its own
    mean would be that of a few odd faces, and the maximum depth would make a cliff with wrong normals.

    Args:
        maps: depth and mask (h w) of each face.
    """
    total, count, n = np.zeros(()), np.zeros(()), 0
    for depth, mask in maps:
        total, count, n = total + np.where(mask, depth, 0.0), count + mask, n + 1
    mean = torch.from_numpy(total / np.maximum(count, 1)).float()
    return extend_outside(mean[None, None], torch.from_numpy(count >= max(RARE_SHARE * n, 1))[None])[0, 0]


def known_parts(truth: FaceTruth) -> Decomposition | None:
    """The truth in the form of a decomposer's output; None if the truth has no canonical maps.

    A decomposer's maps have no mask. Outside of the true mask, the albedo is that of the nearest pixel inside and the
    depth is the camera's maximum depth, so that turned views show no brim around the face.
    """
    arrays = (truth.canon_depth, truth.canon_albedo, truth.canon_mask, truth.view, truth.light)
    if any(array is None for array in arrays):
        return None
    depth, albedo, mask, view, light = map(torch.from_numpy, arrays)
    albedo = extend_outside(albedo.permute(0, 3, 1, 2), mask)
    return Decomposition(torch.where(mask, depth, Camera().max_depth), albedo * 2 - 1, view, light)


def take(parts: Decomposition, faces: slice) -> Decomposition:
    """Some faces of a decomposition."""
    return Decomposition(parts.canon_depth[faces], parts.canon_albedo[faces], parts.view[faces], parts.light[faces])


def predictor_of(decomposer: Decomposer, images: UInt8[np.ndarray, "n h w 3"]) -> Predictor:
    """A predictor that applies a decomposer to the images, without averaging over their mirror images."""
    device = decomposer.tilt.device

    @torch.no_grad()
    def predict(faces: slice) -> Decomposition:
        said = decomposer(to_tensor(images[faces]).to(device))
        return Decomposition(said.canon_depth.cpu(), said.canon_albedo.cpu(), said.view.cpu(), said.light.cpu())

    return predict


def face_errors(predict: Predictor, truth: FaceTruth, known: Decomposition | None) -> dict[str, Tensor]:
    """Errors of each face, and its predicted view and light, which `pose_scores` compares over the whole set."""
    camera, n = Camera(), len(truth)
    found: dict[str, list[Tensor]] = {}
    for start in range(0, n, _BATCH):
        faces = slice(start, start + _BATCH)
        true, true_mask = torch.from_numpy(truth.depth[faces]), eroded(torch.from_numpy(truth.mask[faces]))
        said = predict(faces)
        if isinstance(said, Tensor):
            depth, covered = said.expand_as(true), torch.ones_like(true_mask)
        else:
            depth, covered = rasterize_depth(said.canon_depth, said.view, camera)
        mask = true_mask & eroded(covered)
        errors = {
            "side": scale_invariant_depth_error(depth, true, mask),
            "mad": normal_angle_error_deg(depth, true, mask, camera),
            "covered": (covered & true_mask).sum(dim=(1, 2)) / true_mask.sum(dim=(1, 2)),
        }
        if truth.face is not None:
            face = eroded(torch.from_numpy(truth.mask[faces] & truth.face[faces])) & eroded(covered)
            errors["face_side"] = scale_invariant_depth_error(depth, true, face)
            errors["face_mad"] = normal_angle_error_deg(depth, true, face, camera)
        if isinstance(said, Decomposition):
            errors |= {"convex": is_convex(said.canon_depth).float(), "view": said.view, "light": said.light}
            if known is not None:
                own, right = (
                    warp_image(parts.canon_albedo / 2 + 0.5, inverse_warp_grid(seen, parts.view, camera))
                    for parts, seen in ((said, depth), (take(known, faces), true))
                )
                errors["albedo"] = scale_invariant_albedo_error(own, right, mask)
        for name, values in errors.items():
            found.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in found.items()}


def pose_scores(
    view: Float[Tensor, "n 6"], light: Float[Tensor, "n 4"], known: Decomposition
) -> dict[str, MeanEstimate | None]:
    """Pose and light against the truth, after removing the rotation between the two canonical frames."""
    rotation, true_rotation = rotation_matrices(view).double(), rotation_matrices(known.view).double()
    offset = mean_rotation(rotation, true_rotation)
    scores: dict[str, MeanEstimate | None] = {"frame_offset_deg": MeanEstimate(float(rotation_size_deg(offset)), None)}
    angles, true_angles = euler_angles_deg(rotation @ offset.T), euler_angles_deg(true_rotation)
    columns = {"pitch": 0, "yaw": 1, "roll": 2}
    for name, i in columns.items():
        turn = torch.remainder(angles[:, i] - true_angles[:, i] + 180, 360) - 180
        scores[f"{name}_error_deg"] = mean_of(turn.abs())
    # A light l_q in the predicted frame is l_p = G l_q in the true frame, G the offset; as rows, l_q G^T.
    toward, true_toward = light_directions(light).double() @ offset.T, light_directions(known.light).double()
    scores["light_error_deg"] = mean_of(angle_between_deg(toward, true_toward))
    compared = {name: (angles[:, i], true_angles[:, i]) for name, i in columns.items()}
    for i, name in enumerate(("ambient", "diffuse")):
        scores[f"{name}_error"] = mean_of((light[:, i] - known.light[:, i]).abs())
        compared[name] = (light[:, i], known.light[:, i])
    for name, (pred, true) in compared.items():
        if (fit := correlation_of(pred, true)) is not None:
            scores[f"{name}_correlation"], slope = fit
            if name == "yaw":
                scores["yaw_slope"] = slope
    return scores


def score(
    name: str, errors: dict[str, Tensor], reference: dict[str, Tensor], known: Decomposition | None
) -> DecomposerRow:
    """Scores of one row; ``reference`` holds the errors of the mean depth on the same faces."""
    scores = {
        "side_x100": mean_of(100 * errors["side"]),
        "side_ratio": ratio_of(errors["side"], reference["side"]),
        "mad_deg": mean_of(errors["mad"]),
        "mad_ratio": ratio_of(errors["mad"], reference["mad"]),
        "covered": mean_of(errors["covered"]),
    }
    if "face_side" in errors:
        scores["face_side_x100"] = mean_of(100 * errors["face_side"])
        scores["face_side_ratio"] = ratio_of(errors["face_side"], reference["face_side"])
        scores["face_mad_deg"] = mean_of(errors["face_mad"])
        scores["face_mad_ratio"] = ratio_of(errors["face_mad"], reference["face_mad"])
    if "convex" in errors:
        scores["convex"] = mean_of(errors["convex"])
    if known is not None and "view" in errors:
        scores |= pose_scores(errors["view"], errors["light"], known)
        scores["albedo_error"] = mean_of(errors["albedo"])
    return DecomposerRow(name, {key: value for key, value in scores.items() if value is not None})


def evaluate(
    truth: FaceTruth, mean: Float[Tensor, "h w"], decomposers: Mapping[str, Decomposer], *, quiet: bool = False
) -> tuple[DecomposerRow, ...]:
    """One row each for the null depth (1 everywhere), the mean depth, the truth (`known_parts`) and each decomposer."""
    known = known_parts(truth)
    predictors: dict[str, Predictor] = {NULL_ROW: lambda _: torch.ones_like(mean), MEAN_ROW: lambda _: mean}
    if known is not None:
        predictors[TRUTH_ROW] = lambda faces: take(known, faces)
    predictors |= {name: predictor_of(network, truth.images) for name, network in decomposers.items()}
    errors = {}
    with progress_bar(disable=quiet) as bar:
        task = bar.add_task("measuring", total=len(predictors), note="")
        for name, predict in predictors.items():
            bar.update(task, note=name)
            errors[name] = face_errors(predict, truth, known)
            bar.update(task, advance=1)
    return tuple(score(name, found, errors[MEAN_ROW], known) for name, found in errors.items())
