"""Measuring what edits do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.errors import ConfigError, MismatchError
from lineament.recipes.evaluate import edits as evaluate_edits
from lineament.recipes.evaluate.edits import drift, random_steps_of_equal_yaw, run, score_direction, score_yaw
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.evaluate_edits import EvaluateEditsConfig
from lineament.store.atlas import load_atlas, save_atlas


@pytest.fixture
def linear_world(tiny_atlas, tiny_networks, monkeypatch: pytest.MonkeyPatch):
    """A world in which 'images' are w itself and the decomposer is the atlas's own linear model, times a gain."""
    gain = {"value": 0.8}

    def values(w: np.ndarray) -> np.ndarray:
        columns = np.zeros((len(w), len(SEMANTIC_NAMES)))
        for direction in tiny_atlas.directions:
            columns[:, SEMANTIC_NAMES.index(direction.name)] = w @ direction.gradient * gain["value"]
        return columns

    monkeypatch.setattr(
        evaluate_edits,
        "synthesize_edited",
        lambda generator, w, step=None, shown_to=None: (
            w.double() + (0.0 if step is None else torch.from_numpy(step[..., 0, :]))
        ),
    )
    monkeypatch.setattr(evaluate_edits, "measure", lambda decomposer, images: values(images.numpy()))
    monkeypatch.setattr(
        evaluate_edits,
        "canonical_albedo",
        lambda decomposer, images: images[:, None, :, None].float().expand(-1, 3, -1, -1),
    )
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(6, tiny_atlas.w_dim)))
    return tiny_atlas, tiny_networks, w, values(w.numpy()), gain


def test_a_faithful_slider_scores_perfectly(linear_world) -> None:
    """The tiny atlas's calibration says 0.8 is achieved, and so it is: requested equals measured."""
    atlas, networks, w, before, _ = linear_world
    score = score_direction(atlas, "yaw", *networks, w, before)
    assert score.slope == pytest.approx(1, abs=1e-6)
    assert score.correlation == pytest.approx(1)
    assert score.median_error == pytest.approx(0, abs=1e-6)
    assert (score.right_sign, score.monotone) == (1.0, 1.0)


def test_a_slider_that_turns_the_other_way_is_caught(linear_world) -> None:
    atlas, networks, w, before, gain = linear_world
    gain["value"] = -0.4
    score = score_direction(atlas, "yaw", *networks, w, before / 0.8 * -0.4)
    assert score.slope == pytest.approx(-0.5, abs=1e-6)
    assert (score.right_sign, score.monotone) == (0.0, 0.0)
    assert score.median_error == pytest.approx(3, abs=1e-5)  # asked 2 sd, got -1


def test_yaw_median_sign_and_identity(linear_world) -> None:
    atlas, networks, w, before, _ = linear_world
    yaw = atlas.direction("yaw").std
    config = EvaluateEditsConfig(atlas=Path("unused"), yaw_deg=yaw)
    numbers, identity = score_yaw(config, atlas, *networks, w, before)
    assert numbers[f"yaw {yaw:+g}: median"] == pytest.approx(yaw)
    assert numbers[f"yaw {-yaw:+g}: median"] == pytest.approx(-yaw)
    assert numbers[f"yaw ±{yaw:g}: right sign"] == 1.0
    # The step is the shortest for this yaw, so no random direction moves w less (in w's own metric; here w is round).
    assert identity["albedo drift, yaw edit"] < identity["albedo drift, random direction of equal yaw"]


def test_random_directions_have_that_yaw(tiny_atlas) -> None:
    steps = random_steps_of_equal_yaw(tiny_atlas, 20, 7.0, 3)
    np.testing.assert_allclose(steps @ tiny_atlas.direction("yaw").gradient, 7.0)
    assert np.linalg.matrix_rank(steps) > 5
    np.testing.assert_array_equal(steps, random_steps_of_equal_yaw(tiny_atlas, 20, 7.0, 3))


def test_drift_is_the_median_face() -> None:
    a, b = torch.zeros(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    b[1], b[2] = 0.5, 9.0
    assert drift(a, b) == pytest.approx(0.5)


def test_end_to_end_writes_its_numbers(tiny_files, tmp_path: Path) -> None:
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    report = run(EvaluateEditsConfig(**files, out=tmp_path / "scores.json", faces=4, seed=99))
    assert [s.name for s in report.scores] == list(load_atlas(files["atlas"]).names)
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert written["scores"][0]["slope"] == pytest.approx(report.scores[0].slope)
    assert len(report.renderables()) == 2


def test_wrong_inputs(tiny_files, tiny_atlas, tmp_path: Path) -> None:
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    with pytest.raises(ConfigError, match="made the atlas; choose another"):
        run(EvaluateEditsConfig(**files, seed=load_atlas(files["atlas"]).seed))
    save_atlas(tmp_path / "other.safetensors", replace(tiny_atlas, generator_fingerprint="0" * 64))
    with pytest.raises(MismatchError):
        run(EvaluateEditsConfig(**{**files, "atlas": tmp_path / "other.safetensors"}, seed=99))
    with pytest.raises(ConfigError, match="faces is 1"):
        EvaluateEditsConfig(atlas=Path("x"), faces=1)
    with pytest.raises(ConfigError, match="yaw_deg"):
        EvaluateEditsConfig(atlas=Path("x"), yaw_deg=0.0)
