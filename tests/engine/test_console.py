"""Messages and progress, on terminals and in logs."""

import io
import logging
import time
from contextlib import suppress

import pytest
from rich.table import Table
from rich.text import Text

from lineament.engine import console as module
from lineament.engine.console import PlainConsole, _Messages, facts_table, progress_bar, progress_line, quietly

EVIL = "\x1b]0;x\x07\u202e[red]y[/red][/z]:smile:"
SHOWN = r"\x1b]0;x\x07\u202e[red]y[/red][/z]:smile:"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed where stderr is a file."""
    stream = io.StringIO()
    monkeypatch.setattr(module, "console", _Messages(file=stream, width=40))
    return stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on a narrow terminal."""
    stream = io.StringIO()
    monkeypatch.setattr(module, "console", _Messages(file=stream, width=60, force_terminal=True))
    return stream


def test_a_message_is_one_harmless_line_however_narrow_the_output(log: io.StringIO) -> None:
    module.console.print(f"warning: {EVIL} " + "a" * 60 + "\nlineament: error: forged")
    assert log.getvalue() == f"warning: {SHOWN} " + "a" * 60 + "\\nlineament: error: forged\n"


def test_tables_are_harmless_in_every_place(log: io.StringIO) -> None:
    table = Table(title=EVIL, caption=Text(EVIL))
    table.add_column(EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    stream = io.StringIO()
    PlainConsole(file=stream, width=200, force_terminal=True, color_system=None).print(table)
    printed = stream.getvalue()
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
    assert printed.count(r"\x1b]0;x") == 5


def test_a_table_of_facts_is_as_wide_as_what_it_shows() -> None:
    stream = io.StringIO()
    PlainConsole(file=stream, width=200).print(facts_table(EVIL, {EVIL: EVIL}))
    assert stream.getvalue().count(SHOWN) == 2
    assert len({len(line) for line in stream.getvalue().splitlines()[1:]}) == 1


def test_quiet_messages_are_harmless_too(log: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    with quietly(), caplog.at_level(logging.INFO, "lineament"):
        module.console.print(EVIL)
    assert caplog.messages == [SHOWN]
    assert log.getvalue() == ""


def test_a_log_gets_lines_while_the_work_goes_on_and_one_at_the_end(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.02)
    with progress_bar() as bar:
        task = bar.add_task("sampling faces", total=10_000, note="swd 3.1")
        bar.update(task, completed=1024)
        deadline = time.monotonic() + 10
        while "\n" not in log.getvalue() and time.monotonic() < deadline:
            time.sleep(0.005)
        during = log.getvalue()
        bar.update(task, completed=10_000, note=EVIL)
    assert during.startswith("sampling faces 1,024/10,000, 0:00:00 elapsed")
    assert during.splitlines()[0].endswith(", swd 3.1")
    assert log.getvalue().endswith(f"sampling faces 10,000/10,000, 0:00:00 elapsed, {SHOWN}\n")


def test_a_log_of_a_failed_task_ends_with_how_far_it_came(log: io.StringIO) -> None:
    with suppress(KeyError), progress_bar() as bar:
        bar.update(bar.add_task("reading images", total=None, note=""), completed=5000)
        raise KeyError
    assert log.getvalue() == "reading images 5,000, 0:00:00 elapsed\n"


def test_a_line_says_how_long_it_will_take() -> None:
    seconds = iter([0.0, 0.0, 40.0, 80.0, 80.0, 80.0, 80.0])
    bar = module.Progress(disable=True, get_time=lambda: next(seconds), speed_estimate_period=1000)
    task = bar.add_task("sampling faces", total=10_000)
    bar.update(task, completed=512)
    bar.update(task, completed=1024)
    assert progress_line(bar.tasks[0]) == "sampling faces 1,024/10,000, 0:01:20 elapsed, about 0:11:42 left"


@pytest.mark.parametrize("how", ["disabled", "quietly"])
def test_nothing_is_printed_if_nothing_is_wanted(log: io.StringIO, how: str) -> None:
    def work() -> None:
        with progress_bar(disable=how == "disabled") as bar:
            bar.advance(bar.add_task("work", total=2, note=""))

    if how == "quietly":
        reports = []
        with quietly(reports.append):
            work()
        assert [report.completed for report in reports] == [1]
    else:
        work()
    assert log.getvalue() == ""


def test_a_bar_on_a_narrow_terminal_shows_whole_numbers(terminal: io.StringIO) -> None:
    with progress_bar() as bar:
        bar.update(bar.add_task("sampling faces", total=10_000, note=""), completed=8)
    assert "8/10000" in terminal.getvalue()
    assert "…" not in terminal.getvalue()
