"""Measure decomposers on faces whose depth, pose, light and albedo are known.

Every predicted depth is compared in the view of the image, where the true mask and the predicted surface, each eroded
by one pixel, overlap. The covered share shows predictions that leave out difficult pixels. Pose and light are compared
after one rotation for the whole set, because a decomposer cannot know how its canonical face should be oriented.

Source:
    Wu et al., CVPR 2020 (Unsup3D), section 4.1 (both shape errors, the masks, and the rows of null and mean depth).
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from lineament.checkpoints.ours import load_decomposer
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError, MismatchError
from lineament.faces.decomposer_scores import DecomposerRow, _cell, evaluate, mean_depth
from lineament.settings.evaluate_decomposer import EvaluateDecomposerConfig
from lineament.store.atomic import write_text_atomic
from lineament.store.truth import load_truth, open_truth

MEAN_DEPTH_FACES = 4000
"""Number of faces of ``train_truth`` from which the mean depth is computed. Three times as many changed its scores on
200 rendered faces by only a tenth of their standard errors."""


@dataclass(frozen=True)
class DecomposerReport:
    """The scores of all decomposers, and the faces they were measured on."""

    truth: str
    faces: int
    resolution: int
    mean_depth_from: str
    rows: tuple[DecomposerRow, ...]

    def renderables(self) -> list[Any]:
        """Tables for the terminal."""
        parts: list[Any] = []
        for title, columns in _TABLES.items():
            rows = [row for row in self.rows if any(name in row.scores for name, _, _ in columns)]
            if not rows:
                continue
            table = Table(title=title)
            table.add_column("prediction")
            for _, heading, _ in columns:
                table.add_column(heading, justify="right")
            for row in rows:
                table.add_row(row.name, *(_cell(row.scores.get(name), digits) for name, _, digits in columns))
            parts.append(table)
        size = f"{self.resolution} px"
        return [*parts, f"{self.faces} faces of {self.truth}, {size}; mean depth from {self.mean_depth_from}"]


_TABLES = {
    "Shape": (
        ("side_x100", "SIDE × 100", 3),
        ("side_ratio", "/ mean depth", 3),
        ("mad_deg", "normals °", 2),
        ("mad_ratio", "/ mean depth", 3),
        ("convex", "convex", 3),
        ("covered", "covered", 3),
    ),
    "Shape of the face proper, without hair, ears, neck and cloth": (
        ("face_side_x100", "SIDE × 100", 3),
        ("face_side_ratio", "/ mean depth", 3),
        ("face_mad_deg", "normals °", 2),
        ("face_mad_ratio", "/ mean depth", 3),
    ),
    "Pose": (
        ("frame_offset_deg", "offset °", 2),
        ("yaw_error_deg", "yaw °", 2),
        ("yaw_correlation", "corr.", 3),
        ("yaw_slope", "slope", 3),
        ("pitch_error_deg", "pitch °", 2),
        ("pitch_correlation", "corr.", 3),
        ("roll_error_deg", "roll °", 2),
        ("roll_correlation", "corr.", 3),
    ),
    "Light and albedo": (
        ("light_error_deg", "direction °", 2),
        ("ambient_error", "ambient", 3),
        ("ambient_correlation", "corr.", 3),
        ("diffuse_error", "diffuse", 3),
        ("diffuse_correlation", "corr.", 3),
        ("albedo_error", "albedo", 4),
    ),
}


@writes("out")
def run(config: EvaluateDecomposerConfig) -> DecomposerReport:
    """Measure decomposers on known faces.

    Raises:
        ImageError, FileFormatError: the truth or a decomposer cannot be used.
        MismatchError: the decomposers take images of different sizes.
        ConfigError: fewer than two faces.
    """
    fabric = make_fabric(config.devices)
    decomposers = {name: load_decomposer(path, fabric.device) for name, path in config.paths().items()}
    sizes = {name: network.config.resolution for name, network in decomposers.items()}
    resolution = next(iter(sizes.values()))
    if odd := [name for name, size in sizes.items() if size != resolution]:
        raise MismatchError(
            f"{odd[0]!r} takes {sizes[odd[0]]} px images and {next(iter(sizes))!r} {resolution} px; "
            "measure them in runs of their own"
        )
    truth = load_truth(config.truth, resolution, config.faces)
    if len(truth) < 2:
        raise ConfigError(f"{config.truth} holds one face, expected at least two; errors are means over faces")
    if config.train_truth is None:
        maps, origin = zip(truth.depth, truth.mask, strict=True), "the same faces"
    else:
        source = open_truth(config.train_truth)
        used = min(len(source), MEAN_DEPTH_FACES)
        maps, origin = (source.shape(i, resolution) for i in range(used)), f"{used} faces of {config.train_truth.name}"
    rows = evaluate(truth, mean_depth(maps), decomposers)
    report = DecomposerReport(config.truth.name, len(truth), resolution, origin, rows)
    if config.out is not None:
        write_text_atomic(config.out, json.dumps(asdict(report), indent=2) + "\n")
    return report
