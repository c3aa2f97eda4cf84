"""The arguments of pickle instructions: numbers, text and bytes, read within bounds."""

import re
import struct
import sys

import numpy as np

from lineament.errors import FileFormatError
from lineament.store.foreign.values import Ledger

_LONGEST_LINE_NUMBER = 640  # decimal digits
_LONG_TEXT = 2**20
_SHORT_BYTES = 256  # up to here a copy is smaller than a view
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)  # what the repr of Python 2 writes
_ESCAPES = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class PickleReader:
    """A position in a pickle; methods raise ValueError for bytes that make no sense.

    Attributes:
        data: the pickle.
        ledger: the budget.
        begin: start of the current instruction.
        position: of the byte that is read next.
    """

    def __init__(self, data: memoryview, ledger: Ledger, start: int) -> None:
        self.data, self.ledger = data, ledger
        self.begin = self.position = start

    def take(self, count: int) -> memoryview:
        """The next bytes; FileFormatError if the file ends before."""
        end = self.position + count
        if end > len(self.data):
            raise FileFormatError(
                f"{self.ledger.label} ends in the middle: the instruction at byte {self.begin} of {len(self.data)} "
                f"needs {end - len(self.data)} bytes more; it is half a download or copy, get it again"
            )
        view = self.data[self.position : end]
        self.position = end
        return view

    def number(self, count: int) -> int:
        """A little-endian number without a sign."""
        return int.from_bytes(self.take(count), "little")

    def signed(self, count: int) -> int:
        """A little-endian number with a sign, of at most 255 bytes; weights need no longer ones."""
        if count > 255:
            raise ValueError(f"an integer of {count} bytes")
        return int.from_bytes(self.take(count), "little", signed=True)

    def real(self) -> float:
        """A double, big-endian as in all pickles."""
        return struct.unpack(">d", self.take(8))[0]

    def line(self) -> bytes:
        """Text up to the end of the line."""
        window = 128
        while True:
            chunk = bytes(self.data[self.position : self.position + window])
            length = chunk.find(b"\n")
            if length >= 0:
                self.position += length + 1
                return chunk[:length]
            if len(chunk) < window:
                self.take(len(chunk) + 1)
            window *= 8

    def decimal(self) -> int:
        """A number written in digits on a line, which in Python 2 may end in an L."""
        line = self.line().removesuffix(b"L")
        if len(line) > _LONGEST_LINE_NUMBER:
            raise ValueError(f"a number of {len(line)} digits")
        return int(line)

    def truth_or_decimal(self) -> int:
        """As `decimal`, but 00 and 01 are False and True."""
        truth = {b"00\n": False, b"01\n": True}.get(bytes(self.data[self.position : self.position + 3]))
        return self.decimal() if truth is None else bool(self.decimal())

    def real_line(self) -> float:
        """A floating-point number written on a line."""
        line = self.line()
        if len(line) > _LONGEST_LINE_NUMBER:
            raise ValueError(f"a number of {len(line)} digits")
        return float(line)

    def word(self) -> str:
        """A line of UTF-8."""
        return str(self.line(), "utf-8")

    def raw(self, count: int) -> bytes | memoryview:
        """Bytes: a copy if they are few, else a view."""
        view = self.take(count)
        return bytes(view) if count <= _SHORT_BYTES else view

    def text(self, count: int, encoding: str = "utf-8") -> str:
        """Text of so many bytes."""
        view = self.take(count)
        # With one character beyond the basic plane, all characters of a text take 4 bytes each.
        if encoding == "utf-8" and count > _LONG_TEXT and np.frombuffer(view, np.uint8).max() >= 0xF0:
            raise ValueError("a long text of rare characters")
        return self._charged(str(view, encoding))

    def quoted(self) -> str:
        """A string of Python 2, written as its repr."""
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError("a string without quotes")
        # Not codecs.escape_decode, which warns of escapes that it does not know.
        return self._charged(str(_ESCAPE.sub(_unescape, line[1:-1]), "latin-1"))

    def escaped(self) -> str:
        """A line of text with escapes for characters beyond Latin-1."""
        line = self.line()
        if len(line) > _LONG_TEXT and b"\\U" in line:
            raise ValueError("a long text of rare characters")
        text = str(line, "raw-unicode-escape")
        if not text.isascii():
            text.encode("utf-8")  # raises for half a surrogate pair, which cannot be shown or saved
        return self._charged(text)

    def _charged(self, text: str) -> str:
        self.ledger.charge(sys.getsizeof(text))
        return text


def _unescape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    return bytes([int(escape[1:], 16)]) if len(escape) == 3 else _ESCAPES[escape]
