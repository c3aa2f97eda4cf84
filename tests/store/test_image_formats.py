"""Which formats are read, and how pictures are told from other files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from lineament.errors import ImageError
from lineament.store.image_formats import image_formats, image_suffixes, is_image, missing_format, suffix_of
from lineament.store.images import ImageSource, decode_whole
from tests.image_makers import encoded, folder_of, picture

WRITTEN = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "QOI", "ICO", "SGI", "DDS", "ICNS")
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0heicmif1"


@pytest.mark.parametrize("kind", [*WRITTEN, "PCX", "TGA", "DIB", "MPO"])
def test_a_picture_is_decoded_whatever_its_format(kind: str) -> None:
    flat = Image.new("RGB", (64, 64), (200, 100, 50))
    found = decode_whole(encoded(flat, kind))
    assert found.shape[2] == 3
    assert np.abs(found.astype(int).mean(axis=(0, 1)) - (200, 100, 50)).max() < 12


@pytest.mark.parametrize("kind", [*WRITTEN, "MPO"])
def test_a_picture_is_recognised_by_its_first_bytes(kind: str) -> None:
    data = encoded(picture(64, 64), kind)
    assert is_image(data[:64])
    assert f".{suffix_of(data)}" in image_suffixes()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'{"a": 1}',
        b"Python is a language",
        b"P1,2,3",
        b"#define X 1",
        b"file,who\n",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\0",
        b"\x80\x02}q\0",
        b"%PDF-1.7",
        b"\x7fELF",
        b'\x40\0\0\0\0\0\0\0{"__metadata__',
        b"\0\0\0\x18ftypmp42",
        bytes(64),
    ],
)
def test_other_files_are_not_taken_for_pictures(head: bytes) -> None:
    assert not is_image(head)


def test_formats_that_need_other_programs_are_not_offered() -> None:
    assert not {"EPS", "WMF", "MIC", "FPX", "MPEG", "HDF5", "GRIB", "BUFR", "FITS", "IPTC"} & set(image_formats())


@pytest.mark.parametrize(
    ("head", "reason"),
    [(HEIC, "HEIC"), (b"\xff\x0a\x01", "JPEG XL"), (b"%!PS-Adobe-3.0", "PostScript"), (encoded(picture()), None)],
)
def test_pictures_that_cannot_be_read_are_named(head: bytes, reason: str | None) -> None:
    found = missing_format(head)
    assert found == reason if reason is None else str(found).startswith(reason)
    assert is_image(head)


def test_avif_is_named_where_pillow_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture(), "AVIF")
    assert missing_format(data) is None
    monkeypatch.setattr(features, "check", lambda feature: False)
    assert missing_format(data) == "AVIF, which this Pillow cannot read; install Pillow 11.3 or newer"


def test_a_photograph_of_a_telephone_is_skipped_with_advice(tmp_path: Path) -> None:
    source = ImageSource(folder_of(tmp_path, a_dot_heic=HEIC, b=HEIC))
    assert source.names == ["a.heic", "b"]
    with pytest.raises(ImageError, match="HEIC, which Pillow cannot read; save it as JPEG or PNG"):
        decode_whole(HEIC)
