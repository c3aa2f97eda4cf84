"""What the benchmark of kills compares: everything but dates and durations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import kills
from benchmarks.kill_cases import KillCase
from benchmarks.kills import KillRow, KillsConfig, KillsReport, Trial, contents
from lineament.errors import ConfigError
from lineament.store.tensors import save_tensors


def write(folder: Path, value: float = 1.0, seconds: float = 1.0) -> Path:
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "tensorboard" / f"events.{seconds}").write_text("x")
    header = {"step": 3, "seconds": seconds, "provenance": {"hours": seconds, "kept": 1}}
    save_tensors(folder / "a.safetensors", {"x": torch.tensor([value])}, "training-state", 1, header)
    lines = [{"step": 1, "loss": value, "time": seconds}, {"step": 2, "loss": 0.5, "seconds": seconds}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "report.html").write_text(f"<p>2026-11-{10 + int(seconds)}T10:00:00+00:00: 5 faces</p>")
    (folder / "picture.png").write_bytes(b"pixels")
    return folder


def test_times_are_left_out_and_all_else_counts(tmp_path: Path) -> None:
    a, b, c = (contents(write(tmp_path / str(i), *values)) for i, values in enumerate([(1, 1), (1, 9), (2, 1)]))
    assert a == b
    assert {name for name in a if a[name] != c[name]} == {"a.safetensors", "log.jsonl"}
    (tmp_path / "0" / ".a.safetensors.12-ab.lineament-partial").touch()
    assert contents(tmp_path / "0").keys() - a.keys() == {".a.safetensors.12-ab.lineament-partial"}


def test_only_runs_that_were_still_going_count_and_differences_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [Trial(False)] * kills.MAX_TRIES
    trials = iter([Trial(True), Trial(False), Trial(True, ["a.png differs"]), *late])
    moments: list[float] = []

    def killed(_case: KillCase, _folder: Path, moment: float, _wanted: dict[str, Any]) -> Trial:
        moments.append(moment)
        return next(trials)

    monkeypatch.setattr(kills, "undisturbed", lambda *_: (5.0, 4.0))
    monkeypatch.setattr(kills, "killed", killed)
    row = kills.kill_one(KillsConfig(kills=3, jobs=1), KillCase("edit", ("edit",)), tmp_path)
    assert row == KillRow("edit", 5.0, 2, 1, ("a.png differs",))
    assert moments[2] == pytest.approx(moments[1] * kills.SOONER)
    assert KillsReport((row,)).renderables()[-1] == "| `edit` | 5.0 | 2 | 1 | a.png differs |"


def test_a_command_that_fails_undisturbed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nonsense fails undisturbed: .*; expected one of train generator"):
        kills.undisturbed(KillCase("nonsense", ("nonsense",)), tmp_path)
