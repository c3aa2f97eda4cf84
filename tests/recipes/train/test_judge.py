"""Training a judge: it learns, is repeatable and resumable, and says how well it reads."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import load_judge
from lineament.engine.devices import make_fabric
from lineament.errors import ConfigError, DataError, NonFiniteError
from lineament.faces.measure import read
from lineament.networks.judge import Judge
from lineament.recipes.train import judge as train_judge
from lineament.recipes.train.judge import learning_rate_at, load_renders, measured_proportions, run, shifted, spoilt
from lineament.records.devices import TrainingDevice
from lineament.records.proportions import LABELS, PROPORTIONS
from lineament.records.shapes import JudgeConfig
from lineament.settings.train_judge import TrainJudgeConfig
from lineament.store.tensors import load_tensors, read_header
from lineament.store.truth import open_truth
from tests.recipes.train.stopping import check_stops_after_its_step
from tests.truths import drawn_face, known_faces, write_drawn, write_face, write_rendered

CPU = TrainingDevice(accelerator="cpu")
SIDE = 16


def render(folder: Path, num: int, seed: int) -> Path:
    """Images whose brightness is the parameter "bright", and whose left side is brighter with positive yaw."""
    rng = np.random.default_rng(seed)
    bright, yaw = rng.uniform(-1, 1, num), rng.uniform(-20, 20, num)
    truth = known_faces(num, SIDE, seed)
    assert truth.view is not None
    view = truth.view.copy()
    view[:, 1] = np.radians(yaw)
    side = np.linspace(1, -1, SIDE)
    images = 128 + 50 * bright[:, None, None, None] + 2 * yaw[:, None, None, None] * side[None, None, :, None]
    pixels = np.broadcast_to(images, (num, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    return write_rendered(folder, replace(truth, images=pixels, view=view), named={"bright": bright})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("judge")
    return render(folder / "train", 96, 0), render(folder / "test", 32, 1)


def settings(folders: tuple[Path, Path], out: Path, **changes: Any) -> TrainJudgeConfig:
    config = TrainJudgeConfig(
        truth=folders[0],
        test=folders[1],
        out=out,
        network=JudgeConfig(resolution=SIDE, channels=4, channel_max=8, hidden_dim=8),
        steps=6,
        batch_size=8,
        snapshot_steps=3,
        devices=CPU,
    )
    return replace(config, **changes)


def contents(out: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("judge.safetensors", "state.safetensors"):
        tensors, _ = load_tensors(out / name, kind=read_header(out / name).kind, framework="pt")
        found |= {f"{name}/{key}": value for key, value in tensors.items()}
    return found


def test_it_learns_to_read_and_says_how_well(folders: tuple[Path, Path], tmp_path: Path) -> None:
    path = run(settings(folders, tmp_path / "run", steps=240, batch_size=32, snapshot_steps=240, learning_rate=1e-2))
    judge = load_judge(path)
    assert {"yaw", "bright", "light_x"} <= set(judge.names)
    assert not {"dx", "tx", "w_nose"} & set(judge.names)  # renamed, left out, and the same on every face
    r2 = dict(zip(judge.names, judge.r2.tolist(), strict=True))
    assert r2["bright"] > 0.7
    assert r2["yaw"] > 0.7
    assert r2["light_y"] < 0.3  # which the images do not show
    scores = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    assert scores["yaw"]["r2"] == pytest.approx(r2["yaw"], abs=2e-3)
    assert scores["yaw"]["mean_absolute_error"] < 6
    assert read_header(path).header["provenance"]["num_test_images"] == 32
    bright = torch.zeros(1, 3, SIDE, SIDE) + 0.3
    values = read(judge, torch.cat([bright, -bright]))[:, judge.names.index("bright")]
    assert values[0] > values[1]


def test_stop_and_resume_gives_the_same_bits(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(folders, tmp_path / "whole"))
    step = train_judge.JudgeTrainer.train_step

    def interrupted(self: train_judge.JudgeTrainer) -> dict[str, float]:
        if self.step == 4:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(train_judge.JudgeTrainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(folders, tmp_path / "parts"))
    monkeypatch.undo()
    run(settings(folders, tmp_path / "parts"))
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_other_settings_or_devices_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run(settings(folders, tmp_path / "run", steps=1))
    with pytest.raises(ConfigError, match="other settings"):
        run(settings(folders, tmp_path / "run", steps=2))
    for wrong in ({"steps": 0}, {"noise": -1.0}, {"blur": 1.5}):
        with pytest.raises(ConfigError, match="expected"):
            settings(folders, tmp_path / "run", **wrong)


def test_a_loss_without_a_value_stops(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "loss", lambda self, images, truth: (torch.tensor(float("nan")), torch.zeros(99)))
    with pytest.raises(NonFiniteError, match=r"step 0.*is intact"):
        run(settings(folders, tmp_path / "run"))


def test_an_image_too_few_is_noticed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = render(tmp_path / "renders", 8, 3)
    (folder / "images" / "000003.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="7 usable images for 8 rows"):
        run(settings((folder, folders[1]), tmp_path / "run"))


def test_the_test_must_have_what_the_judge_reads(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_rendered(tmp_path / "other", known_faces(4, SIDE))
    with pytest.raises(DataError, match="no 'bright'"):
        run(settings((folders[0], other), tmp_path / "run"))


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainJudgeConfig(truth=Path(), test=Path(), out=Path(), steps=100, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert int(np.argmax(rates)) == 4
    assert rates[4] == pytest.approx(1, abs=0.01)
    assert rates[-1] < 1e-3


def test_shifts_move_whole_images_and_repeat_their_edges() -> None:
    images = np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3)
    np.testing.assert_array_equal(shifted(images, 0, np.random.default_rng(0)), images)
    moved = shifted(images, 2, np.random.default_rng(0))
    row, column = np.argwhere((images[0] == moved[0, 2, 2]).all(axis=2))[0] - 2
    rows, columns = ((np.arange(5) + by).clip(0, 4) for by in (row, column))
    np.testing.assert_array_equal(moved[0], images[0][rows][:, columns])


def test_spoilt_images_are_softer_or_noisier_and_stay_in_range() -> None:
    stripes = torch.ones(8, 3, 12, 12) * 0.8
    stripes[..., ::2] *= -1
    rng = torch.Generator().manual_seed(0)
    assert spoilt(stripes, 0.0, 0.0, rng).equal(stripes)
    soft = spoilt(stripes, 1.0, 0.0, rng)
    assert (soft.std(dim=(1, 2, 3)) < stripes.std(dim=(1, 2, 3))).all()
    noisy = spoilt(stripes, 0.0, 0.5, rng)
    assert noisy.abs().max() <= 1
    assert not noisy.equal(stripes)


def test_proportions_are_measured_where_landmarks_are_known(tmp_path: Path) -> None:
    jaws = np.array([1.2, 1.5, 1.8, 1.6])
    write_drawn(tmp_path, known_faces(4, 64), jaws)
    renders = load_renders(tmp_path, SIDE, tmp_path / "cache", make_fabric(CPU))
    np.testing.assert_allclose(renders.columns(("jaw_width",))[:, 0], jaws, atol=0.08)


def test_a_proportion_that_cannot_be_measured_counts_as_the_mean(tmp_path: Path) -> None:
    truth = known_faces(3, 64)
    write_drawn(tmp_path, truth, np.full(3, 1.5))
    landmarks, label, depth = drawn_face(64)
    label[label == 1 + LABELS.index("brows")] = 0
    changed = {"canon_landmarks": landmarks, "canon_label": label, "canon_depth": depth}
    write_face(tmp_path / "truth" / "000001.npz", truth, 1, **changed)
    heights = measured_proportions(open_truth(tmp_path))[:, list(PROPORTIONS).index("brow_height")]
    assert heights[1] == pytest.approx(heights[0])
    assert heights[0] > 0.3


def test_proportions_that_are_the_same_on_every_face_are_not_read(tmp_path: Path) -> None:
    write_drawn(tmp_path, known_faces(3, 64), np.array([1.3, 1.5, 1.7]))
    names = load_renders(tmp_path, SIDE, tmp_path / "cache", make_fabric(CPU)).names
    assert "jaw_width" in names
    assert not {"smile", "eye_distance", "brow_height"} & set(names)


def test_a_training_on_other_attributes_is_not_gone_on_with(folders: tuple[Path, Path], tmp_path: Path) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    for folder, source in ((train, folders[0]), (test, folders[1])):
        shutil.copytree(source, folder)
    run(settings((train, test), tmp_path / "run", steps=3))
    for folder in (train, test):
        table = dict(np.load(folder / "truth.npz"))
        table["names"] = np.array(["dark" if name == "bright" else name for name in table["names"]])
        np.savez(folder / "truth.npz", **table)
    with pytest.raises(ConfigError, match=r"other data or networks \(the renders to train on"):
        run(settings((train, test), tmp_path / "run", steps=3))


def test_a_signal_stops_the_training_after_its_step_and_the_state_is_kept(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    check_stops_after_its_step(lambda: run(settings(folders, tmp_path)), train_judge.JudgeTrainer, tmp_path)
