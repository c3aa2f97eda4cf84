"""Tables, texts, directions and files of runs that attack: they cost, overflow, nest, or are of other types."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import torch

from tests.foreign_checkpoints import call, dict_of, pickled, saved, tensor, text, zipped
from tests.hostile_own import with_change
from tests.hostile_registry import SHELL, add_own
from tests.own_files import honest

# ---- tables and texts ----


def _parquet(table: dict[str, Any], about: str | None = '{"kind": "lineament-manifest", "schema_version": 1}') -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    made = pyarrow.table(table).replace_schema_metadata({"lineament": about} if about is not None else None)
    pyarrow.parquet.write_table(made, stream, compression="zstd")
    return stream.getvalue()


def _moments() -> Any:
    import pyarrow

    return pyarrow.array([2**62], pyarrow.timestamp("us"))


for _label, _maker in {
    "a manifest of ten million equal rows": lambda: _parquet({"a": np.zeros(10**7, np.int8)}),
    "a manifest of one long text again and again": lambda: _parquet({"a": ["x" * 10**5] * 1000}),
    "a manifest of a date beyond the calendar": lambda: _parquet({"a": _moments()}),
    "a manifest of a version of nonsense": lambda: _parquet(
        {"a": [1]}, '{"kind":"lineament-manifest","schema_version":1e999}'
    ),
    "a manifest of facts that nest": lambda: _parquet({"a": [1]}, "[" * 10**5),
    "a manifest of facts that are a list": lambda: _parquet({"a": [1]}, "[]"),
    "a manifest without facts": lambda: _parquet({"a": [1]}, None),
    "a manifest without its end": lambda: _parquet({"a": [1]})[:-4],
    "a manifest of a huge footer": lambda: _parquet({"a": [1]})[:-8] + b"\xff\xff\xff\x7fPAR1",
}.items():
    add_own("manifest", _label, _maker)

for _label, _maker in {
    "labels of no text": lambda: b"\xff\xfe\x00\xd8",
    "labels of zeros": lambda: b"file,a\n\0\0\0,1\n",
    "labels of one long cell": lambda: b'file,a\nx,"' + b"y" * 200_000 + b'"\n',
    "labels of an open quote": lambda: b'file,a\n"x,1\n',
    "labels of commas alone": lambda: b"," * 10**5 + b"\n" + b",",
    "labels of a byte order alone": lambda: b"\xff\xfe",
    "labels that name no delimiter": lambda: b"sep=\n\n",
    "labels that name a delimiter of Unicode": lambda: "sep=\u00df\nfile\u00dfa\nb\u00df1\n".encode(),
    "labels that name a quote as delimiter": lambda: b'sep="\nfile"a\nb"1\n',
    "labels of headings alone": lambda: b"file,a\n",
    "labels of a pickle": lambda: pickled(call("os", "system", text(SHELL))),
}.items():
    add_own("labels", _label, _maker)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _npz(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ())


for _label, _maker in {
    "directions: an array of objects": lambda: _npy(np.array([_Runs()], object)),
    "directions: a shape beyond the file": lambda: _npy_header(
        "{'descr':'<f4','fortran_order':False,'shape':(1099511627776,5)}\n"
    ),
    "directions: a shape that overflows": lambda: _npy_header(
        "{'descr':'<f4','fortran_order':False,'shape':(9223372036854775807,9)}\n"
    ),
    "directions: a shape below zero": lambda: _npy_header("{'descr':'<f4','fortran_order':False,'shape':(-1,5)}\n"),
    "directions: a header that is a program": lambda: _npy_header("__import__('os').system('true')\n"),
    "directions: a header that nests": lambda: _npy_header("(" * 9000 + ")" * 9000),
    "directions: a kind of a thousand fields": lambda: _npy_header(
        "{'descr':[" + ",".join(f"('a{i}','<f4')" for i in range(1000)) + "],'fortran_order':False,'shape':(1,)}\n"
    ),
    "directions: a bomb of zeros": lambda: _npz(
        lat_comp=_npy(np.zeros((2**21, 5), np.float32)), lat_stdev=_npy(np.ones(1))
    ),
    "directions: objects in an archive": lambda: _npz(
        lat_comp=_npy(np.array([_Runs()], object)), lat_stdev=_npy(np.ones(1))
    ),
    "directions: NaN": lambda: _npy(np.full((1, 5), np.nan)),
    "directions: texts": lambda: _npy(np.array([["a"] * 5])),
    "directions: dates": lambda: _npy(np.array([["2020-01-01"] * 5], "datetime64[s]")),
    "directions: a huge tensor of one number": lambda: zipped(tensor((2**31, 5), (0, 0))),
    "directions: layers that are texts": lambda: saved(
        {"lat_comp": torch.ones(1, 1, 5), "lat_stdev": 1.0, "edit_start": "0"}
    ),
    "directions: layers without end": lambda: saved(
        {"lat_comp": torch.ones(1, 1, 5), "lat_stdev": 1.0, "edit_start": -(2**62), "edit_end": 2**62}
    ),
    "directions: a payload": lambda: zipped(dict_of(comp=tensor(), std=call("os", "system", text(SHELL)))),
}.items():
    add_own("directions", _label, _maker)

for _label, _maker in {
    "a config that nests": lambda: b'{"a":' * 900 + b"1" + b"}" * 900,
    "a config that nests in lists": lambda: b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    "a config that is a list": lambda: b"[]",
    "a config that is no text": lambda: b'{"out": "\xff\xfe"}',
    "a config of NaN": lambda: b'{"steps": NaN, "rate": Infinity}',
    "a config of half a number": lambda: b'{"steps": 1',
    "a config of many digits": lambda: b'{"rate": ' + b"9" * 5000 + b"}",
    "a config of escape sequences": lambda: b'{"\\u001b[2J": "\\u001b]0;x\\u0007", "\\ud800": 1}',
    "a config of settings without end": lambda: json.dumps({f"x{i}": i for i in range(50_000)}).encode(),
}.items():
    add_own("config", _label, _maker)

for _label, _maker in {
    "a log that is no text": lambda: b'\xff\xfe{"step": 1}\n',
    "a log that nests": lambda: b'{"step": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n",
    "a log of steps that are texts": lambda: b'{"step": "1"}\n{"step": null}\n[1]\n7\n',
    "a log of NaN and many digits": lambda: b'{"step": NaN}\n{"step": ' + b"9" * 5000 + b"}\n",
    "a log without lines": lambda: b"\0" * 10**5,
}.items():
    add_own("log", _label, _maker)


def _file(opener: str, header: Any) -> bytes:
    return with_change(honest()[opener][0], lambda table, document: document.update(header=header))


for _opener, _label, _header_ in (
    ("state", "a state without a step", {}),
    ("state", "a state of a step that is a text", {"step": "1"}),
    ("state", "a state of origins that are a list", {"step": 1, "origins": [1]}),
    ("state", "a state of origins that are tables", {"step": 1, "origins": {"the images": {"a": 1}}}),
    ("state", "a state of a huge step", {"step": 10**400}),
    ("piece", "a piece without facts", {}),
    ("piece", "a piece of another header", {"fact": [1]}),
):
    add_own(_opener, _label, lambda opener=_opener, header=_header_: _file(opener, header))

for _label, _maker in {
    "inputs that nest": lambda: b"[" * 10**5,
    "inputs that are a list": lambda: b"[1, 2]",
    "inputs that are a number": lambda: b"7",
    "inputs that are no text": lambda: b"\xff\xfe",
    "inputs of pairs": lambda: b'[["the generator", {"a": 1}], ["x", 2]]',
}.items():
    add_own("inputs", _label, _maker)
