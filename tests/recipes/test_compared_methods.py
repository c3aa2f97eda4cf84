"""The methods that are compared, where they are more than a call."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lineament.recipes import compared_methods, localize
from lineament.recipes.compared_methods import (
    HELD_OUT_SAMPLES,
    METHODS,
    Setting,
    asked_step,
    ours,
    ours_steady,
    supervised_like_ours,
)
from lineament.recipes.editing import HOLDABLE, calibrated_step
from lineament.recipes.labelled_samples import LabelledSamples, Labeller
from lineament.recipes.localize import PartsConfig
from lineament.recipes.models import load_decomposer
from lineament.records.atlas import Atlas
from tests import tiny


@pytest.fixture
def setting(tiny_networks, tiny_atlas: Atlas) -> Setting:
    """Labels of pose are linear in w; those of a beard are noise."""
    generator, decomposer = tiny_networks
    rng = np.random.default_rng(0)
    w = rng.normal(size=(200, 16))
    names = ("yaw", "beard", "light_x")
    labels = np.stack([w[:, 0], rng.normal(size=200), w[:, 1] + w[:, 2]], axis=1)
    labelled = LabelledSamples(w, labels, names, ("deg", "", "slope"), 2.0, "test")
    labeller = Labeller(names, labelled.units, lambda images: labels)
    return Setting(generator, decomposer, tiny_atlas, labeller, 200, 4, 1, {1: labelled})


def test_ours_is_what_edit_does(setting: Setting) -> None:
    found = ours(setting)
    atlas = setting.atlas
    std = atlas.direction("yaw").std
    asked = asked_step(atlas, found, "yaw", std)
    np.testing.assert_allclose(asked, calibrated_step(atlas, {"yaw": std}))
    np.testing.assert_allclose(found.steps[found.names.index("yaw")] * std, np.repeat(asked, 10, axis=0))
    assert (found.labels_used, found.method) == (0, "ours")


def test_the_bound_learns_what_ours_finds_and_nothing_else(setting: Setting) -> None:
    found = supervised_like_ours(setting)
    assert found.names == ("yaw", "light_x")
    assert found.labels_used == 400
    # Labels that are coordinates of w: a step changes its own by one and the other by nothing.
    steps = found.steps[:, 0]
    np.testing.assert_allclose(steps[:, 0], [1, 0], atol=1e-8)
    np.testing.assert_allclose(steps[:, 1] + steps[:, 2], [0, 1], atol=1e-8)


def test_steady_directions_move_layers_apart_and_say_what_they_cost(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localize, "SAMPLES_PER_UNKNOWN", 3)
    monkeypatch.setattr(compared_methods, "FEW_SAMPLES", 40)
    decomposer = load_decomposer(tiny.save_pair(tmp_path)[1])  # one that sees some depth
    found = ours_steady(replace(setting, decomposer=decomposer))
    assert set(found.names) <= set(HOLDABLE)
    assert (found.labels_used, found.method) == (0, "ours")
    assert found.samples_used == 40 + HELD_OUT_SAMPLES + 3 * 5 * 16
    assert found.seconds > 0
    groups = PartsConfig().groups(10)
    for step in found.steps:
        assert len(np.unique(step.round(9), axis=0)) == len(groups)
        assert all(np.ptp(step[list(group)], axis=0).max() == 0 for group in groups)


def test_peers_are_told_from_the_others() -> None:
    assert [name for name, method in METHODS.items() if method.peer] == [
        "GANSpace (w)",
        "GANSpace (w), by layers",
        "GANSpace (activations)",
        "SeFa",
        "SeFa, by layers",
    ]
    assert not any(method.peer and method.supervised for method in METHODS.values())
