"""The command line's standard streams, made to work or to fail in one line whatever they are connected to.

Standard output holds results: if it cannot be written, the command fails. Standard error holds messages: if it cannot
be written, the work goes on without them.
"""

import codecs
import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lineament.errors import StorageError, harmless

_REPLACED = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "’": "'", "…": "...", "²": "2", "×": "x", "±": "+-", "°": "deg"}
)
"""Signs that our texts use, as terminals without them show them. A minus sign must not become a question mark."""

_CLOSED = "standard output is closed"
_REASONS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up", errno.EBADF: _CLOSED}


def _replace(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks; Python calls it."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_REPLACED)
    return text.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("lineament", _replace)


class _Stream:
    """A text stream that can be written in every encoding; it is the original one in everything else."""

    def __init__(self, stream: Any) -> None:
        self.missing = stream is None or getattr(stream, "closed", False)
        self._stream: Any = open(os.devnull, "w", encoding="utf-8") if self.missing else stream  # noqa: SIM115
        self._errors = getattr(self._stream, "errors", None)
        self._set_errors("lineament")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _set_errors(self, errors: str | None) -> None:
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors=errors)

    def end(self) -> None:
        """Leave the original stream as it was; if it cannot be written, so that Python's exit does not try again."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        with suppress(OSError, ValueError):
            self._set_errors(self._errors)
        if self.missing:
            self._stream.close()


class _Results(_Stream):
    """Standard output. Writing raises `StorageError`, or BrokenPipeError if its reader has gone."""

    def write(self, text: str) -> int:
        if self.missing:
            raise StorageError(f"cannot write the output: {_CLOSED}")
        with _explained():
            return self._stream.write(text)

    def flush(self) -> None:
        with _explained():
            self._stream.flush()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # Python raises a ValueError if it has closed the stream itself
        reason = getattr(error, "strerror", None) or _CLOSED
        raise StorageError(f"cannot write the output: {_REASONS.get(getattr(error, 'errno', 0), reason)}") from error


class _Remarks(_Stream):
    """Standard error. What cannot be written is lost."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


@contextmanager
def safe_streams() -> Iterator[None]:
    """Standard output and error as this module has them, and warnings as one line; as before afterwards."""
    _occupy_standard_descriptors()
    before = sys.stdout, sys.stderr
    results, remarks = _Results(sys.stdout), _Remarks(sys.stderr)
    sys.stdout, sys.stderr = results, remarks  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say("warning", str(message))
            yield
    finally:
        sys.stdout, sys.stderr = before
        results.end()
        remarks.end()


def say(kind: str, message: str) -> None:
    """Print one line about the command itself on standard error, such as "lineament: error: …"."""
    print(f"lineament: {kind}: {harmless(' '.join(message.split()))}", file=sys.stderr)


def _occupy_standard_descriptors() -> None:
    """Open those that are closed; a file that we write would otherwise get the number, and with it stray messages."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
