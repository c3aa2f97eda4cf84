"""Progress and messages on stderr; results belong to stdout. Inside of `quietly` nothing is printed."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Any, TypeAlias

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from lineament.errors import harmless

logger = logging.getLogger("lineament")

LINE_SECONDS = 10.0
"""Time between two lines of progress, where bars cannot be drawn."""


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


class PlainConsole(Console):
    """A console that prints text as it is: no markup, and nothing in it is obeyed by the terminal (`harmless`)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; their text is made harmless here, so that no caller can forget it."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text, keep="\n"))


class _Messages(PlainConsole):
    """A console for messages of one line; it logs instead of printing inside of `quietly`."""

    def print(self, *objects: Any, **options: Any) -> None:
        if objects and all(isinstance(part, str) for part in objects):  # else rich draws its bars
            objects = (harmless(" ".join(objects)),)  # line feeds too: one in a name would begin a line of its own
            options = {"soft_wrap": True} | options
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


class _Lines(_Reported):
    """Progress as lines, for logs: one every `LINE_SECONDS` for each task at work, and one at its end."""

    def __init__(self) -> None:
        super().__init__(console=console, disable=True)
        self._ended = Event()
        self._thread = Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> "_Lines":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        for task in self.tasks:
            console.print(progress_line(task))

    def _repeat(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            for task in self.tasks:
                if not task.finished:
                    console.print(progress_line(task))


def progress_line(task: Task) -> str:
    """Progress in words: "sampling faces 1,024/10,000, 0:01:20 elapsed, about 0:12:10 left"."""
    count = f"{round(task.completed):,}" + ("" if task.total is None else f"/{round(task.total):,}")
    parts = [f"{task.description} {count}", f"{timedelta(seconds=int(task.elapsed or 0))} elapsed"]
    if task.time_remaining:
        parts.append(f"about {timedelta(seconds=int(task.time_remaining))} left")
    return ", ".join([*parts, *filter(None, [task.fields.get("note")])])


console = _Messages(stderr=True)


def progress_bar(*, disable: bool = False) -> Progress:
    """A progress bar with counts, elapsed and remaining time; lines instead if stderr is no terminal."""
    disable = disable or _listener.get() is not None
    if not disable and not console.is_interactive:
        return _Lines()
    return _Reported(
        TextColumn("{task.description}", markup=False),
        BarColumn(table_column=Column(ratio=1)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        disable=disable,
        refresh_per_second=2,
    )


def facts_table(title: str, facts: dict[str, str]) -> Table:
    """A table of names and values."""
    # Text instead of strings, because rich would read brackets in a path or a value as markup.
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(harmless(name)), Text(harmless(value)))  # here, so that the column is as wide as the text
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
