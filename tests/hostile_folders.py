"""Folders given as a checkpoint that lead out, turn in circles, or hold what is no file."""

import os
from pathlib import Path

from tests import foreign_checkpoints as made
from tests.foreign_checkpoints import call, dict_of, pickled, storage, tensor, text
from tests.hostile_registry import FOLDERS, SHELL, hostile


def _unpacked(folder: Path, body: bytes = dict_of(w=tensor())) -> Path:
    (folder / "data").mkdir()
    (folder / "data.pkl").write_bytes(pickled(body))
    (folder / "data" / "0").write_bytes(bytes(16))
    return folder


@hostile("a pickle that is a pipe", FOLDERS)
def _(folder: Path) -> None:
    (folder / "data").mkdir()
    os.mkfifo(folder / "data.pkl")


@hostile("a checkpoint that is a pipe", FOLDERS)
def _(folder: Path) -> None:
    os.mkfifo(folder / "network.pt")


@hostile("numbers that are a pipe", FOLDERS)
def _(folder: Path) -> None:
    (_unpacked(folder) / "data" / "0").unlink()
    os.mkfifo(folder / "data" / "0")


@hostile("numbers that are a device without end", FOLDERS)
def _(folder: Path) -> None:
    (_unpacked(folder) / "data" / "0").unlink()
    (folder / "data" / "0").symlink_to("/dev/zero")


@hostile("a checkpoint that is a link to itself", FOLDERS)
def _(folder: Path) -> None:
    (folder / "network.pt").symlink_to("network.pt")


@hostile("a checkpoint that is a link to nothing", FOLDERS)
def _(folder: Path) -> None:
    (folder / "network.pt").symlink_to("../nothing/at/all.pt")


@hostile("a checkpoint that is a link to a device", FOLDERS)
def _(folder: Path) -> None:
    (folder / "network.pt").symlink_to("/dev/zero")


@hostile("snapshots that hold themselves", FOLDERS)
def _(folder: Path) -> None:
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "main").symlink_to("../")


@hostile("snapshots within snapshots", FOLDERS)
def _(folder: Path) -> None:
    folder.joinpath(*["snapshots", "a"] * 200).mkdir(parents=True)


@hostile("snapshots that are files", FOLDERS)
def _(folder: Path) -> None:
    (folder / "snapshots").write_bytes(b"x")


@hostile("a snapshot that is a file", FOLDERS)
def _(folder: Path) -> None:
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "main").write_bytes(b"x")


@hostile("a snapshot that leads to nothing", FOLDERS)
def _(folder: Path) -> None:
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "main").symlink_to("../blobs/none")


@hostile("an unpacked archive in a circle", FOLDERS)
def _(folder: Path) -> None:
    (_unpacked(folder) / "data" / "again").symlink_to("../", target_is_directory=True)


@hostile("an unpacked archive that runs", FOLDERS)
def _(folder: Path) -> None:
    _unpacked(folder, call("os", "system", text(SHELL)))


@hostile("an unpacked archive whose numbers lie elsewhere", FOLDERS)
def _(folder: Path) -> None:
    _unpacked(folder, dict_of(w=tensor(numbers=storage(key="../../../../etc/hostname"))))


@hostile("an unpacked archive with a program", FOLDERS)
def _(folder: Path) -> None:
    (_unpacked(folder) / "code").mkdir()
    (folder / "code" / "__torch__.py").write_bytes(b"x")


@hostile("a name that is no text", FOLDERS)
def _(folder: Path) -> None:
    (_unpacked(folder) / "data" / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")


@hostile("two unpacked archives", FOLDERS)
def _(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        _unpacked(folder / name)


@hostile("a folder under a checkpoint's name", FOLDERS)
def _(folder: Path) -> None:
    (folder / "network.pkl").mkdir()


@hostile("thousands of checkpoints", FOLDERS)
def _(folder: Path) -> None:
    for i in range(3000):
        (folder / f"{i}.pt").touch()


@hostile("an index of diffusers beside a pickle", FOLDERS)
def _(folder: Path) -> None:
    (folder / "model_index.json").write_bytes(b"{")
    (folder / "network.pkl").write_bytes(made.nvidia_torch())


@hostile("nothing in a folder", FOLDERS)
def _(folder: Path) -> None:
    (folder / ".hidden.pt").write_bytes(b"x")
