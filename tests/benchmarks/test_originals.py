"""The comparison with the original programs, as far as it works without them: our own export stands in for one."""

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import original_tensorflow, original_torch, originals
from benchmarks.original_cases import TENSORFLOW_CASES, TORCH_CASES, OriginalCase
from benchmarks.originals import OriginalRow, OriginalsConfig, compare, inputs_of, our_outputs, rows_of, run
from lineament.networks.layouts.stylegan2 import generator_to_rosinality
from tests import tiny

CASES = (*TORCH_CASES, *TENSORFLOW_CASES)
CASE = OriginalCase("program", "StyleGAN2", "rosinality", 32, z_dim=8)


def export(path: Path) -> None:
    torch.save(generator_to_rosinality(tiny.generator()), path)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINEAMENT_CACHE", str(tmp_path / "cache"))
    export(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def theirs(checkpoint: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in our_outputs(CASE, checkpoint).items()}


def test_every_network_is_compared_once() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_networks_are_made_by_a_program_that_is_known_and_can_be_told_it(case: OriginalCase) -> None:
    assert case.runs in {*original_torch.PROGRAMS, "tensorflow"}
    told = json.loads(json.dumps(dataclasses.asdict(case)))
    assert told["generator"] == case.generator
    inputs = inputs_of(case)
    assert inputs["images"].shape[2:] == (case.resolution, case.resolution * case.aspect)
    assert inputs["labels"].sum() == (len(inputs["labels"]) if case.classes else 0)


@pytest.mark.parametrize("module", [original_torch, original_tensorflow])
def test_scripts_for_other_interpreters_do_without_lineament(module: object) -> None:
    tree = ast.parse(Path(str(getattr(module, "__file__", ""))).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert names
    assert not [name for name in names if str(name).startswith(("lineament", "benchmarks"))]


def test_equal_networks_give_rows_of_no_difference(checkpoint: Path) -> None:
    rows = list(compare(CASE, theirs(checkpoint), our_outputs(CASE, checkpoint)))
    assert [row.quantity for row in rows] == ["w", "image", "truncated w", "truncated image"]
    assert all(row.difference == 0 and row.largest > 0 and row.equal for row in rows)


def test_row_tells_the_largest_difference_and_is_unequal(checkpoint: Path) -> None:
    found = theirs(checkpoint)
    found["image"][1, 2, 3, 4] += 0.25
    rows = {row.quantity: row for row in compare(CASE, found, our_outputs(CASE, checkpoint))}
    assert rows["image"].difference == pytest.approx(0.25, abs=1e-6)
    assert [row.equal for row in rows.values()] == [True, False, True, True]


@pytest.mark.parametrize(
    ("quantity", "value", "note"),
    [
        ("score", np.ones(8, np.float32), r"we have nothing, expected \(8,\)"),
        ("image", np.ones((4, 3, 32, 64), np.float32), r"we have \(4, 3, 32, 32\), expected \(4, 3, 32, 64\)"),
        ("w", np.full((4, 8, 8), np.nan, np.float32), ""),
    ],
)
def test_what_cannot_be_compared_is_unequal(checkpoint: Path, quantity: str, value: np.ndarray, note: str) -> None:
    (row,) = compare(CASE, {quantity: value}, our_outputs(CASE, checkpoint))
    assert not row.equal
    assert row.cells()[-1] == "NO"
    assert (row.note == "") if not note else re.fullmatch(note, row.note)


def test_truncation_is_not_compared_where_the_file_lacks_the_mean(checkpoint: Path) -> None:
    case = dataclasses.replace(CASE, mean=False)
    rows = compare(case, theirs(checkpoint), our_outputs(case, checkpoint))
    assert [row.quantity for row in rows] == ["w", "image"]


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run the script instead of `benchmarks.original_torch`."""
    (folder / "program").mkdir()
    (folder / "program" / "original_torch.py").write_text(script)
    monkeypatch.setattr(originals, "__file__", str(folder / "program" / "originals.py"))


def test_a_program_that_fails_is_a_row_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import no_such_module")
    (row,) = rows_of(CASE, OriginalsConfig(tmp_path))
    assert row.note == "the original failed: ModuleNotFoundError: No module named 'no_such_module'"
    assert not row.equal


def test_a_file_that_we_refuse_is_a_row_with_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "outputs.npz", image=np.ones(3))
    script = "import pathlib, shutil, sys\nshutil.copy('../outputs.npz', sys.argv[1])\n"
    stand_in(tmp_path, monkeypatch, script + "(pathlib.Path(sys.argv[1]) / 'checkpoint').write_bytes(b'no file')")
    (row,) = rows_of(CASE, OriginalsConfig(tmp_path))
    assert row.note.startswith("checkpoint ")
    assert row.refused
    assert row.cells()[-1] == "refused"
    assert originals.OriginalsReport((row,)).summary() == "0 of 0 equal; 1 refused"


def test_programs_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "TORCH_CASES", (CASE,))
    old = dataclasses.replace(CASE, program="old", runs="tensorflow")
    monkeypatch.setattr(originals, "TENSORFLOW_CASES", (old,))
    (tmp_path / "old").mkdir()
    report = run(OriginalsConfig(tmp_path))
    assert report.rows == ()
    assert report.notes == (
        f"Left out, as there is no {tmp_path / 'program'}: {CASE.name}",
        f"Left out, as --tensorflow-python is not given: {old.name}",
    )


def test_a_program_is_run_in_its_folder_and_its_file_is_opened(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = theirs(checkpoint)
    np.savez(tmp_path / "outputs.npz", **found | {"image": found["image"] + 0.5})  # pyright: ignore[reportArgumentType]
    # The program writes what is beside its folder.
    script = "import shutil, sys\nfor name in ('checkpoint', 'outputs.npz'): shutil.copy(f'../{name}', sys.argv[1])"
    stand_in(tmp_path, monkeypatch, script)
    monkeypatch.setattr(originals, "TORCH_CASES", (CASE,))
    monkeypatch.setattr(originals, "TENSORFLOW_CASES", ())
    config = OriginalsConfig(tmp_path, torch_python=Path(sys.executable), markdown=tmp_path / "table.md")
    report = run(config)
    assert [(row.quantity, round(row.difference, 3)) for row in report.rows] == [
        ("w", 0.0),
        ("image", 0.5),
        ("truncated w", 0.0),
        ("truncated image", 0.0),
    ]
    assert report.renderables()[1:] == ["3 of 4 equal; 0 refused"]
    assert "| program | StyleGAN2 | 32 | 0 | image | 5.0e-01 |" in (tmp_path / "table.md").read_text()


def test_rectangles_show_both_sides() -> None:
    case = dataclasses.replace(CASE, aspect=0.5)
    assert OriginalRow(case, "image", 2e-4, 1.0).cells()[2:] == ("32 x 16", "0", "image", "2.0e-04", "1", "NO")
