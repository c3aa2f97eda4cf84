"""GANSpace: principal components of w, or of a layer's activations carried back to w by regression.

Source:
    Härkönen, Hertzmann, Lehtinen, Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020, sections 2.1
    and 2.2, and its released program for what the paper leaves open (unit lengths, standard deviations).
"""

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators._params import Params
from lineament.estimators._peers import check_num_components, check_samples, scikit_learn, unit_rows

POWER = 7
"""Iterations of the randomised decomposition; the directions then agree with exact ones to about 1e-3."""


class GANSpaceW(Params):
    """Principal components of w.

    Convention:
        A step is one standard deviation along a component, the unit of the published edits: w + sigma_i v_i x.
        Components have the sign that scikit-learn gives them.

    Args:
        num_components: number of components kept, largest first.

    Attributes:
        components_: unit vectors v, by falling variance.
        stdev_: standard deviation sigma of w along each.
        var_ratio_: share of the variance of w.
        mean_: of w.
        steps_: sigma v.
        n_samples_seen_, n_features_in_: sample count, and width of w.

    Source:
        Section 2.2. Deviation: the exact decomposition instead of an incremental one, which equals it up to rounding
        where all components are kept.
    """

    components_: Float[np.ndarray, "k d"]
    stdev_: Float[np.ndarray, " k"]
    var_ratio_: Float[np.ndarray, " k"]
    mean_: Float[np.ndarray, " d"]
    steps_: Float[np.ndarray, "k d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(self, num_components: int = 32) -> None:
        self.num_components = num_components

    def fit(self, W: Float[np.ndarray, "n d"]) -> "GANSpaceW":
        """Fit to these samples.

        Raises:
            ConfigError: too few samples for the components, more components than w is wide, or no scikit-learn.
        """
        check_num_components("GANSpace", self.num_components, W.shape[1])
        check_samples("GANSpace", W, self.num_components + 1)
        pca = scikit_learn("decomposition").PCA(self.num_components, svd_solver="covariance_eigh").fit(W)
        self.components_, self.mean_ = pca.components_, pca.mean_
        self.stdev_, self.var_ratio_ = np.sqrt(pca.explained_variance_), pca.explained_variance_ratio_
        if not self.stdev_.min() > 1e-7 * self.stdev_[0]:
            raise ConfigError("GANSpace: w does not vary along all components asked for; ask for fewer")
        self.steps_ = self.stdev_[:, None] * self.components_
        self.n_samples_seen_, self.n_features_in_ = W.shape
        return self


class GANSpaceActivations(Params):
    """Principal components of a layer's activations, and the directions of w that go with them.

    Convention:
        A step is one standard deviation of w along the direction, as published.

    Args:
        num_components: number of components kept, largest first.

    Attributes:
        activation_components_: unit vectors in the space of the activations, by falling variance.
        activation_stdev_: standard deviation along each.
        activation_mean_: of the activations.
        var_ratio_: share of the variance of the activations.
        components_: unit vectors in w.
        stdev_: standard deviation of w along each of these.
        mean_: of w.
        steps_: ``stdev_`` times ``components_``.
        n_samples_seen_, n_features_in_: sample count, and width of w.

    Source:
        Section 2.1: min_U sum_j ||U x_j - z_j||^2, where x are the coordinates of the activations in units of their
        standard deviations, and rows of U are scaled to unit length. Deviations: the components come from a randomised
        decomposition of all samples at once, the program's ``fbpca``, instead of its incremental one, which takes
        thirty times as long for the same result. The regression uses the samples of the components instead of new
        ones, so it has no intercept.
    """

    activation_components_: Float[np.ndarray, "k p"]
    activation_stdev_: Float[np.ndarray, " k"]
    activation_mean_: Float[np.ndarray, " p"]
    var_ratio_: Float[np.ndarray, " k"]
    components_: Float[np.ndarray, "k d"]
    stdev_: Float[np.ndarray, " k"]
    mean_: Float[np.ndarray, " d"]
    steps_: Float[np.ndarray, "k d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(self, num_components: int = 32) -> None:
        self.num_components = num_components

    def fit(self, A: Float[np.ndarray, "_ p"], W: Float[np.ndarray, "n d"]) -> "GANSpaceActivations":
        """Fit to activations and the w that they come from.

        Raises:
            ConfigError: too few samples, more components than w or the activations are wide, or no scikit-learn.
            ShapeError: not as many activations as w.
        """
        if len(A) != len(W):
            raise ShapeError(f"GANSpace: {len(A)} activations for {len(W)} w, expected one for each")
        k = self.num_components
        check_num_components("GANSpace", k, min(W.shape[1], A.shape[1]))
        check_samples("GANSpace", W, k + 1)
        decomposition = scikit_learn("decomposition")
        pca = decomposition.PCA(k, svd_solver="randomized", iterated_power=POWER, random_state=0).fit(A)
        self.activation_components_, self.activation_mean_ = pca.components_, pca.mean_
        self.activation_stdev_ = np.sqrt(pca.explained_variance_)
        self.var_ratio_ = pca.explained_variance_ratio_
        if not self.activation_stdev_.min() > 1e-6 * self.activation_stdev_[0]:
            raise ConfigError("GANSpace: the activations do not vary along all components asked for; ask for fewer")
        self.mean_ = W.mean(axis=0)
        coordinates = (A - self.activation_mean_) @ self.activation_components_.T / self.activation_stdev_
        rows = np.linalg.lstsq(coordinates, W - self.mean_, rcond=None)[0]
        self.components_ = unit_rows("GANSpace", rows)
        self.stdev_ = ((W - self.mean_) @ self.components_.T).std(axis=0)
        self.steps_ = self.stdev_[:, None] * self.components_
        self.n_samples_seen_, self.n_features_in_ = W.shape
        return self
