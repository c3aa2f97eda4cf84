"""Names that disks, tables or archives cannot hold as they are."""

import csv
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from lineament.recipes.balance.run import run
from lineament.records.inversion_settings import InversionSettings
from lineament.store.manifest import load_manifest
from tests import balance_world
from tests.balance_world import settings

ODD = (
    "x.png",
    "x.png/y.png",
    "X.png",
    "l" * 300 + ".png",
    "../up.png",
    "c:\\a.png",
    "\x1b[31m.png",
    "noext",
    "é\n.png",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return balance_world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def packed(world: Path, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """The world's images in a zip, the first ones under odd names."""
    files = [path.read_bytes() for path in sorted((world / "images").iterdir())]
    named = dict(zip([*ODD, *(f"{i:03d}.png" for i in range(len(files) - len(ODD)))], files, strict=True))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name, data in named.items():
            archive.writestr(name, data)
    return tmp_path / "in.zip", named


def test_every_original_is_written_whatever_its_name(world: Path, packed, tmp_path: Path) -> None:
    path, named = packed
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("file", "number"), *((name, i) for i, name in enumerate(named))])
    changes = {"labels": tmp_path / "labels.csv", "source": "photographs", "inversion": InversionSettings(steps=1)}
    run(settings(world, tmp_path / "out", images=path, max_variation=0.5, **changes))
    columns, _ = load_manifest(tmp_path / "out" / "manifest.parquet")
    kept = [
        (tmp_path / "out" / f).read_bytes()
        for f, k in zip(columns["file"], columns["kind"], strict=True)
        if k == "original"
    ]
    assert sorted(kept) == sorted(named.values())
    with (tmp_path / "out" / "labels.csv").open(newline="", encoding="utf-8") as handle:
        numbers = {row["file"]: row["number"] for row in csv.DictReader(handle)}
    assert {numbers[f] for f in columns["file"] if f and "originals" in f} == set(map(str, range(len(named))))


def test_shards_take_them_too(world: Path, packed, tmp_path: Path) -> None:
    path, named = packed
    run(settings(world, tmp_path / "out", images=path, shards=1000))
    with tarfile.open(tmp_path / "out" / "shards" / "000000.tar") as shard:
        names = shard.getnames()
        found = {shard.extractfile(name).read() for name in names if name.endswith(".png")}  # pyright: ignore
    assert all(Path(name).suffix in (".png", ".json") for name in names)
    assert set(named.values()) <= found


@pytest.mark.skipif(os.name == "nt", reason="Windows has other names")
def test_names_and_folders_that_are_not_utf8(world: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xfe"))
    folder.mkdir()
    for i, path in enumerate(sorted((world / "images").iterdir())):
        (folder / os.fsdecode(b"%d\xff.png" % i)).write_bytes(path.read_bytes())
    result = run(settings(world, tmp_path / "out", images=folder, max_variation=0.5))
    columns, about = load_manifest(tmp_path / "out" / "manifest.parquet")
    assert about["plan"]["images"] == "in%FE"
    assert columns["source"][0] == "0%FF.png"
    assert result.summary is not None
    assert (tmp_path / "out" / str(columns["file"][0])).is_file()
