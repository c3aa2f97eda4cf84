"""JSON that nobody vouches for."""

import json
from pathlib import Path

import pytest

from lineament.errors import FileFormatError, InputError
from lineament.store.json_text import MOST_LEVELS, parse_json, read_json


def test_ordinary_values_are_read() -> None:
    value = {"a": [1, 2.5, None, True], "ä": "ö", "deep": {"er": {"still": []}}}
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "1e999", '{"a": -1e400}'])
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        parse_json(text.encode())


@pytest.mark.parametrize("depth", [MOST_LEVELS + 2, 500, 100_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_levels_are_few(depth: int, start: str, end: str) -> None:
    inner = "[]" if start == "[" else "{}"
    with pytest.raises(ValueError, match="levels"):
        parse_json((start * depth + inner + end * depth).encode())


@pytest.mark.parametrize("entry", ["[],", "{},", '"ab",', '{"a":1},'])
def test_a_text_that_would_take_far_more_memory_than_its_bytes_is_refused_before_it_is_read(entry: str) -> None:
    text = f"[{entry * 500_000}1]".encode()
    with pytest.raises(ValueError, match="bytes of memory"):
        parse_json(text)
    assert len(parse_json(text, file_bytes=10**9)) == 500_001  # the head of a large file may be large


def test_one_wide_character_makes_all_text_wide() -> None:
    assert len(parse_json(b'"' + b"a" * 8_000_000 + b'"')) == 8_000_000
    with pytest.raises(ValueError, match="bytes of memory"):
        parse_json(b'"' + b"a" * 8_000_000 + rb"\ud83d\ude00" + b'"')


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" + b"9" * 5000 + b"]"])
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"not readable JSON .*; make it again") as caught:
        read_json(tmp_path / "f", "make it again")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make it"):
        read_json(tmp_path / "f", "make it")
