"""Files of safetensors that attack: headers that lie, cost, or contradict themselves."""

import json
import struct
from typing import Any

from tests.hostile_registry import hostile

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def with_header(header: bytes | dict[str, Any], data: bytes = bytes(8), length: int | None = None) -> bytes:
    """A file with this header; ``length`` is what it claims as the header's size."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(**changes: Any) -> bytes:
    """A file of one tensor whose entry is changed."""
    return with_header({"w": _F32 | changes})


for _label, _entry in {
    "offsets below zero": {"data_offsets": [-8, 0]},
    "offsets that fall": {"data_offsets": [8, 0]},
    "offsets beyond the file": {"data_offsets": [0, 2**40]},
    "offsets of 64 bits and more": {"data_offsets": [2**64 - 8, 2**64]},
    "three offsets": {"data_offsets": [0, 4, 8]},
    "offsets that are texts": {"data_offsets": ["0", "8"]},
    "offsets that are fractions": {"data_offsets": [0.0, 8.0]},
    "a shape beyond its bytes": {"shape": [2**40]},
    "a shape that overflows": {"shape": [2**32, 2**32, 2]},
    "a shape of 64 bits": {"shape": [2**63]},
    "a shape below zero": {"shape": [-2]},
    "a shape that is a number": {"shape": 2},
    "a shape of nothing and much": {"shape": [0, 2**62], "data_offsets": [0, 0]},
    "a shape of 70 axes": {"shape": [1] * 70 + [2]},
    "numbers of an unknown kind": {"dtype": "F99"},
    "a kind that is a number": {"dtype": 32},
    "a kind with an escape sequence": {"dtype": "F32\u001b[2J"},
    "an entry that is null": {"dtype": None, "shape": None, "data_offsets": None},
}.items():
    hostile(f"safetensors: {_label}")(lambda entry=_entry: one(**entry))


for _label, _whole in {
    "a header of nothing": lambda: with_header(b""),
    "a header longer than the file": lambda: with_header({"w": _F32}, length=2**20),
    "a header of 2^63 bytes": lambda: with_header({"w": _F32}, length=2**63),
    "a header shorter than it is": lambda: with_header({"w": _F32}, length=9),
    "a header that is a list": lambda: with_header(b"[{}]"),
    "a header that is no text": lambda: with_header(b'{"\xff\xfe": 1}'),
    "a header of half a pair": lambda: with_header(b'{"\\ud800": ' + json.dumps(_F32).encode() + b"}"),
    "a header that nests": lambda: with_header(b'{"w":' * 5000 + b"1" + b"}" * 5000),
    "a header that nests in lists": lambda: with_header(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a header of spaces": lambda: with_header(b"{" + b" " * 2**22 + b"}"),
    "a header with NaN": lambda: with_header(b'{"w": {"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}'),
    "a header with a huge number": lambda: with_header(b'{"w": {"dtype":"F32","shape":[' + b"9" * 10_000 + b"]}}"),
    "one name twice": lambda: with_header(
        b'{"w":' + json.dumps(_F32).encode() + b',"w":' + json.dumps(_F32).encode() + b"}"
    ),
    "tensors that overlap": lambda: with_header({"a": _F32, "b": _F32 | {"data_offsets": [4, 12]}}, bytes(12)),
    "two tensors of the same bytes": lambda: with_header({"a": _F32, "b": _F32}),
    "a hole between tensors": lambda: with_header({"a": _F32, "b": _F32 | {"data_offsets": [12, 20]}}, bytes(20)),
    "bytes after the tensors": lambda: with_header({"a": _F32}, bytes(8) + b"PK\x03\x04"),
    "no tensors": lambda: with_header({"__metadata__": {"a": "b"}}, b""),
    "metadata that is a list": lambda: with_header({"__metadata__": [1], "w": _F32}),
    "metadata that nests": lambda: with_header({"__metadata__": {"a": {"b": "c"}}, "w": _F32}),
    "metadata of megabytes": lambda: with_header({"__metadata__": {"a": "b" * 2**22}, "w": _F32}),
    "a hundred thousand tensors": lambda: with_header(
        {f"w{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(100_000)}, bytes(100_000)
    ),
    "forty thousand empty tensors": lambda: with_header(
        {f"w{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(40_000)}, b""
    ),
    "names of escape sequences": lambda: with_header({"\u001b]0;x\u0007\u202ew": _F32}),
    "a name of a megabyte": lambda: with_header({"w" * 2**20: _F32}),
    "a name that leads out": lambda: with_header({"../../etc/passwd": _F32}),
    "a name of nothing": lambda: with_header({"": _F32}),
    "a pickle as data": lambda: with_header(
        {"w": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}, b"\x80\x02cos\nsystem\n)R."
    ),
    "NaN alone": lambda: with_header({"w": _F32}, b"\xff" * 8),
    "half of a tensor": lambda: with_header({"w": _F32}, bytes(4)),
}.items():
    hostile(f"safetensors: {_label}")(_whole)
