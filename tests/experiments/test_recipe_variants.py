"""The recipes that are compared: each changes what it says and nothing else."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.training_recipes.variants import VARIANTS
from lineament.settings.train_decomposer import LossConfig, TrainDecomposerConfig

BASE = TrainDecomposerConfig(out=Path("run"), images=(Path("faces"),), recover=False)

CHANGES = {
    "full": {},
    "no mean head": {"network.mean_head": False},
    "fine shapes": {"network.shape_blur": 0.0},
    "no ellipsoid": {"ellipsoid": False, "network.mean_head": False},
    "no mean shape": {
        "network.mean_shape": False,
        "network.aligned": False,
        "network.tied_shape": False,
        "network.face_light": False,
        "network.mean_head": False,
    },
    "no mean albedo": {"network.mean_albedo": False},
    "not aligned": {"network.aligned": False, "network.face_light": False},
    "not tied": {"network.tied_shape": False, "network.mean_head": False},
    "light of the image": {"network.face_light": False},
    "no jitter": {"jitter": 0.0},
    "default init": {"he_init": False},
    "depth never held": {"hold_depth_steps": 0},
    "no cycle": {"loss.cycle_weight": 0.0},
    "latent pairs": {"loss.latent_weight": 1.0},
    "no clipping": {"clip_norm": 0.0},
    "contours unbounded": {"loss.contour_slope": 0.0},
    "no averaging": {"ema_steps": 0.0},
    "confidence unbounded": {"network.min_sigma": 0.0},
    "not equivariant": {"network.equivariant": False},
    "soft symmetry": {"network.symmetric_depth": False},
    "symmetric albedo": {"network.symmetric_albedo": True},
    "pixels only": {"loss.perceptual_weight": 0.0},
    "published optimizer": {"adam_beta2": 0.999, "warmup_steps": 0, "decay": 0.0},
    "recovering": {"recover": True},
}

PUBLISHED = {
    "learning_rate": 1e-4,
    "adam_beta2": 0.999,
    "weight_decay": 5e-4,
    "warmup_steps": 0,
    "decay": 0.0,
    "ellipsoid": False,
    "he_init": False,
    "network.mean_shape": False,
    "network.mean_albedo": False,
    "network.aligned": False,
    "network.tied_shape": False,
    "network.face_light": False,
    "network.mean_head": False,
    "network.shape_blur": 0.0,
    "jitter": 0.0,
    "clip_norm": 0.0,
    "ema_steps": 0.0,
    "recover": False,
    "network.min_sigma": 0.0,
    "network.equivariant": False,
    "network.symmetric_depth": False,
    "network.symmetric_albedo": False,
    "network.max_rotation_deg": 60.0,
    "network.max_translation": 0.1,
    "loss.flip_weight": 0.5,
    "loss.perceptual_weight": 0.0,
    "loss.contour_slope": 0.0,
    "loss.cycle_weight": 0.0,
    "loss.latent_weight": 0.0,
    "hold_depth_steps": 0,
}
"""Of Wu et al., CVPR 2020, and its supplement; what is not there but here is off."""

SIZE = ("resolution", "channels", "channel_max", "code_dim", "pose_channels", "face_box", "confidence")


def flat(config: TrainDecomposerConfig) -> dict[str, Any]:
    values = {}
    for name, value in asdict(config).items():
        nested = value if isinstance(value, dict) else {"": value}
        values |= {f"{name}.{key}".rstrip("."): inner for key, inner in nested.items()}
    return values


def changes(base: TrainDecomposerConfig, variant: str) -> dict[str, Any]:
    before, after = flat(base), flat(VARIANTS[variant].change(base))
    assert before.keys() == after.keys()
    return {name: value for name, value in after.items() if value != before[name]}


def test_every_variant_but_the_published_one_is_listed_here() -> None:
    assert {*CHANGES, "published"} == set(VARIANTS)
    assert all(name == variant.name for name, variant in VARIANTS.items())
    assert len({variant.explanation for variant in VARIANTS.values()}) == len(VARIANTS)


@pytest.mark.parametrize("variant", CHANGES)
def test_a_variant_changes_what_it_says_and_nothing_else(variant: str) -> None:
    before = flat(BASE)
    assert changes(BASE, variant) == CHANGES[variant]
    assert flat(BASE) == before


@pytest.mark.parametrize("variant", CHANGES)
def test_a_variant_keeps_the_other_settings_of_its_base(variant: str) -> None:
    # Also those in the same group of settings as the changed one.
    other = replace(
        BASE,
        batch_size=3,
        learning_rate=1e-3,
        network=replace(BASE.network, channels=4, max_translation=0.2),
        loss=LossConfig(flip_weight=0.7),
    )
    assert changes(other, variant) == CHANGES[variant]


def test_published_is_as_published() -> None:
    base = replace(
        BASE,
        recover=True,
        batch_size=3,
        network=replace(BASE.network, channels=4, symmetric_albedo=True),
        loss=LossConfig(flip_weight=0.7),
    )
    made = flat(VARIANTS["published"].change(base))
    assert {name: made[name] for name in PUBLISHED} == PUBLISHED
    unnamed = {name for name in made if name.startswith(("network.", "loss."))} - set(PUBLISHED)
    assert unnamed == {f"network.{name}" for name in SIZE}
    rest = set(made) - set(PUBLISHED)
    assert {name: made[name] for name in rest} == {name: flat(base)[name] for name in rest}
