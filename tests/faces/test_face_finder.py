"""Faces in photographs: what is done with what a finder finds, and the finder itself where OpenCV is installed."""

import builtins
import sys
import types
from typing import Any

import numpy as np
import pytest

from lineament.errors import ConfigError, ImageError, InputError
from lineament.faces.face_finder import CascadeFinder, aligned, usual_face_of
from lineament.ops.alignment import FoundFace
from tests import tiny

USUAL = FoundFace((0.5, 0.4), 1.0, ((0.3, 0.3), (0.7, 0.3)))


class StubFinder:
    """Finds what it is told to."""

    def __init__(self, *faces: FoundFace) -> None:
        self.faces = list(faces)

    def find(self, photograph: np.ndarray) -> list[FoundFace]:
        return self.faces


def face(x: int, y: int, side: int) -> FoundFace:
    """The usual face in a photograph: its crop has this corner and this side."""
    found = USUAL.scaled(float(side))
    assert found.eyes is not None
    (a, b), (c, d) = found.eyes
    return FoundFace((found.centre[0] + x, found.centre[1] + y), found.width, ((a + x, b + y), (c + x, d + y)))


def photograph(height: int = 100, width: int = 140) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_the_largest_face_is_cropped_as_usual() -> None:
    image, others = aligned(photograph(), StubFinder(face(30, 20, 32), face(90, 60, 20)), USUAL, 32)
    np.testing.assert_array_equal(image, photograph()[20:52, 30:62])
    assert others == 1


@pytest.mark.parametrize(
    ("faces", "alone", "reason"),
    [
        ([], False, "no face was found"),
        ([face(30, 20, 32), face(70, 60, 20)], True, "2 faces were found, expected one"),
        ([face(30, 20, 15)], False, "the face fills 15 pixels, too few for 32 x 32"),
        ([face(-20, 20, 40)], False, "50% of the face's crop lie outside"),
    ],
)
def test_reasons_to_skip(faces: list[FoundFace], alone: bool, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        aligned(photograph(), StubFinder(*faces), USUAL, 32, alone=alone)


def test_the_usual_face_is_learned_from_the_generator() -> None:
    """Its 32 px images are enlarged six times and get a margin of a third."""
    margin = int(32 / 3) * 6
    found = usual_face_of(tiny.generator(), StubFinder(face(margin, margin, 192)))
    np.testing.assert_allclose([*found.centre, found.width], [0.5, 0.4, 1.0])
    with pytest.raises(ConfigError, match="found in 0 of 64 images"):
        usual_face_of(tiny.generator(), StubFinder())


def test_without_opencv_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "cv2":
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'lineament\[align\]'"):
        CascadeFinder()


def test_an_opencv_without_cascades_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = types.ModuleType("cv2")
    stub.__version__ = "5.0.0"  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "cv2", stub)
    with pytest.raises(InputError, match=r"OpenCV 5\.0\.0 comes without haarcascade_frontalface"):
        CascadeFinder()


def test_opencv_finds_no_face_where_there_is_none() -> None:
    pytest.importorskip("cv2")
    assert CascadeFinder().find(photograph()) == []
    assert CascadeFinder().find(np.full((60, 50, 3), 128, np.uint8)) == []
