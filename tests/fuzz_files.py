"""A coverage-guided fuzz of everything that reads files of our own formats, by their structure.

    python -m tests.fuzz_files --minutes 10 --seed 0

Headers and tables are changed value by value and written again, so that what lies behind the first checks is reached.
"""

import copy
import io
import json
import math
import random
from collections.abc import Callable
from typing import Any

import torch

from lineament.store.manifest import need_parquet
from lineament.store.tensors import HEADER_KEY
from tests.fuzzing import LARGEST, File, Subject, damaged_bytes, main
from tests.hostile_registry import OWN
from tests.hostile_safetensors import with_header
from tests.own_files import honest

_TEXTS = (
    "",
    "a" * 300,
    "generator",
    "stylegan1",
    "stylegan3",
    "2025-01-31",
    "\u001b[2J",
    "\u202e",
    "\ud800",
    "../..",
    "9" * 5000,
)
_NUMBERS = (-1, 0, 1, 2, 7, 1000, 2**31, 2**40, 2**60, 2**64, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf)
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1, "C64": 8}


# ---- JSON ----


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every list and table in a value with each of its indices or names."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    for one in waiting:
        keys = one if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def _new_value(rng: random.Random, old: Any) -> Any:
    match rng.randrange(8):
        case 0:
            return rng.choice(_TEXTS)
        case 1 | 2:
            return rng.choice(_NUMBERS)
        case 3:
            return rng.choice((None, True, False, [], {}, [old], {"a": old}, [[]] * 40))
        case 4 if isinstance(old, int | float):
            return rng.choice((-old, old + 1, old - 1, 2 * old, str(old), float(old) if abs(old) < 1e300 else 0))
        case 5 if isinstance(old, str):
            return old[: rng.randrange(len(old) + 1)] + rng.choice(_TEXTS)
        case 6 if isinstance(old, list):
            return rng.choice((old * 2, old[:-1], old[::-1], old * 50))
        case _:
            nested: Any = old
            for _ in range(rng.choice((1, 5, 40))):
                nested = [nested] if rng.random() < 0.5 else {"a": nested}
            return nested


def _change_json(rng: random.Random, value: Any) -> Any:
    """A value with one to three of its parts changed, left out, moved or called otherwise."""
    value = {"": copy.deepcopy(value)}
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, key = rng.choice(_places(value))
        match rng.randrange(5):
            case 0 if place is not value:
                del place[key]
            case 1 if place is not value and isinstance(place, dict):
                place[rng.choice((f"{key}x", *_TEXTS))] = place.pop(key)
            case 2:
                other, name = rng.choice(_places(value))
                place[key] = copy.deepcopy(other[name])
            case _:
                place[key] = _new_value(rng, place[key])
        if "" not in value:
            value = {"": None}
    return value[""]


def _json_bytes(rng: random.Random, data: bytes) -> bytes:
    return json.dumps(_change_json(rng, json.loads(data))).encode("utf-8", "surrogatepass")


def _json_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines()
    lines[rng.randrange(len(lines))] = _json_bytes(rng, rng.choice(lines))
    return b"\n".join(lines)


# ---- tables of tensors ----


def _tensor_file(rng: random.Random, data: bytes) -> bytes:
    """One of our files with another document, or with other tensors whose bytes fit."""
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    metadata = table.pop("__metadata__")
    numbers = bytearray(data[8 + length :])
    match rng.randrange(5):
        case 0 | 1:
            metadata[HEADER_KEY] = json.dumps(_change_json(rng, json.loads(metadata[HEADER_KEY])))
        case 2:
            table = _change_json(rng, table)
        case 3:
            table, numbers = _other_tensors(rng, table, numbers)
        case _:
            at = rng.randrange(len(numbers) or 1)
            numbers[at : at + 8] = rng.choice((b"\xff" * 8, bytes(8), rng.randbytes(8)))[: len(numbers) - at]
    return with_header(
        {"__metadata__": metadata, **table} if isinstance(table, dict) else json.dumps(table).encode(), bytes(numbers)
    )


def _other_tensors(rng: random.Random, table: dict[str, Any], numbers: bytearray) -> tuple[dict[str, Any], bytearray]:
    """The same table with one tensor left out, named otherwise, or of another shape or kind; bytes and offsets fit."""
    parts = {
        name: [entry["dtype"], entry["shape"], numbers[slice(*entry["data_offsets"])]] for name, entry in table.items()
    }
    name = rng.choice(list(parts))
    match rng.randrange(4):
        case 0:
            del parts[name]
        case 1:
            parts[rng.choice((f"{name}.x", "parts.maps", "layer_steps.0", *_TEXTS[:6]))] = parts.pop(name)
        case _:
            parts[name][0] = rng.choice([*_WIDTHS, parts[name][0]])
            shape = parts[name][1] = [*parts[name][1]]
            if rng.random() < 0.5 or not shape:
                shape.insert(rng.randrange(len(shape) + 1), rng.choice((0, 1, 2)))
            else:
                shape[rng.randrange(len(shape))] = rng.choice((0, 1, 3, 5))
            size = _WIDTHS.get(parts[name][0], 4) * math.prod(shape)
            parts[name][2] = (parts[name][2] + bytes(max(size, 0)))[:size]
    made, joined = dict[str, Any](), bytearray()
    for key, (dtype, shape, own) in parts.items():
        made[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(joined), len(joined) + len(own)]}
        joined += own
    return made, joined


# ---- other formats ----


def _manifest(rng: random.Random, data: bytes) -> bytes:
    pyarrow = need_parquet()
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    about = _json_bytes(rng, table.schema.metadata[b"lineament"])
    column = rng.choice(
        (
            [None, None],
            [1, 2],
            ["a" * 1000, ""],
            [b"\xff", b""],
            [[1], []],
            [{"a": 1}, None],
            [math.nan, 1e308],
            [2**63 - 1, 0],
        )
    )
    table = table.set_column(rng.randrange(len(table.columns)), rng.choice(("file", "x", "")), pyarrow.array(column))
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata({"lineament": about}), stream)
    return stream.getvalue()


def _labels(rng: random.Random, data: bytes) -> bytes:
    codec = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    text = list(data.decode(codec, "replace"))
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        text[at:at] = rng.choice(
            (",", ";", "\t", "|", '"', "\n", "\r", "\0", "sep=;\n", "\u2028", "1,5", "a" * 200_000, "")
        )
        del text[rng.randrange(len(text) + 1) :][: rng.choice((0, 1))]
    return "".join(text).encode(rng.choice((codec, "utf-8", "utf-16", "utf-8-sig")), "replace")


def _foreign(rng: random.Random, data: bytes) -> bytes:
    """A state dict with other names, shapes, kinds and settings."""
    try:
        state = torch.load(io.BytesIO(data), weights_only=True)
        names = list(state)
    except Exception:
        return data
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = rng.choice(names)
        match rng.randrange(5):
            case 0:
                state.pop(name, None)
            case 1:
                digits = "".join(rng.choice("0123456789\u0661\u00b2") if c.isdigit() else c for c in name)
                state[rng.choice((digits, f"module.{name}", f"{name}.x", name.upper()))] = state.get(name)
            case 2:
                state[name] = torch.zeros(
                    rng.choice(((), (0,), (1,), (2, 3), (6, 6), (1, 1, 4, 4), (3, 3, 3, 3), (8, 0, 3, 3)))
                )
            case 3 if isinstance(state.get(name), torch.Tensor):
                state[name] = state[name].to(rng.choice((torch.long, torch.half, torch.bool, torch.complex64)))
            case _:
                key = rng.choice(
                    ("img_resolution", "z_dim", "w_dim", "c_dim", "mapping_kwargs", "synthesis_kwargs", "num_layers")
                )
                state[key] = rng.choice(
                    (*_NUMBERS[:10], None, [], {}, "x", {"num_layers": 10**9}, {"channel_base": "x"})
                )
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


_CHANGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    **dict.fromkeys(("tensors", "state", "piece"), _tensor_file),
    **dict.fromkeys(("config", "inputs"), _json_bytes),
    "log": _json_lines,
    "manifest": _manifest,
    "labels": _labels,
    "foreign": _foreign,
}


class OwnFiles(Subject):
    """Files of ours, changed value by value or byte by byte."""

    readers: tuple[str, ...] = (
        "store/*.py",
        "checkpoints/*.py",
        "engine/*.py",
        "records/*.py",
        "recipes/inspect_file.py",
        "networks/layouts/*.py",
    )

    def seeds(self) -> list[File]:
        """Honest files of every format, several times, and the hostile ones that are small."""
        good = [(opener, data) for opener, files in honest().items() for data in files]
        bad = [(opener, maker()) for opener, maker in OWN.values()]
        return 5 * good + [(opener, data) for opener, data in bad if len(data) <= LARGEST]

    def damaged(self, rng: random.Random, pool: list[File]) -> File:
        """A file changed by its structure; byte by byte, if it has none any more."""
        wanted = rng.choice(list(honest()))  # every format as often as any other
        files = [data for opener, data in pool if opener == wanted]
        data = rng.choice(files[-20:] if rng.random() < 0.3 else files)
        if rng.random() < 0.8 and wanted in _CHANGES:
            try:
                return wanted, _CHANGES[wanted](rng, data)
            except Exception:
                pass
        return wanted, damaged_bytes(rng, data, files)


if __name__ == "__main__":
    main(OwnFiles(), __doc__)
