"""Labels of images: a CSV whose first column names the file."""

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lineament.errors import DataError, FileFormatError, InputError
from lineament.store.atomic import write_text_atomic

SHOWN = 3
"""Number of names that a message lists."""


@dataclass(frozen=True)
class Labels:
    """Labels of images, as text from the file.

    Attributes:
        columns: headings; the first one is that of the file names.
        rows: values of the other columns, by file name.
    """

    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]


def read_labels(path: str | Path) -> Labels:
    """Read a CSV in UTF-8 with one row of headings.

    Raises:
        InputError: there is no such file.
        FileFormatError: not such a CSV, or a file is named twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a CSV whose first column names the images") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not a readable CSV in UTF-8 ({error}); save it as one") from error
    try:
        lines = [line for line in csv.reader(StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise FileFormatError(f"{path} is not a readable CSV ({error}); mend the line or save it again") from error
    if len(lines) < 2 or len(lines[0]) < 2 or len(set(lines[0])) < len(lines[0]):
        raise FileFormatError(
            f"{path} has {len(lines)} lines and the headings {lines[0] if lines else []!r:.80}; expected headings that "
            "differ, the first of them for the file names and at least one label, and a line for each image"
        )
    rows: dict[str, tuple[str, ...]] = {}
    for number, (name, *values) in enumerate(lines[1:], start=2):
        if len(values) + 1 != len(lines[0]):
            raise FileFormatError(f"{path}: row {number} has {len(values) + 1} columns, expected {len(lines[0])}")
        if name in rows:
            raise FileFormatError(f"{path}: {name!r} stands in more than one row; keep one")
        rows[name] = tuple(values)
    return Labels(tuple(lines[0]), rows)


def write_labels(path: str | Path, labels: Labels) -> None:
    """Write a CSV that `read_labels` can read, atomically, in the order of the rows."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(labels.columns)
    writer.writerows((name, *values) for name, values in labels.rows.items())
    write_text_atomic(path, text.getvalue())


def check_labels_match(labels: Labels, names: list[str], path: str | Path) -> None:
    """Raise unless every image has a row of labels and every row has an image.

    Raises:
        DataError: some do not match; the message gives their number and the first names.
    """
    known = set(names)
    stray = [name for name in labels.rows if name not in known]
    bare = [name for name in names if name not in labels.rows]
    if stray or bare:
        parts = []
        if stray:
            parts.append(f"{len(stray)} of {len(labels.rows)} rows name no image ({_first(stray)})")
        if bare:
            parts.append(f"{len(bare)} of {len(names)} images have no row ({_first(bare)})")
        raise DataError(
            f"{path} does not match the images: {' and '.join(parts)}; expected one row for each image, named by its "
            f"path within the folder or zip, such as {names[0]!r}"
        )


def _first(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
