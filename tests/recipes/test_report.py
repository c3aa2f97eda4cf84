import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lineament.recipes.discover import Calibration
from lineament.recipes.report import Evaluation, caveats, data_uri, leakage, nice_step, requested_values, write_report
from lineament.records.semantics import SEMANTIC_NAMES

VOID = {"meta", "img", "br", "link", "line", "circle", "polyline", "polygon"}


class Balance(HTMLParser):
    """Collects pictures and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.sources.append(dict(attrs)["src"])
            assert dict(attrs)["alt"]
        if tag not in VOID | {"li", "p"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in {"li", "p"} | VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny_networks, tiny_atlas):
    """The tiny world's report, and its path."""
    path = tmp_path_factory.mktemp("found") / "report.html"
    steps = np.array([-1.0, 1.0])
    calibrations = [Calibration("yaw", steps, np.array([[-0.4, 0.6]]), np.zeros((2, 9)), ())]
    write_report(path, tiny_atlas, *tiny_networks, calibrations, generator_path=path.with_name("my generator"))
    return path.read_text(encoding="utf-8"), path


def test_the_page_is_whole_and_needs_nothing_else(page):
    html, path = page
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert not parser.tags & {"script", "link", "iframe"}
    assert not re.search(r"https?://", html)
    assert path.stat().st_size < 6_000_000
    # 2 strips on top, 40 samples, 9 rows of 8 faces, 4 strips of 7 for each of 9 semantics.
    assert len(parser.sources) == 2 * 7 + 40 + 9 * 8 + 9 * 4 * 7


def test_every_direction_is_there_with_its_evidence(page, tiny_atlas):
    html, _ = page
    for direction in tiny_atlas.directions:
        assert f'id="{direction.name}"' in html
        assert direction.sign.replace("'", "&#39;") in html
    assert tiny_atlas.generator_fingerprint in html
    assert tiny_atlas.decomposer_fingerprint in html
    assert html.count("<svg") == len(SEMANTIC_NAMES)


def test_commands_name_the_files_and_parse(page, tiny_atlas):
    from html import unescape
    from shlex import split

    from lineament.recipes.editing import parse_edits

    html, path = page
    commands = [unescape(c) for c in re.findall(r"<pre>(lineament [^<]*)</pre>", html)]
    assert len(commands) == 5
    for command in commands[:-1]:
        words = split(command)
        assert words[words.index("--atlas") + 1] == str(path.with_name("atlas.safetensors"))
        assert words[words.index("--generator") + 1] == str(path.with_name("my generator"))
        relative, absolute = parse_edits([word for word in words if "=" in word])
        assert {*relative, *absolute} <= set(tiny_atlas.names)
        assert relative or absolute


def test_low_r2_is_called_out(page, tiny_atlas):
    html, _ = page
    for direction in tiny_atlas.directions:
        assert (f"<li><b>{direction.name}</b>: a straight line in w explains only" in html) == (direction.r2 < 0.5)


def test_same_atlas_same_bytes(page, tiny_networks, tiny_atlas):
    html, path = page
    steps = np.array([-1.0, 1.0])
    calibrations = [Calibration("yaw", steps, np.array([[-0.4, 0.6]]), np.zeros((2, 9)), ())]
    write_report(path, tiny_atlas, *tiny_networks, calibrations, generator_path=path.with_name("my generator"))
    assert path.read_text(encoding="utf-8") == html


@pytest.mark.parametrize(("largest", "step"), [(9.9, 8.0), (10.0, 10.0), (0.31, 0.3), (0.019, 0.015), (1.0, 1.0)])
def test_nice_steps(largest, step):
    assert nice_step(largest) == pytest.approx(step)


def test_requests_are_symmetric_and_yaw_goes_in_tens_of_degrees(tiny_atlas):
    yaw = tiny_atlas.direction("yaw")
    assert requested_values(replace(yaw, std=13.0)) == [-30, -20, -10, 0, 10, 20, 30]
    assert requested_values(replace(yaw, std=6.6)) == [-12, -8, -4, 0, 4, 8, 12]
    assert requested_values(replace(tiny_atlas.direction("pitch"), std=13.0))[-1] == 24
    assert requested_values(replace(yaw, std=0.0))[0] == -3


def evaluation(direction, *, slope=1.0, wrong=0, length=1.0) -> Evaluation:
    """Ten faces that follow with this slope, ``wrong`` of them backwards; the second semantic moves half as much."""
    requested = [-2.0, 0.0, 2.0]
    effects = np.zeros((3, 9))
    effects[:, 0] = requested
    effects[:, 1] = np.array(requested) / 2
    signs = np.where(np.arange(10) < wrong, -1.0, 1.0)[:, None]
    changes = signs * slope * np.array(requested)
    return Evaluation(direction, requested, np.zeros(10), changes, effects, [], length, ())


def test_an_evaluation_counts_what_it_should(tiny_atlas):
    e = evaluation(tiny_atlas.direction("yaw"), slope=0.5, wrong=2)
    assert e.median == [-1, 0, 1]
    assert e.slope == pytest.approx(0.5)
    assert e.right_sign == pytest.approx(0.8)
    assert e.monotone == pytest.approx(0.8)
    assert e.error == pytest.approx(1)
    assert e.unit == "°"


def test_leakage_is_in_standard_deviations(tiny_atlas):
    yaw, pitch = tiny_atlas.directions[:2]
    row = leakage([evaluation(yaw)], tiny_atlas)[0]
    assert row[0] == pytest.approx(1)
    assert row[1] == pytest.approx(0.5 * yaw.std / pitch.std)
    assert np.allclose(row[2:], 0)


def test_caveats_speak_only_of_what_fell_short(tiny_atlas):
    yaw = tiny_atlas.direction("yaw")
    clean = np.array([[1.0, 0.0]])
    assert caveats([evaluation(yaw)], clean, ["yaw", "pitch"]) == {}
    bad = evaluation(replace(yaw, r2=0.3), slope=0.4, wrong=2, length=9.0)
    sentences = caveats([bad], np.array([[1.0, -0.7]]), ["yaw", "pitch"])["yaw"]
    assert len(sentences) == 5
    assert "30%" in sentences[0]
    assert "pitch by −0.700 sd" in sentences[-1]


def test_large_pictures_are_shrunk():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    uri = data_uri(noise)
    assert uri.startswith("data:image/jpeg")
    assert len(uri) < 60_000
