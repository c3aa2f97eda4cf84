"""The manifest of a balanced folder: a Parquet table of all images and their sources."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineament.errors import FileFormatError, InputError, MissingExtraError, VersionError
from lineament.store.atomic import atomic_write
from lineament.store.json_text import parse_json
from lineament.store.regular_files import check_regular

KIND = "lineament-manifest"
MOST_CELLS, MOST_CELLS_PER_BYTE = 10**6, 64
"""Largest number of entries of a table, and how many more there may be for each byte of the file: compressed columns of
equal values take hardly any bytes."""

SCHEMA_VERSION = 1


def need_parquet() -> Any:
    """The library that reads and writes Parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("the Parquet manifest", "balance") from error
    return pyarrow


def save_manifest(path: str | Path, columns: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a table, atomically; the same table gives the same bytes.

    Args:
        path: the file to create or replace.
        columns: arrays of NumPy, or lists with None for missing values; all of the same length.
        facts: anything else worth keeping; JSON values.
    """
    pyarrow = need_parquet()
    arrays = {name: pyarrow.array(values, from_pandas=True) for name, values in columns.items()}
    about = {"kind": KIND, "schema_version": SCHEMA_VERSION, **facts}
    table = pyarrow.table(arrays).replace_schema_metadata({"lineament": json.dumps(about, sort_keys=True)})
    with atomic_write(path) as handle:
        pyarrow.parquet.write_table(table, handle, compression="zstd")


def load_manifest(path: str | Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The columns, with None for missing values, and the facts.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a manifest of ours, or damaged.
        VersionError: written by a later release.
    """
    pyarrow = need_parquet()
    check_regular(path)
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as handle:
            file = pyarrow.parquet.ParquetFile(handle)
            about = parse_json((file.metadata.metadata or {})[b"lineament"], size)
            if about.pop("kind") != KIND:
                raise ValueError("another kind")
            version = int(about.pop("schema_version"))
            cells = file.metadata.num_rows * file.metadata.num_columns
            if cells > MOST_CELLS + MOST_CELLS_PER_BYTE * size:
                raise ValueError(f"{cells:,} entries in {size:,} bytes")
            if odd := [field for field in file.schema_arrow if not _is_plain(field.type)]:
                raise ValueError(f"a column of {odd[0].type!s:.80}")
            # A long text that recurs is kept once.
            texts = [field.name for field in file.schema_arrow if pyarrow.types.is_string(field.type)]
            table = pyarrow.parquet.read_table(handle, read_dictionary=texts)
            columns = {name: _values(table.column(name)) for name in table.column_names}
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected the manifest.parquet of a balanced folder") from error
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException) as error:
        why = " ".join(str(error).split())
        raise FileFormatError(f"{path} is not a manifest of a balanced folder ({why:.200}); make it again") from error
    if version > SCHEMA_VERSION:
        raise VersionError(f"{path} is a manifest of version {version}, this release reads up to {SCHEMA_VERSION}")
    return columns, about


def _is_plain(kind: Any) -> bool:
    """Whether a column is of texts, numbers or truth values, or has no values."""
    types = need_parquet().types
    return any(
        is_kind(kind)
        for is_kind in (types.is_string, types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    )


def _values(column: Any) -> list[Any]:
    """A column as a list, in which equal texts are one object."""
    found: list[Any] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            texts = chunk.dictionary.to_pylist()
            found += [None if index is None else texts[index] for index in chunk.indices.to_pylist()]
        else:
            found += chunk.to_pylist()
    return found
