"""The comparison of directions, from end to end on untrained networks, and what it concludes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import save_network
from lineament.errors import ConfigError, DataError, MismatchError
from lineament.estimators.dci import DCIScores
from lineament.estimators.direction_measures import IntervalEstimate
from lineament.networks.judge import Judge
from lineament.recipes.evaluate import direction_bench, direction_scores
from lineament.recipes.evaluate.direction_methods import METHODS, Compared, Setting
from lineament.recipes.evaluate.direction_scores import AttributeScores, MethodScores
from lineament.recipes.evaluate.direction_tables import goals_of, interval, plain
from lineament.recipes.evaluate.directions import run
from lineament.recipes.peers import run as run_peers
from lineament.records.devices import Device
from lineament.records.found_directions import FoundDirections
from lineament.records.peer_settings import PeerSettings
from lineament.records.shapes import JudgeConfig
from lineament.settings.evaluate_directions import EvaluateDirectionsConfig
from lineament.settings.peers import PeersConfig

NAMES = "yaw pitch light_x smile"


@pytest.fixture(scope="module")
def judge_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained judge that claims to read everything, and does vary from face to face."""
    torch.manual_seed(0)
    judge = Judge(JudgeConfig(attributes=NAMES, resolution=16, channels=4, channel_max=8, hidden_dim=8))
    judge.r2.fill_(1.0)
    torch.nn.init.normal_(judge.out.weight, std=5.0)
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    save_network(path, "judge", judge, judge.config.to_dict(), {})
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direction_bench, "POPULATION", 24)
    monkeypatch.setattr(direction_bench, "LONGEST_STEP", 1e3)
    monkeypatch.setattr(direction_bench, "LEAST_EFFECT", 1e-6)
    monkeypatch.setattr("lineament.recipes.evaluate.direction_methods.FEW_SAMPLES", 60)
    monkeypatch.setattr(direction_scores, "GRID", (-2.0, -1.0, 1.0, 2.0))
    monkeypatch.setattr(direction_scores, "SIDE", (1.0, 2.0))
    monkeypatch.setattr(direction_scores, "ASKED", (-0.5, 0.5))
    monkeypatch.setattr("lineament.estimators.dci.NUM_REFITS", 2)
    monkeypatch.setattr("lineament.estimators.direction_measures.NUM_DRAWS", 50)


def settings(tiny_files: Path, judge_file: Path, **changes: Any) -> EvaluateDirectionsConfig:
    files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    values: dict[str, Any] = {
        **files,
        "judge": judge_file,
        "faces": 4,
        "screened": 4,
        "samples": 60,
        "components": 3,
        "codes": 40,
        "seeds": 1,
        "devices": Device(accelerator="cpu"),
    }
    return EvaluateDirectionsConfig(**(values | changes))


def test_end_to_end(tiny_files: Path, judge_file: Path, tmp_path: Path) -> None:
    methods = ("ours", "ours, 512 samples", "InterFaceGAN", "SeFa")
    made = tmp_path / "random.safetensors"
    run_peers(
        PeersConfig(
            "random", made, generator=tiny_files / "generator.safetensors", settings=PeerSettings(30, components=2)
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        peer = METHODS["InterFaceGAN"]
        patch.setitem(METHODS, "InterFaceGAN", type(peer)(lambda s: s.peer("interfacegan", share=0.2), supervised=True))
        config = settings(
            tiny_files,
            judge_file,
            methods=methods,
            directions=(made,),
            out=tmp_path / "numbers.json",
            report=tmp_path / "report.html",
        )
        report = run(config)
    assert [m.name for m in report.methods] == [*methods, "random.safetensors"]
    assert set(report.names) == set(NAMES.split())
    assert report.local == ("smile",)
    by_name = {m.name: m for m in report.methods}
    ours = by_name["ours"].attributes["pitch"]
    assert ours.by_name
    assert ours.error is not None  # it can be asked in degrees ...
    assert by_name["ours"].labels == 0
    assert by_name["SeFa"].attributes["pitch"].error is None  # ... which SeFa cannot
    assert by_name["SeFa"].judged == 3 * 2 * 4
    assert by_name["InterFaceGAN"].labels == 60 * 4
    assert by_name["ours, 512 samples"].seconds > 0
    for method in report.methods:
        for name, one in method.attributes.items():
            assert one.row[report.names.index(name)] >= 1 - 1e-6  # of itself; more where two faces answer oppositely
            assert one.leakage.low <= one.leakage.value <= one.leakage.high
    written = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert written["methods"][0]["attributes"]["pitch"]["leakage"]["value"] == pytest.approx(
        ours.leakage.value, rel=1e-5
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 7 * 2 * sum(
        name in m.attributes for m in report.methods for name in ("yaw", "pitch", "light_x")
    )
    assert "http" not in page
    assert len(report.renderables()) > 5


def test_the_same_seed_gives_the_same_numbers(tiny_files: Path, judge_file: Path) -> None:
    reports = [run(settings(tiny_files, judge_file, methods=("SeFa",), codes=0)) for _ in range(2)]
    assert plain(reports[0].methods[0].attributes["yaw"].row) == plain(reports[1].methods[0].attributes["yaw"].row)
    assert reports[0].methods[0].dci is None


def test_a_method_that_cannot_work_does_not_cost_the_others(
    tiny_files: Path, judge_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Setting) -> FoundDirections:
        raise DataError("one class only")

    monkeypatch.setitem(METHODS, "InterFaceGAN", Compared(refuse))
    report = run(settings(tiny_files, judge_file, methods=("InterFaceGAN", "SeFa"), codes=0))
    assert [m.name for m in report.methods] == ["SeFa"]
    assert "InterFaceGAN is left out: one class only" in capsys.readouterr().err
    assert report.left_out == {"InterFaceGAN": "one class only"}
    assert "left out, so not in any goal: InterFaceGAN (one class only)" in report.renderables()
    with pytest.raises(DataError, match="one class only"):
        run(settings(tiny_files, judge_file, methods=("InterFaceGAN",), codes=0))


def test_what_cannot_be_compared(tiny_files: Path, judge_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made the atlas"):
        run(settings(tiny_files, judge_file, seed=0))
    with pytest.raises(ConfigError, match="no method 'sefa'; expected some of 'ours'"):
        settings(tiny_files, judge_file, methods=("sefa",))
    with pytest.raises(ConfigError, match="faces is 1"):
        settings(tiny_files, judge_file, faces=1)
    with pytest.raises(ConfigError, match="codes is 3"):
        settings(tiny_files, judge_file, codes=3)
    large = Judge(JudgeConfig(attributes=NAMES, resolution=128, channels=2, channel_max=2, hidden_dim=2))
    save_network(tmp_path / "large.safetensors", "judge", large, large.config.to_dict(), {})
    with pytest.raises(MismatchError, match="128 px"):
        run(settings(tiny_files, tmp_path / "large.safetensors"))


def scores(
    name: str, leakage: float, reach: float, seconds: float, local: float, *, peer: bool = False
) -> MethodScores:
    def known(value: float) -> IntervalEstimate:
        return IntervalEstimate(value, value - 0.01, value + 0.01)

    none = IntervalEstimate(0.0, 0.0, 0.0)
    yaw = AttributeScores(
        direction="yaw",
        by_name=True,
        leakage=known(leakage),
        row=(1.0, leakage),
        identity=none,
        mean_ad=None,
        max_ad=None,
        linearity=None,
        range_sd=known(reach),
        error=known(2.0),
        error_of_mean=known(1.0),
    )
    dci = DCIScores(none, none, none, known(local))
    return MethodScores(name, not peer, peer, 1, 3, 0, 10, seconds, 0, {"yaw": yaw}, dci)


def test_goals_say_what_is_reached_and_what_is_not() -> None:
    methods = (
        scores("ours", 0.2, 3.0, 0.0, 0.5),
        scores("ours, 512 samples", 0.2, 3.0, 5.0, 0.5),
        scores("supervised, all held", 0.19, 3.0, 20.0, 0.5),
        scores("InterFaceGAN", 0.3, 2.0, 20.0, 0.4),
        scores("GANSpace (w)", 0.5, 1.0, 1.0, 0.49, peer=True),
        scores("SeFa", 0.39, 1.0, 0.1, 0.3, peer=True),
    )
    goals = dict(goals_of(methods))
    found = [(held, text) for text, held in goals.items()]
    assert [held for held, text in found if "unsupervised peer" in text] == [False]  # 0.2 > 0.39 / 2
    assert [held for held, text in found if "supervised bound" in text] == [True]
    assert [held for held, text in found if "usable range" in text] == [True]
    assert [held for held, text in found if "calibration" in text] == [True]
    assert [held for held, text in found if "disentanglement" in text] == [False]  # the intervals touch
    assert {held for held, text in found if "InterFaceGAN 20.0 s" in text} == {True}
    assert {(held, "faster, but leaks more" in text) for held, text in found if "GANSpace (w) 1.0 s" in text} == {
        (True, True)
    }
    quick_and_good = (methods[0], methods[1], scores("GANSpace (w)", 0.1, 1.0, 1.0, 0.4, peer=True))
    assert not dict(goals_of(quick_and_good))["ours, 512 samples take 5.0 s to leak 0.200; GANSpace (w) 1.0 s, 0.100"]
    assert goals_of(methods[1:]) == ()


def test_numbers_for_people_and_for_json() -> None:
    assert interval(None) == "–"
    assert interval(IntervalEstimate(0.1234, 0.1, 0.15)) == "0.123 (0.1–0.15)"
    assert plain({"a": (np.inf, float("nan"), 1 / 3)}) == {"a": [None, None, 0.333333]}
