import numpy as np
import pytest
import torch
from PIL import Image

from lineament.errors import ConfigError, StorageError
from lineament.ops.pixels import to_uint8
from lineament.store.pictures import check_size, enlarge, png_bytes, read_png_text, save_png, shrink_to, tile


def test_to_uint8_maps_the_ends_and_clips():
    image = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_uint8(image)[0, ..., 0].tolist() == [[0, 128], [255, 255]]


def test_tile_puts_images_row_by_row_and_leaves_the_rest_white():
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    grid = tile(images, columns=2, gap=1)
    assert grid.shape == (9, 13, 3)
    assert [grid[0, 0, 0], grid[0, 7, 0], grid[5, 0, 0], grid[5, 7, 0], grid[4, 0, 0]] == [10, 20, 30, 255, 255]


def test_png_keeps_pixels_and_words(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    save_png(path, image, text={"lineament:edits": "yaw=+20", "name": "Zoë, 顔"})
    assert (np.asarray(Image.open(path)) == image).all()
    assert read_png_text(path) == {"lineament:edits": "yaw=+20", "name": "Zoë, 顔"}


def test_png_is_enlarged_by_a_whole_factor(tmp_path):
    path = tmp_path / "a.png"
    save_png(path, np.zeros((5, 7, 3), np.uint8), scale=3)
    with Image.open(path) as picture:
        assert picture.size == (21, 15)


@pytest.mark.parametrize("size", [(20_000, 10, 1), (10, 20_000, 1), (1000, 1000, 1000)])
def test_pictures_beyond_reason_are_refused(size):
    with pytest.raises(ConfigError, match="or a smaller scale"):
        check_size(*size)
    check_size(1000, 1000, 10)


def test_enlarging_keeps_flat_colours_and_repeats_nothing_at_scale_one():
    image = np.full((3, 4, 3), 77, np.uint8)
    assert enlarge(image, 1) is image
    assert (enlarge(image, 3) == np.full((9, 12, 3), 77)).all()


def test_shrink_to_leaves_small_images_alone_and_keeps_the_shape_of_large_ones():
    small = np.zeros((4, 8, 3), np.uint8)
    assert shrink_to(small, 8) is small
    assert shrink_to(np.zeros((100, 200, 3), np.uint8), 20).shape == (10, 20, 3)


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(StorageError):
        save_png(tmp_path / "missing" / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_same_picture_same_bytes():
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert png_bytes(image, text={"a": "b"}) == png_bytes(image, text={"a": "b"})
