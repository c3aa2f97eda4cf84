from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from lineament.errors import FileFormatError, InputError, VersionError
from lineament.store.manifest import load_manifest, save_manifest

COLUMNS = {"file": ["a", None], "yaw": np.array([1.5, -2.0]), "item": [None, 3], "accepted": [True, False]}


def test_round_trip_with_gaps(tmp_path: Path) -> None:
    save_manifest(tmp_path / "m.parquet", COLUMNS, {"plan": {"seed": 3}})
    columns, facts = load_manifest(tmp_path / "m.parquet")
    assert columns == {"file": ["a", None], "yaw": [1.5, -2.0], "item": [None, 3], "accepted": [True, False]}
    assert facts == {"plan": {"seed": 3}}


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_manifest(tmp_path / name, COLUMNS, {"x": 1, "y": 2} if name == "a" else {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_others_can_read_it(tmp_path: Path) -> None:
    save_manifest(tmp_path / "m.parquet", COLUMNS, {})
    assert pyarrow.parquet.read_table(tmp_path / "m.parquet").column("yaw").to_pylist() == [1.5, -2.0]


@pytest.mark.parametrize("cut", [0, 10, 200, -10])
def test_damaged_files_are_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.parquet"
    save_manifest(path, COLUMNS, {})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileFormatError, match="not a manifest"):
        load_manifest(path)


def test_foreign_missing_and_future_files(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(FileFormatError, match="not a manifest"):
        load_manifest(path)
    with pytest.raises(InputError, match="does not exist"):
        load_manifest(tmp_path / "none.parquet")
    table = pyarrow.table({"a": [1]}).replace_schema_metadata(
        {"lineament": '{"kind": "lineament-manifest", "schema_version": 99}'}
    )
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(VersionError, match="version 99"):
        load_manifest(path)
