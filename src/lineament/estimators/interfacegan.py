"""InterFaceGAN: the normals of hyperplanes that separate labelled samples."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError, ShapeError
from lineament.estimators._params import Params
from lineament.estimators._peers import check_samples, scikit_learn
from lineament.ops.seeding import philox

_STREAM_SPLIT = 31
MIN_TRAINING = 2
"""Minimum number of samples of each class in the fit of a hyperplane."""


class InterFaceGAN(Params):
    """A linear support vector machine for each attribute, between the samples of its highest and lowest labels.

    Convention:
        A step is the unit normal, pointing to higher labels, as published: w + alpha n.

    Args:
        share: share of the samples taken as positive; the same share is taken as negative.
        training_share: share of the chosen samples used for the fit; ``accuracy_`` is measured on the others.
        conditional: whether every normal is made orthogonal to those of all other attributes (`conditional_normal`).
        seed: of the split.

    Attributes:
        normals_: unit normals of the hyperplanes, one for each attribute.
        accuracy_: of each hyperplane on the chosen samples that were not fitted; NaN if there are none.
        steps_: the normals, or the conditional ones.
        n_samples_seen_, n_features_in_: sample count, and width of w.

    Source:
        Shen, Gu, Tang, Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020, section 3.1
        and its released program (2 % of the samples for either class, 70 % of these for the fit, C = 1). Deviation:
        labels that do not separate two classes are refused.
    """

    normals_: Float[np.ndarray, "m d"]
    accuracy_: Float[np.ndarray, " m"]
    steps_: Float[np.ndarray, "m d"]
    n_samples_seen_: int
    n_features_in_: int

    def __init__(
        self, share: float = 0.02, training_share: float = 0.7, *, conditional: bool = False, seed: int = 0
    ) -> None:
        self.share = share
        self.training_share = training_share
        self.conditional = conditional
        self.seed = seed

    def fit(
        self, W: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "_ m"], names: Sequence[str] | None = None
    ) -> "InterFaceGAN":
        """Fit to labelled samples.

        Args:
            W: latents.
            Y: labels: confidences, values in units, or 0 and 1.
            names: of the attributes, for messages.

        Raises:
            ConfigError: too few samples, labels of one class, settings out of range, or no scikit-learn.
            ShapeError: not as many labels as w, or NaN.
        """
        if not 0 < self.share <= 0.5 or not 0 < self.training_share <= 1:
            raise ConfigError(
                f"InterFaceGAN: share {self.share} and training_share {self.training_share}, expected above 0 and at "
                "most 0.5 and 1"
            )
        if len(Y) != len(W):
            raise ShapeError(f"InterFaceGAN: {len(Y)} labels for {len(W)} samples, expected one for each")
        labels = list(names) if names is not None else [f"attribute {i}" for i in range(Y.shape[1])]
        check_samples("InterFaceGAN", W, 2 * MIN_TRAINING)
        check_samples("InterFaceGAN's labels", Y, 2 * MIN_TRAINING)
        fits = [self._hyperplane(W, Y[:, i], name, i) for i, name in enumerate(labels)]
        self.normals_ = np.stack([normal for normal, _ in fits])
        self.accuracy_ = np.array([accuracy for _, accuracy in fits])
        self.steps_ = all_conditional(self.normals_, labels) if self.conditional else self.normals_
        self.n_samples_seen_, self.n_features_in_ = W.shape
        return self

    def _hyperplane(self, W: np.ndarray, y: np.ndarray, name: str, number: int) -> tuple[np.ndarray, float]:
        """Unit normal, and accuracy on the chosen samples that were not fitted."""
        chosen = min(int(len(y) * self.share), len(y) // 2)
        fitted = int(chosen * self.training_share)
        if fitted < MIN_TRAINING:
            raise ConfigError(
                f"InterFaceGAN: {self.share:.3g} of {len(y)} samples leaves {fitted} of either class for the fit, "
                f"expected at least {MIN_TRAINING}; take more samples or a larger share"
            )
        order = np.argsort(y, kind="stable")
        if not y[order[-chosen]] > y[order[chosen - 1]]:
            kinds = "one class" if y[order[0]] == y[order[-1]] else "no two classes of that size"
            raise ConfigError(
                f"InterFaceGAN: the labels of {name} are of {kinds}: the {chosen} highest of {len(y)} begin at "
                f"{y[order[-chosen]]:.4g}, the {chosen} lowest end at {y[order[chosen - 1]]:.4g}; label more samples, "
                "lower the share, or leave the attribute out"
            )
        rng = philox(self.seed, _STREAM_SPLIT, number)
        classes = [rng.permutation(order[-chosen:]), rng.permutation(order[:chosen])]
        train, test = (np.concatenate([one[part] for one in classes]) for part in (slice(fitted), slice(fitted, None)))
        truth = np.arange(2)[::-1].repeat(fitted)
        machine = scikit_learn("svm").SVC(kernel="linear").fit(W[train], truth)
        normal = machine.coef_[0]
        accuracy = float("nan")
        if len(test):
            accuracy = float((machine.predict(W[test]) == np.arange(2)[::-1].repeat(chosen - fitted)).mean())
        return normal / np.linalg.norm(normal), accuracy


def conditional_normal(
    primal: Float[np.ndarray, " d"], conditions: Float[np.ndarray, "c d"]
) -> Float[np.ndarray, " d"]:
    """The unit vector closest to ``primal`` that is orthogonal to all ``conditions``.

    Moving along it does not change the decision values of the conditions.

    Raises:
        ConfigError: ``primal`` lies in the span of the conditions.

    Source: Shen et al., section 3.2: n_1 - (n_1'n_2) n_2, and for more conditions the residual of a projection.
    """
    rest = primal - np.linalg.lstsq(conditions.T, primal, rcond=None)[0] @ conditions
    length = float(np.linalg.norm(rest))
    if not length > 1e-6 * float(np.linalg.norm(primal)):
        raise ConfigError("InterFaceGAN: the direction lies in the span of its conditions; condition it on fewer")
    return rest / length


def all_conditional(normals: Float[np.ndarray, "m d"], names: Sequence[str]) -> Float[np.ndarray, "m d"]:
    """Every normal made orthogonal to all others."""
    freed = []
    for i, name in enumerate(names):
        try:
            freed.append(conditional_normal(normals[i], np.delete(normals, i, axis=0)))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return np.stack(freed)
