"""Tricks of pickles and archives that made scanners see something else than what the loader runs."""

import io
import pickle
import struct
import tarfile
import zlib

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
from tests.hostile_archives import directory
from tests.hostile_registry import CORPUS, PAYLOAD, SHELL, hostile, legacy

_SYSTEM = call("os", "system", text(SHELL))
_RUN = tuple_of(text(SHELL)) + b"R"


def _raw(value: str) -> bytes:
    return value.encode()


# ---- the same name, written in other ways ----

for _label, _module, _name in (
    ("escapes of Unicode", b"V\\u006f\\u0073\n", b"V\\u0073ystem\n"),
    ("strings of Python 2 with escapes", b"S'\\x6fs'\n", b"S'syste\\x6d'\n"),
    ("short strings of Python 2", b"U\x02os", b"U\x06system"),
    ("long strings of Python 2", b"T\x02\0\0\0os", b"T\x06\0\0\0system"),
    ("texts of eight-byte lengths", b"\x8d" + struct.pack("<Q", 2) + b"os", b"\x8d" + struct.pack("<Q", 6) + b"system"),
    ("decoys popped between", text("os") + text("math") + b"0", text("system") + text("sqrt") + b"0"),
    ("a memory written twice", text("math") + b"q\x010" + text("os") + b"q\x01" + b"0h\x01", text("system")),
    ("memories without numbers", text("os") + b"\x94" + text("system") + b"\x940h\x000" + b"h\x000", b"h\x01"),
    ("a memory of a huge index", text("os") + b"r\xfe\xff\xff\x7f0j\xfe\xff\xff\x7f", text("system")),
    ("a memory in decimal", text("os") + b"p17\n0g17\n", text("system")),
    ("a doubled value", text("system") + b"q\x050" + text("os") + b"20" + b"2" + b"0", b"h\x05"),
    ("marks dropped between", text("os") + b"((11", text("system")),
    ("a frame around each", b"\x95" + struct.pack("<Q", 7) + text("os"), text("system")),
):
    CORPUS[f"a name by {_label}"] = lambda module=_module, name=_name: (
        b"\x80\x04" + module + name + b"\x93" + _RUN + b"."
    )

CORPUS |= {
    "a name by INST of Python 2": lambda: b"(S'" + _raw(SHELL) + b"'\ni__builtin__\neval\n.",
    "a name with a line feed of Windows": lambda: b"cos\r\nsystem\r\n" + _RUN + b".",
    "a module that is bytes": lambda: b"\x80\x04C\x02os" + text("system") + b"\x93" + _RUN + b".",
    "a module that is a number": lambda: b"\x80\x04K\x01" + text("system") + b"\x93.",
    "a module from a call": lambda: (
        b"\x80\x04" + call("builtins", "str", text("os")) + text("system") + b"\x93" + _RUN + b"."
    ),
    "a name hidden by rot13": lambda: (
        b"\x80\x04" + call("_codecs", "encode", text("bf"), text("rot13")) + text("system") + b"\x93" + _RUN + b"."
    ),
    "a memory that was never written": lambda: pickled(b"h\x63"),
    "a memory of a negative index": lambda: pickled(b"Np-1\ng-1\n"),
    "a name of 100,000 letters": lambda: pickled(name("a" * 100_000, "b") + b")R"),
    "a name of dots alone": lambda: b"\x80\x04" + text("torch") + text("...") + b"\x93)R.",
}

# ---- what is done with a value ----


@hostile("a state for a module")
def _() -> bytes:
    return pickled(name("torch", "_utils") + dict_of(builtins=name("a", "b")) + b"b")


@hostile("items set into a list")
def _() -> bytes:
    return pickled(b"]" + text("k") + b"Ns")


@hostile("items set into a tensor")
def _() -> bytes:
    return zipped(tensor() + integer(0) + integer(1) + b"s")


@hostile("items set into a name")
def _() -> bytes:
    return zipped(name("torch", "nn") + b"(" + text("Module") + name("a", "b") + b"u")


@hostile("elements appended to a storage")
def _() -> bytes:
    return zipped(storage() + b"Na")


@hostile("elements added to a tuple")
def _() -> bytes:
    return pickled(b")(N\x90")


@hostile("a tensor's hooks that run")
def _() -> bytes:
    args = (storage(), integer(0), integers(4), integers(1), b"\x89", dict_of(hook=_SYSTEM))
    return zipped(dict_of(w=call("torch._utils", "_rebuild_tensor_v2", *args)))


@hostile("a parameter whose state runs")
def _() -> bytes:
    return zipped(dict_of(w=call("torch._utils", "_rebuild_parameter_with_state", tensor(), b"\x88", b"}", _SYSTEM)))


@hostile("a type of tensors that is a function")
def _() -> bytes:
    made_by = call(
        "torch._tensor", "_rebuild_from_type_v2", name("os", "system"), name("torch", "Tensor"), _RUN[:-1], b"}"
    )
    return zipped(dict_of(w=made_by))


@hostile("a tensor rebuilt from a text")
def _() -> bytes:
    return zipped(
        dict_of(w=call("torch._utils", "_rebuild_tensor_v2", text("x"), integer(0), integers(4), integers(1)))
    )


@hostile("a parameter of a parameter of nothing")
def _() -> bytes:
    return zipped(
        dict_of(w=call("torch._utils", "_rebuild_parameter", call("torch._utils", "_rebuild_parameter", b"N")))
    )


@hostile("numbers loaded from a text")
def _() -> bytes:
    return pickled(dict_of(w=tensor(numbers=call("torch.storage", "_load_from_bytes", text(PAYLOAD)))))


@hostile("a default dict with a factory that runs")
def _() -> bytes:
    return pickled(call("collections", "defaultdict", name("os", "system"), b"}"))


@hostile("a payload before a broken instruction")  # nullifAI: scanners gave up, the loader had run it
def _() -> bytes:
    return b"\x80\x04" + _SYSTEM + b"\xff\xff\xff"


@hostile("a payload after a broken instruction")
def _() -> bytes:
    return b"\x80\x04\xff" + _SYSTEM + b"."


@hostile("a payload after an honest pickle's end")
def _() -> bytes:
    return pickled(dict_of(a=b"N")) + pickled(_SYSTEM)


@hostile("invalid bytes in a text before a payload")
def _() -> bytes:
    return b"\x80\x02X\x01\0\0\0\xff0" + _SYSTEM + b"."


# ---- old files ----


@hostile("a magic number that is computed")
def _() -> bytes:
    return pickled(call("__builtin__", "eval", text("0x1950a86a20f9469cfc6c"))) + legacy(_SYSTEM)[14:]


@hostile("a magic number of two bytes more")
def _() -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C << 16, 2) + legacy(_SYSTEM)[15:]


@hostile("a payload in an old file's version")
def _() -> bytes:
    return legacy(b"}", version=pickled(_SYSTEM))


@hostile("a payload in an old file's sizes of types")
def _() -> bytes:
    return legacy(b"}", info=pickled(_SYSTEM))


@hostile("an old file of a version that is true")
def _() -> bytes:
    return legacy(b"}", version=pickled(b"\x88"))


@hostile("an old file in big-endian order")
def _() -> bytes:
    return legacy(b"}", info=pickle.dumps({"little_endian": False}, 2))


@hostile("a module with source in an old file")
def _() -> bytes:
    source = tuple_of(text("module"), name("os", "system"), text("f.py"), text(PAYLOAD)) + b"Q"
    return legacy(dict_of(m=source + tuple_of(text(SHELL)) + b"R"))


@hostile("the oldest format, a tar of pickles")  # CVE-2025-32434: loaded by torch without its limits
def _() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry in ("sys_info", "pickle", "storages", "tensors"):
            data = pickled(_SYSTEM)
            about = tarfile.TarInfo(entry)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return stream.getvalue()


# ---- archives ----


@hostile("a 7z archive of a pickle")  # nullifAI
def _() -> bytes:
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24) + pickled(_SYSTEM)


@hostile("a RAR archive of a pickle")
def _() -> bytes:
    return b"Rar!\x1a\x07\x01\x00" + bytes(24) + pickled(_SYSTEM)


@hostile("bzip2 of a pickle")
def _() -> bytes:
    return b"BZh91AY&SY" + pickled(_SYSTEM)


@hostile("a pickle compressed as zlib")
def _() -> bytes:
    return zlib.compress(pickled(_SYSTEM))


for _bit in (0x1, 0x20, 0x40, 0x2000):  # CVE-2025-1945: a scanner's zip reader failed, PyTorch's ignores the bits

    @hostile(f"a payload under the zip flag {_bit:#x}")
    def _(bit: int = _bit) -> bytes:
        whole = bytearray(zipped(_SYSTEM))
        for at in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
            whole[at : at + 2] = struct.pack("<H", bit)
        return bytes(whole)


@hostile("a payload with a wrong checksum")  # CVE-2025-10156
def _() -> bytes:
    whole = bytearray(zipped(_SYSTEM))
    for at in (whole.index(b"PK\x03\x04") + 14, whole.index(b"PK\x01\x02") + 16):
        whole[at : at + 4] = b"\x00\xde\xad\x00"
    return bytes(whole)


@hostile("another name in the entry than in the directory")  # CVE-2025-1944
def _() -> bytes:
    return zipped(_SYSTEM).replace(b"archive/data.pkl", b"archive/data.txt", 1)


@hostile("another name in the directory than in the entry")
def _() -> bytes:
    whole = bytearray(zipped(_SYSTEM))
    at = directory(whole, "archive/data.pkl") + 46
    whole[at : at + 16] = b"archive/data.txt"
    return bytes(whole)


@hostile("other sizes in the entry than in the directory")
def _() -> bytes:
    whole = bytearray(zipped(_SYSTEM))
    at = whole.index(b"PK\x03\x04") + 18
    whole[at : at + 8] = struct.pack("<2L", 1, 1)
    return bytes(whole)


@hostile("a zip directory within another archive's comment")
def _() -> bytes:
    outer, inner = zipped(dict_of(w=tensor())), zipped(_SYSTEM)
    return outer[:-2] + struct.pack("<H", len(inner)) + inner


@hostile("an archive within an archive")
def _() -> bytes:
    return zipped(dict_of(w=tensor(numbers=storage(count=100))), {"0": zipped(_SYSTEM)[:400]})


@hostile("two archives in a row")
def _() -> bytes:
    return zipped(dict_of(w=tensor())) + zipped(_SYSTEM)


@hostile("a 64-bit end that is elsewhere")
def _() -> bytes:
    whole = zipped(dict_of(w=tensor()))
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 2**62, 1)
    return whole[:-22] + locator + whole[-22:]


@hostile("an entry of a 64-bit size without end")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = directory(whole, "archive/data/0")
    whole[at + 20 : at + 28] = b"\xff" * 8
    return bytes(whole)


@hostile("an entry whose name is not text")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"archive/__": b"x"}).replace(b"archive/__", b"archive/\xff\xfe")


@hostile("an entry whose name has a zero")
def _() -> bytes:
    return zipped(_SYSTEM).replace(b"archive/data.pkl", b"archive/data\0pkl")


@hostile("an entry whose name turns the writing")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"archive/\u202elkp": b"x"})


@hostile("an entry that is its own directory")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = directory(whole, "archive/data/0")
    whole[at + 42 : at + 46] = struct.pack("<L", whole.index(b"PK\x01\x02"))
    return bytes(whole)


@hostile("a quoted overlap of deflated entries")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor()), {"0": bytes(2**16), "1": bytes(2**16)}, method=8))
    one, two = directory(whole, "archive/data/0"), directory(whole, "archive/data/1")
    whole[two + 42 : two + 46] = whole[one + 42 : one + 46]
    return bytes(whole)


@hostile("a second pickle of another name")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"archive/evil.pkl": pickled(_SYSTEM), "archive/.format_version": b"1"})


@hostile("a pickle in place of numbers")
def _() -> bytes:
    data = pickled(_SYSTEM)
    data += bytes(-len(data) % 4)
    count = len(data) // 4
    return zipped(dict_of(w=tensor((count,), numbers=storage(count))), {"0": data})


@hostile("an archive version that is no number")
def _() -> bytes:
    return zipped(dict_of(w=tensor())).replace(b"3\n", b"x\n")


@hostile("an archive version of many digits")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"archive/.data/version": b"9" * 5000}).replace(b"3\n", b"99")


@hostile("a model of ONNX with data elsewhere")
def _() -> bytes:
    return b"\x08\x07\x12\x07pytorch\x3a\x20location\x12\x12../../../etc/passwd"


@hostile("a model of Keras with a Lambda")
def _() -> bytes:
    return zipped(b"N").replace(b"archive/data.pkl", b"arch/config.json")


@hostile("a pickle that is also a picture")
def _() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + pickled(_SYSTEM)


@hostile("a pickle that is also an archive")
def _() -> bytes:
    return pickled(_SYSTEM) + zipped(dict_of(w=tensor()))


@hostile("embedded source of TensorFlow")
def _() -> bytes:
    return made.nvidia_tensorflow().replace(made.SOURCE.encode()[:8], b"exec(1)#", 1)
