"""Measure the real effect of the steps of an atlas, and store a correction for it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from lineament.directions.steps import affordable_hold, linear_step
from lineament.engine.console import progress_bar
from lineament.estimators.steps import StepCalibration
from lineament.faces.measure import measure, synthesize_edited
from lineament.faces.samples import CALIBRATION, sample_and_measure
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction
from lineament.records.semantics import SEMANTIC_NAMES


@dataclass(frozen=True)
class Calibration:
    """Measured effect of edits along one direction, before the correction.

    ``changes`` has one row per face and one column per step. ``leakage`` has one row per step: the median change of
    every semantic over the faces, in the order of `SEMANTIC_NAMES`. ``held`` names the semantics that were held fixed.
    """

    name: str
    steps: Float[np.ndarray, " k"]
    changes: Float[np.ndarray, "n k"]
    leakage: Float[np.ndarray, "k m"]
    held: tuple[str, ...]


def calibrate(
    faces: int, atlas: Atlas, generator: Generator, decomposer: Decomposer
) -> tuple[Atlas, list[Calibration]]:
    """Take steps of known size on unseen faces, measure their effect, and store the correction in the atlas.

    The steps are 0.5, 1, 2 and 3 standard deviations of the semantic, up and down.

    Args:
        faces: number of faces.
        atlas: not calibrated.
        generator: draws the faces.
        decomposer: measures the faces.

    Returns:
        The calibrated atlas, and the measurements.
    """
    numbers = range(CALIBRATION, CALIBRATION + faces)
    w, before = sample_and_measure(generator, decomposer, atlas.seed, numbers, atlas.truncation)
    calibrations: list[Calibration] = []
    directions: list[Direction] = []
    with progress_bar() as bar:
        task = bar.add_task("calibrating steps", total=len(atlas.directions), note="")
        for direction in atlas.directions:
            index = SEMANTIC_NAMES.index(direction.name)
            held = affordable_hold(atlas, (direction.name,))
            steps = np.array([-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0]) * direction.std
            after = []
            for step in steps:
                move = linear_step(atlas, {direction.name: float(step)}, held)
                images = synthesize_edited(generator, w, move, decomposer)
                after.append(measure(decomposer, images) - before)
            changes = np.stack(after, axis=1)
            leakage = np.median(changes, axis=0)
            calibration = StepCalibration.fit(steps, leakage[:, index])
            calibrations.append(Calibration(direction.name, steps, changes[:, :, index], leakage, held))
            directions.append(replace(direction, calibration=calibration.knots))
            bar.update(task, advance=1, note=direction.name)
    return replace(atlas, directions=tuple(directions)), calibrations


def calibration_slope(direction: Direction) -> float | None:
    """Measured change divided by the change in the linear model, at one standard deviation; None if not calibrated.

    It is 1 for a perfectly linear generator. The calibration corrects any difference from 1.
    """
    if not direction.calibration or direction.std == 0:
        return None
    curve = StepCalibration(direction.calibration)
    return (curve.step_to_measured(direction.std) - curve.step_to_measured(-direction.std)) / (2 * direction.std)
