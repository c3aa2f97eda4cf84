"""The methods that are compared, where they are more than a call."""

from dataclasses import replace

import numpy as np
import pytest

from lineament.directions.steps import HOLDABLE, calibrated_step
from lineament.faces.labelled import LabelledSamples, Labeller
from lineament.recipes.evaluate.direction_methods import (
    METHODS,
    Setting,
    asked_step,
    ours,
    ours_alike,
    supervised_like_ours,
)
from lineament.records.atlas import Atlas


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


def test_layers_alike_leaves_out_the_steps_of_single_layers(setting: Setting) -> None:
    atlas = setting.atlas
    steps = np.random.default_rng(3).normal(size=(atlas.num_layers, atlas.w_dim))
    directions = tuple(replace(one, layer_steps=steps) if one.name == "yaw" else one for one in atlas.directions)
    steady = replace(setting, atlas=replace(atlas, directions=directions))
    plain = tuple(replace(one, calibration=()) if one.name == "yaw" else one for one in atlas.directions)
    uncalibrated = replace(setting, atlas=replace(atlas, directions=plain))
    np.testing.assert_allclose(ours_alike(steady).steps, ours_alike(uncalibrated).steps)
    assert ours_alike(steady).names == tuple(name for name in HOLDABLE if name in atlas.names)
    moves = ours(steady).steps[ours(steady).names.index("yaw")]
    np.testing.assert_allclose(moves / moves[0, 0], steps / steps[0, 0])


def test_peers_are_told_from_the_others() -> None:
    assert [name for name, method in METHODS.items() if method.peer] == [
        "GANSpace (w)",
        "GANSpace (w), by layers",
        "GANSpace (activations)",
        "SeFa",
        "SeFa, by layers",
    ]
    assert not any(method.peer and method.supervised for method in METHODS.values())
