import json
import tarfile
import warnings
from pathlib import Path

import pytest

from lineament.store.shards import write_shard

SAMPLES = [("000", {"png": b"one", "json": b'{"yaw": 3}'}), ("001", {"jpg": b"two", "json": b"{}"})]


def test_a_shard_is_a_plain_tar_without_time_or_owner(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(tmp_path / "a.tar") as shard:
        entries = shard.getmembers()
        assert [entry.name for entry in entries] == ["000.json", "000.png", "001.jpg", "001.json"]
        assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) for entry in entries} == {
            (0, 0, 0, "", 0o444)
        }
        handle = shard.extractfile("000.png")
        assert handle is not None
        assert handle.read() == b"one"


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, SAMPLES)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_webdataset_reads_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        webdataset = pytest.importorskip("webdataset")
        write_shard(tmp_path / "a.tar", SAMPLES)
        found = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == ["000", "001"]
    assert found[0]["png"] == b"one"
    assert json.loads(found[0]["json"]) == {"yaw": 3}
