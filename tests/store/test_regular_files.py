"""What is no file is refused before it is opened: opening a pipe waits for ever, reading /dev/zero never ends."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lineament.checkpoints.opening import open_generator
from lineament.errors import InputError
from lineament.recipes.inspect_file import run as inspect
from lineament.settings.inspect_file import InspectConfig
from lineament.store.directions import read_directions
from lineament.store.distribution import read_distribution
from lineament.store.foreign.checkpoints import open_checkpoint
from lineament.store.images import ImageSource
from lineament.store.inversions import load_inversions
from lineament.store.labels import read_labels
from lineament.store.manifest import load_manifest
from lineament.store.regular_files import check_regular
from lineament.store.tensors import is_safetensors, load_tensors

if not hasattr(os, "mkfifo"):
    pytest.skip("this system has no pipes among its files", allow_module_level=True)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: inspect(InspectConfig(path)),
        open_generator,
        open_checkpoint,
        lambda path: load_tensors(path, "atlas"),
        load_inversions,
        read_labels,
        read_distribution,
        load_manifest,
        lambda path: read_directions(path, 1, 8),
    ],
)
def test_a_pipe_is_refused_at_once_by_every_reader(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match="is a pipe, expected a file; save its contents in a file"):
        read(path)


def test_a_pipe_of_images_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no ordinary file"):
        ImageSource(tmp_path / "pipe.png")


def test_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("s")
        with pytest.raises(InputError, match="s is a socket"):
            check_regular("s")
    with pytest.raises(InputError, match="/dev/zero is a device"):
        check_regular("/dev/zero")
    assert not is_safetensors("/dev/zero")


def test_files_folders_links_and_missing_ones_pass(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "link", tmp_path, tmp_path / "missing", "no\0name"):
        check_regular(path)
