"""Pickles whose values attack: states, arrays, shapes, storages, and costs."""

import struct

import numpy as np
import torch

from tests import foreign_checkpoints as made
from tests.foreign_checkpoints import (
    call,
    dict_of,
    integer,
    integers,
    name,
    pickled,
    storage,
    tensor,
    text,
    tuple_of,
    zipped,
)
from tests.hostile_gadgets import GADGETS
from tests.hostile_registry import PAYLOAD, SHELL, hostile, legacy

# ---- states ----


@hostile("embedded source that runs")
def _() -> bytes:
    return made.nvidia_torch(module_src=f"{PAYLOAD}\n")


@hostile("an object with slots and a hostile state")
def _() -> bytes:
    state = tuple_of(b"N", dict_of(__class__=name("some.module", "Evil")))
    return zipped(dict_of(w=tensor(), o=name("some.module", "C") + b")\x81" + state + b"b"))


@hostile("an object whose state replaces its class")
def _() -> bytes:
    state = dict_of(__class__=name("some.module", "Evil"), __dict__=b"N", __reduce__=b"N")
    return zipped(dict_of(w=tensor(), o=name("some.module", "C") + b")\x81" + state + b"b"))


@hostile("a class with a state that its __setstate__ would run")
def _() -> bytes:
    return zipped(
        dict_of(w=tensor(), o=name("torch.fx_like", "GraphModule") + b")\x81" + dict_of(code=text(PAYLOAD)) + b"b")
    )


@hostile("a module that holds itself")
def _() -> bytes:
    module = name("a", "Net") + b")\x81q\x05" + dict_of(_parameters=b"}", _modules=dict_of(a=b"h\x05")) + b"b"
    return pickled(module)


@hostile("modules shared exponentially")
def _() -> bytes:
    body = name("a", "Net") + b")\x81" + dict_of(_parameters=b"}") + b"b"
    for _ in range(40):
        children = b"q\x010" + dict_of(_parameters=b"}", _modules=dict_of(a=b"h\x01", b=b"h\x01"))
        body += children + b"q\x020" + name("a", "Net") + b")\x81h\x02b"
    return pickled(b"N" + body)


@hostile("a network of a newer persistence")
def _() -> bytes:
    return made.nvidia_torch(version=7)


@hostile("a network of a newer TensorFlow program")
def _() -> bytes:
    return made.nvidia_tensorflow(version=9)


# ---- NumPy ----


def _array(dtype: bytes, shape: bytes, data: bytes, cls: bytes = name("numpy", "ndarray")) -> bytes:
    shell = call("numpy.core.multiarray", "_reconstruct", cls, integers(0), b"C\x01b")
    return shell + tuple_of(integer(1), shape, dtype, b"\x89", data) + b"b"


def _dtype(code: str, *state: bytes) -> bytes:
    whole = state or (integer(3), text("<"), b"N", b"N", b"N", integer(-1), integer(-1), integer(0))
    return call("numpy", "dtype", text(code), b"\x89", b"\x88") + tuple_of(*whole) + b"b"


@hostile("a numpy array of objects")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("O8"), integers(1), b"(" + call("some.module", "f") + b"l")))


@hostile("a numpy array of objects that run code")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("O8"), integers(1), b"(" + GADGETS["os.system"] + b"l")))


@hostile("a numpy array of objects beside the weights")
def _() -> bytes:
    return pickled(
        dict_of(
            g=dict_of(w=_array(_dtype("f4"), integers(1), b"C\x04" + bytes(4))),
            o=_array(_dtype("O8"), integers(1), b"]"),
        )
    )


@hostile("a numpy dtype with metadata")
def _() -> bytes:
    state = (
        integer(4),
        text("<"),
        b"N",
        b"N",
        b"N",
        integer(8),
        integer(8),
        integer(63),
        dict_of(a=GADGETS["os.system"]),
    )
    return pickled(dict_of(w=_array(_dtype("O8", *state), integers(1), b"]")))


@hostile("numpy _reconstruct of another class")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("f4"), integers(1), b"C\x04" + bytes(4), name("numpy", "memmap"))))


@hostile("a numpy shape beyond its bytes")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("f4"), integers(2**40, 2**40), b"C\x04" + bytes(4))))


@hostile("a numpy shape below zero")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("f4"), integers(-1), b"C\x04" + bytes(4))))


@hostile("a numpy array of NaN")
def _() -> bytes:
    return pickled(dict_of(w=_array(_dtype("f4"), integers(1), b"C\x04" + np.float32(np.nan).tobytes())))


# ---- shapes and storages ----


@hostile("a byte expanded to a terabyte")
def _() -> bytes:
    return zipped(dict_of(w=tensor((2**38,), (0,))))


@hostile("an absurd shape")
def _() -> bytes:
    return zipped(dict_of(w=tensor((2**62, 2**62), (1, 1))))


@hostile("an absurd shape of nothing")
def _() -> bytes:
    return zipped(dict_of(w=tensor((0, 2**39, 2**39, 2**39), (1, 1, 1, 1))))


@hostile("an absurd shape in what nobody needs")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), optimizer=dict_of(state=b"(" + tensor((2**62,), (0,)) + b"l")))


@hostile("a negative offset")
def _() -> bytes:
    return zipped(dict_of(w=tensor(offset=-4)))


@hostile("an offset beyond the storage")
def _() -> bytes:
    return zipped(dict_of(w=tensor(offset=1)))


@hostile("a negative stride")
def _() -> bytes:
    return zipped(dict_of(w=tensor((2, 2), (-1, 1))))


@hostile("strides beyond the storage")
def _() -> bytes:
    return zipped(dict_of(w=tensor((2, 2), (3, 1))))


@hostile("a shape of numbers that are none")
def _() -> bytes:
    args = (storage(), integer(0), tuple_of(text("4")), tuple_of(b"\x88"), b"\x89", b"}")
    return zipped(dict_of(w=call("torch._utils", "_rebuild_tensor_v2", *args)))


@hostile("a storage that says more than it has")
def _() -> bytes:
    return zipped(dict_of(w=tensor(numbers=storage(2**40))))


@hostile("a storage that says less than nothing")
def _() -> bytes:
    return zipped(dict_of(w=tensor(numbers=storage(-1))))


@hostile("thousands of tensors on one storage")
def _() -> bytes:
    numbers = {"0": bytes(2**18)}
    entries = {f"w{i}": tensor((2**16,), numbers=storage(2**16)) for i in range(50)}
    return zipped(dict_of(**entries), numbers)


@hostile("an old file with overlapping parts of storages")
def _() -> bytes:
    part = tuple_of(text("1"), integer(3), integer(2**40))
    whole = tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(4), part) + b"Q"
    return legacy(
        dict_of(w=tensor(numbers=whole)), keys=b"(" + text("0") + b"l", tail=struct.pack("<q4f", 4, 1, 2, 3, 4)
    )


@hostile("an old file with another count of numbers")
def _() -> bytes:
    whole = tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(4), b"N") + b"Q"
    return legacy(
        dict_of(w=tensor(numbers=whole)), keys=b"(" + text("0") + b"l", tail=struct.pack("<q4f", 2**60, 1, 2, 3, 4)
    )


@hostile("an old file with one storage listed twice")
def _() -> bytes:
    whole = tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(4), b"N") + b"Q"
    tail = struct.pack("<q4f", 4, 1, 2, 3, 4)
    return legacy(dict_of(w=tensor(numbers=whole)), keys=b"(" + text("0") * 2 + b"l", tail=tail * 2)


@hostile("an old file with bytes after its end")
def _() -> bytes:
    return made.saved({"w": torch.ones(2)}, legacy=True) + b"PK\x03\x04"


@hostile("NaN in a tensor")
def _() -> bytes:
    return made.saved({"g": {"fine": torch.ones(2), "w": torch.tensor([1.0, torch.nan])}})


@hostile("infinity in a half")
def _() -> bytes:
    return made.saved({"w": torch.tensor([1.0, torch.inf], dtype=torch.bfloat16)}, legacy=True)


# ---- costs ----


@hostile("a huge memo index")
def _() -> bytes:
    return zipped(b"Nr\xff\xff\xff\xff0" + dict_of(w=tensor()))


@hostile("a huge integer")
def _() -> bytes:
    return pickled(b"\x8b" + struct.pack("<L", 2**22) + b"\x7f" * 2**22)


@hostile("a huge decimal")
def _() -> bytes:
    return b"I" + b"9" * 2**20 + b"\n."


@hostile("a long of a negative length")
def _() -> bytes:
    return pickled(b"\x8b\xff\xff\xff\xff")


@hostile("deep nesting")
def _() -> bytes:
    return pickled(b"]" * 20_000 + b"a" * 19_999)


@hostile("a dict within a dict without end")
def _() -> bytes:
    return pickled(b"}" + (text("a") + b"}") * 5000 + b"s" * 5000)


@hostile("marks without end")
def _() -> bytes:
    return pickled(b"(" * 20_000)


@hostile("a long list that holds itself beside the weights")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), c=b"]q\x01(h\x01" + b"N" * 150_000 + b"e"))


@hostile("a set for every byte")
def _() -> bytes:
    return pickled(b"\x8f" * 190_000)


@hostile("a set and a memory for every byte")
def _() -> bytes:
    return pickled(b"\x8f\x94" * 95_000)


@hostile("a list that holds itself")
def _() -> bytes:
    return pickled(b"]q\x01h\x01a")


@hostile("a cycle beside the weights")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), c=b"]q\x01h\x01a"))


@hostile("exponential sharing beside the weights")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), c=b"N2\x86" + b"2\x86" * 11))


@hostile("exponential sharing without end beside the weights")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), c=b"N2\x86" + b"2\x86" * 60))


@hostile("a key that takes exponential time to hash")
def _() -> bytes:
    return zipped(b"}(" + text("w") + tensor() + b"N2\x86" + b"2\x86" * 60 + b"Nu")


@hostile("copies of copies")
def _() -> bytes:
    copy = name("builtins", "list") + b"h\x01\x85R"
    return pickled(b"(" + b"N" * 10_000 + b"lq\x010(" + copy * 2000 + b"l")


@hostile("a text encoded again and again")
def _() -> bytes:
    encode = name("_codecs", "encode") + b"(h\x01" + text("latin1") + b"tR"
    return pickled(b"X" + struct.pack("<L", 2**20) + b"a" * 2**20 + b"q\x010(" + encode * 500 + b"l")


@hostile("a frame that lies")
def _() -> bytes:
    return b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN."


@hostile("bytes longer than the file")
def _() -> bytes:
    return b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"."


@hostile("a pickle of protocol 6")
def _() -> bytes:
    return b"\x80\x06N."


@hostile("buffers outside of the file")
def _() -> bytes:
    return b"\x80\x05\x97\x98."


@hostile("no STOP at the end")
def _() -> bytes:
    return b"\x80\x02}"


@hostile("bytes after the STOP")
def _() -> bytes:
    return made.nvidia_torch() + pickled(GADGETS["os.system"])


@hostile("two entries of one key")
def _() -> bytes:
    return zipped(b"}(" + (text("w") + tensor()) * 2 + b"u")


@hostile("an unknown function called beside the weights")
def _() -> bytes:
    return zipped(dict_of(g=dict_of(w=tensor()), f=call("some.module", "run_something", text(SHELL))))


@hostile("a sparse tensor among the weights")
def _() -> bytes:
    sparse = call("torch._utils", "_rebuild_sparse_tensor", b"N", b"N")
    return zipped(dict_of(a=tensor(), b=tensor(), w=sparse))


@hostile("complex numbers")
def _() -> bytes:
    return made.saved({"w": torch.ones(2, dtype=torch.complex64)})
