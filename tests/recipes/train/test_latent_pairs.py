"""Pairs of samples that show one face in two poses or lights."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.recipes.train.latent_pairs import HELD, MOVED, LatentPairs, steps_of_atlas
from lineament.records.atlas import Atlas
from lineament.records.semantics import SEMANTIC_NAMES
from tests import tiny


@dataclass
class World:
    """A decomposer that reads semantics off the latents behind the images, linearly."""

    generator: Generator
    decomposer: Decomposer
    rows: np.ndarray
    pairs: LatentPairs


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    generator, decomposer = tiny.generator(tiny.GENERATOR64), tiny.decomposer()
    rows = np.random.default_rng(1).standard_normal((len(SEMANTIC_NAMES), tiny.GENERATOR64.w_dim))
    seen: list[torch.Tensor] = []
    mapped = generator.map

    def watched(z: torch.Tensor, truncation: float) -> torch.Tensor:
        seen.append(mapped(z, truncation))
        return seen[-1]

    monkeypatch.setattr(generator, "map", watched)
    monkeypatch.setattr(decomposer, "measure", lambda images: seen[-1].double() @ torch.from_numpy(rows).T)
    pairs = LatentPairs(generator, seed=3, truncation=0.8)
    pairs.refresh(decomposer, step=5)
    return World(generator, decomposer, rows, pairs)


def steps_of(world: World) -> torch.Tensor:
    assert world.pairs.steps is not None
    assert world.pairs.steps.shape[:2] == (len(MOVED), 1)  # all layers alike
    return world.pairs.steps[:, 0]


def test_a_step_moves_one_semantic_by_its_deviation_and_holds_the_rest(world: World) -> None:
    w = world.generator.map(latents(99, range(4000), world.generator.config.z_dim), 0.8).double().numpy()
    spread = (w @ world.rows.T).std(axis=0)
    changes = steps_of(world).double().numpy() @ world.rows.T / spread
    columns = [SEMANTIC_NAMES.index(name) for name in HELD]
    expected = np.eye(len(HELD))[: len(MOVED)]
    moved = changes[:, columns]
    assert np.abs(moved - expected * np.diagonal(moved)[: len(MOVED), None]).max() < 1e-3
    assert np.diagonal(moved)[: len(MOVED)] == pytest.approx(1, abs=0.35)  # of 64 samples


def test_each_latent_moves_along_one_direction(world: World) -> None:
    steps = steps_of(world)
    w = torch.zeros(200, steps.shape[1])
    layers = world.pairs.moved(w, torch.Generator().manual_seed(0))
    moved = layers[:, 0]
    assert torch.equal(layers, world.generator.broadcast(moved))
    units = torch.nn.functional.normalize(steps, dim=1)
    cosines = (torch.nn.functional.normalize(moved, dim=1) @ units.T).abs()
    assert torch.allclose(cosines.max(dim=1).values, torch.ones(200), atol=1e-5)
    assert set(cosines.argmax(dim=1).tolist()) == set(range(len(MOVED)))
    again = world.pairs.moved(w, torch.Generator().manual_seed(0))
    assert torch.equal(layers, again)


def test_other_steps_use_other_samples(world: World) -> None:
    first = steps_of(world).clone()
    world.pairs.refresh(world.decomposer, step=5)
    assert torch.equal(steps_of(world), first)
    world.pairs.refresh(world.decomposer, step=6)
    assert not torch.equal(steps_of(world), first)


def test_what_cannot_be_told_apart_is_not_moved(world: World) -> None:
    world.rows[SEMANTIC_NAMES.index("light_y")] = world.rows[SEMANTIC_NAMES.index("pitch")]
    world.pairs.refresh(world.decomposer, step=5)
    still = [name for name, step in zip(MOVED, steps_of(world), strict=True) if not step.any()]
    assert set(still) >= {"pitch", "light_y"}


def test_steady_steps_of_an_atlas_are_taken_for_one_standard_deviation(world: World, tiny_atlas: Atlas) -> None:
    width, num_ws = len(tiny_atlas.w_mean), tiny_atlas.num_layers
    layers = np.random.default_rng(3).normal(size=(len(MOVED), num_ws, width))
    own = {name: replace(tiny_atlas.direction(name), layer_steps=layers[i]) for i, name in enumerate(MOVED)}
    atlas = replace(tiny_atlas, directions=tuple(own.get(one.name, one) for one in tiny_atlas.directions))
    gradients = [atlas.direction(name).gradient for name in MOVED]
    spread = np.sqrt([g @ atlas.w_cov @ g for g in gradients])
    np.testing.assert_allclose(steps_of_atlas(atlas), layers * spread[:, None, None])
    pairs = LatentPairs(world.generator, seed=3, truncation=0.8, atlas=atlas)
    assert pairs.steps is not None
    first = pairs.steps.clone()
    pairs.refresh(world.decomposer, step=5)
    assert torch.equal(pairs.steps, first)  # once for all
    w = torch.zeros(8, width)
    assert pairs.moved(w, torch.Generator().manual_seed(0)).shape == (8, num_ws, width)


def test_an_atlas_without_light_or_steady_steps_is_refused(tiny_atlas: Atlas) -> None:
    with pytest.raises(ConfigError, match=r"no steady step of yaw.*run discover"):
        steps_of_atlas(tiny_atlas.layers_alike())
    dark = replace(tiny_atlas, directions=tuple(one for one in tiny_atlas.directions if one.name != "light_y"))
    with pytest.raises(ConfigError, match="light_y"):
        steps_of_atlas(dark)
