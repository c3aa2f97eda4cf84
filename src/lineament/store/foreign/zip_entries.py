"""Entries of a zip archive in memory: views of stored entries, nothing unpacked to disk.

Rejected: Python's ``zipfile``, which copies what it reads and lets entries overlap.
"""

import struct
import zlib
from dataclasses import dataclass

from lineament.errors import FileFormatError
from lineament.store.foreign.values import Ledger

_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """Where one entry's bytes lie in the archive."""

    name: str
    method: int
    header: int
    start: int
    packed: int
    size: int


def read_entries(data: memoryview, ledger: Ledger) -> dict[str, ZipEntry]:
    """The directory of a zip archive, by name.

    Raises:
        FileFormatError: truncated, damaged, encrypted, or with impossible or suspicious names, sizes or positions.
    """
    try:
        return _read_entries(data, ledger)
    except (struct.error, ValueError) as error:
        raise ledger.damaged(f"its zip directory makes no sense ({error})") from error


def entry_bytes(data: memoryview, entry: ZipEntry, ledger: Ledger) -> memoryview:
    """The contents of an entry: a view if it is stored, else unpacked within the ledger's budget."""
    packed = data[entry.start : entry.start + entry.packed]
    if entry.method == _STORED:
        return packed
    ledger.charge(2 * entry.size)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(packed, entry.size + 1)
    except zlib.error as error:
        raise ledger.damaged(f"its entry {entry.name!r:.80} does not unpack ({error})") from error
    if len(unpacked) != entry.size or not unpacker.eof:
        raise ledger.damaged(f"its entry {entry.name!r:.80} unpacks to another size than it says")
    return memoryview(bytearray(unpacked))


def _read_entries(data: memoryview, ledger: Ledger) -> dict[str, ZipEntry]:
    position, stop, count = _find_directory(data, ledger)
    if count * 46 > stop - position:
        raise ValueError("more entries than its directory has room for")
    ledger.charge(400 * count)
    entries: dict[str, ZipEntry] = {}
    for _ in range(count):
        entry, position = _read_entry(data, ledger, position, stop)
        if entry.name in entries:
            raise ledger.refused(f"it has two entries of the name {entry.name!r:.80}")
        entries[entry.name] = entry
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.header):
        if entry.header < end:
            raise ledger.refused(f"its entry {entry.name!r:.80} overlaps another one")
        end = entry.start + entry.packed
    return entries


def _find_directory(data: memoryview, ledger: Ledger) -> tuple[int, int, int]:
    """First byte, end and number of entries of the central directory."""
    tail = bytes(data[-(2**16 + 21) :])
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise FileFormatError(
            f"{ledger.label} ends in the middle: it is the first {len(data)} bytes of a zip archive that goes on: "
            "half a download or copy, get it again"
        )
    disk, first_disk, _, count, size, start, comment = struct.unpack("<4H2LH", tail[at + 4 : at + 22])
    stop = len(data) - len(tail) + at
    if at + 22 + comment != len(tail):
        raise ValueError("bytes after its end")
    if stop >= 20 and bytes(data[stop - 20 : stop - 16]) == _LOCATOR:
        _, at64, _ = struct.unpack("<LQL", data[stop - 16 : stop])
        stop = at64
        if bytes(data[at64 : at64 + 4]) != _END64:
            raise ValueError("its 64-bit end is not where it says")
        disk, first_disk, _, count, size, start = struct.unpack("<2L4Q", data[at64 + 16 : at64 + 56])
    if disk or first_disk:
        raise ValueError("one part of several")
    if start + size != stop:
        raise ValueError("its directory is not where it says")
    return start, stop, count


def _read_entry(data: memoryview, ledger: Ledger, position: int, stop: int) -> tuple[ZipEntry, int]:
    """The directory's entry at ``position``, checked against its local header; and the position of the next one."""
    head = data[position : position + 46]
    flags, method, packed, size, name_length, extra_length, comment_length, header = struct.unpack(
        "<4x4x2H4x4x2L3H8xL", head
    )
    if bytes(head[:4]) != _CENTRAL:
        raise ValueError("an entry without a signature")
    raw_name = bytes(data[position + 46 : position + 46 + name_length])
    extra = data[position + 46 + name_length :][:extra_length]
    following = position + 46 + name_length + extra_length + comment_length
    if following > stop:
        raise ValueError("an entry that goes beyond its directory")
    size, packed, header = _wide(extra, size, packed, header)
    name = raw_name.decode("utf-8")
    steps = name.split("/")
    if name.startswith("/") or ".." in steps or any(c == "\\" or not c.isprintable() for c in name) or not name:
        raise ledger.refused(f"its entry {name!r:.80} has a path that leads out of the archive")
    if flags & 1:
        raise ledger.refused(f"its entry {name!r:.80} is encrypted")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and packed != size):
        raise ValueError(f"the entry {name!r:.80} is packed in an unknown way")
    local = data[header : header + 30]
    flags, local_method, local_name_length, local_extra_length = struct.unpack("<4x2x2H16x2H", local)
    local_name = bytes(data[header + 30 : header + 30 + local_name_length])
    if bytes(local[:4]) != _LOCAL or flags & 1 or local_method != method or local_name != raw_name:
        raise ValueError(f"the entry {name!r:.80} is not where its directory says")
    start = header + 30 + local_name_length + local_extra_length
    if start + packed > stop:
        raise ValueError(f"the entry {name!r:.80} goes beyond the archive")
    return ZipEntry(name, method, header, start, packed, size), following


def _wide(extra: memoryview, *values: int) -> list[int]:
    """The values; those too large for 32 bits are read from the extra field."""
    wide = iter(())
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1:
            wide = iter(struct.unpack(f"<{length // 8}Q", extra[4 : 4 + length // 8 * 8]))
            break
        extra = extra[4 + length :]
    result = [next(wide, -1) if value == 0xFFFFFFFF else value for value in values]
    if -1 in result:
        raise ValueError("an entry too large for its own directory")
    return result
