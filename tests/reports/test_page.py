"""The page that reports are written into."""

from pathlib import Path

import jinja2
import pytest

from lineament.reports import page
from lineament.reports.page import write_page


def test_text_from_files_is_neither_markup_nor_turns_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = jinja2.DictLoader({"t": "<p>{{ name }} {{ names|join(', ') }} {{ path }} {{ 3 }}\u200e</p>"})
    monkeypatch.setattr(page.jinja2, "PackageLoader", lambda *_: loader)
    write_page(tmp_path / "p.html", "t", {"name": "<b>\u202ea\n", "names": ["\u2067b", "c"], "path": Path("\x1bd")})
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text == "<p>&lt;b&gt;\\u202ea\n \\u2067b, c \\x1bd 3\u200e</p>"


def test_a_missing_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.jinja2, "PackageLoader", lambda *_: jinja2.DictLoader({"t": "{{ nothing }}"}))
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "p.html", "t", {})
