"""Crops from found faces: known places, inverse pairs, borders."""

import math

import numpy as np
import pytest

from lineament.errors import ConfigError
from lineament.ops.alignment import FoundFace, crop, similarity_to, usual_face

USUAL = FoundFace((0.5, 0.4), 1.0, ((0.3, 0.3), (0.7, 0.3)))


def placed(matrix: np.ndarray, usual: FoundFace = USUAL) -> FoundFace:
    """The usual face as it lies in a photograph from which ``matrix`` takes the crop."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = matrix @ [*point, 1.0]
        return float(x), float(y)

    assert usual.eyes is not None
    return FoundFace(at(usual.centre), math.hypot(*matrix[:, 0]) * usual.width, (at(usual.eyes[0]), at(usual.eyes[1])))


def similarity(angle_deg: float, scale: float, x: float, y: float) -> np.ndarray:
    c, s = scale * math.cos(math.radians(angle_deg)), scale * math.sin(math.radians(angle_deg))
    return np.array([[c, -s, x], [s, c, y]])


@pytest.mark.parametrize(("angle", "scale", "x", "y"), [(0.0, 64.0, 0.0, 0.0), (25.0, 200.0, 30.0, -7.0)])
def test_a_face_that_was_placed_is_found_back(angle: float, scale: float, x: float, y: float) -> None:
    matrix = similarity(angle, scale, x, y)
    np.testing.assert_allclose(similarity_to(placed(matrix), USUAL), matrix, atol=1e-9)


def test_without_eyes_the_box_decides() -> None:
    face = FoundFace((110.0, 90.0), 50.0)
    np.testing.assert_allclose(similarity_to(face, USUAL) @ [0.5, 0.4, 1.0], [110, 90])
    np.testing.assert_allclose(similarity_to(face, USUAL)[:, :2], 50 * np.eye(2))


def test_a_turned_head_is_not_blown_up() -> None:
    """Eyes half as far apart as usual shrink the crop by the root of two, not by two."""
    face = FoundFace((50.0, 40.0), 100.0, ((40.0, 30.0), (60.0, 30.0)))
    matrix = similarity_to(face, USUAL)
    assert math.hypot(*matrix[:, 0]) == pytest.approx(100 / math.sqrt(2))


def test_usual_face_is_the_median() -> None:
    others = [FoundFace((0.5 + d, 0.4), 1 + d, ((0.3, 0.3 + d), (0.7, 0.3))) for d in (-0.1, 0.0, 0.2)]
    assert usual_face([*others, FoundFace((0.5, 0.4), 1.0)]) == USUAL
    with pytest.raises(ConfigError, match="eyes of 1 faces"):
        usual_face([FoundFace((0.5, 0.4), 1.0)])


def test_scaled_shifts_first() -> None:
    assert FoundFace((3.0, 4.0), 2.0).scaled(0.5, shift=-1.0) == FoundFace((1.0, 1.5), 1.0)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, 0 * x + 7], axis=-1).astype(np.uint8)


def test_whole_pixels_are_taken_as_they_are() -> None:
    photograph = picture()
    found, outside = crop(photograph, similarity(0, 16.0, 10.0, 20.0), 16)
    np.testing.assert_array_equal(found, photograph[20:36, 10:26])
    assert outside == 0


def test_a_quarter_turn() -> None:
    photograph = picture()
    # The crop's right is the photograph's down.
    found, _ = crop(photograph, np.array([[0.0, -16.0, 30.0], [16.0, 0.0, 8.0]]), 16)
    np.testing.assert_array_equal(found, np.rot90(photograph[8:24, 14:30], 1))


def test_shrinking_takes_means() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found, _ = crop(noise, similarity(0, 64.0, 0.0, 0.0), 8)
    means = noise.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(found.astype(float), means, atol=0.51)


def test_beyond_the_border_it_is_repeated_and_counted() -> None:
    photograph = picture()
    found, outside = crop(photograph, similarity(0, 16.0, -8.0, 0.0), 16)
    assert outside == pytest.approx(0.5)
    np.testing.assert_array_equal(found[:, :8], np.repeat(photograph[:16, :1], 8, axis=1))
