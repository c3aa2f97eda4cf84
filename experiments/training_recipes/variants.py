"""Recipes for training a decomposer: ours, ours with one component removed or added, and the published one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lineament.settings.train_decomposer import TrainDecomposerConfig

Change: TypeAlias = Callable[[TrainDecomposerConfig], TrainDecomposerConfig]


@dataclass(frozen=True)
class Variant:
    """A recipe, as a change of given settings."""

    name: str
    explanation: str
    change: Change


def _setting(*, network: dict[str, Any] | None = None, loss: dict[str, Any] | None = None, **settings: Any) -> Change:
    """A change that sets these settings and leaves the others unchanged."""

    def change(config: TrainDecomposerConfig) -> TrainDecomposerConfig:
        return replace(
            config,
            network=replace(config.network, **(network or {})),
            loss=replace(config.loss, **(loss or {})),
            **settings,
        )

    return change


def _published(config: TrainDecomposerConfig) -> TrainDecomposerConfig:
    """The recipe of Wu et al., CVPR 2020, at our size of network and batch.

    Deviation: it compares only pixels, as in the paper's ablation; its perceptual feature was trained on labels.
    """
    return _setting(
        learning_rate=1e-4,
        adam_beta2=0.999,
        weight_decay=5e-4,
        warmup_steps=0,
        decay=0.0,
        he_init=False,
        ellipsoid=False,
        hold_depth_steps=0,
        clip_norm=0.0,
        ema_steps=0.0,
        recover=False,
        jitter=0.0,
        network={
            "min_sigma": 0.0,
            "mean_shape": False,
            "mean_albedo": False,
            "aligned": False,
            "tied_shape": False,
            "mean_head": False,
            "shape_blur": 0.0,
            "face_light": False,
            "equivariant": False,
            "symmetric_depth": False,
            "symmetric_albedo": False,
        },
        loss={
            "flip_weight": 0.5,
            "perceptual_weight": 0.0,
            "cycle_weight": 0.0,
            "latent_weight": 0.0,
            "contour_slope": 0.0,
        },
    )(config)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("full", "our recipe", _setting()),
        Variant(
            "no mean head",
            "the mean shape is learned, and starts as an ellipsoid",
            _setting(network={"mean_head": False}),
        ),
        Variant(
            "fine shapes",
            "shapes of single faces differ from the mean shape in every pixel",
            _setting(network={"shape_blur": 0.0}),
        ),
        Variant(
            "no ellipsoid",
            "the mean shape is learned, and starts flat",
            _setting(ellipsoid=False, network={"mean_head": False}),
        ),
        Variant(
            "no mean shape",
            "the depth network alone gives the shape, which starts at random; faces have no mean shape to align with",
            _setting(network=dict.fromkeys(("mean_shape", "aligned", "tied_shape", "face_light", "mean_head"), False)),
        ),
        Variant(
            "no mean albedo", "the albedo network gives all of the albedo", _setting(network={"mean_albedo": False})
        ),
        Variant(
            "not aligned",
            "the depth, albedo and light networks see the image as it is",
            _setting(network={"aligned": False, "face_light": False}),
        ),
        Variant(
            "not tied",
            "the mean shape is learned, and relief and lean of the shapes like all else of them",
            _setting(network={"tied_shape": False, "mean_head": False}),
        ),
        Variant(
            "light of the image", "the light network sees the whole image", _setting(network={"face_light": False})
        ),
        Variant("no jitter", "framing, colour and sharpness are those of the images", _setting(jitter=0.0)),
        Variant("default init", "weights start with PyTorch's default initialisation", _setting(he_init=False)),
        Variant("depth never held", "the depth learns from the first step on", _setting(hold_depth_steps=0)),
        Variant(
            "no cycle",
            "view and light do not learn from rendered images with known view and light",
            _setting(loss={"cycle_weight": 0.0}),
        ),
        Variant(
            "latent pairs",
            "a generator's samples of one face in two poses or lights must agree on albedo and depth",
            _setting(loss={"latent_weight": 1.0}),
        ),
        Variant("no clipping", "gradients are not clipped", _setting(clip_norm=0.0)),
        Variant(
            "contours unbounded",
            "gradients of the depth are not scaled down on steep surfaces",
            _setting(loss={"contour_slope": 0.0}),
        ),
        Variant("no averaging", "the last weights instead of their average", _setting(ema_steps=0.0)),
        Variant("confidence unbounded", "the confidence may be arbitrarily high", _setting(network={"min_sigma": 0.0})),
        Variant(
            "not equivariant",
            "view and light need not be mirrored when the image is mirrored",
            _setting(network={"equivariant": False}),
        ),
        Variant(
            "soft symmetry",
            "the depth is only encouraged to equal its mirror image",
            _setting(network={"symmetric_depth": False}),
        ),
        Variant(
            "symmetric albedo",
            "the albedo, too, is its own mirror image",
            _setting(network={"symmetric_albedo": True}),
        ),
        Variant("pixels only", "no perceptual term", _setting(loss={"perceptual_weight": 0.0})),
        Variant(
            "published optimizer",
            "Adam with a beta2 of 0.999, a constant learning rate and no warm-up",
            _setting(adam_beta2=0.999, warmup_steps=0, decay=0.0),
        ),
        Variant("published", "the recipe of Wu et al. with only its bugs fixed", _published),
        Variant("recovering", "our recipe, going back to a healthy state after a collapse", _setting(recover=True)),
    )
}
"""Recipes by name. Only "recovering" and "published" set whether a training recovers from collapses; the others keep
the given setting, which is off in a comparison."""
