"""Regions of named parts, found where they were planted."""

import json
from pathlib import Path

import numpy as np
import pytest

from lineament.errors import ConfigError, FileFormatError
from lineament.estimators.part_analysis import zones
from lineament.recipes.evaluate.named_regions import NAMED_PARTS, Regions, find_regions
from lineament.store.truth import open_truth
from tests.truths import known_faces, write_named, write_pairs, write_rendered

SIZE = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path_factory.mktemp("named") / "renders"
    return path, write_named(path, 120, SIZE)


@pytest.fixture(scope="module")
def regions(folder: tuple[Path, dict[str, np.ndarray]]) -> Regions:
    return find_regions(open_truth(folder[0]), SIZE)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(
    ("name", "planted"),
    [("shape of the nose", "nose"), ("colour of the lips", "mouth"), ("hair", "hair"), ("lips", "lips")],
)
def test_planted_parts_are_found(regions: Regions, folder: tuple[Path, dict], name: str, planted: str) -> None:
    assert overlap(regions.maps[name], folder[1][planted]) > 0.65


def test_the_face_is_what_is_not_hair(regions: Regions, folder: tuple[Path, dict]) -> None:
    assert np.array_equal(regions.face, ~folder[1]["hair"])
    assert regions.num_faces == 120


def test_what_acts_everywhere_or_nowhere_is_dropped(regions: Regions) -> None:
    assert set(regions.maps) == {"hair", "lips", "shape of the nose", "colour of the lips"}
    assert regions.dropped["shape of the head"].endswith("% of the face")
    assert regions.dropped["cheeks"].endswith("pixels")
    assert regions.dropped["beard"] == "0 pixels"


def test_a_limit_and_too_few_faces(folder: tuple[Path, dict]) -> None:
    source = open_truth(folder[0])
    assert find_regions(source, SIZE, 60).num_faces == 60
    message = "12 faces do not determine the responses to 14 parameters; take more than 15"
    with pytest.raises(ConfigError, match=message):
        find_regions(source, SIZE, 12)


def test_truth_without_names_is_refused(tmp_path: Path) -> None:
    truth = known_faces(3, 16)
    with pytest.raises(ConfigError, match="no labels or no parameters"):
        find_regions(open_truth(write_pairs(tmp_path / "pairs", truth)), 16)
    rendered = write_rendered(tmp_path / "rendered", known_faces(30, 16))
    with pytest.raises(FileFormatError, match="has no array 'canon_label'"):
        find_regions(open_truth(rendered), 16)
    (rendered / "info.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="no labels or no parameters"):
        find_regions(open_truth(rendered), 16)


def test_every_part_lies_in_zones_that_there_are() -> None:
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    known = zones(1 + 0.1 * (x**2 + y**2), np.ones((32, 32), bool))
    assert len({part.name for part in NAMED_PARTS}) == len(NAMED_PARTS)
    assert {zone for part in NAMED_PARTS for zone in part.zones} <= set(known)


def test_parameters_belong_to_parts_by_the_beginning_of_their_names() -> None:
    chin, jaw = (next(part for part in NAMED_PARTS if part.name == name) for name in ("chin", "jaw"))
    names = ("w_chin-width", "w_chin-jaw-drop", "a_chin-1", "w_cheek-bones")
    assert (chin.columns(names), jaw.columns(names)) == ([0], [1])
