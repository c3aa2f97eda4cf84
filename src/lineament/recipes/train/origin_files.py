"""Fingerprints of files that a training is made of."""

from pathlib import Path

from lineament.engine.origins import NONE
from lineament.store.tensors import fingerprint, load_tensors, read_header


def fingerprint_of_file(path: Path | None) -> str:
    """Fingerprint of the tensors of one of our files; "none" without a path.

    Raises:
        InputError, FileFormatError: the file cannot be read.
    """
    if path is None:
        return NONE
    return fingerprint(load_tensors(path, kind=read_header(path).kind, framework="pt")[0])


def fingerprint_of_start(path: Path | None) -> str | None:
    """The same for a file that only the start of a training needs; None if it is gone."""
    return None if path is not None and not path.exists() else fingerprint_of_file(path)
