"""Archives that attack, halves of files, and files that are something else."""

import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np

from tests import foreign_checkpoints as made
from tests.foreign_checkpoints import dict_of, integer, pickled, storage, tensor, text, zipped
from tests.hostile_gadgets import GADGETS
from tests.hostile_registry import CORPUS, PAYLOAD, hostile

# ---- archives ----


@hostile("a zip bomb")
def _() -> bytes:
    size = 2**25
    return zipped(
        dict_of(w=tensor((size,), numbers=storage(size, kind="ByteStorage"))),
        {"0": bytes(size)},
        method=zipfile.ZIP_DEFLATED,
    )


@hostile("a zip bomb for a pickle")
def _() -> bytes:
    return zipped(b"]" * 2**24 + b"0" * 2**24, method=zipfile.ZIP_DEFLATED)


def _patched(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new, count)


def directory(data: bytearray, entry: str) -> int:
    """Where the central directory describes an entry."""
    return data.rindex(entry.encode()) - 46


@hostile("a deflated entry that lies about its size")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor()), {"0": bytes(2**20)}, method=zipfile.ZIP_DEFLATED))
    at = directory(whole, "archive/data/0")
    whole[at + 24 : at + 28] = struct.pack("<L", 16)
    return bytes(whole)


@hostile("entries that overlap")
def _() -> bytes:
    inner = zipped(dict_of(w=tensor()), {"1": bytes(16)})
    header = inner[inner.index(b"archive/data/1") - 30 :][: 30 + 14 + 16]
    whole = bytearray(zipped(dict_of(w=tensor()), {"0": header, "1": bytes(16)}))
    at = directory(whole, "archive/data/1")
    whole[at + 42 : at + 46] = struct.pack("<L", whole.index(header))
    return bytes(whole)


@hostile("two entries of one name")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), {"0": bytes(16), "1": bytes(16)}).replace(b"archive/data/1", b"archive/data/0")


@hostile("a path out of the archive")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"../../lineament-canary": b"x"})


@hostile("an absolute path in the archive")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"/tmp/lineament-canary": b"x"})


@hostile("a path of Windows in the archive")
def _() -> bytes:
    return _patched(zipped(dict_of(w=tensor()), extra={"a__b": b"x"}), b"a__b", b"a\\\\b")


@hostile("an encrypted entry")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = whole.index(b"PK\x01\x02")
    whole[at + 8] |= 1
    return bytes(whole)


@hostile("an entry packed in an unknown way")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), method=zipfile.ZIP_LZMA)


@hostile("a zip directory of billions of entries")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = whole.rindex(b"PK\x05\x06")
    whole[at + 8 : at + 12] = b"\xfe\xff\xfe\xff"
    return bytes(whole)


@hostile("a zip directory beyond the file")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = whole.rindex(b"PK\x05\x06")
    whole[at + 16 : at + 20] = b"\xff\xff\xff\x7f"
    return bytes(whole)


@hostile("an entry beyond the file")
def _() -> bytes:
    whole = bytearray(zipped(dict_of(w=tensor())))
    at = whole.index(b"PK\x01\x02")
    whole[at + 20 : at + 28] = struct.pack("<2L", 2**30, 2**30)
    return bytes(whole)


@hostile("a zip archive after other bytes")
def _() -> bytes:
    return b"PK\x03\x04" + bytes(100) + zipped(dict_of(w=tensor()))


@hostile("a zip comment")
def _() -> bytes:
    whole = zipped(dict_of(w=tensor()))
    return whole[:-2] + struct.pack("<H", 4) + b"evil"


@hostile("two pickles in an archive")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"other/data.pkl": pickled(GADGETS["os.system"])})


@hostile("a TorchScript program")
def _() -> bytes:
    return zipped(
        dict_of(w=tensor()), extra={"archive/constants.pkl": b"N.", "archive/code/__torch__.py": PAYLOAD.encode()}
    )


@hostile("big-endian numbers")
def _() -> bytes:
    return zipped(dict_of(w=tensor()), extra={"archive/byteorder": b"big"})


@hostile("a version of the future")
def _() -> bytes:
    return _patched(zipped(dict_of(w=tensor())), b"3\n", b"99")


@hostile("a tar archive with links")
def _() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


@hostile("gzip of a bomb")
def _() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(bytes(2**24)) + packer.flush()


# ---- truncation and mix-ups ----

for _label, _whole in {
    "zip": lambda: made.saved(made.state_dict()),
    "legacy": lambda: made.saved(made.state_dict(), legacy=True),
    "nvidia": made.nvidia_torch,
    "tensorflow": made.nvidia_tensorflow,
}.items():
    for _tenth in (1, 5, 9):
        CORPUS[f"{_tenth} tenths of a {_label} file"] = lambda whole=_whole, tenth=_tenth: whole()[
            : len(whole()) * tenth // 10
        ]
    CORPUS[f"a {_label} file without its last byte"] = lambda whole=_whole: whole()[:-1]

CORPUS |= {
    "nothing": lambda: b"",
    "zeros": lambda: bytes(5000),
    "noise": lambda: np.random.default_rng(0).bytes(5000),
    "a number": lambda: pickled(integer(5)),
    "a list of names": lambda: pickled(b"(" + text("a") + text("b") + b"l"),
    "a Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 381646349\n",
    "a web page": lambda: b"\n<!DOCTYPE html>\n<html><head><title>Quota exceeded</title></head></html>\n",
    "a GGUF model": lambda: b"GGUF\x03\x00\x00\x00" + bytes(64),
    "a zip of images": lambda: zipped(b"N").replace(b"archive/data.pkl", b"archive/0001.png"),
}
