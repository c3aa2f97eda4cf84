"""Proportions of drawn faces whose measures are known."""

import math

import numpy as np
import pytest

from lineament.records.camera import Camera
from lineament.records.proportions import LABELS, LANDMARKS, PROPORTIONS, nose_width, proportions
from tests.truths import drawn_face

NAMES = ("background", *LABELS)


def measured(size: int = 128, **changes: float) -> dict[str, float]:
    landmarks, label, depth = drawn_face(size, **changes)
    return proportions(landmarks, LANDMARKS, label, NAMES, depth)


def test_every_measure_is_what_was_drawn() -> None:
    found = measured()
    assert list(found) == list(PROPORTIONS)
    expected = {
        "smile": 0.05,
        "mouth_opening": 0.3,
        "mouth_width": 0.9,
        "mouth_height": -1.0,
        "lip_fullness": 0.3,
        "nose_length": 0.7,
        "eye_width": 0.5,
        "eye_distance": 0.5,
        "eye_opening": 2 * 0.5 * 0.1,
        "brow_height": 0.35,
        "chin_length": 0.4,
        "jaw_width": 1.5,
        "face_width": 2.0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.04), name
    # A bump falls off as a Gaussian: to three tenths of its height at 1.55 standard deviations.
    assert found["nose_width"] == pytest.approx(2 * math.sqrt(-2 * math.log(0.3)) * 0.15, abs=0.04)
    unit = 128 * 0.3
    assert found["nose_forward"] == pytest.approx(0.02 * Camera().focal_px(128) / unit, rel=1e-4)


@pytest.mark.parametrize(
    "name", ["smile", "mouth_opening", "mouth_width", "nose_length", "chin_length", "eye_distance"]
)
def test_lengths_of_points_do_not_depend_on_the_size(name: str) -> None:
    assert measured(64)[name] == pytest.approx(measured(256)[name], abs=1e-5)


def test_a_broader_nose_and_jaw_are_broader() -> None:
    assert measured(nose=0.2)["nose_width"] > measured()["nose_width"] * 1.2
    assert measured(jaw=1.8)["jaw_width"] == pytest.approx(1.8, abs=0.04)


def test_brows_that_hair_hides_have_no_height() -> None:
    landmarks, label, depth = drawn_face(64)
    label[label == NAMES.index("brows")] = 0
    found = proportions(landmarks, LANDMARKS, label, NAMES, depth)
    assert math.isnan(found["brow_height"])
    assert all(math.isfinite(value) for name, value in found.items() if name != "brow_height")


def test_a_nose_at_the_edge_of_the_picture_is_measured() -> None:
    depth = np.ones((32, 32), np.float32)
    assert 0 <= nose_width(depth, 31.0, 40.0, 10.0) <= 12
