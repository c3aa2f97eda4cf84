"""Progress and messages on stderr; results belong to stdout."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(stderr=True, highlight=False)


def progress_bar(*, disable: bool = False) -> Progress:
    """A progress bar with counts, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=disable,
        refresh_per_second=2,
    )


def facts_table(title: str, facts: dict[str, str]) -> Table:
    """Names and values."""
    # Text, not strings: a path or a value may hold what rich would take for markup.
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(value))
    return table


def number(value: float, *, sign: bool = False) -> str:
    """Three significant digits, without an exponent where people would not use one."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else f"{0:.{digits}f}"


def layers_text(layers: tuple[int, ...] | None) -> str:
    """Layers as the command line names them."""
    if layers is None:
        return "all"
    first, last = min(layers), max(layers)
    run = layers == tuple(range(first, last + 1)) and first < last
    return f"{first}-{last}" if run else ",".join(map(str, layers))
