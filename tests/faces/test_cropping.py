"""Crops of encoded photographs."""

import numpy as np
import pytest
from PIL import Image

from lineament.errors import ImageError
from lineament.faces.cropping import Cropper
from lineament.networks.stylegan.generator import Generator
from tests.image_makers import encoded


def test_crops_have_the_generators_size_and_transparent_ones_are_counted(
    tiny_networks: tuple[Generator, object],
) -> None:
    generator, _ = tiny_networks
    side = generator.config.resolution
    cropper = Cropper(generator)
    clear, solid = (Image.new("RGBA", (2 * side, side), (0, 0, 0, alpha)) for alpha in (0, 255))
    crops = [cropper.crop(encoded(image)) for image in (clear, solid)]
    assert [crop.shape for crop in crops] == [(side, side, 3)] * 2
    assert [int(np.unique(crop)[0]) for crop in crops] == [255, 0]
    assert cropper.blended == 1


def test_an_empty_file_is_named(tiny_networks: tuple[Generator, object]) -> None:
    with pytest.raises(ImageError, match="the file is empty"):
        Cropper(tiny_networks[0]).crop(b"")
