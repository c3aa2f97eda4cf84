"""Names of files as text, and as paths that can be written on every disk."""

import unicodedata
from pathlib import Path

import pytest

from lineament.store.names import is_hidden, shown_name, shown_names, writable_names

ORDINARY = ["a.png", "sub/b.png", "Straße 7/ü.jpg", "日本　語/家族👩\u200d👧.png", "100%.png", "noext", "a b (1).png"]
ODD = [
    "x.png",
    "x.png/y.png",
    "X.PNG",
    "l" * 300 + ".png",
    "界" * 100 + ".png",
    "d" * 300 + "/a.png",
    "d" * 300 + "/b.png",
    "/".join(["deep"] * 300) + "/a.png",
    "../up.png",
    "a/../../up.png",
    "/etc/a.png",
    "etc/a.png",
    "c:\\a.png",
    "sub\\b.png",
    "con.png",
    "aux",
    "dot./a.png",
    "space .png ",
    "tab\there.png",
    "new\nline.png",
    "\x1b[31m.png",
    "what?.png",
    unicodedata.normalize("NFC", "é.png"),
    unicodedata.normalize("NFD", "é.png"),
]


def test_ordinary_names_stay_as_they_are() -> None:
    assert shown_names(ORDINARY) == {name: name for name in sorted(ORDINARY)}
    assert writable_names(ORDINARY) == {name: name for name in ORDINARY}


def test_bytes_that_are_not_utf8_and_control_characters_are_shown_as_numbers() -> None:
    assert shown_name("n/\udcff\x1b[0m\ud800.png") == "n/%FF%1B[0m%D800.png"


def test_two_names_are_never_shown_alike() -> None:
    raw = ["%FF.png", "\udcff.png", "\xff.png", "%85", "\x85", "\udc85"]
    shown = shown_names(raw)
    assert sorted(shown.values()) == sorted(raw)
    assert {shown[name] for name in ("%FF.png", "%85")} == {"%FF.png", "%85"}
    assert shown == shown_names(reversed(raw))
    assert all(name.encode() for name in shown)


def test_odd_names_can_all_be_written_into_one_folder(tmp_path: Path) -> None:
    paths = writable_names(ODD)
    for name, path in paths.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert target.resolve().is_relative_to(tmp_path.resolve())
        with target.open("xb") as handle:
            handle.write(name.encode())
    assert all((tmp_path / path).read_bytes() == name.encode() for name, path in paths.items())


def test_written_names_differ_where_case_and_accents_do_not_count() -> None:
    paths = writable_names(ODD)
    assert len({unicodedata.normalize("NFD", path.casefold()) for path in paths.values()}) == len(ODD)
    assert paths["X.PNG"] == "X.PNG" or paths["x.png"] == "x.png" or "~" in paths["x.png"]
    assert not any(set(path) & set('<>:"|?*\\\n\t\x1b') for path in paths.values())
    assert all(len(part.encode()) <= 255 for path in paths.values() for part in path.split("/"))


def test_written_names_do_not_depend_on_the_order() -> None:
    assert writable_names(ODD) == writable_names(ODD[::-1])


def test_files_of_one_folder_stay_in_one_folder() -> None:
    paths = writable_names(ODD)
    first, second = (paths["d" * 300 + f"/{name}.png"].rpartition("/")[0] for name in "ab")
    assert first == second
    assert first


@pytest.mark.parametrize("name", ["a.png", "../a.png", "./a.png", "a/b.c/d", "..a/../b"])
def test_dots_of_paths_are_not_hidden(name: str) -> None:
    assert is_hidden(name) == name.startswith("..a")


@pytest.mark.parametrize(
    "name", [".a.png", "x/.git/a.png", "x\\.b.png", "__MACOSX/a.png", "x/Thumbs.db", "desktop.ini"]
)
def test_hidden_names(name: str) -> None:
    assert is_hidden(name)
