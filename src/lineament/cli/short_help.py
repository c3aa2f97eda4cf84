"""The help that ``--help`` prints: every common option in a line or two, made from the settings' dataclass.

``--help-all`` prints tyro's help with all options and full explanations, which is too long to read at once.
"""

import ast
import dataclasses
import inspect
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from lineament.records.advanced import ADVANCED

MAX_WIDTH, NAMES_WIDTH = 100, 26
"""Width of the page and of the options' names, in characters; a longer name gets its own line."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One option as the short help shows it."""

    name: str
    value: str
    about: str
    default: str
    required: bool
    positional: bool


def short_help(config: type, prog: str) -> str:
    """Usage, the common options, and examples.

    Args:
        config: dataclass of settings; each field is followed by a docstring, which tyro also reads.
        prog: the command, such as "lineament edit".
    """
    width = min(shutil.get_terminal_size((MAX_WIDTH, 24)).columns, MAX_WIDTH)
    options, hidden = list(options_of(config)), sum(1 for _ in options_of(config, advanced=True))
    words = [f"{o.name} {o.value}".strip() if not o.positional else o.value for o in options if o.required]
    about, *examples = re.split(r"Example:\s*", inspect.cleandoc(config.__doc__ or ""))
    lines = [*textwrap.wrap(" ".join(["usage:", prog, *words, "[OPTIONS]"]), width, subsequent_indent="    "), ""]
    lines += [*textwrap.wrap(" ".join(about.split("\n\n")[0].split()), width), ""]
    for option in options:
        lines += _lines(option, width)
    if hidden:
        lines += ["", f"{hidden} more options, for special purposes: {prog} --help-all"]
    lines += [""] + [f"example: {' '.join(example.strip(' `').split())}".strip(" `") for example in examples]
    return "\n".join(lines).rstrip()


def _lines(option: Option, width: int) -> list[str]:
    name = option.value if option.positional else f"{option.name} {option.value}".rstrip()
    about = option.about + (f" [{option.default}]" if option.default else "")
    indent = " " * (NAMES_WIDTH + 2)
    lines = textwrap.wrap(about, width, initial_indent=indent, subsequent_indent=indent)
    if len(name) > NAMES_WIDTH - 2 or not lines:
        return [f"  {name}", *lines]
    return [f"  {name:<{NAMES_WIDTH}}{lines[0][len(indent) :]}", *lines[1:]]


def options_of(config: type, prefix: str = "", *, advanced: bool = False, within: bool = False) -> Iterator[Option]:
    """The common options, or only the advanced ones; all options of an advanced group are advanced."""
    hints, abouts = typing.get_type_hints(config, include_extras=True), _explanations(config)
    for field in dataclasses.fields(config):
        hint, notes = hints[field.name], []
        while hasattr(hint, "__metadata__"):
            notes += hint.__metadata__
            hint = hint.__origin__
        special = within or ADVANCED in notes
        named = [note.name for note in notes if getattr(note, "name", None) is not None]
        name = prefix + (named[0] if named else field.name).replace("_", "-")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from options_of(hint, f"{name}." if name else "", advanced=advanced, within=special)
        elif special == advanced:
            yield _option(field, hint, notes, name, abouts.get(field.name, ""))


def _option(field: dataclasses.Field, hint: Any, notes: list[Any], name: str, about: str) -> Option:
    positional = any("positional" in repr(note).lower() for note in notes)
    metavars = [note.metavar for note in notes if getattr(note, "metavar", None)]
    default = "" if field.default is dataclasses.MISSING else _shown(field.default)
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    value = metavars[0] if metavars else _metavar(hint)
    flag = f"--{name}"
    if hint is bool:
        group, dot, last = name.rpartition(".")
        flag, default = (f"--{group}{dot}[no-]{last}", "yes") if field.default else (flag, "")
    first = re.split(r"(?<=[^.][.;]) (?=[A-Z0-9])", " ".join(about.split()), maxsplit=1)[0]
    return Option(flag, value, first, default, required, positional)


def _metavar(hint: Any) -> str:
    """Placeholder for a value in the help, such as a type or the choices."""
    if hint is bool:
        return ""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return _metavar(next(one for one in arguments if one is not NoneType))
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin is tuple:
        each = [_metavar(one) for one in arguments if one is not Ellipsis]
        return " ".join(each) + (" ..." if Ellipsis in arguments else "")
    return {Path: "PATH", int: "INT", float: "NUMBER", str: "TEXT"}.get(hint, "VALUE")


def _shown(default: Any) -> str:
    """A default value as a user would type it."""
    if default is None or default == () or isinstance(default, bool):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _explanations(config: type) -> dict[str, str]:
    """The docstring under each field, including fields of base classes."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = getattr(node, "body", [])
        for one, after in pairwise(body):
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(one, ast.AnnAssign) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[ast.unparse(one.target)] = value.value
    return found
