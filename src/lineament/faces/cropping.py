"""Crop photographs to squares that are aligned like the generator's own images."""

import numpy as np
from jaxtyping import UInt8

from lineament.faces.face_finder import CascadeFinder, FaceFinder, aligned, usual_face_of
from lineament.networks.stylegan.generator import Generator
from lineament.ops.alignment import FoundFace
from lineament.records.inversion_settings import Align
from lineament.store.images import ReadingReport, decode_image, decode_whole


class Cropper:
    """Crops encoded images for a generator.

    Args:
        generator: the crops have the alignment and the size of its images.
        align: whether to search for faces: "none", "detect" (every image), or "auto" (images that are not square).
        alone: refuse images with several faces instead of taking the largest.
        finder: finds faces; if None, the detector of the optional extra is used when one is needed.

    Raises:
        InputError: the extra is needed but not installed.
    """

    def __init__(
        self, generator: Generator, align: Align = "none", *, alone: bool = False, finder: FaceFinder | None = None
    ) -> None:
        self._generator, self._size = generator, generator.config.resolution
        self._align, self._alone = align, alone
        # Created here, so that a missing extra is reported before the work begins.
        self._finder = None if align == "none" else finder or CascadeFinder()
        self._usual: FoundFace | None = None
        self._report = ReadingReport()

    @property
    def blended(self) -> int:
        """Number of images so far with transparent pixels, which were blended with white."""
        return self._report.blended

    def crop(self, data: bytes) -> UInt8[np.ndarray, "r r 3"]:
        """Crop one encoded image to RGB bytes at the generator's resolution.

        Raises:
            ImageError: the image is not readable or too small, or it has no suitable face.
        """
        if self._finder is None:
            return decode_image(data, self._size, self._report)
        image = decode_whole(data, self._report)
        if self._align == "auto" and image.shape[0] == image.shape[1]:
            return decode_image(data, self._size)
        if self._usual is None:
            self._usual = usual_face_of(self._generator, self._finder)
        return aligned(image, self._finder, self._usual, self._size, alone=self._alone)[0]
