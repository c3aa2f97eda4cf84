"""SeFa: eigenvectors of the weights that turn w into styles; in closed form, without samples."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators._params import Params
from lineament.estimators._peers import check_num_components, unit_rows


class SeFa(Params):
    """Directions of w that change the styles most, to first order.

    Convention:
        A step is a unit vector, as published. The sign of an eigenvector is arbitrary; its largest entry is positive.

    Args:
        num_components: number of components kept, largest first.

    Attributes:
        components_: unit eigenvectors, by falling eigenvalue.
        eigenvalues_: of the sum of the projectors on all styles' weights; they sum to the number of styles (that are
            not zero) if all are kept.
        steps_: the components.
        n_samples_seen_, n_features_in_: 0, and the width of w.

    Source:
        Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021: the maximum of ||A n||^2 over
        unit n, by A'A n = lambda n. As in its released program, the weights of the chosen layers are stacked after the
        weights of every style are scaled to length 1. Deviations: eigenvectors are ordered by their eigenvalues (the
        program leaves the order to the solver), and styles whose weights are zero are left out.
    """

    components_: Float[np.ndarray, "k d"]
    eigenvalues_: Float[np.ndarray, " k"]
    steps_: Float[np.ndarray, "k d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(self, num_components: int = 32) -> None:
        self.num_components = num_components

    def fit(self, weights: Sequence[Float[np.ndarray, "_ d"]]) -> "SeFa":
        """Fit to the style weights of the layers that are to be interpreted.

        Args:
            weights: of each layer, one row per style.

        Raises:
            ConfigError: no weights, or more components than w is wide.
            ShapeError: layers that differ in the width of w, or numbers that are not finite.
        """
        if not weights:
            raise ConfigError("SeFa: no layer's style weights were given; choose at least one layer")
        widths = {layer.shape[1] for layer in weights}
        if len(widths) > 1:
            raise ShapeError(f"SeFa: style weights of the widths {sorted(widths)}, expected that of w for every layer")
        rows = np.concatenate(weights).astype(np.float64)
        if not np.isfinite(rows).all():
            raise ShapeError("SeFa: NaN or infinity among the style weights; the generator is damaged")
        rows = rows[np.linalg.norm(rows, axis=1) > 0]
        check_num_components("SeFa", self.num_components, rows.shape[1])
        if not len(rows):
            raise ConfigError("SeFa: all style weights are zero: no style depends on w; choose other layers")
        rows = unit_rows("SeFa", rows)
        values, vectors = np.linalg.eigh(rows.T @ rows)
        order = np.argsort(values)[::-1][: self.num_components]
        self.eigenvalues_, components = np.maximum(values[order], 0.0), vectors[:, order].T
        largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
        self.components_ = components * np.sign(largest)
        self.steps_ = self.components_
        self.n_samples_seen_, self.n_features_in_ = 0, rows.shape[1]
        return self
