from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lineament.store.png_batch import png_batch


@pytest.mark.parametrize("shape", [(3, 64, 64, 3), (1, 1, 1, 3), (2, 5, 7, 3), (2, 7, 5, 3)])
def test_pixels_come_back(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[1], : shape[2]]
    smooth = 128 + 100 * np.sin(x / 5 + y / 7)
    images = (smooth[None, :, :, None] + rng.integers(-20, 20, shape)).astype(np.uint8)
    for array, data in zip(images, png_batch(images, [{}] * len(images)), strict=True):
        with Image.open(BytesIO(data)) as picture:
            picture.verify()  # checksums
        with Image.open(BytesIO(data)) as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), array)


def test_every_value_and_every_difference() -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 40, 33, 3), dtype=np.uint8)
    images[0, ::2] = 0
    images[0, 1::2] = 255
    for array, data in zip(images, png_batch(images, [{}] * 4), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), array)


def test_words_come_back_in_any_script() -> None:
    texts = [{"lineament:source": "größe.png"}, {"lineament:source": "写真/顔.png"}]
    images, shared = np.zeros((2, 4, 4, 3), np.uint8), {"Software": "Lineament"}
    for text, data in zip(texts, png_batch(images, texts, shared), strict=True):
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            assert picture.info == shared | text


def test_each_file_is_a_function_of_its_own_picture() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    together = png_batch(images, [{"i": str(i)} for i in range(5)])
    assert [png_batch(images[i : i + 1], [{"i": str(i)}])[0] for i in range(5)] == together
    assert png_batch(images[:0], []) == []
