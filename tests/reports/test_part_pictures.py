"""Pictures of maps whose colours are known."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lineament.records.atlas import Atlas
from lineament.reports.page import PICTURE_PX, webp_uri
from lineament.reports.part_pictures import (
    LESS,
    MORE,
    change_picture,
    colour_axis,
    grey_face,
    middle_oval,
    signed_maps,
    signed_pictures,
    swatches,
    tinted,
)
from tests.made_up import with_parts


def test_tints_run_from_the_face_to_the_two_colours() -> None:
    face = np.full((1, 4), 0.8)
    colours = (tinted(np.array([[[0.0, 1.0, -1.0, 0.5]]]), face)[0, :, 0] + 1) / 2 * 255
    np.testing.assert_allclose(colours[:, 0], 0.8 * 255)
    np.testing.assert_allclose(colours[:, 1], MORE)
    np.testing.assert_allclose(colours[:, 2], LESS)
    np.testing.assert_allclose(colours[:, 3], (0.8 * 255 + np.array(MORE)) / 2)


def test_a_grey_face_is_pale_and_keeps_its_order() -> None:
    black, middle, white = grey_face(np.array([-1.0, 0.0, 1.0])[None, None].repeat(3, axis=0))[0]
    assert 0.3 < black < middle < white == 1


def test_depth_is_positive_where_it_comes_nearer_and_both_kinds_share_a_scale() -> None:
    change = np.zeros((4, 2, 2))
    change[0, 0, 0], change[0, 0, 1] = -1.0, 0.5
    change[1:, 1, 1] = 2 / np.sqrt(3)  # of length 2 along the grey axis
    depth, colour = signed_maps(change)
    np.testing.assert_allclose(depth, [[0.5, -0.25], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(colour, [[0, 0], [0, 1]], atol=1e-12)


def test_colours_that_cancel_in_the_mean_are_seen() -> None:
    change = np.zeros((4, 2, 2))
    change[1, 0, 0], change[3, 0, 0] = 1.0, -1.0
    assert np.abs(signed_maps(change)[1, 0, 0]) == pytest.approx(1)


def test_the_colour_axis_is_the_leading_one_and_rather_bright() -> None:
    rng = np.random.default_rng(0)
    axis = np.array([0.6, 0.8, 0.0])
    change = -axis[:, None, None] * rng.uniform(1, 2, (5, 5)) + 0.01 * rng.standard_normal((3, 5, 5))
    np.testing.assert_allclose(colour_axis(change), axis, atol=0.02)


def test_maps_are_drawn_where_they_act(tiny_atlas: Atlas) -> None:
    values = np.zeros((2, 64, 64))
    values[0, 20:24, 40:44], values[1, 20:24, 40:44] = 1.0, -1.0
    more, less = signed_pictures(values, np.ones((64, 64))).astype(int)
    assert np.abs(more[21, 41] - MORE).max() < 12
    assert np.abs(less[21, 41] - LESS).max() < 12
    for elsewhere in ((21, 22), (42, 41), (0, 0)):  # mirrored, upside down, beside the oval
        assert more[elsewhere].min() > 245
    assert signed_pictures(np.zeros((1, 128, 128)), np.zeros((128, 128))).shape == (1, 64, 64, 3)


def test_swatches_are_the_colours_of_the_place(tiny_atlas: Atlas) -> None:
    atlas = with_parts(tiny_atlas)
    assert atlas.local is not None
    for name in ("maps", "mean"):
        getattr(atlas.local, name)[:] = 0
    atlas.local.maps[0, 1, 30, 30] = 2.0  # two units of 0.1, in red
    atlas.local.mean[1:, 30, 30] = [0.0, 0.5, -0.5]
    atlas.local.mean[1:, 0, 0] = 1.0
    less, more = swatches(atlas.local, 0, 2.0)
    assert (less, more) == ("#4cbf40", "#b2bf40")  # (0 -+ 0.4, 0.5, -0.5) from [-1, 1] to bytes


def test_the_largest_change_of_the_face_sets_the_colour() -> None:
    change = np.zeros((64, 64))
    change[30:36, 30:36], change[0, 0] = 0.2, 0.9
    picture = change_picture(change, np.ones((2, 3, 64, 64))).astype(int)
    assert np.abs(picture[33, 33] - LESS).max() < 12
    assert picture[10, 32].min() > 245
    oval = middle_oval(64)
    assert oval[32, 32]
    assert not oval[0, 0]


@pytest.mark.parametrize(("side", "shown"), [(64, 64), (2 * PICTURE_PX, PICTURE_PX)])
def test_pictures_for_the_page_are_small(side: int, shown: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, side).astype(np.uint8)[None, :, None], (side, side, 3)).copy()
    uri = webp_uri(ramp)
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(BytesIO(base64.b64decode(data)), formats=("WEBP",)) as picture:
        assert picture.size == (shown, shown)
        again = np.asarray(picture.convert("RGB").resize((side, side)))
    assert np.abs(again.astype(int) - ramp).mean() < 5
