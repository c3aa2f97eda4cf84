"""Where hostile files are registered, and what several of them are made of."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.foreign_checkpoints import call, dict_of, pickled, tensor

SHELL = 'touch "$LINEAMENT_CANARY"'
PAYLOAD = "open(__import__('os').environ['LINEAMENT_CANARY'], 'w').close()"

Maker = Callable[[], bytes]
FolderMaker = Callable[[Path], None]
MakerT = TypeVar("MakerT")

CORPUS: dict[str, Maker] = {}
"""Files that claim to be checkpoints of other programs."""

FOLDERS: dict[str, FolderMaker] = {}
"""Folders that claim to hold such a checkpoint."""

OWN: dict[str, tuple[str, Maker]] = {}
"""Files that claim to be Lineament's: the name of what opens them in `tests.own_files.OPENERS`, and their maker."""


def hostile(label: str, into: dict[str, MakerT] = CORPUS) -> Callable[[MakerT], MakerT]:
    """Register a maker of a file or a folder under a name."""

    def add(maker: MakerT) -> MakerT:
        assert label not in into
        into[label] = maker
        return maker

    return add


def add_own(opener: str, label: str, maker: Maker) -> None:
    """Register a file of ours, or one that what is named in `tests.own_files.OPENERS` opens."""
    hostile(label, OWN)((opener, maker))


def load_from_bytes(inner: bytes) -> bytes:
    return call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<L", len(inner)) + inner)


def nested(inner: bytes) -> bytes:
    """A checkpoint as NVIDIA's, whose only tensor's numbers are ``inner``."""
    return pickled(dict_of(w=tensor(numbers=load_from_bytes(inner))))


def legacy(
    body: bytes, keys: bytes = b"]", tail: bytes = b"", *, version: bytes | None = None, info: bytes | None = None
) -> bytes:
    """An old file of ``torch.save``: its pickles in a row, then the numbers."""
    facts = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + (version or pickle.dumps(1001, 2)) + (info or facts)
    return head + pickled(body) + pickled(keys) + tail
