"""What steps along the directions of an atlas really achieve, and the correction that makes them exact."""

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
    """What edits along one direction were measured to do, before their correction.

    ``changes`` has one row per face and one column per step; ``leakage`` is the median change of every semantic, in
    the order of `SEMANTIC_NAMES`. ``held`` are the semantics that were to stay.
    """

    name: str
    steps: Float[np.ndarray, " k"]
    changes: Float[np.ndarray, "n k"]
    leakage: Float[np.ndarray, "k m"]
    held: tuple[str, ...]


def calibrate(
    faces: int, atlas: Atlas, generator: Generator, decomposer: Decomposer
) -> tuple[Atlas, list[Calibration]]:
    """Take steps of known size on this many unseen faces, measure what they achieve, and store the correction."""
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
    """Measured change over the linear model's promise, at one standard deviation; None if not calibrated.

    1 is a perfectly linear generator; what is missing is what the calibration makes up for.
    """
    if not direction.calibration or direction.std == 0:
        return None
    curve = StepCalibration(direction.calibration)
    return (curve.step_to_measured(direction.std) - curve.step_to_measured(-direction.std)) / (2 * direction.std)
