"""What a run is made of: told by content, kept in its state, and compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.engine.origins import array_signature
from lineament.engine.run_folder import RunFolder
from lineament.errors import ConfigError
from lineament.store.tensors import read_header


@dataclass(frozen=True)
class Settings:
    out: Path


def resume(path: Path, origins: dict[str, str | None]) -> None:
    with RunFolder(path, Settings(path)) as folder:
        folder.check_origins(origins)
        folder.save_state({"x": torch.zeros(1)}, {"step": 1})


def test_a_signature_tells_values_types_and_shapes_apart_not_places(tmp_path: Path) -> None:
    array = np.arange(5000 * 4, dtype=np.uint8).reshape(5000, 2, 2)
    np.save(tmp_path / "a.npy", array)
    assert array_signature(np.load(tmp_path / "a.npy", mmap_mode="r")) == array_signature(array)
    changed = array.copy()
    changed[4999, 1, 1] ^= 1
    others = [changed, array[:, ::-1], array.reshape(5000, 4), array.astype(np.int8), array[:4999]]
    assert len({array_signature(array), *map(array_signature, others)}) == 6
    assert array_signature(array, None) != array_signature(array)


def test_other_data_are_refused_by_name(tmp_path: Path) -> None:
    resume(tmp_path, {"the images": "a" * 64, "the generator": "b" * 64})
    resume(tmp_path, {"the images": "a" * 64, "the generator": "b" * 64})
    with pytest.raises(
        ConfigError, match=r"\(the images: aaaaaaaa before, cccccccc now\); name those it began with"
    ) as said:
        resume(tmp_path, {"the images": "c" * 64, "the generator": "b" * 64})
    assert "the generator" not in str(said.value)
    with pytest.raises(ConfigError, match="the generator: bbbbbbbb before, none now"):
        resume(tmp_path, {"the images": "a" * 64, "the generator": "none"})


def test_a_state_without_origins_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.save_state({"x": torch.ones(1)}, {"step": 7})
    with RunFolder(tmp_path, Settings(tmp_path)) as folder:
        folder.check_origins({"the images": "a" * 64})  # kept at once: a kill must not give another chance
    assert "is taken as made of the images aaaaaaaa" in " ".join(capsys.readouterr().err.split())
    assert read_header(tmp_path / "state.safetensors").header == {"step": 7, "origins": {"the images": "a" * 64}}
    with (
        RunFolder(tmp_path, Settings(tmp_path)) as folder,
        pytest.raises(ConfigError, match="the images: aaaaaaaa"),
    ):
        folder.check_origins({"the images": "b" * 64})
    assert capsys.readouterr().err == ""


def test_what_only_the_start_needs_may_go(tmp_path: Path) -> None:
    resume(tmp_path, {"the start": "a" * 64})
    resume(tmp_path, {"the start": None})
    with pytest.raises(ConfigError, match="the start: aaaaaaaa before, bbbbbbbb now"):
        resume(tmp_path, {"the start": "b" * 64})
