import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from lineament.checkpoints.ours import network_fingerprint
from lineament.directions.calibrate import calibration_slope
from lineament.engine.console import number
from lineament.errors import FileFormatError, InputError, VersionError
from lineament.recipes.inspect_file import run
from lineament.settings.inspect_file import InspectConfig
from lineament.store.tensors import save_tensors


def text_of(inspection) -> str:
    console = Console(file=StringIO(), width=200)
    for part in inspection.renderables():
        console.print(part)
    return console.file.getvalue()


def test_a_network_shows_its_settings_origin_and_fingerprint(tiny_files, tiny_networks):
    inspection = run(InspectConfig(tiny_files / "generator.safetensors"))
    assert inspection.facts["fingerprint"] == network_fingerprint(tiny_networks[0])
    assert inspection.facts["config.resolution"] == "64"
    assert inspection.facts["provenance.kimg"] == "0"
    assert "stylegan2" in text_of(inspection)


def test_an_atlas_shows_all_its_directions(tiny_files, tiny_atlas):
    text = text_of(run(InspectConfig(tiny_files / "atlas.safetensors")))
    for direction in tiny_atlas.directions:
        assert direction.name in text
        assert direction.sign in text
    assert "100 for the fit, 50 held out" in text
    assert calibration_slope(tiny_atlas.directions[0]) == pytest.approx(0.8)


def test_a_run_folder_shows_settings_log_and_files(tiny_files, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 7, "network": {"resolution": 64}}))
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "time": 5}\n{"st')
    (tmp_path / "atlas.safetensors").write_bytes((tiny_files / "atlas.safetensors").read_bytes())
    (tmp_path / "[red]broken.safetensors").write_bytes(b"nothing")
    text = text_of(run(InspectConfig(tmp_path)))
    for expected in ("network.resolution", "7", "2.5", "atlas", "[red]broken.safetensors", "damaged or foreign"):
        assert expected in text


def test_unknown_kinds_of_ours_are_shown_too(tmp_path):
    save_tensors(
        tmp_path / "a.safetensors", {"x": np.zeros(3)}, kind="latents", schema_version=1, header={"note": "hi"}
    )
    assert run(InspectConfig(tmp_path / "a.safetensors")).facts["note"] == "hi"


def test_what_is_not_ours_ends_as_an_error(tiny_files, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        run(InspectConfig(tmp_path / "missing.safetensors"))
    with pytest.raises(InputError, match="not a run folder"):
        run(InspectConfig(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileFormatError, match="not readable JSON"):
        run(InspectConfig(tmp_path))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tiny_files / "atlas.safetensors").read_bytes()[:-9])
    with pytest.raises(FileFormatError, match="truncated"):
        run(InspectConfig(cut))
    save_tensors(tmp_path / "new.safetensors", {"x": np.zeros(3)}, kind="generator", schema_version=99, header={})
    with pytest.raises(VersionError, match="upgrade"):
        run(InspectConfig(tmp_path / "new.safetensors"))


@pytest.mark.parametrize(
    ("value", "text"), [(123.4, "123"), (12.34, "12.3"), (-1.234, "−1.23"), (0.01234, "0.012"), (-0.0001, "0.000")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text
