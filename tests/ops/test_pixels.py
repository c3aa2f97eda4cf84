"""Bytes to tensors and back; numbers that are no image are never made one."""

import numpy as np
import pytest
import torch

from lineament.errors import NonFiniteError
from lineament.ops.pixels import to_tensor, to_uint8


def test_bytes_return() -> None:
    images = np.arange(2 * 4 * 3 * 3, dtype=np.uint8).reshape(2, 4, 3, 3) * 3
    np.testing.assert_array_equal(to_uint8(to_tensor(images)), images)


def test_values_beyond_the_range_are_clipped() -> None:
    assert to_uint8(torch.tensor([-1e30, -1.0, 0.0, 1.0, 1e30]).view(1, 1, 1, 5).expand(1, 3, 1, 5))[
        0, 0, :, 0
    ].tolist() == [*(0, 0, 128, 255, 255)]


def test_no_images_are_no_bytes() -> None:
    assert to_uint8(torch.empty(0, 3, 4, 4)).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_picture_of_nan_is_never_made(value: float) -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2, 3, 0] = value
    with pytest.raises(NonFiniteError, match="NaN or infinity instead of an image"):
        to_uint8(images)
