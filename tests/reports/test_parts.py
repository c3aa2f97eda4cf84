"""What the report says of parts, against what edits of them do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import save_network
from lineament.directions.steps import linear_step
from lineament.estimators.part_scores import PartReader
from lineament.faces.measure import measure, measure_parts, synthesize_edited
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.recipes.discover import run
from lineament.records.atlas import Atlas
from lineament.records.direction import SeenRange
from lineament.records.part_settings import PartsConfig
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.reports import discovery as report
from lineament.reports.part_pictures import middle_oval
from lineament.reports.parts import SDS, cosine_drawing, example_part, moved_most, part_context, part_evidence
from lineament.settings.discover import DiscoverConfig
from tests import tiny
from tests.made_up import with_parts


@pytest.fixture(scope="module")
def atlas(tiny_atlas: Atlas) -> Atlas:
    return with_parts(tiny_atlas)


def test_evidence_is_what_edits_do(tiny_networks: tuple[Generator, Decomposer], atlas: Atlas) -> None:
    generator, decomposer = tiny_networks
    local = atlas.local
    assert local is not None
    with torch.no_grad():
        w = generator.map(latents(1, range(5), 16), 0.8)
    images = synthesize_edited(generator, w)
    found = part_evidence(atlas, local, generator, decomposer, w, images)
    assert [e.part.name for e in found] == list(local.names)
    reader, before = PartReader(local), measure(decomposer, images)
    for i, (e, name) in enumerate(zip(found, local.names, strict=True)):
        low, high = (synthesize_edited(generator, w, linear_step(atlas, {name: sds})) for sds in (-SDS, SDS))
        scores = [measure_parts(decomposer, reader, one)[:, i] for one in (low, high)]
        assert e.achieved == pytest.approx(np.median((scores[1] - scores[0]) / 4))
        effects = [np.median(np.abs(measure(decomposer, one) - before), axis=0) for one in (low, high)]
        largest = np.max(effects, axis=0)
        for moved in e.moved:
            assert moved.amount == pytest.approx(largest[SEMANTIC_NAMES.index(moved.name)])
        change = (high - low).abs().mean(dim=(0, 1)).numpy() / 2
        assert e.change_face == pytest.approx(change[middle_oval(64)].max(), rel=1e-5)
        assert e.change_beside == pytest.approx(change[~middle_oval(64)].max(), rel=1e-5)
        assert len({*e.maps, e.change, *(uri for pair in e.faces for uri in pair)}) == 7
        assert not {name, "translation_x", *e.part.name} & set(e.free)


def test_what_moves_most_of_pose_and_of_light(tiny_atlas: Atlas) -> None:
    wide, narrow = SeenRange(-9.0, -5.0, 0.0, 5.0, 9.0), SeenRange(-1.0, -0.5, 0.0, 0.5, 1.0)
    ranges = {"yaw": wide, "pitch": narrow, "light_x": wide, "ambient": narrow}
    atlas = replace(
        tiny_atlas,
        directions=tuple(replace(tiny_atlas.direction(name), range_seen=seen) for name, seen in ranges.items()),
    )
    effects = dict.fromkeys(SEMANTIC_NAMES, 9.0) | {"yaw": 2.0, "pitch": 1.0, "light_x": 2.0, "ambient": 1.0}
    pose, light = moved_most(atlas, np.array([effects[name] for name in SEMANTIC_NAMES]))
    assert (pose.name, pose.amount, pose.unit, pose.share) == ("yaw", 2.0, "deg", 0.2)
    assert (light.name, light.amount, light.share) == ("ambient", 1.0, 1.0)  # fractions and slopes compare by range
    assert moved_most(replace(atlas, directions=()), np.ones(len(SEMANTIC_NAMES))) == ()


def test_the_matrix_is_drawn_as_it_is(atlas: Atlas) -> None:
    local = atlas.local
    assert local is not None
    one, two = local.gradients[:2]
    two = two - one * (one @ two) / (one @ one)
    two /= np.linalg.norm(two)
    one = one / np.linalg.norm(one)
    gradients = (one, two, -0.8 * one + 0.6 * two)
    parts = tuple(
        replace(part, direction=replace(part.direction, gradient=g, step=g, layers=None))
        for part, g in zip(local.parts, gradients, strict=True)
    )
    drawn = cosine_drawing(replace(local, parts=parts), np.eye(16))
    assert drawn["order"] in ([0, 2, 1], [1, 2, 0])
    cells = {(sign, level): path.count("M") for sign, level, path in drawn["paths"]}
    assert cells == {("more", 1.0): 3, ("less", 0.8): 2, ("more", 0.6): 2}
    (path,) = (path for sign, level, path in drawn["paths"] if sign == "less")
    at = {part: place for place, part in enumerate(drawn["order"])}
    assert set(path.replace("h1v1h-1z", "")[1:].split("M")) == {f"{at[0]} {at[2]}", f"{at[2]} {at[0]}"}
    assert drawn["pairs"][0][:2] == (local.names[0], local.names[2])
    assert drawn["pairs"][0][2] == pytest.approx(-0.8)
    apart = tuple(
        replace(part, direction=replace(part.direction, layers=local.layer_groups[i])) for i, part in enumerate(parts)
    )
    unlike = cosine_drawing(replace(local, parts=apart), np.eye(16))
    assert {(sign, level) for sign, level, _ in unlike["paths"]} == {("more", 1.0)}  # of other layers, another w
    alone = cosine_drawing(replace(local, parts=parts[:1], maps=local.maps[:1]), np.eye(16))
    assert (alone["order"], alone["pairs"]) == ([0], [])


def test_the_example_comes_back_and_is_local(atlas: Atlas) -> None:
    assert atlas.local is not None
    mouth, brows, nose = atlas.local.parts
    assert example_part((mouth, brows, nose)) is nose  # the highest R2
    assert example_part((mouth, replace(nose, place="whole face"))) is mouth
    assert example_part((mouth, replace(nose, stability=0.1))) is mouth
    assert example_part((brows,)) is brows


def test_no_parts_no_section(tiny_networks: tuple[Generator, Decomposer], tiny_atlas: Atlas) -> None:
    nothing = torch.zeros(0, 16), torch.zeros(0, 3, 64, 64)
    assert part_context(tiny_atlas, *tiny_networks, *nothing, None) is None


def test_discover_hands_over_the_jacobian_of_all_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = (
        ("generator", tiny.generator(replace(tiny.GENERATOR64, w_dim=16, z_dim=16))),
        ("decomposer", tiny.decomposer(gain=20.0)),
    )
    for kind, network in networks:
        save_network(tmp_path / f"{kind}.safetensors", kind, network, network.config.to_dict(), {})
    given: list[Any] = []
    monkeypatch.setattr(report, "write_report", lambda *args, **named: given.append((args, named)))
    path = run(
        DiscoverConfig(
            out=tmp_path / "out",
            generator=tmp_path / "generator.safetensors",
            decomposer=tmp_path / "decomposer.safetensors",
            samples=40,
            parts=PartsConfig(samples=80, layer_groups=2),
            held_out=10,
            calibration_faces=1,
        )
    )
    assert path is not None
    ((args, named),) = given
    assert args[1].local is not None
    assert args[1].local.num_samples == 80
    assert named["J"].shape == (4 * 64 * 64, 16)
    assert np.abs(named["J"]).max() > 0
