"""The manifest of a balanced folder: a Parquet table of all images and their sources."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineament.errors import FileFormatError, InputError, MissingExtraError, VersionError
from lineament.store.atomic import atomic_write

KIND = "lineament-manifest"
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
    try:
        with Path(path).open("rb") as handle:
            table = pyarrow.parquet.read_table(handle)
        about = json.loads((table.schema.metadata or {})[b"lineament"])
        if about.pop("kind") != KIND:
            raise ValueError("another kind")
        version = int(about.pop("schema_version"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected the manifest.parquet of a balanced folder") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException) as error:
        raise FileFormatError(f"{path} is not a manifest of a balanced folder ({error}); make it again") from error
    if version > SCHEMA_VERSION:
        raise VersionError(f"{path} is a manifest of version {version}, this release reads up to {SCHEMA_VERSION}")
    return {name: table.column(name).to_pylist() for name in table.column_names}, about
