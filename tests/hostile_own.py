"""Files of ours that attack: settings of huge networks, headers that lie, cost, or make no sense."""

import json
from collections.abc import Callable
from typing import Any

from lineament.store.tensors import HEADER_KEY
from tests.foreign_checkpoints import call, pickled, text
from tests.hostile_registry import SHELL, add_own
from tests.hostile_safetensors import with_header
from tests.own_files import honest

_NETWORKS = (
    "generator",
    "discriminator",
    "progressive",
    "decomposer",
    "encoder",
    "judge",
    "atlas",
    "parts",
    "inversions",
)


def _parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Table and document of one of our files, and the bytes of its tensors."""
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    return table, json.loads(table.pop("__metadata__")[HEADER_KEY]), data[8 + length :]


def with_change(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """One of our files after a change of its table of tensors, or of its document."""
    table, document, numbers = _parts(data)
    change(table, document)
    return with_header({"__metadata__": {HEADER_KEY: json.dumps(document)}, **table}, numbers)


def _settings(kind: str, **values: Any) -> Callable[[], bytes]:
    def maker() -> bytes:
        data = honest()["tensors"][_NETWORKS.index(kind)]
        return with_change(data, lambda _, document: document["header"]["config"].update(values))

    return maker


def _header(kind: str, *names: str | int, value: Any) -> Callable[[], bytes]:
    """A file whose header has another value at a place, given by the names that lead to it."""

    def change(_: dict[str, Any], document: dict[str, Any]) -> None:
        place: Any = document["header"]
        for name in names[:-1]:
            place = place[name]
        place[names[-1]] = value

    return lambda: with_change(honest()["tensors"][_NETWORKS.index(kind)], change)


for _kind, _changes in {
    "generator": [
        {"w_dim": 2**60},
        {"w_dim": 16_384},
        {"z_dim": -1},
        {"num_mapping_layers": 10**9},
        {"num_mapping_layers": 1000},
        {"resolution": 2**40},
        {"resolution": 1024},
        {"resolution": "32"},
        {"resolution": True},
        {"channel_base": 2**26},
        {"channel_max": 10**400},
        {"channel_min": -(2**63)},
        {"z_dim": [8]},
        {"unheard_of": 1},
        {"\u001b[2J": 1},
    ],
    "discriminator": [{"resolution": 1024, "channel_max": 16_384}, {"num_std_channels": 2**60}, {"c_dim": 2**60}],
    "progressive": [{"dense_dim": 2**60}, {"image_channels": 2**60}, {"widths": [1] * 10**5}],
    "decomposer": [{"code_dim": 16_384}, {"face_box": [0, 0, 0, 0]}, {"face_box": {}}, {"max_rotation_deg": 1e308}],
    "encoder": [{"num_ws": 2**31}, {"num_ws": 1000, "offset_dim": 16_384}, {"resolution": 2**20}, {"generator": 7}],
    "judge": [{"attributes": "a " * 10**6}, {"hidden_dim": 2**60}, {"channels": 0}],
}.items():
    for _values in _changes:
        add_own("tensors", f"{_kind}: settings {_values!s:.50}", _settings(_kind, **_values))

for _label, _maker in {
    "generator: a family of the future": _header("generator", "family", value="stylegan9"),
    "generator: a family that is a list": _header("generator", "family", value=["stylegan2"]),
    "generator: settings of another family": _header("generator", "family", value="stylegan3"),
    "generator: grown from nothing": _header("generator", "grown_from", value={"pair": "../../etc", "fingerprint": 0}),
    "generator: grown from a list": _header("generator", "grown_from", value=[1]),
    "generator: no settings": _header("generator", "config", value=None),
    "atlas: a billion layers": _header("atlas", "generator", "num_layers", value=10**9),
    "atlas: layers below zero": _header("atlas", "directions", 0, "layers", value=[-1]),
    "atlas: a layer of 10^9": _header("atlas", "directions", 0, "layers", value=[10**9]),
    "atlas: layers that are texts": _header("atlas", "directions", 0, "layers", value=["0"]),
    "atlas: directions that are a number": _header("atlas", "directions", value=3),
    "atlas: ten thousand directions": _header("atlas", "directions", value=[{}] * 10_000),
    "atlas: a direction that is null": _header("atlas", "directions", value=[None, None]),
    "atlas: a calibration of texts": _header("atlas", "directions", 0, "calibration", value=["ab"]),
    "atlas: a calibration of huge numbers": _header("atlas", "directions", 0, "calibration", value=[[10**400, 1]]),
    "atlas: a huge mean": _header("atlas", "directions", 0, "mean", value=10**400),
    "atlas: a range that falls": _header("atlas", "directions", 0, "range_seen", "p1", value=1e9),
    "atlas: a truncation of 10^9": _header("atlas", "truncation", value=1e9),
    "atlas: a date of nonsense": _header("atlas", "created", value="9" * 10_000),
    "atlas: a name of two directions": _header("atlas", "directions", 1, "name", value="yaw"),
    "atlas: parts that are none": _header("parts", "local", value={"parts": [], "scales": {}}),
    "atlas: groups of a billion layers": _header("parts", "local", "layer_groups", value=[[10**9]]),
    "atlas: a scale of zero": _header("parts", "local", "scales", value={"depth": 0.0, "albedo": 1.0}),
    "atlas: a shape of a part missing": _header("parts", "local", "parts", 0, "shape", value={}),
    "inversions: names that are numbers": _header("inversions", "names", value=[1, 2, 3]),
    "inversions: a name twice": _header("inversions", "names", value=["a", "a", "a"]),
    "inversions: a million names": _header("inversions", "names", value=["a"] * 10**6),
    "inversions: reasons that are lists": _header("inversions", "skipped", value={"a": []}),
    "inversions: skipped files in a list": _header("inversions", "skipped", value=[]),
}.items():
    add_own("tensors", _label, _maker)


def _generator() -> bytes:
    return honest()["tensors"][0]


def _document(text: str) -> bytes:
    return with_header({"__metadata__": {HEADER_KEY: text}, "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}})


_HEAD = '{"kind": "generator", "schema_version": %s, "written_by": "1", "header": %s}'

for _label, _maker in {
    "a version of the future": lambda: _document(_HEAD % ("99", "{}")),
    "a version below zero": lambda: _document(_HEAD % ("-1", "{}")),
    "a version of 10^400": lambda: _document(_HEAD % (str(10**400), "{}")),
    "a version of 5000 digits": lambda: _document(_HEAD % ("9" * 5000, "{}")),
    "a version that is true": lambda: _document(_HEAD % ("true", "{}")),
    "a header of NaN": lambda: _document(_HEAD % ("1", '{"config": NaN}')),
    "a header of infinity": lambda: _document(_HEAD % ("1", '{"config": {"w_dim": Infinity}}')),
    "a header of 1e999": lambda: _document(_HEAD % ("1", '{"config": {"w_dim": 1e999}}')),
    "a header that nests": lambda: _document(_HEAD % ("1", '{"a":' * 900 + "1" + "}" * 900)),
    "a header that nests deeply": lambda: _document(_HEAD % ("1", "[" * 10**5 + "]" * 10**5)),
    "a header of empty tables": lambda: _document(_HEAD % ("1", '{"a": [' + ",".join(["{}"] * 10**5) + "]}")),
    "a header of half a pair": lambda: _document(_HEAD % ("1", '{"family": "\\ud800"}')),
    "a header twice": lambda: _document(_HEAD % ("1", "{}") * 2),
    "a header of nothing": lambda: _document(""),
    "a kind of escape sequences": lambda: _document((_HEAD % ("1", "{}")).replace("generator", "\\u001b[2J")),
    "a kind without end": lambda: _document((_HEAD % ("1", "{}")).replace("generator", "g" * 10**5)),
    "a tensor of one more axis": lambda: with_change(
        _generator(), lambda t, d: t["mapping.w_avg"].update(shape=[1, 8])
    ),
    "a tensor of whole numbers": lambda: with_change(_generator(), lambda t, d: t["mapping.w_avg"].update(dtype="I16")),
    "a tensor of complex numbers": lambda: _document(_HEAD % ("1", "{}")).replace(
        b'"U8", "shape": [8]', b'"C64","shape":[1]'
    ),
    "a tensor that is missing": lambda: with_change(_generator(), lambda t, d: t.pop("mapping.w_avg")),
    "a tensor under another name": lambda: with_change(_generator(), lambda t, d: t.update(x=t.pop("mapping.w_avg"))),
    "a tensor named by escape sequences": lambda: with_change(
        _generator(), lambda t, d: t.update({"\u001b[2J": t.pop("mapping.w_avg")})
    ),
    "NaN in a network": lambda: _generator()[:-64] + b"\xff" * 64,
    "half of a network": lambda: _generator()[: len(_generator()) // 2],
    "a pickle under our name": lambda: pickled(call("os", "system", text(SHELL))),
    "a judge named a generator": lambda: with_change(honest()["tensors"][5], lambda t, d: d.update(kind="generator")),
    "an atlas named inversions": lambda: with_change(honest()["tensors"][6], lambda t, d: d.update(kind="inversions")),
}.items():
    add_own("tensors", f"ours: {_label}", _maker)
