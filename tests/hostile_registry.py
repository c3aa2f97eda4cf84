"""Where hostile files are registered, and what several of them are made of."""

import pickle
import struct
from collections.abc import Callable

from tests.foreign_checkpoints import call, dict_of, pickled, tensor

SHELL = 'touch "$LINEAMENT_CANARY"'
PAYLOAD = "open(__import__('os').environ['LINEAMENT_CANARY'], 'w').close()"

Maker = Callable[[], bytes]

CORPUS: dict[str, Maker] = {}


def hostile(label: str) -> Callable[[Maker], Maker]:
    """Register a maker of a file under a name."""

    def add(maker: Maker) -> Maker:
        assert label not in CORPUS
        CORPUS[label] = maker
        return maker

    return add


def load_from_bytes(inner: bytes) -> bytes:
    return call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<L", len(inner)) + inner)


def nested(inner: bytes) -> bytes:
    """A checkpoint as NVIDIA's, whose only tensor's numbers are ``inner``."""
    return pickled(dict_of(w=tensor(numbers=load_from_bytes(inner))))


def legacy(body: bytes, keys: bytes = b"]", tail: bytes = b"") -> bytes:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    info = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    return head + info + pickled(body) + pickled(keys) + tail
