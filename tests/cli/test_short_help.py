"""The short help: short enough, complete in what is common, and made from the settings."""

import importlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from lineament.cli.main import COMMANDS, main
from lineament.cli.short_help import options_of, short_help
from lineament.records.advanced import Advanced

NAMES = [" ".join(words) for words in COMMANDS]


@dataclass(frozen=True)
class Inner:
    """A group."""

    size: int = 3
    """How large. More is slower."""
    odd: Advanced[int] = 1
    """Hardly ever turned."""


@dataclass(frozen=True)
class Outer:
    """Do a thing.

    At length.

    Example: ``lineament thing in.png --kind b``
    Example: ``lineament thing other.png``
    """

    path: tyro.conf.Positional[Path]
    """What to do it to."""
    out_file: Path | None = None
    """Where to; stdout if not given."""
    kind: Literal["a", "b"] = "a"
    """Which of two."""
    fast: bool = False
    """Hurry."""
    safe: bool = True
    """Take care."""
    span: tuple[float, float] = (0.5, 1.0)
    """From where to where."""
    many: tuple[str, ...] = ()
    """Some words."""
    inner: Inner = field(default_factory=Inner)
    """The group."""
    flat: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)
    """A group without a prefix."""
    rest: Advanced[Inner] = field(default_factory=Inner)
    """All of it special."""


def test_the_page_of_a_made_up_command() -> None:
    assert short_help(Outer, "lineament thing").splitlines() == [
        "usage: lineament thing PATH [OPTIONS]",
        "",
        "Do a thing.",
        "",
        "  PATH                      What to do it to.",
        "  --out-file PATH           Where to; stdout if not given.",
        "  --kind a|b                Which of two. [a]",
        "  --fast                    Hurry.",
        "  --[no-]safe               Take care. [yes]",
        "  --span NUMBER NUMBER      From where to where. [0.5 1.0]",
        "  --many TEXT ...           Some words.",
        "  --inner.size INT          How large. [3]",
        "  --size INT                How large. [3]",
        "",
        "4 more options, for special purposes: lineament thing --help-all",
        "",
        "example: lineament thing in.png --kind b",
        "example: lineament thing other.png",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_help_fits_a_screen_and_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*name.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 45
    assert max(len(line) for line in lines if not line.startswith("example:")) <= 100
    assert any(line.startswith(f"example: lineament {name} ") for line in lines)


def test_there_are_few_options() -> None:
    commands = [(getattr(importlib.import_module(c.settings), c.config)) for c in COMMANDS.values()]
    assert sum(len(list(options_of(config))) for config in commands) <= 250


def test_help_all_has_what_help_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "generator", "--help-all"])
    assert stop.value.code == 0
    everything = capsys.readouterr().out
    main(["train", "generator", "--help"])
    common = capsys.readouterr().out
    for option in ("--ema-kimg", "--network.z-dim"):
        assert option in everything
        assert option not in common


@pytest.mark.parametrize(
    "words", [["train", "decomposer", "--help"], ["edit", "yaw=1", "--frammes", "3"], ["invert", "--batch-size", "x"]]
)
def test_help_and_mistakes_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from lineament.cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lightning_fabric', 'scipy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
