"""Measure the balanced semantics of images, and the cost of changing them; only the networks that are needed run."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.directions.steps import MAX_CORRECTION, affordable_hold, at_layers, linear_step
from lineament.errors import ConfigError
from lineament.estimators.balancing import Extrapolation
from lineament.estimators.part_scores import PartReader
from lineament.estimators.steps import StepCalibration
from lineament.faces.measure import measure_parts
from lineament.networks.decomposer import Decomposer
from lineament.records.atlas import Atlas
from lineament.records.semantics import LIGHT_NAMES, SEMANTIC_NAMES


class Meter:
    """Measures some semantics of images, and a code of the person's identity.

    Args:
        decomposer: measures the images.
        atlas: its directions, and its parts if some are measured.
        names: names of the semantics, in the order of the values.

    Raises:
        ConfigError: the atlas has no such name, or the decomposer cannot measure it.
    """

    def __init__(self, decomposer: Decomposer, atlas: Atlas, names: Sequence[str]) -> None:
        for name in names:
            atlas.direction(name)
            if name not in SEMANTIC_NAMES and name not in atlas.part_names:
                raise ConfigError(f"{name} is a direction, but nothing measures it on images; name another one")
        self.names, self._decomposer, self._atlas = tuple(names), decomposer, atlas
        self._scalars = [name for name in names if name in SEMANTIC_NAMES]
        self._lit = any(name in LIGHT_NAMES for name in names)
        self._posed = any(name not in LIGHT_NAMES for name in self._scalars)
        parts = [name for name in names if name in atlas.part_names]
        self._reader = PartReader(atlas.local) if parts and atlas.local is not None else None

    @torch.inference_mode()
    def look(
        self, images: Float[Tensor, "n 3 h w"], *, identity: bool = False
    ) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]:
        """Values of the semantics, and identity codes; distances between codes tell people apart.

        The code is the output of the albedo network's encoder for the face turned to the front. On edits it follows the
        drift of the albedo itself (correlation 0.7 to 0.9) at a fifth of the cost. It is empty unless asked for.
        """
        network, small = self._decomposer, self._decomposer.shown(images)
        equivariant = network.config.equivariant
        view = network.view(small) if equivariant and self._posed else small.new_zeros(len(small), 6)
        values = np.empty((len(images), len(self.names)))
        if self._scalars:
            if equivariant:
                light = (
                    network.light(small, view if self._posed else None) if self._lit else small.new_zeros(len(small), 4)
                )
                scalars = network.in_units(*network.upright(view, light))
            else:
                scalars = network.measure(small)
            columns = [SEMANTIC_NAMES.index(name) for name in self._scalars]
            found = scalars.double().cpu().numpy()[:, columns]
            values[:, [self.names.index(name) for name in self._scalars]] = found
        if self._reader is not None:
            scores = measure_parts(network, self._reader, images)
            for k, name in enumerate(self.names):
                if name in self._atlas.part_names:
                    values[:, k] = scores[:, self._atlas.part_names.index(name)]
        if not identity:
            return values, np.zeros((len(images), 0), np.float32)
        if not (equivariant and self._posed):
            view = network.view(small, rough=True)  # good enough to turn the face to the front
        codes = network.albedo_net.encoder(network.front(small, view)).flatten(1)
        return values, codes.float().cpu().numpy()


class Stepper:
    """Calibrated steps for many faces at once; `calibrated_step` makes the same steps one by one.

    Args:
        atlas: the directions.
        names: the semantics that change; others are held where that does not stretch the step too much.
    """

    def __init__(self, atlas: Atlas, names: Sequence[str]) -> None:
        atlas = atlas.moved_together(names)
        hold = affordable_hold(atlas, names)
        self._maps = [StepCalibration(atlas.direction(name).calibration) for name in names]
        units = [linear_step(atlas, {n: float(n == name) for n in names}, hold) for name in names]
        if len({len(unit) for unit in units}) > 1:
            units = [unit if len(unit) > 1 else at_layers(atlas, unit[0], range(atlas.num_layers)) for unit in units]
        self.basis: Float[np.ndarray, "m l d"] = np.stack(units)
        self.held = hold

    def steps(self, changes: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n l d"]:
        """Moves of w for every layer; one row if all layers are moved alike."""
        linear = np.array(
            [[m.requested_to_step(float(c)) for m, c in zip(self._maps, row, strict=True)] for row in changes]
        ).reshape(changes.shape)
        limit = MAX_CORRECTION * np.abs(changes)
        return np.einsum("nm,mld->nld", np.clip(linear, -limit, limit), self.basis)

    def extrapolation(self, atlas: Atlas, names: Sequence[str]) -> Extrapolation:
        """Cost of changes of these semantics, by the linear model."""
        moved = np.abs(self.basis).sum(axis=(0, 2)) > 0
        basis = self.basis[:, moved]
        metric = np.einsum("mld,de,kle->mk", basis, np.linalg.pinv(atlas.w_cov, hermitian=True), basis) / moved.sum()
        spans = [atlas.direction(name).range_seen for name in names]
        std = np.array([max(atlas.direction(name).std, np.finfo(np.float64).tiny) for name in names])
        return Extrapolation(
            metric, np.array([span.minimum for span in spans]), np.array([span.maximum for span in spans]), std
        )
