import json
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from html import unescape
from html.parser import HTMLParser
from shlex import split

import numpy as np
import pytest

from lineament.directions.calibrate import Calibration
from lineament.estimators.semantic_field import spatial_test
from lineament.recipes.edit import parse_edits
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.reports import field as field_report
from lineament.reports.discovery import Evaluation, caveats, leakage, nice_step, requested_values, write_report
from lineament.reports.page import data_uri
from tests.made_up import jacobian_of, with_parts

VOID = {"meta", "img", "br", "link", "line", "circle", "polyline", "polygon"}


class Balance(HTMLParser):
    """Collects pictures and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.references |= {str(value) for name, value in attrs if name == "href"}
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
    assert not set(parser.tags) & {"script", "link", "iframe", "image", "canvas"}
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


@pytest.fixture(scope="module")
def write_localized(tmp_path_factory, tiny_networks, tiny_atlas):
    """Writes the report of an atlas of yaw, light_x and three parts, and reads it."""
    chosen = tuple(tiny_atlas.direction(name) for name in ("yaw", "light_x"))
    atlas = with_parts(replace(tiny_atlas, directions=chosen))
    path = tmp_path_factory.mktemp("parts") / "report.html"

    def write(atlas=atlas, J=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(field_report, "spatial_test", partial(spatial_test, num_pixels=150, permutations=99))
            write_report(path, atlas, *tiny_networks, [], J=J)
        return path.read_text(encoding="utf-8")

    return write, atlas, jacobian_of(atlas.local, 16)


@pytest.fixture(scope="module")
def localized(write_localized):
    write, atlas, jacobian = write_localized
    return write(J=jacobian), atlas


def test_the_page_with_parts_is_whole_and_needs_nothing_else(localized):
    html, _ = localized
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert max(Counter(parser.ids).values()) == 1
    assert not re.search(r"https?://", html)
    assert all(source.startswith("data:image/") for source in parser.sources)
    # As drawn, maps of the parts, and where these are used again: in the cards, and at two sides of the matrix.
    assert parser.tags["image"] == 2 + 3 * 2
    assert parser.tags["use"] == 3 * 2 + 3 * 2
    links = {link.removeprefix("#") for link in parser.references if link.startswith("#")}
    assert links <= set(parser.ids)
    assert {f"as-drawn-{i}" for i in (1, 2)} <= links
    assert parser.tags["canvas"] == 2
    assert parser.tags["script"] == 2
    assert parser.tags["noscript"] == 1


def test_parts_stand_there_with_their_evidence_and_those_that_vanish_last(localized):
    html, atlas = localized
    places = [html.index(f'<section class="semantic" id="{name}"') for name in ("mouth", "nose", "brows")]
    assert places == sorted(places)
    assert places[1] < html.index("Parts that do not come back") < places[2]
    assert html.count('<span class="low">does not come back (0.30)') == 1
    for part in atlas.local.parts:
        card = html[html.index(f'<section class="semantic" id="{part.name}"') :].split("</section>")[0]
        assert f"<dt>explained</dt><dd>{part.explained * 100:.1f} %</dd>" in card
        assert f"{part.contrast:.1f} times as much as elsewhere" in card
        assert f'<dt>R² held out</dt><dd class="low">{part.direction.r2:.2f}' in card
        assert len(re.findall("data:image/webp;base64", card)) == 2 + 1 + 2 * 2
        assert len(set(re.findall(r"(?:yaw|light_x) by", card))) == 2
    assert "<b>2 of 3</b>" in html


def test_the_field_of_the_page_can_be_read_by_its_program(localized):
    html, _ = localized
    data = json.loads(html.split('id="field-data">')[1].split("</script>")[0])
    n = len(data["points"])
    assert {kind: len(text) // 4 * 3 // (n * (n - 1) // 2) for kind, text in data["cosines"].items()} == {
        "depth": 1,
        "albedo": 1,
    }
    buttons = [int(point) for point in re.findall(r'data-point="(\d+)"', html)]
    assert len(buttons) == 6
    assert max(buttons) < n
    assert html.count(" field of the ") == 8
    program = html.split("<script>")[1].split("</script>")[0]
    for name in ("side", "points", "cosines", "colours"):
        assert f"data.{name}" in program
        assert name in data
    assert 'getElementById("field")' in program


def test_commands_edit_a_part_that_comes_back(localized):
    html, atlas = localized
    commands = [split(unescape(c)) for c in re.findall(r"<pre>(lineament edit [^<]*)</pre>", html)]
    edits = [parse_edits([word for word in words if "=" in word])[0] for words in commands]
    assert {"nose": 2.0} in edits
    assert all(set(edit) <= {*atlas.names, *atlas.part_names} for edit in edits)


def test_caveats_are_those_of_the_decomposer(localized, tiny_networks):
    html, _ = localized
    config = tiny_networks[1].config
    assert ("depth is its own mirror image by construction" in html) == config.symmetric_depth
    assert config.symmetric_depth


def test_same_atlas_same_bytes_and_no_field_without_a_jacobian(write_localized):
    write, atlas, _ = write_localized
    one = replace(atlas.local, parts=atlas.local.parts[:1], maps=atlas.local.maps[:1])
    small = replace(atlas, directions=atlas.directions[:1], local=one)
    html = write(small)
    assert write(small) == html
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert not set(parser.tags) & {"script", "canvas", "noscript"}
    assert "Which parts are alike" not in html


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
