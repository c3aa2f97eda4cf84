"""The measurement of parts, from end to end on untrained networks, and its sums."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineament.checkpoints.ours import save_network
from lineament.directions import solve
from lineament.directions.steps import linear_step, step_length
from lineament.errors import ConfigError, FileFormatError, InputError, MismatchError
from lineament.recipes import discover
from lineament.recipes.evaluate import parts as evaluate_parts
from lineament.recipes.evaluate.named_regions import Regions
from lineament.recipes.evaluate.part_response import Drift, PartResponse
from lineament.recipes.evaluate.parts import describe, intervals, run, steps_of_impure_parts, summarise, zone_of
from lineament.records.atlas import Atlas
from lineament.records.part_settings import PartsConfig
from lineament.settings.discover import DiscoverConfig
from lineament.settings.evaluate_parts import EvaluatePartsConfig
from lineament.store.atlas import load_atlas, save_atlas
from tests import tiny
from tests.truths import write_named


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a discovery with parts, not calibrated, and of known faces."""
    folder = tmp_path_factory.mktemp("parts")
    generator = tiny.generator(replace(tiny.GENERATOR64, z_dim=12, w_dim=12))
    networks = {"generator": generator, "decomposer": tiny.decomposer(gain=20.0)}
    files = {name: folder / f"{name}.safetensors" for name in networks}
    for name, network in networks.items():
        save_network(files[name], name, network, network.config.to_dict(), {})
    parts = PartsConfig(count=3, restarts=1, max_alike=1.0, samples=120, layer_groups=2)
    config = DiscoverConfig(out=folder / "found", samples=60, held_out=4, report=False, parts=parts, **files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "calibrate", lambda config, atlas, generator, decomposer: (atlas, []))
        path = discover.run(config)
    assert path is not None
    write_named(folder / "renders", 20, 64)
    return {"atlas": path, "truth": folder / "renders", **files}


def test_end_to_end_writes_its_numbers(found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_parts, "NUM_RANDOM", 2)
    out, made = tmp_path / "numbers.json", found["atlas"].parent
    report = run(EvaluatePartsConfig(**found, found=made, out=out, faces=3))
    assert [part.name for part in report.parts] == list(load_atlas(found["atlas"]).part_names)
    assert {"lips", "hair"} <= {region.name for region in report.regions}
    assert len(report.drifts) == 3
    assert all(region.low <= region.ratio <= region.high for region in report.regions)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["regions"][0]["ratio"] == pytest.approx(report.regions[0].ratio)
    assert written["parts"][0]["drift"]["pose_deg"] == pytest.approx(report.parts[0].drift.pose_deg)
    assert len(report.renderables()) == 6


def test_impure_parts_come_from_the_samples_of_the_atlas(found: dict[str, Any], tmp_path: Path) -> None:
    atlas, made = load_atlas(found["atlas"]), found["atlas"].parent
    assert atlas.local is not None
    steps = steps_of_impure_parts(made, atlas, atlas.local)
    assert len(steps) == len(atlas.local.parts)
    assert {step.shape for step in steps} == {(10, atlas.w_dim)}
    units = [step_length(linear_step(atlas, {name: 1.0}, ()), atlas.w_cov) for name in atlas.part_names]
    np.testing.assert_allclose([step_length(step, atlas.w_cov) for step in steps], np.median(units), rtol=1e-3)
    with pytest.raises(MismatchError, match="other networks"):
        steps_of_impure_parts(made, replace(atlas, decomposer_fingerprint="0" * 64), atlas.local)
    (tmp_path / "state.safetensors").write_bytes((made / "state.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"config\.json does not exist; discover again"):
        steps_of_impure_parts(tmp_path, atlas, atlas.local)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileFormatError, match="no settings of parts"):
        steps_of_impure_parts(tmp_path, atlas, atlas.local)


def test_wrong_inputs(found: dict[str, Any], tmp_path: Path) -> None:
    atlas = load_atlas(found["atlas"])
    with pytest.raises(ConfigError, match="made the atlas; choose another"):
        run(EvaluatePartsConfig(**found, seed=atlas.seed))
    save_atlas(tmp_path / "other.safetensors", replace(atlas, generator_fingerprint="0" * 64))
    with pytest.raises(MismatchError):
        run(EvaluatePartsConfig(**{**found, "atlas": tmp_path / "other.safetensors"}))
    with pytest.raises(ConfigError, match="faces is 1"):
        EvaluatePartsConfig(atlas=Path("x"), truth=Path("y"), faces=1)


@pytest.fixture(scope="module")
def atlas(found: dict[str, Any]) -> Atlas:
    """The atlas with known places: two that come back and claim one, one that does not."""
    made = load_atlas(found["atlas"])
    assert made.local is not None
    places, back = ("mouth", "left brow", "whole face"), (0.9, 0.95, 0.5)
    parts = [
        replace(part, place=place, stability=stability)
        for part, place, stability in zip(made.local.parts, places, back, strict=True)
    ]
    return replace(made, local=replace(made.local, parts=tuple(parts)))


def test_who_acts_most_where(atlas: Atlas) -> None:
    """Two regions; the first part acts six times more on the lips, the second five times more on the hair."""
    regions = Regions(np.ones((4, 4), bool), {"lips": np.eye(4) > 0, "hair": np.eye(4) < 1}, {"ears": "0 pixels"}, 9)
    within = np.array([[6.0, 2.0], [1.0, 5.0], [0.5, 2.0]])
    responses = []
    for row in within:
        images = np.stack([np.tile(row, (4, 1)), np.ones((4, 2))])
        responses.append(PartResponse(images, images * np.array([0.5, 1])[:, None, None]))
    drifts = [Drift(0.5, 0.01), Drift(2.0, 0.04), Drift(0.1, 0.2)]
    random = np.array([[1.0, 5.5], [1.0, 2.0], [3.0, 1.0]])
    scores, parts = describe(atlas, regions, responses, drifts, random, 0)
    assert atlas.local is not None
    names = atlas.local.names
    assert [(s.name, s.part, s.pixels) for s in scores] == [("lips", names[0], 4), ("hair", names[1], 12)]
    assert (scores[0].ratio, scores[0].low, scores[0].high, scores[0].maps_ratio) == (6.0, 6.0, 6.0, 3.0)
    assert [(p.region, p.ratio, p.fits) for p in parts] == [("lips", 6, True), ("hair", 5, False), ("hair", 2, None)]
    assert parts[0].ratios == {"lips": 6.0, "hair": 2.0}
    # Random steps act on the hair by twice as much as on the lips: in comparison, 5 / 2 is still more than 1 / 1.
    assert [(p.special, p.special_fits) for p in parts] == [("lips", True), ("hair", False), ("hair", None)]
    assert [score.random_ratio for score in scores] == [1.0, 2.0]
    numbers = summarise(scores, parts, random)
    assert list(numbers.values()) == [2, 2, 2, 1, 2, 5.5, 3.0, 2, 2, 0.5, 0.5]


def test_intervals_hold_what_they_promise() -> None:
    """Ratio of means of known spread: the interval is that of the normal distribution, and the same every time."""
    rng = np.random.default_rng(0)
    within = 3 + rng.normal(size=(400, 1))
    changes = np.stack([within, np.ones((400, 1))])
    low, high = intervals(changes, 0)
    error = within.std() / 20
    assert low[0] == pytest.approx(within.mean() - 1.96 * error, abs=0.25 * error)
    assert high[0] == pytest.approx(within.mean() + 1.96 * error, abs=0.25 * error)
    np.testing.assert_array_equal(intervals(changes, 0), (low, high))


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ("mouth", "mouth"),
        ("brows, both sides", "brows"),
        ("left eye", "eyes"),
        ("chin and jaw, right side", "chin and jaw"),
    ],
)
def test_words_of_the_template(place: str, zone: str) -> None:
    assert zone_of(place) == zone
