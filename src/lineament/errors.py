"""The exception tree.

    LineamentError                      every error a user can cause or must know of
    ├── InputError                      the user's input cannot be used            (exit code 2)
    │   ├── ImageError                  an image, a folder or a zip of images
    │   ├── DataError                   readable data that are useless for the task
    │   ├── ShapeError                  an array of the wrong shape, type or value
    │   ├── ConfigError                 a setting out of its range, or two that contradict each other
    │   │   └── BusyError               another process is at work in the run folder
    │   └── MissingExtraError           an optional package is not installed
    ├── FileFormatError                 a file of ours that is corrupt, foreign or too new (exit code 2)
    │   ├── VersionError                a schema version this release does not read
    │   └── MismatchError               an atlas or decomposer that belongs to another generator
    ├── StorageError                    reading or writing a disk failed           (exit code 1)
    └── TrainingError                   training cannot go on                      (exit code 1)
        ├── NonFiniteError              a loss or a parameter became NaN or infinite
        └── CollapseError               the decomposer collapsed and restarts did not mend it

Every message says what was found, what was expected and what to do. Messages quote files, so `harmless` is here, too.
"""

import re
import unicodedata

LONGEST = 650
"""Characters of a message; of a longer one, the middle is left out. Names in files can have any length."""

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNSEEN = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Fillers and variation selectors, which Unicode does not count as format characters."""


def harmless(text: str, *, keep: str = "") -> str:
    """Text from a file, such that a terminal shows it and does not obey it.

    Control and format characters (escape sequences, marks of writing direction), line separators, lone surrogates and
    invisible letters become escapes such as ``\\x1b``.

    Args:
        text: anything.
        keep: characters to leave as they are, such as a line feed.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in keep and (unicodedata.category(c) in _OBEYED or _UNSEEN.match(c))
        else c
        for c in text
    )


class LineamentError(Exception):
    """Root of the tree; the command line prints it as one line, never as a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        text = harmless(super().__str__(), keep="\n")
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 200]} … {text[-197:]}"


class InputError(LineamentError):
    """The user's input cannot be used."""

    exit_code = 2


class ImageError(InputError):
    """An image, or a folder or zip of images, cannot be used."""


class DataError(InputError):
    """Data that can be read but are useless for the task, such as blank images or labels of other images."""


class ShapeError(InputError):
    """An array has the wrong shape, type or value."""


class ConfigError(InputError):
    """A setting is out of its range, or two settings contradict each other."""


class BusyError(ConfigError):
    """Another process is at work in the run folder."""


class MissingExtraError(InputError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}, which is not installed: pip install 'lineament[{extra}]'")


class FileFormatError(LineamentError):
    """A file is corrupt, truncated, foreign, or not of the expected kind."""

    exit_code = 2


class VersionError(FileFormatError):
    """A file has a schema version that this release does not read."""


class MismatchError(FileFormatError):
    """Two files do not belong together, for example an atlas and a generator."""


class StorageError(LineamentError):
    """Reading or writing a disk failed: it is full, read-only or gone."""


class TrainingError(LineamentError):
    """Training cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or a parameter became NaN or infinite."""


class CollapseError(TrainingError):
    """The training of a decomposer collapsed, and restarts from healthy snapshots did not mend it."""
