"""The command `lineament`: finds the recipe, lets tyro fill its dataclass, runs it, prints what it returns.

A new command is one more line in `COMMANDS`. Nothing heavy is imported before the command is known, so that help
and typing mistakes are answered at once.
"""

import difflib
import importlib
import io
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, NoReturn

from lineament import __version__
from lineament.cli.streams import safe_streams, say
from lineament.errors import LineamentError, harmless

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        summary: one line for the list of commands.
        recipe: module that has ``run``; imported only when the command line is valid, because it loads PyTorch.
        settings: module of the dataclass that ``run`` takes.
        config: name of that dataclass.
        show: prints what ``run`` returned, and gives the exit code.
    """

    summary: str
    recipe: str
    settings: str
    config: str
    show: Callable[[Any], int]


def _show_path(result: Any) -> int:
    print(harmless(str(result)))
    return 0


def _show_renderables(result: Any) -> int:
    from lineament.engine.console import PlainConsole

    # In a terminal, tables are cut to its width; in a file or a pipe, nothing should be cut.
    console = PlainConsole(width=None if sys.stdout.isatty() else 160)
    for part in () if result is None else result.renderables():  # some write files and have nothing to say
        if isinstance(part, str):
            print(harmless(part))  # so that paths are not wrapped
        else:
            console.print(part)
    return 0


def _show_discovery(result: Any) -> int:
    from lineament.recipes.inspect_file import run
    from lineament.settings.inspect_file import InspectConfig

    _show_renderables(run(InspectConfig(result)))
    _show_path(result)
    report = result.with_name("report.html")
    return _show_path(report) if report.exists() else 0


COMMANDS: dict[tuple[str, ...], Command] = {
    ("train", "generator"): Command(
        "Train a StyleGAN2 on folders and zips of images.",
        "lineament.recipes.train.generator",
        "lineament.settings.train_generator",
        "TrainGeneratorConfig",
        _show_path,
    ),
    ("train", "details"): Command(
        "Give a trained generator twice the resolution.",
        "lineament.recipes.train.details",
        "lineament.settings.train_details",
        "TrainDetailsConfig",
        _show_path,
    ),
    ("train", "decomposer"): Command(
        "Train a network that takes faces apart into depth, albedo, view and light.",
        "lineament.recipes.train.decomposer",
        "lineament.settings.train_decomposer",
        "TrainDecomposerConfig",
        _show_path,
    ),
    ("train", "encoder"): Command(
        "Train a network that finds the latents of photographs.",
        "lineament.recipes.train.encoder",
        "lineament.settings.train_encoder",
        "TrainEncoderConfig",
        _show_path,
    ),
    ("train", "judge"): Command(
        "Train a judge on renders with their truth: a network that reads attributes, to evaluate directions.",
        "lineament.recipes.train.judge",
        "lineament.settings.train_judge",
        "TrainJudgeConfig",
        _show_path,
    ),
    ("discover",): Command(
        "Find a generator's directions: an atlas and a report.",
        "lineament.recipes.discover",
        "lineament.settings.discover",
        "DiscoverConfig",
        _show_discovery,
    ),
    ("edit",): Command(
        "Turn and relight faces by requested amounts: a generator's own, or inverted photographs.",
        "lineament.recipes.edit",
        "lineament.settings.edit",
        "EditConfig",
        _show_renderables,
    ),
    ("invert",): Command(
        "Find the latents of photographs, and measure how good they are.",
        "lineament.recipes.invert",
        "lineament.settings.invert",
        "InvertConfig",
        _show_renderables,
    ),
    ("balance",): Command(
        "Fill up an unbalanced folder of images with faces that are changed as little as possible.",
        "lineament.recipes.balance.run",
        "lineament.settings.balance",
        "BalanceConfig",
        _show_renderables,
    ),
    ("decompose",): Command(
        "Take faces apart: a picture of the parts, and the numbers.",
        "lineament.recipes.decompose",
        "lineament.settings.decompose",
        "DecomposeConfig",
        _show_renderables,
    ),
    ("peers",): Command(
        "Find directions by another method: GANSpace, SeFa, InterFaceGAN, regression on labels, or at random.",
        "lineament.recipes.peers",
        "lineament.settings.peers",
        "PeersConfig",
        _show_renderables,
    ),
    ("directions", "import"): Command(
        "Convert directions of another tool into an atlas.",
        "lineament.recipes.import_directions",
        "lineament.settings.import_directions",
        "ImportDirectionsConfig",
        _show_renderables,
    ),
    ("directions", "export"): Command(
        "Write an atlas's directions for another tool.",
        "lineament.recipes.export_directions",
        "lineament.settings.export_directions",
        "ExportDirectionsConfig",
        _show_renderables,
    ),
    ("evaluate", "edits"): Command(
        "Measure the edits of an atlas on faces it has never seen.",
        "lineament.recipes.evaluate.edits",
        "lineament.settings.evaluate_edits",
        "EvaluateEditsConfig",
        _show_renderables,
    ),
    ("evaluate", "decomposer"): Command(
        "Measure decomposers on faces whose shape, pose and light are known.",
        "lineament.recipes.evaluate.decomposer",
        "lineament.settings.evaluate_decomposer",
        "EvaluateDecomposerConfig",
        _show_renderables,
    ),
    ("evaluate", "consistency"): Command(
        "Measure whether a decomposer is consistent, on faces without known truth.",
        "lineament.recipes.evaluate.consistency",
        "lineament.settings.evaluate_consistency",
        "EvaluateConsistencyConfig",
        _show_renderables,
    ),
    ("evaluate", "parts"): Command(
        "Measure whether the parts of an atlas act on named parts of the face, such as nose or lips.",
        "lineament.recipes.evaluate.parts",
        "lineament.settings.evaluate_parts",
        "EvaluatePartsConfig",
        _show_renderables,
    ),
    ("evaluate", "directions"): Command(
        "Compare directions of several methods on one generator, by one independent judge.",
        "lineament.recipes.evaluate.directions",
        "lineament.settings.evaluate_directions",
        "EvaluateDirectionsConfig",
        _show_renderables,
    ),
    ("convert",): Command(
        "Convert a checkpoint of another program into Lineament's files.",
        "lineament.recipes.convert",
        "lineament.settings.convert",
        "ConvertConfig",
        _show_renderables,
    ),
    ("inspect",): Command(
        "Describe a file of Lineament's, or a checkpoint of another program.",
        "lineament.recipes.inspect_file",
        "lineament.settings.inspect_file",
        "InspectConfig",
        _show_renderables,
    ),
}


def usage(prefix: tuple[str, ...] = ()) -> str:
    """The list of the commands that begin with ``prefix``."""
    chosen = {" ".join(words): c.summary for words, c in COMMANDS.items() if words[: len(prefix)] == prefix}
    width = max(map(len, chosen))
    lines = [
        f"usage: {' '.join(('lineament', *prefix))} COMMAND [OPTIONS]",
        "",
        "What a face generator knows about faces, found without a label and turned into sliders with units.",
        "",
        "commands:",
        *(f"  {name:<{width}}  {summary}" for name, summary in chosen.items()),
        "",
        "`lineament COMMAND --help` lists the options of a command, with an example; `lineament --version`",
        "prints the version. Results go to standard output, progress and messages to standard error.",
        "",
        "example: lineament discover --out found && lineament edit --atlas found/atlas.safetensors yaw=+20",
    ]
    return "\n".join(lines)


def _find(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]] | int:
    """The command's words and the rest of the line, or an exit code if everything has been printed."""
    for length in (2, 1):
        words = tuple(argv[:length])
        if words in COMMANDS:
            return words, list(argv[length:])
    first = argv[0] if argv else ""
    groups = {words[0] for words in COMMANDS if len(words) > 1}
    if first in ("-h", "--help", "help"):
        print(usage())
        return 0
    if first in ("-V", "--version"):
        print(f"lineament {__version__}")
        return 0
    if first in groups and argv[1:2] in (["-h"], ["--help"]):
        print(usage((first,)))
        return 0
    if len(argv) < (2 if first in groups else 1):
        print(usage((first,) if first in groups else ()), file=sys.stderr)
        return EXIT_USAGE
    names = [" ".join(words) for words in COMMANDS]
    pair = " ".join(argv[:2])
    close = difflib.get_close_matches(pair, names, n=1) or difflib.get_close_matches(first, names, n=1)
    typed = pair if first in groups else first
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"
    say("error", f"no command {typed!r}; {hint}")
    return EXIT_USAGE


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch raises its own class on accelerators, and a plain RuntimeError on the CPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def run_module(module: str, config: str, prog: str, argv: Sequence[str] | None = None) -> int:
    """Run a module built like a recipe, with a ``config`` dataclass and a ``run``; show its result as tables.

    Returns:
        Exit code, as from `main`.
    """
    command = Command("", module, module, config, _show_renderables)
    return guarded(lambda: _run(command, prog, list(sys.argv[1:] if argv is None else argv)))


def _run(command: Command, prog: str, argv: list[str]) -> int:
    config = getattr(importlib.import_module(command.settings), command.config)
    if not {"-h", "--help"}.isdisjoint(argv):
        from lineament.cli.short_help import short_help

        print(short_help(config, prog))
        return 0
    settings = _settings(config, prog, ["--help" if word == "--help-all" else word for word in argv])
    result = importlib.import_module(command.recipe).run(settings)
    from lineament.engine.devices import is_first_process

    return command.show(result) if is_first_process() else 0


def _settings(config: type, prog: str, words: list[str]) -> Any:
    """The settings in the words of a command line; exits after help or a mistake."""
    import tyro

    try:
        with redirect_stderr(io.StringIO()):
            return tyro.cli(config, prog=prog, args=words)
    except SystemExit as stopped:
        if stopped.code:  # once more with harmless words, which the message quotes: names of files may be among them
            tyro.cli(config, prog=prog, args=[harmless(word) for word in words])
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after ``lineament``; the arguments of the process by default.

    Returns:
        Exit code: 0 done, 1 failed (a full disk, output that cannot be written), 2 a mistake in the options or the
        input, 130 stopped before the end. Other exceptions pass through: a traceback is always our bug.
    """

    def command_line() -> int:
        found = _find(sys.argv[1:] if argv is None else argv)
        if isinstance(found, int):
            return found
        words, rest = found
        return _run(COMMANDS[words], " ".join(("lineament", *words)), rest)

    return guarded(command_line)


def guarded(work: Callable[[], int]) -> int:
    """Do some work as a command: with safe streams, every end explained in one line.

    Args:
        work: gives an exit code.

    Returns:
        That exit code, or the one of what went wrong, as from `main`.
    """
    with safe_streams(), _terminable():
        try:
            return _flushed(work)
        except LineamentError as error:
            say("error", str(error))
            return error.exit_code
        except KeyboardInterrupt as error:
            print(f"lineament: {harmless(str(error)) or 'interrupted'}", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            return EXIT_FAILED  # the reader of our output has gone
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            say("error", "out of memory; lower --batch-size or the resolution, or ask for fewer images, and run again")
            return EXIT_FAILED


def _flushed(work: Callable[[], int]) -> int:
    """Work, and then write all of its output, also if it exits after printing help."""
    try:
        code = work()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


@contextmanager
def _terminable() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: with files tidied up, and the same exit code."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: leave the signals to whoever runs us
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
