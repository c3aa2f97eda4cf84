"""Least squares of true labels on w, with our geometry of steps; shows how much is lost without labels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators._params import Params
from lineament.estimators._peers import check_samples
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.estimators.steps import mahalanobis_step, told_apart


class SupervisedDirections(Params):
    """The upper bound: our own regression and steps, but with true labels.

    Convention:
        A step changes its label by one unit, in the linear model, by the smallest Mahalanobis step.

    Args:
        hold: whether a step holds all other labels fixed (in the linear model too). Labels that follow almost exactly
            from the others are not held, such as one of several shares whose sum is one.

    Attributes:
        model_: the regression.
        steps_: one for each label.
        n_samples_seen_, n_features_in_: sample count, and width of w.
    """

    model_: LinearSemantics
    steps_: Float[np.ndarray, "m d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(self, *, hold: bool = True) -> None:
        self.hold = hold

    def fit(
        self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "_ m"], names: Sequence[str] | None = None
    ) -> "SupervisedDirections":
        """Fit to labelled samples.

        Args:
            W: latents.
            Y: true labels, in their units.
            names: of the labels, for messages.

        Raises:
            ConfigError: too few samples, or a label that does not vary.
            ShapeError: not as many labels as w, or NaN.
        """
        n, d = W.shape
        if len(Y) != n:
            raise ShapeError(f"supervised directions: {len(Y)} labels for {n} samples, expected one for each")
        check_samples("supervised directions", W, d + 2)
        check_samples("the labels of supervised directions", Y, d + 2)
        labels = list(names) if names is not None else [f"label {i}" for i in range(Y.shape[1])]
        still = np.flatnonzero(np.ptp(Y, axis=0) == 0)
        if len(still):
            raise ConfigError(f"supervised directions: {labels[still[0]]} is the same on every sample; leave it out")
        self.model_ = LinearSemantics().fit(W, Y)
        gradients, cov = self.model_.coef_, self.model_.w_cov_
        steps = []
        for i in range(len(labels)):
            rows = told_apart(gradients, cov, i) if self.hold else [i]
            wanted = np.array([float(row == i) for row in rows])
            steps.append(mahalanobis_step(gradients[rows], cov, wanted, names=[labels[row] for row in rows]))
        self.steps_ = np.stack(steps)
        self.n_samples_seen_, self.n_features_in_ = n, d
        return self
