"""What is wrong with images is said before a training: every case planted, and good images pass in silence."""

import numpy as np
import pytest

from lineament.errors import DataError, InputError
from lineament.recipes.train import image_checks as data_checks
from lineament.recipes.train.image_checks import MAX_CHECKED, baseline_error, check_images
from tests import tiny

SIZE = 32


def faces(num: int, *, seed: int = 0, wander: float = 0.02, grey: bool = False) -> np.ndarray:
    """Shaded ellipsoids with two eyes that turn before grounds of any colour; ``wander`` shifts them, in widths."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    made = []
    for _ in range(num):
        shift_x, shift_y = rng.uniform(-wander, wander, 2)
        yaw, light = rng.normal(0, 0.25), rng.normal(0, 0.4, 2)
        u, v = (x - shift_x) / rng.uniform(0.3, 0.34), (y - shift_y) / rng.uniform(0.4, 0.44)
        height = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
        shading = np.clip(0.4 + (0.6 * height + 0.3 * light[0] * u + 0.3 * light[1] * v), 0, 1)
        eyes = sum(np.exp(-((u - yaw - side) ** 2 + (v + 0.2) ** 2) / 0.02) for side in (-0.35, 0.35))
        skin = rng.uniform(120, 250, 3) * [1, 0.8, 0.7]
        face = (shading * (1 - 0.8 * eyes))[..., None] * skin
        ground = rng.uniform(0, 200, 3) + 40 * rng.normal() * x[..., None]
        inside = np.clip((1 - u**2 - v**2) * 8, 0, 1)[..., None]
        made.append(face * inside + ground * (1 - inside))
    images = np.clip(np.array(made), 0, 255)
    if grey:
        images = images.mean(axis=3, keepdims=True).repeat(3, axis=3)
    return images.round().astype(np.uint8)


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    return faces(300)


def the_warning(images: np.ndarray) -> str:
    (warning,) = check_images(images, source="photos")
    assert "photos" in warning
    assert "\n" not in warning
    return warning


def test_good_images_pass_in_silence(good: np.ndarray) -> None:
    assert check_images(good, source="photos") == []
    assert check_images(good[:, ::-1], source="photos") == []  # upside down cannot be told


@pytest.mark.parametrize("num", [2, 3, 12, 150])
def test_few_images_are_learned_by_heart(good: np.ndarray, num: int) -> None:
    assert f"only {num} distinct images" in the_warning(good[:num])


def test_blobs_are_only_few() -> None:
    assert "only 12 distinct images" in the_warning(tiny.images(12))


def test_copies_and_mirror_images_are_not_counted(good: np.ndarray) -> None:
    drawn = good[:3][np.arange(500) % 3]
    drawn[::2] = drawn[::2, :, ::-1]
    assert "only 3 distinct images" in the_warning(drawn)


def test_no_images() -> None:
    with pytest.raises(DataError, match="photos gives no images"):
        check_images(np.zeros((0, 8, 8, 3), np.uint8), source="photos")


def test_a_data_error_is_the_users() -> None:
    assert issubclass(DataError, InputError)
    assert DataError.exit_code == 2


def test_blank_images_alone() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (300, 1, 1, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="are blank"):
        check_images(np.tile(colours, (1, 16, 16, 1)), source="photos")


def test_some_blank_images(good: np.ndarray) -> None:
    mixed = np.concatenate([good, np.full((100, SIZE, SIZE, 3), 255, np.uint8)])
    assert "100 of 400 images looked at in photos (25.0%) are blank" in the_warning(mixed)


def test_one_face_among_blank_images(good: np.ndarray) -> None:
    mixed = np.zeros((50, SIZE, SIZE, 3), np.uint8)
    mixed[7] = good[0]
    with pytest.raises(DataError, match="that are not blank are the same"):
        check_images(mixed, source="photos")


def test_a_flat_colour_of_varying_brightness_is_not_blank() -> None:
    """Red on green of the same brightness."""
    images = np.zeros((250, 16, 16, 3), np.uint8)
    images[..., 0], images[:, :, 8:, 0], images[:, :, 8:, 1] = 90, 0, 90
    with pytest.raises(DataError, match="are the same"):
        check_images(images, source="photos")


@pytest.mark.parametrize("num", [1, 2, 300])
def test_the_same_image_again_and_again(good: np.ndarray, num: int) -> None:
    same = np.repeat(good[:1], num, axis=0)
    with pytest.raises(DataError, match="no shape can be learned"):
        check_images(same, source="photos")
    same[::2] = same[::2, :, ::-1]
    noise = np.random.default_rng(0).integers(-3, 4, same.shape)
    with pytest.raises(DataError, match="no shape can be learned"):
        check_images(np.clip(same + noise, 0, 255).astype(np.uint8), source="photos")


def test_grey_images(good: np.ndarray) -> None:
    grey = faces(300, grey=True)
    assert the_warning(grey).startswith("all images of photos are grey: fine")
    assert the_warning(np.concatenate([grey[:200], good[:100]])).startswith("67% of the images")
    assert check_images(np.concatenate([grey[:50], good]), source="photos") == []


def test_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    assert "does not look like photographs" in the_warning(noise)


def test_grainy_faces_are_photographs(good: np.ndarray) -> None:
    grain = np.random.default_rng(0).normal(0, 10, good.shape)
    assert check_images(np.clip(good + grain, 0, 255).astype(np.uint8), source="photos") == []


def test_faces_anywhere_in_the_image() -> None:
    assert "their mean is a blur" in the_warning(faces(300, wander=0.4))


def test_a_horizon_is_no_face(good: np.ndarray) -> None:
    """Light above and dark below in every image: structure and symmetry without anything in the middle."""
    horizon = np.linspace(120, -120, SIZE)[:, None, None]
    ground = faces(300, wander=0.5) * 0.2 + 128 + horizon
    assert "their mean is a blur" in the_warning(np.clip(ground, 0, 255).astype(np.uint8))
    assert check_images(np.clip(good * 0.5 + 64 + horizon / 2, 0, 255).astype(np.uint8), source="photos") == []


def test_faces_beside_the_middle(good: np.ndarray) -> None:
    assert "their mean is lopsided" in the_warning(np.roll(good, SIZE // 5, axis=2))


def test_all_that_is_wrong_is_said() -> None:
    some = np.concatenate([faces(20, grey=True), np.zeros((5, SIZE, SIZE, 3), np.uint8)])
    said = check_images(some, source="photos")
    assert [("blank" in line, "distinct" in line, "grey" in line) for line in said] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_many_images_are_sampled_evenly(good: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_checks, "MAX_CHECKED", 300)
    many = np.concatenate([good, np.zeros((100, SIZE, SIZE, 3), np.uint8)])
    assert "75 of 300 images looked at in photos (25.0%) are blank" in the_warning(many)
    assert MAX_CHECKED == 2000


def test_baseline_error_by_hand() -> None:
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[2:] = 255  # mean 127.5, so every pixel deviates by 1 on [-1, 1]
    assert baseline_error(images) == pytest.approx(1.0)
    images[:, 0] = 7  # half of the pixels are the same in all
    assert baseline_error(images) == pytest.approx(0.5)


def test_baseline_error_is_that_of_the_mean_image(good: np.ndarray) -> None:
    unit = good / 127.5 - 1
    assert baseline_error(good) == pytest.approx(np.abs(unit - unit.mean(axis=0)).mean(), rel=1e-5)


def test_baseline_error_of_one_image_and_of_none(good: np.ndarray) -> None:
    assert baseline_error(good[:1]) == pytest.approx(0.0, abs=1e-7)
    assert baseline_error(good[:0]) == 0.0
