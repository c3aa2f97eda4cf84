"""Types of the Python interface: the atlas, tables of values, values to reach."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from rich.table import Table
from rich.text import Text

from lineament.engine.console import PlainConsole, number
from lineament.errors import ConfigError
from lineament.records.atlas import Atlas as AtlasRecord
from lineament.store import atlas as atlas_files

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
"""Device on which to compute."""


class ExtrapolationWarning(UserWarning):
    """An edit asks for a value beyond the range that was seen in the generator's own faces."""


@dataclass(frozen=True)
class to:
    """A value to reach, while a plain number is a change: ``edit(yaw=ln.to(0))`` turns every face to the front."""

    value: int | float


@dataclass(frozen=True, eq=False)
class Atlas(AtlasRecord):
    """The directions found in one generator: ``atlas["yaw"]``, ``len(atlas)``, ``for direction in atlas``.

    See `lineament.records.atlas.Atlas` for its contents.
    """

    @classmethod
    def of(cls, record: AtlasRecord) -> "Atlas":
        """The same atlas, with the methods of this class."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(record)})

    def save(self, path: str | Path) -> None:
        """Write a safetensors file that every command takes as ``--atlas``.

        Raises:
            StorageError: the file cannot be written.
        """
        atlas_files.save_atlas(path, self)

    @classmethod
    def load(cls, path: str | Path) -> "Atlas":
        """Read what `save` or ``lineament discover`` wrote.

        Raises:
            InputError, FileFormatError: there is no such file, or it is not an atlas.
        """
        return cls.of(atlas_files.load_atlas(path))


load_atlas = Atlas.load


class Values(Mapping[str, Float[np.ndarray, " n"]]):
    """A table: one row per face, one column per semantic. ``values["yaw"]`` is a column, `dict` gives all of them."""

    def __init__(self, columns: Mapping[str, np.ndarray], units: Mapping[str, str], rows: Sequence[str]) -> None:
        self.columns, self.units, self.rows = dict(columns), dict(units), tuple(rows)

    def __getitem__(self, name: str) -> Float[np.ndarray, " n"]:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        table = Table(box=None)
        for heading in ("", *(f"{name}\n[{self.units[name]}]" for name in self)):
            table.add_column(Text(heading, no_wrap=True), justify="right", no_wrap=True)
        for i, row in enumerate(self.rows):
            table.add_row(row, *(number(float(column[i])) for column in self.columns.values()))
        return as_text([table])


def as_path(path: str | Path | None) -> Path | None:
    """A string as a path; None stays None."""
    return None if path is None else Path(path)


def finite(name: str, value: Any) -> float:
    """The value of an edit as a float.

    Raises:
        ConfigError: it is not a number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise ConfigError(f"{name} is {value!r}, expected a finite number, such as {name}=+20 or {name}=ln.to(0)")
    return float(value)


def as_text(parts: Iterable[Any]) -> str:
    """Tables and lines as plain text of at most 160 columns."""
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=160)
    for part in parts:
        console.print(part)
    return stream.getvalue().rstrip()
