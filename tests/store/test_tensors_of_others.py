"""Weights of other programs: safetensors yes, anything that could run code no."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lineament.errors import FileFormatError, InputError, StorageError
from lineament.store.tensors import load_foreign_tensors


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


def test_reads_safetensors(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    loaded = load_foreign_tensors(tmp_path / "w.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(Bomb()), b"\xff" * 100, bytes(8)])
def test_refuses_anything_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"is not a safetensors file .*convert the weights to one"):
        load_foreign_tensors(path)


def test_torch_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Bomb()}, tmp_path / "w.pt")
    with pytest.raises(FileFormatError):
        load_foreign_tensors(tmp_path / "w.pt")


def test_truncated(tmp_path: Path) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-10])
    with pytest.raises(FileFormatError):
        load_foreign_tensors(tmp_path / "w")


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_foreign_tensors(tmp_path / "nothing")
    with pytest.raises(StorageError):
        load_foreign_tensors(tmp_path)
