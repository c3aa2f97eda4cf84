"""Comparing recipes over seeds: resumable, shared between processes, and deaths are counted."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from experiments.training_recipes import run as module
from experiments.training_recipes.run import (
    CompareRecipesConfig,
    PairScore,
    pair_folder,
    read_score,
    report_of,
    run,
    training_settings,
    write_score,
)
from lineament.cli.main import main, run_module
from lineament.engine import run_folder
from lineament.engine.run_folder import RunFolder
from lineament.errors import BusyError, ConfigError, FileFormatError
from lineament.faces.decomposer_scores import MeanEstimate
from lineament.networks.decomposer import Decomposer
from lineament.recipes.train import decomposer as train_decomposer
from lineament.recipes.train import decomposer_trainer as decomposer_training
from lineament.records.devices import Device
from lineament.settings.train_decomposer import TrainDecomposerConfig
from tests import tiny
from tests.truths import known_faces, write_pairs, write_rendered

FAST = ("no ellipsoid", "published")
"""Variants without the steps of the ellipsoid, and one of them is not equivariant."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    tiny.image_folder(folder / "in", resolution=64)
    write_rendered(folder / "truth", known_faces(3))
    return folder


def settings(sources: Path, out: Path, **changes: Any) -> CompareRecipesConfig:
    config = CompareRecipesConfig(
        out=out,
        truth=sources / "truth",
        images=(sources / "in",),
        variants=FAST,
        seeds=2,
        steps=2,
        batch_size=2,
        network=tiny.DECOMPOSER,
        devices=Device(accelerator="cpu"),
    )
    return replace(config, **changes)


@pytest.fixture(autouse=True)
def few_images_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_decomposer, "NUM_CHECKED", 16)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trainings that are begun, in their order."""
    begun: list[str] = []
    original = train_decomposer.run

    def counting(config: TrainDecomposerConfig) -> Path:
        begun.append(f"{config.out.parent.name}/{config.out.name}")
        return original(config)

    monkeypatch.setattr(train_decomposer, "run", counting)
    return begun


@pytest.fixture
def break_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Decomposer], bool]], None]:
    """Makes the loss NaN whenever a condition holds."""
    original = decomposer_training.decomposition_loss

    def make(when: Callable[[Decomposer], bool]) -> None:
        def broken(decomposer: Decomposer, *args: Any) -> tuple[torch.Tensor, dict[str, float]]:
            loss, values = original(decomposer, *args)
            return (loss * math.nan, values) if when(decomposer) else (loss, values)

        monkeypatch.setattr(decomposer_training, "decomposition_loss", broken)

    return make


def score_of(config: CompareRecipesConfig, variant: str, seed: int) -> PairScore:
    found = read_score(pair_folder(config, variant, seed))
    assert found is not None
    return found


def made_up(variant: str, seed: int, *, side: float | None = 1.0, reasons: tuple[str, ...] = ()) -> PairScore:
    scores = {} if side is None else {"side_x100": MeanEstimate(side, 0.1), "yaw_error_deg": MeanEstimate(5.0, None)}
    return PairScore(variant, seed, 3, reasons, {"health/seen": 0.9}, 0.25 * (seed + 1), scores)


def test_pairs_are_trained_seed_by_seed_scored_and_not_repeated(
    sources: Path, tmp_path: Path, trained: list[str]
) -> None:
    config = settings(sources, tmp_path / "out")
    report = run(config)
    order = ["no-ellipsoid/seed-0", "published/seed-0", "no-ellipsoid/seed-1", "published/seed-1"]
    assert trained == order
    for name in order:
        folder = config.out / name
        assert json.loads((folder / "config.json").read_text())["recover"] is False
        assert not (folder / "cache").exists()
        score = json.loads((folder / "score.json").read_text())
        assert score["steps"] == 2
        assert score["healthy"] is (score["reasons"] == [])
        assert score["seconds_per_step"] > 0
        assert {"side_x100", "mad_deg", "yaw_error_deg", "light_error_deg", "albedo_error"} <= score["scores"].keys()
    assert len(list((config.out / "cache").glob("*.npy"))) == 1
    assert [row.name for row in report.rows] == list(FAST)
    assert [(row.seeds, row.scored) for row in report.rows] == [(2, 2)] * 2
    values = [score_of(config, "published", seed).scores["side_x100"].value for seed in range(2)]
    side = report.rows[1].scores["side_x100"]
    assert values[0] != values[1]
    assert side.value == pytest.approx(sum(values) / 2)
    assert side.standard_error == pytest.approx(abs(values[0] - values[1]) / 2)  # (d / sqrt 2) / sqrt 2
    assert json.loads((config.out / "report.json").read_text()) == json.loads(json.dumps(asdict(report)))

    more = replace(config, seeds=3, variants=("no ellipsoid", "pixels only"))
    assert [(row.seeds, row.name) for row in report_of(more).rows] == [(2, "no ellipsoid"), (0, "pixels only")]
    trained.clear()
    assert run(config) == report
    run(replace(config, seeds=3, variants=("published",)))
    assert trained == ["published/seed-2"]


def test_scores_are_those_of_the_averaged_decomposer_on_the_truth(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path / "out", variants=("no ellipsoid",), seeds=1, faces=2)
    run(config)
    network = pair_folder(config, "no ellipsoid", 0) / "decomposer.safetensors"
    out = tmp_path / "scores.json"
    words = ["--truth", str(config.truth), "--faces", "2", "--decomposer", str(network), "--out", str(out)]
    assert main(["evaluate", "decomposer", *words, "--on.accelerator", "cpu"]) == 0
    row = json.loads(out.read_text())["rows"][-1]
    assert row["name"] == "decomposer"
    assert row["scores"] == asdict(score_of(config, "no ellipsoid", 0))["scores"]


def test_a_stop_ends_the_comparison_and_the_same_command_goes_on(
    sources: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    config = settings(sources, tmp_path / "out", seeds=1)

    def stopped(self: run_folder.GentleStop) -> run_folder.GentleStop:
        self.requested = True
        return self

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.GentleStop, "__enter__", stopped)
        with pytest.raises(run_folder.Stopped, match="the same command goes on"):
            run(config)
    assert trained == ["no-ellipsoid/seed-0"]
    assert read_score(pair_folder(config, "no ellipsoid", 0)) is None
    assert [row.seeds for row in run(config).rows] == [1, 1]
    assert trained == ["no-ellipsoid/seed-0", "no-ellipsoid/seed-0", "published/seed-0"]
    assert "going on at step 1" in capsys.readouterr().err


def test_a_training_that_dies_at_once_is_unhealthy_without_scores(
    sources: Path, tmp_path: Path, trained: list[str], break_loss: Callable[..., None]
) -> None:
    config = settings(sources, tmp_path / "out", seeds=1)
    break_loss(lambda decomposer: decomposer.config.equivariant)
    dead, alive = run(config).rows
    score = score_of(config, "no ellipsoid", 0)
    assert (score.healthy, score.steps, score.scores, score.seconds_per_step) == (False, 0, {}, None)
    assert score.reasons[0] == "died: the loss became nan at step 0"
    assert (dead.seeds, dead.healthy, dead.scored, dead.scores) == (1, 0, 0, {})
    assert (alive.seeds, alive.scored) == (1, 1)
    assert not [reason for reason in alive.reasons if "died" in reason]
    trained.clear()
    run(config)
    assert trained == []


def test_a_training_that_dies_late_is_scored_on_its_last_snapshot(
    sources: Path, tmp_path: Path, break_loss: Callable[..., None]
) -> None:
    calls: list[int] = []
    break_loss(lambda decomposer: calls.append(1) or len(calls) > 1)
    config = settings(sources, tmp_path / "out", variants=("no ellipsoid",), seeds=1, snapshot_steps=1)
    (row,) = run(config).rows
    score = score_of(config, "no ellipsoid", 0)
    assert score.steps == 1
    assert score.reasons[0].startswith("died: ")
    assert (row.healthy, row.scored) == (0, 1)
    assert row.scores["side_x100"].value == score.scores["side_x100"].value


@pytest.mark.parametrize(("variant", "counted"), [("no ellipsoid", True), ("recovering", False)])
def test_a_restart_counts_unless_the_recipe_is_to_recover(
    sources: Path,
    tmp_path: Path,
    break_loss: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    counted: bool,
) -> None:
    calls: list[int] = []
    break_loss(lambda decomposer: calls.append(1) or len(calls) == 2)
    monkeypatch.setattr(module, "healthy", lambda values: [])
    config = settings(sources, tmp_path / "out", variants=(variant,), seeds=1)
    (row,) = run(config).rows
    assert row.healthy == (not counted)
    assert ["the loss became nan at step 1" in reason for reason in row.reasons] == [True] * counted


def test_health_is_judged_by_the_mean_of_the_last_rows(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, float]] = []
    monkeypatch.setattr(module, "healthy", lambda values: asked.append(values) or ["ill"])
    monkeypatch.setattr(module, "HEALTH_ROWS", 2)
    config = settings(sources, tmp_path / "out", variants=("no ellipsoid",), seeds=1, steps=3, snapshot_steps=1)
    (row,) = run(config).rows
    lines = (pair_folder(config, "no ellipsoid", 0) / "log.jsonl").read_text().splitlines()
    values = [json.loads(line)["health/pixel_error"] for line in lines]
    assert len(values) == 3
    assert values[0] != values[1]
    assert asked[0]["health/pixel_error"] == pytest.approx(sum(values[1:]) / 2)
    assert (row.healthy, row.reasons) == (0, ("seed 0: ill",))


def test_a_pair_of_another_process_is_skipped(sources: Path, tmp_path: Path, capsys) -> None:
    config = settings(sources, tmp_path / "out", seeds=1)
    busy = training_settings(config, "no ellipsoid", 0)
    with RunFolder(busy.out, busy):
        with pytest.raises(BusyError):
            train_decomposer.run(busy)
        report = run(config)
        assert [row.seeds for row in report.rows] == [0, 1]
        assert "no ellipsoid, seed 0\nskipped: another process is at work on it" in capsys.readouterr().err
    assert [row.seeds for row in run(config).rows] == [1, 1]


def test_the_tables_show_what_is_missing_and_what_went_wrong(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path / "out", variants=("full", "no clipping", "pixels only"), seeds=3)
    scores = [
        made_up("full", 0, side=1.0),
        made_up("full", 1, side=2.0),
        made_up("full", 2, side=3.0),
        made_up("no clipping", 0, reasons=("died: of NaN",), side=None),
        made_up("no clipping", 1),
    ]
    for score in scores:
        folder = pair_folder(config, score.variant, score.seed)
        folder.mkdir(parents=True)
        write_score(folder, score)
        assert read_score(folder) == score
    report = report_of(config)
    full, died, missing = report.rows
    assert asdict(full.scores["side_x100"]) == {"value": 2.0, "standard_error": pytest.approx(1 / math.sqrt(3))}
    assert full.scores["seconds_per_step"].value == pytest.approx(0.5)
    assert (died.seeds, died.healthy, died.scored, died.reasons) == (2, 1, 1, ("seed 0: died: of NaN",))
    assert died.scores["side_x100"] == MeanEstimate(1.0, None)
    assert (missing.seeds, missing.scores) == (0, {})
    console, lines = Console(file=StringIO(), width=160), []
    for part in report.renderables():
        lines.append(part) if isinstance(part, str) else console.print(part)
    shown = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    first = {cells[0]: cells[1:] for cells in shown if len(cells) == 8}
    assert first["full"] == ["3 of 3", "3 of 3", "2.000 ± 0.577", "–", "–", "–", "0.500 ± 0.144"]
    assert first["no clipping"][:3] == ["2 of 3", "1 of 2", "1.000"]
    assert first["pixels only"] == ["0 of 3", *["–"] * 6]
    second = {cells[0]: cells[1:] for cells in shown if len(cells) == 5}
    assert second["full"] == ["5.00 ± 0.00", "–", "–", "–"]
    assert "not healthy: no clipping, seed 0: died: of NaN" in lines
    assert "no clipping: gradients are not clipped" in lines
    assert "trainings missing: 4; the same command goes on" in lines


def test_the_command_on_pairs_which_know_shape_alone(sources: Path, tmp_path: Path, capsys) -> None:
    truth = write_pairs(tmp_path / "pairs", known_faces(2))
    words = ["--truth", str(truth), "--images", str(sources / "in"), "--out", str(tmp_path / "out")]
    words += ["--variants", "no ellipsoid", "--seeds", "1", "--steps", "1", "--batch-size", "2"]
    numbers = {name: value for name, value in tiny.DECOMPOSER.to_dict().items() if type(value) in (int, float)}
    words += [f"--network.{name.replace('_', '-')}={value}" for name, value in numbers.items()]
    here = "experiments.training_recipes"
    assert run_module(f"{here}.run", "CompareRecipesConfig", here, [*words, "--on.accelerator", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "SIDE × 100" in shown
    assert "Pose, light" not in shown
    assert "missing" not in shown
    assert "1 steps of 2 images; scored on pairs, 64 px" in shown


def test_wrong_inputs(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no variant 'better'; expected some of 'full', .*'published'"):
        settings(sources, tmp_path, variants=("full", "better"))
    for variants in ((), ("full", "full")):
        with pytest.raises(ConfigError, match="at least one, and each once"):
            settings(sources, tmp_path, variants=variants)
    for changes, said in (
        ({"seeds": 0}, "seeds is 0"),
        ({"faces": 1}, "faces is 1"),
        ({"steps": 0}, "steps is 0"),
        ({"images": ()}, "nothing to train on"),
    ):
        with pytest.raises(ConfigError, match=said):
            settings(sources, tmp_path, **changes)
    one = write_rendered(tmp_path / "one", known_faces(1))
    config = settings(sources, tmp_path / "out", variants=("no ellipsoid",), seeds=1)
    with pytest.raises(ConfigError, match="holds one face"):
        run(replace(config, truth=one))
    run(config)
    with pytest.raises(ConfigError, match="steps was 2, now 4"):
        run(replace(config, steps=4))
    for text in ("{", "[]", "{}", '{"healthy": true, "scores": {"side_x100": 1}}'):
        (pair_folder(config, "no ellipsoid", 0) / "score.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"score\.json is not readable as a score; delete it"):
            run(config)
