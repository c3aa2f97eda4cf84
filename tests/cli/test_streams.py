"""Standard streams that are closed, full, or of another encoding: one line at most, and an exit code that says so."""

import errno
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lineament.cli.main import COMMANDS, guarded, main
from lineament.engine.run_folder import Stopped
from lineament.store.tensors import save_tensors

HELPS = [["--help"], ["--version"], ["edit", "--help"], ["edit", "--help-all"]]
EVIL = "\x1b]0;x\x07\u202e[z]\n"


class Full(io.StringIO):
    """A stream on a full disk, which tells of it when it is flushed."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def exit_code(argv: list[str]) -> object:
    try:
        return main(argv)
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize("argv", HELPS)
@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (Full, "lineament: error: cannot write the output: the disk is full\n"),
        (lambda: None, "lineament: error: cannot write the output: standard output is closed\n"),
        (Gone, ""),
    ],
)
def test_output_that_cannot_be_written_is_a_failure_in_one_line(argv, stream, said, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdout", stream())
    assert exit_code(argv) == 1
    assert capsys.readouterr().err == said


def test_results_that_cannot_be_written_are_a_failure(tiny_files, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["inspect", str(tiny_files / "atlas.safetensors")]) == 1
    assert capsys.readouterr().err == "lineament: error: cannot write the output: the disk is full\n"


@pytest.mark.parametrize("stream", [Full, Gone, lambda: None])
def test_messages_that_cannot_be_written_change_nothing(stream, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lineament ")
    assert main(["inspect", str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().out == ""  # Python would print messages there if stderr is closed
    assert exit_code(["edit", "--bogus"]) == 2


def test_the_streams_are_as_before_afterwards(capsys) -> None:
    before = sys.stdout, sys.stderr, sys.stdout.errors, signal.getsignal(signal.SIGTERM)
    assert main(["--version"]) == 0
    assert (sys.stdout, sys.stderr, sys.stdout.errors, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_replaced_and_a_minus_sign_stays_one(
    encoding, tiny_files, tmp_path, monkeypatch
) -> None:
    written, path = io.BytesIO(), tmp_path / "é顔−1.safetensors"
    path.write_bytes((tiny_files / "atlas.safetensors").read_bytes())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["inspect", str(path)]) == 0
    text = written.getvalue().decode(encoding)
    assert "\\u9854-1.safetensors" in text.replace("\n", "")  # a table folds long names
    assert "| " in text  # the lines of tables are drawn with what there is
    assert "?" not in text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_is_printed_in_ascii(words, monkeypatch) -> None:
    for flag in ("--help", "--help-all"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        assert exit_code([*words, flag]) == 0
        assert b"usage: lineament" in written.getvalue()


def test_names_from_files_are_harmless_in_results_errors_warnings_and_usage(tmp_path: Path, capsys) -> None:
    path = tmp_path / "file.safetensors"
    save_tensors(path, {}, EVIL, 1, {EVIL: {EVIL: EVIL}, "list": [EVIL]})
    path.rename(evil := tmp_path / f"{EVIL}.safetensors")

    def warn() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(EVIL, UserWarning, stacklevel=1)
        return 0

    assert main(["inspect", str(evil)]) == 0
    assert main(["inspect", str(tmp_path / "missing") + EVIL]) == 2
    assert main(["edit", "--seeds", "0", "yaw=1", "--generator", str(evil)]) == 2
    assert exit_code(["inspect", str(evil), EVIL]) == 2
    assert exit_code([EVIL]) == 2
    guarded(warn)
    said = capsys.readouterr()
    for text in said:
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert r"\x1b]0;x\x07\u202e" in text
    assert r"lineament: warning: \x1b]0;x\x07\u202e[z]" in said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Stopped("stopped at step 3; the same command goes on"), "stopped at step 3; the same command goes on"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_stopped_work_exits_130_and_says_what_is_kept(error, said, capsys) -> None:
    def work() -> int:
        raise error

    assert guarded(work) == 130
    assert capsys.readouterr().err == f"lineament: {said}\n"


def test_sigterm_ends_a_command_as_ctrl_c_does(capsys) -> None:
    def work() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    assert guarded(work) == 130
    assert capsys.readouterr().err == "lineament: interrupted\n"


def test_help_of_a_mistake_names_the_options_that_were_typed(capsys) -> None:
    assert exit_code(["inspect", "x", "--bogus"]) == 2
    assert capsys.readouterr().err.count("--bogus") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the devices and the shell of Linux")
def test_real_streams_of_a_real_process(tmp_path: Path) -> None:
    """Closed, full and broken ones, with an environment without UTF-8."""
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = f"{sys.executable} -m lineament"
    script = f"""
    {command} --help >&-; echo $?
    {command} --help >/dev/full; echo $?
    {command} nothing 2>&-; echo $?
    {command} nothing >&- 2>&- <&-; echo $?
    set -o pipefail; {command} --help | true; echo $?
    """
    result = subprocess.run(
        ["bash", "-c", script], env=os.environ | ascii_only, capture_output=True, timeout=120, check=False
    )
    assert result.stdout.split() == [b"1", b"1", b"2", b"2", b"1"]
    assert result.stderr.decode().splitlines() == [
        "lineament: error: cannot write the output: standard output is closed",
        "lineament: error: cannot write the output: the disk is full",
    ]


def test_files_never_get_the_number_of_a_closed_standard_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys; from lineament.cli.main import guarded;"
        "sys.exit(guarded(lambda: os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT) <= 2))"
    )
    command = f"{sys.executable} -c '{code}' {tmp_path / 'file'} >&- 2>&- <&-"
    assert subprocess.run(command, shell=True, timeout=60, check=False).returncode == 0
