"""Random directions of w: the baseline that every method has to beat."""

import numpy as np
from jaxtyping import Float

from lineament.estimators._params import Params
from lineament.estimators._peers import check_samples, unit_rows
from lineament.ops.seeding import philox

_STREAM_DIRECTIONS = 32


class RandomDirections(Params):
    """Directions drawn uniformly from the sphere.

    Convention:
        A step is one standard deviation of w along the direction, so that it is as long as those of `GANSpaceW`.

    Args:
        num_components: number of directions; it may exceed the width of w.
        seed: of the draw; direction i depends on (seed, i) alone.

    Attributes:
        components_: unit vectors.
        stdev_: standard deviation of w along each.
        steps_: ``stdev_`` times ``components_``.
        n_samples_seen_, n_features_in_: sample count, and width of w.
    """

    components_: Float[np.ndarray, "k d"]
    stdev_: Float[np.ndarray, " k"]
    steps_: Float[np.ndarray, "k d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(self, num_components: int = 32, *, seed: int = 0) -> None:
        self.num_components = num_components
        self.seed = seed

    def fit(self, W: Float[np.ndarray, "n d"]) -> "RandomDirections":
        """Draw directions of the width of these samples.

        Raises:
            ConfigError: fewer than two samples.
        """
        check_samples("random directions", W, 2)
        self.n_samples_seen_, self.n_features_in_ = W.shape
        draws = [
            philox(self.seed, _STREAM_DIRECTIONS, i).standard_normal(W.shape[1]) for i in range(self.num_components)
        ]
        self.components_ = unit_rows("random directions", np.array(draws))
        self.stdev_ = ((W - W.mean(axis=0)) @ self.components_.T).std(axis=0)
        self.steps_ = self.stdev_[:, None] * self.components_
        return self
