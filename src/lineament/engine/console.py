"""Progress and messages on stderr; results belong to stdout. Inside of `quietly` nothing is printed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

logger = logging.getLogger("lineament")


@dataclass(frozen=True)
class ProgressReport:
    """Progress of a task.

    Attributes:
        description: what is being done, such as "sampling faces".
        completed: number of steps done.
        total: number of all steps; None while it is not known.
    """

    description: str
    completed: int | float
    total: int | float | None


OnProgress: TypeAlias = Callable[[ProgressReport], object]

_listener: ContextVar[OnProgress | None] = ContextVar("listener", default=None)


@contextmanager
def quietly(on_progress: OnProgress | None = None) -> Iterator[None]:
    """Print nothing inside of this context: messages go to the logger "lineament", progress to the callback."""
    token = _listener.set(on_progress or (lambda report: None))
    try:
        yield
    finally:
        _listener.reset(token)


class _Messages(Console):
    """A console that logs instead of printing inside of `quietly`."""

    def print(self, *objects: Any, **options: Any) -> None:
        if _listener.get() is None:
            super().print(*objects, **options)
        else:
            logger.info(" ".join(map(str, objects)))


class _Reported(Progress):
    """A progress bar that also reports to the callback of `quietly`."""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._report(task_id)

    def advance(self, task_id: TaskID, advance: int | float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def _report(self, task_id: TaskID) -> None:
        if (listener := _listener.get()) is not None:
            task = self._tasks[task_id]
            listener(ProgressReport(task.description, task.completed, task.total))


console = _Messages(stderr=True, highlight=False)


def progress_bar(*, disable: bool = False) -> Progress:
    """A progress bar with counts, elapsed and remaining time."""
    return _Reported(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=disable or _listener.get() is not None,
        refresh_per_second=2,
    )


def facts_table(title: str, facts: dict[str, str]) -> Table:
    """A table of names and values."""
    # Text instead of strings, because rich would read brackets in a path or a value as markup.
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(value))
    return table


def number(value: float, *, sign: bool = False) -> str:
    """A number as text: three significant digits, but at most three decimals and never an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else f"{0:.{digits}f}"


def layers_text(layers: tuple[int, ...] | None) -> str:
    """Layers in the notation of the command line, such as "0-3", "0,2" or "all"."""
    if layers is None:
        return "all"
    first, last = min(layers), max(layers)
    run = layers == tuple(range(first, last + 1)) and first < last
    return f"{first}-{last}" if run else ",".join(map(str, layers))
