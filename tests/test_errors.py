"""Text from files is shown, and not obeyed."""

import pytest

from lineament.errors import LONGEST, FileFormatError, LineamentError, harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),  # sets a terminal's title
        ("\x9b31m", r"\x9b31m"),  # the same as escape and bracket, in one character
        ("a\rb\tc\nd\x7f", r"a\rb\tc\nd\x7f"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("\u2066a\u2069\u200e\u200f\u061c", r"\u2066a\u2069\u200e\u200f\u061c"),
        ("ya\u200bw\ufeff\u00ad\u2060", r"ya\u200bw\ufeff\xad\u2060"),
        ("ya\u115fw\u3164\ufe0f\u034f", r"ya\u115fw\u3164\ufe0f\u034f"),
        ("a\u2028b\u2029\x85", r"a\u2028b\u2029\x85"),
        ("n\udcff.png", r"n\udcff.png"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_becomes_an_escape(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert harmless(shown) == shown


@pytest.mark.parametrize("text", ["", "yaw 5°, R² −0.2 … ×", "Müller 顔 😀 a\u00a0b", r"C:\x1b"])
def test_ordinary_text_stays(text: str) -> None:
    assert harmless(text) == text


def test_line_feeds_can_be_kept() -> None:
    assert harmless("a\nb\tc", keep="\n") == "a\nb\\tc"


def test_messages_of_errors_are_harmless_wherever_they_are_printed() -> None:
    assert str(FileFormatError("\x1b[2J is\nno file")) == "\\x1b[2J is\nno file"


def test_the_middle_of_a_very_long_message_is_left_out() -> None:
    short = "x" * LONGEST
    assert str(LineamentError(short)) == short
    text = str(LineamentError(f"the file a names {'x' * 10_000}; get it again"))
    assert len(text) == LONGEST
    assert text.startswith("the file a names x")
    assert text.endswith("x; get it again")
