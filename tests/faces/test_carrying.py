"""Edits that keep the person: the face moves, the rest comes from elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lineament.directions.editor import load_editor
from lineament.faces import carrying
from lineament.faces.carrying import carried_edit
from lineament.faces.subjects import sampled
from lineament.networks.decomposer import Decomposer
from lineament.ops.shapes import ellipsoid_depth
from lineament.records.shapes import DecomposerConfig
from tests import tiny


def round_faces(config: DecomposerConfig = tiny.DECOMPOSER) -> Decomposer:
    """Every face an ellipsoid, so that most of it is seen from everywhere."""
    network = tiny.decomposer(config)
    network.start_from(ellipsoid_depth(64, near=0.95, far=1.05))
    torch.nn.init.zeros_(network.depth_net.head.weight)
    return network


@pytest.fixture(scope="module")
def network() -> Decomposer:
    return round_faces()


def images(size: int = 64, n: int = 3, seed: int = 0) -> torch.Tensor:
    small = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("size", [64, 128])
def test_no_change_leaves_the_face_and_takes_the_rest(network: Decomposer, size: int) -> None:
    old, rest = images(size), images(size, seed=1)
    made, seen = carried_edit(network, old, rest, {})
    middle = slice(3 * size // 8, 5 * size // 8)
    assert (made - old)[..., middle, middle].abs().mean() < 0.05
    torch.testing.assert_close(made[..., :2, :2], rest[..., :2, :2], atol=0.15, rtol=0)
    assert seen.min() > 0.9
    torch.testing.assert_close(carried_edit(network, old, old, {})[0], old, atol=1e-3, rtol=0)


def test_each_face_gets_its_own_change(network: Decomposer) -> None:
    old = images()
    made, _ = carried_edit(network, old, old, {"yaw": np.array([0.0, 15.0, -15.0])})
    moved = (made - old).abs().mean(dim=(1, 2, 3))
    assert moved[0] < 1e-3
    assert moved[1:].min() > 0.01


def test_a_face_that_was_hardly_seen_is_left_to_the_rest(network: Decomposer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "LEAST_SEEN", 1.01)
    old, rest = images(), images(seed=1)
    torch.testing.assert_close(carried_edit(network, old, rest, {"yaw": np.full(3, 10.0)})[0], rest, atol=1e-4, rtol=0)


def test_only_the_face_box_changes(network: Decomposer) -> None:
    boxed = round_faces(replace(network.config, face_box=(0.25, 0.25, 0.75, 0.75)))
    old = images(128)
    made, _ = carried_edit(boxed, old, old, {"yaw": np.full(3, 15.0)})
    changed = (made - old).abs().amax(dim=(0, 1)) > 1e-6
    assert changed[32:96, 32:96].any()
    changed[32:96, 32:96] = False
    assert not changed.any()


def test_the_frames_of_an_animation_take_a_face_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = load_editor(None, None, None, "renders64", torch.device("cpu"), like="carried")
    faces, others = (sampled(editor.generator, seeds, 0, 0.5) for seeds in ((1, 2), (3, 4)))
    calls: list[int] = []
    assert editor.decomposer is not None
    forward = editor.decomposer.forward
    monkeypatch.setattr(editor.decomposer, "forward", lambda images: calls.append(len(images)) or forward(images))
    changes = [np.array([[x, 1.0], [-x, 0.0]]) for x in (3.0, 6.0, 9.0)]
    frames = [editor.shown(faces, ["yaw", "mouth"], one, pasted=False) for one in changes]
    assert calls == [2]
    again = replace(editor).shown(faces, ["yaw", "mouth"], changes[2], pasted=False)  # another editor keeps nothing
    assert calls == [2, 2]
    assert torch.equal(again, frames[2])
    assert not torch.equal(frames[0], frames[1])
    # Other faces, and other changes that are not carried, are taken apart anew.
    editor.shown(others, ["yaw", "mouth"], changes[0], pasted=False)
    editor.shown(others, ["yaw", "mouth"], changes[0] * 2, pasted=False)
    assert calls == [2, 2, 2, 2]
