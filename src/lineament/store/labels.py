"""Labels of images: a CSV whose first column names the file."""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lineament.errors import DataError, FileFormatError, InputError
from lineament.store.atomic import write_text_atomic
from lineament.store.names import shown_name
from lineament.store.regular_files import check_regular

DELIMITERS = "\t;|,"
"""What may divide columns; of several that fit alike, the first is taken, because it is rarer in other use."""
_NUMBER = re.compile(r"\s*|\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*")
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

    def blanks_text(self) -> str:
        """How many labels are blank, in all columns and by column; empty if none is."""
        counts = [sum(not value for value in values) for values in zip(*self.rows.values(), strict=True)]
        each = [f"{name} {count}" for name, count in zip(self.columns[1:], counts, strict=True) if count]
        return f"{sum(counts)} labels are blank, and stay so ({', '.join(each)})" if each else ""


def read_labels(path: str | Path) -> Labels:
    """Read a CSV with one row of headings, as text editors, Excel and other programs write it.

    UTF-8 and the UTF-16 of Excel's "Unicode text" are read, with commas, semicolons, tabs or bars between the columns.
    Cells may be blank, at the end of a row also missing; empty rows and columns are left out. Where semicolons or tabs
    divide the columns, the decimal commas of a column of numbers become points.

    Raises:
        InputError: there is no such file.
        FileFormatError: not such a CSV, or a file is named twice.
    """
    check_regular(path)
    try:
        text = _decoded(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a CSV whose first column names the images") from error
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error.strerror}); expected a CSV") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a CSV in UTF-8; save it as one (Excel: 'CSV UTF-8')") from error
    try:
        lines, delimiter = _lines_of(text)
    except csv.Error as error:
        raise FileFormatError(f"{path} is not a readable CSV ({error}); mend the line or save it again") from error
    headings, *rows = lines or [(1, [])]
    columns = _columns_of(headings[1], [row for _, row in rows])
    if not rows or columns < 2 or len(set(headings[1][:columns])) < columns:
        raise FileFormatError(
            f"{path} has {len(lines)} lines and the headings {headings[1]!r:.80}; expected headings that differ, "
            "the first of them for the file names and at least one label, and a line for each image"
        )
    found: dict[str, tuple[str, ...]] = {}
    for number, row in rows:
        if any(row[columns:]):
            raise FileFormatError(f"{path}: row {number} has {len(row)} columns, expected {columns}")
        name, *values = row[:columns] + [""] * (columns - len(row))
        if not name:
            raise FileFormatError(
                f"{path}: row {number} names no file in its first column; name one, or delete the row"
            )
        if name in found:
            raise FileFormatError(f"{path}: {name!r} stands in more than one row; keep one")
        found[name] = tuple(values)
    labels = Labels(tuple(headings[1][:columns]), found)
    return _with_points(labels) if delimiter in "\t;" else labels


def _decoded(data: bytes) -> str:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf16 else "utf-8-sig")


def _lines_of(text: str) -> tuple[list[tuple[int, list[str]]], str]:
    """Rows that are not empty, each with its number, and the delimiter: that for which most rows fit the headings."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:  # Excel's own hint
        return _parsed(rest, first[4]), first[4]
    fits: dict[str, int] = {}
    problem: csv.Error | None = None
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for _, row in _parsed(text, delimiter)]
        except csv.Error as error:
            problem = error
            continue
        fits[delimiter] = widths.count(widths[0]) if widths and widths[0] > 1 else 0
    best = max(fits, key=lambda delimiter: fits[delimiter], default="")
    if problem is not None and not fits.get(best):
        raise problem
    return _parsed(text, best), best


def _parsed(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # a lone \r within a cell would not survive `write_labels`
    rows = enumerate(csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True), start=1)
    return [(number, row) for number, row in rows if any(row)]


def _columns_of(headings: list[str], rows: list[list[str]]) -> int:
    """Number of columns without empty ones at the end, which spreadsheets like to add."""
    count = len(headings)
    while count and not headings[count - 1] and not any(row[count - 1] for row in rows if len(row) >= count):
        count -= 1
    return count


def _with_points(labels: Labels) -> Labels:
    """The same labels, with decimal points instead of commas in columns of numbers."""
    columns = [
        [value.replace(",", ".") for value in column] if all(map(_NUMBER.fullmatch, column)) else column
        for column in zip(*labels.rows.values(), strict=True)
    ]
    return Labels(labels.columns, dict(zip(labels.rows, zip(*columns, strict=True), strict=True)))


def write_labels(path: str | Path, labels: Labels) -> None:
    """Write a CSV that `read_labels` can read, atomically, in the order of the rows."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(labels.columns)
    writer.writerows((name, *values) for name, values in labels.rows.items())
    write_text_atomic(path, text.getvalue())


def match_labels(labels: Labels, names: Sequence[str], path: str | Path) -> Labels:
    """Labels in the order of the images; images without a row get blanks.

    A row may name its image with backslashes, or by the bytes that `shown_name` replaces.

    Raises:
        DataError: some rows name no image; the message gives their number and the first names.
    """
    known = set(names)
    rows = {name if name in known else shown_name(name.replace("\\", "/")): row for name, row in labels.rows.items()}
    stray = [name for name in rows if name not in known]
    if stray:
        bare = [name for name in names if name not in rows]
        missing = f" and {len(bare)} of {len(names)} images have no row ({_first(bare)})" if bare else ""
        raise DataError(
            f"{path} does not match the images: {len(stray)} of {len(rows)} rows name no image ({_first(stray)})"
            f"{missing}; expected rows named by the image's path within the folder or zip, such as {names[0]!r}"
        )
    if len(rows) < len(labels.rows):
        raise DataError(
            f"{path} names {len(labels.rows) - len(rows)} image(s) in two rows, once with \\; keep one of each"
        )
    blank = ("",) * (len(labels.columns) - 1)
    return Labels(labels.columns, {name: rows.get(name, blank) for name in names})


def _first(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
