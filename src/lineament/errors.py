"""The exception tree.

    LineamentError                      every error a user can cause or must know of
    ├── InputError                      what was handed in cannot be used          (exit code 2)
    │   ├── ImageError                  an image, a folder or a zip of images
    │   ├── DataError                   images that nothing can be learned from
    │   ├── ShapeError                  an array of the wrong shape, type or value
    │   └── ConfigError                 a setting out of its range, or two that contradict each other
    │       └── BusyError               another process is at work in the run folder
    ├── FileFormatError                 a file of ours that is corrupt, foreign or too new (exit code 2)
    │   ├── VersionError                a schema version this release does not read
    │   └── MismatchError               an atlas or decomposer that belongs to another generator
    ├── StorageError                    the disk said no: full, read-only, vanished (exit code 1)
    └── TrainingError                   training cannot go on                      (exit code 1)
        ├── NonFiniteError              a loss or a parameter became NaN or infinite
        └── CollapseError               the decomposer collapsed and restarts did not mend it

Every message says what was got, what was expected, and what to do.
"""


class LineamentError(Exception):
    """Root of the tree; the command line prints it as one line and never as a traceback."""

    exit_code = 1


class InputError(LineamentError):
    """What the user handed in cannot be used."""

    exit_code = 2


class ImageError(InputError):
    """An image, or a folder or zip of images, cannot be used."""


class DataError(InputError):
    """Images that can be read, but from which nothing can be learned."""


class ShapeError(InputError):
    """An array has the wrong shape, type or value."""


class ConfigError(InputError):
    """A setting is out of its range, or two settings contradict each other."""


class BusyError(ConfigError):
    """Another process is at work in the run folder."""


class FileFormatError(LineamentError):
    """A file is corrupt, truncated, foreign, or not of the expected kind."""

    exit_code = 2


class VersionError(FileFormatError):
    """A file has a schema version that this release does not read."""


class MismatchError(FileFormatError):
    """Two files do not belong together, for example an atlas and a generator."""


class StorageError(LineamentError):
    """The disk refused: full, read-only or vanished."""


class TrainingError(LineamentError):
    """Training cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or a parameter became NaN or infinite."""


class CollapseError(TrainingError):
    """The training of a decomposer collapsed, and restarts from healthy snapshots did not mend it."""
