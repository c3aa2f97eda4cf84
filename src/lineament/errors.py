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

Every message says what was found, what was expected and what to do.
"""


class LineamentError(Exception):
    """Root of the tree; the command line prints it as one line, never as a traceback."""

    exit_code = 1


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
