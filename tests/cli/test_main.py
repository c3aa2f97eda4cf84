import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import pytest

from lineament import __version__
from lineament.cli import main as cli
from lineament.cli.main import COMMANDS, Command, main
from lineament.errors import LineamentError


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for words, command in COMMANDS.items():
        assert " ".join(words) in out
        assert command.summary in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lineament {__version__}\n"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help_with_an_example(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help-all"])
    assert stopped.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"usage: lineament {' '.join(words)}" in out
    assert f"Example: ``lineament {' '.join(words)}" in out
    config = getattr(import_module(COMMANDS[words].settings), COMMANDS[words].config)
    assert config.__doc__.split(".")[0].split(":")[0].replace("\n", " ").split("    ")[0] in out
    assert hasattr(import_module(COMMANDS[words].recipe), "run")


def test_nested_settings_have_short_names(capsys):
    assert main(["train", "generator", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--network.resolution" in out
    assert "--on.accelerator" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian", "generator"], "did you mean 'train generator'?"),
        (["edti"], "did you mean 'edit'?"),
        (["train", "nothing"], "no command 'train nothing'"),
        (["xyz"], "expected one of train generator"),
    ],
)
def test_a_mistyped_command_is_one_line_and_exit_code_2(argv, said, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("argv", "shown"), [([], "inspect"), (["train"], "train decomposer")])
def test_an_unfinished_command_shows_the_list_on_stderr(argv, shown, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert shown in captured.err


def test_help_of_a_group(capsys):
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "train generator" in out
    assert "discover " not in out.split("example:")[0]


def test_help_does_not_import_torch():
    code = "import sys; from lineament.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0


def test_an_unknown_option_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "x", "--bogus"])
    assert stopped.value.code == 2
    assert "bogus" in capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch):
    """Makes `lineament inspect x` end with an exception."""

    def make(error: BaseException) -> None:
        def show(result):
            raise error

        monkeypatch.setitem(cli.COMMANDS, ("fail",), Command("", __name__, __name__, "Nothing", show))

    return make


@dataclass(frozen=True)
class Nothing:
    """A recipe's config; this module is the recipe."""

    seed: int = 0


def run(config):
    return None


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LineamentError("got a\nexpected b"), 1, "lineament: error: got a expected b\n"),
        (KeyboardInterrupt(), 130, "lineament: interrupted\n"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 1, "out of memory"),
    ],
)
def test_what_goes_wrong_is_one_line(failing, error, code, said, capsys):
    failing(error)
    assert main(["fail"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_our_own_bugs_keep_their_traceback(failing):
    failing(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["fail"])


def test_edit_and_inspect_from_end_to_end(tiny_files, tmp_path, capsys):
    files = [f"--{name}={tiny_files / name}.safetensors" for name in ("atlas", "generator", "decomposer")]
    out = tmp_path / "faces.png"
    assert (
        main(["edit", *files, "--seeds", "0-1", "yaw=+0.5", "light_x=-0.2", "--hold", "none", "--out", str(out)]) == 0
    )
    text = capsys.readouterr().out
    assert "measured" in text
    assert text.endswith(f"{out}\n")
    assert out.exists()
    assert main(["inspect", str(tiny_files / "atlas.safetensors")]) == 0
    assert "light_y" in capsys.readouterr().out
    assert main(["inspect", str(out)]) == 2
    assert capsys.readouterr().err.startswith("lineament: error: ")


def test_a_reader_that_goes_away_is_no_error(tiny_files):
    code = "import sys; from lineament.cli.main import main; sys.exit(main(['inspect', sys.argv[1]]))"
    command = [sys.executable, "-c", code, str(tiny_files / "atlas.safetensors")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(timeout=60) == 1
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
