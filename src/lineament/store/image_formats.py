"""Which picture formats are read, and how they are recognised by their content."""

import importlib
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO

from PIL import Image, features

HEAD_BYTES = 64
"""Number of bytes from the beginning of a file that decide whether it is a picture."""

# By format: the plugin of Pillow that reads it. Formats of this list are decoded by Pillow itself, from the bytes of
# the one file. Left out are those that start another program (EPS), need a handler of another program (WMF, BUFR, GRIB,
# HDF5, MPEG), hold a file inside the file (MIC, FPX, IPTC), unpack without a limit (FITS), or have no clear signature
# and are no photographs (IM, IMT, MCIDAS, PCD, SPIDER, ...). TGA has no signature, so it is tried last.
_PLUGINS = {
    "PNG": "Png",
    "JPEG": "Jpeg",
    "WEBP": "WebP",
    "AVIF": "Avif",
    "TIFF": "Tiff",
    "GIF": "Gif",
    "BMP": "Bmp",
    "JPEG2000": "Jpeg2K",
    "PPM": "Ppm",
    "PSD": "Psd",
    "QOI": "Qoi",
    "ICO": "Ico",
    "ICNS": "Icns",
    "CUR": "Cur",
    "DDS": "Dds",
    "SGI": "Sgi",
    "SUN": "Sun",
    "PCX": "Pcx",
    "DCX": "Dcx",
    "FLI": "Fli",
    "MSP": "Msp",
    "BLP": "Blp",
    "PIXAR": "Pixar",
    "XPM": "Xpm",
    "XBM": "Xbm",
    "DIB": "Bmp",
    "TGA": "Tga",
}
_WEAK = frozenset({"PPM", "PCX", "XBM", "DIB", "TGA"})
"""Formats whose first bytes also begin texts or other files: these are recognised by the suffix alone (but see
`_PORTABLE_MAP`)."""
_PORTABLE_MAP = re.compile(rb"P[1-6yfF]\s")

_AVIF = re.compile(rb"....ftyp.{0,52}avi[fs]", re.DOTALL)
_HEIC = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)
_JPEG_XL = re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")
_POSTSCRIPT = re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, in the order in which they are tried."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it prints about damaged files
    for plugin in _PLUGINS.values():
        with suppress(ImportError):  # an older Pillow
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in _PLUGINS if name in Image.OPEN)


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of these formats, in lower case; a file with one of them counts as a picture until it is decoded."""
    known = frozenset(image_formats())
    return frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in known) | {".mpo", ".heic", ".jxl"}


@cache
def _signatures() -> tuple[Callable[[bytes], bool | str], ...]:
    tests = (Image.OPEN[name][1] for name in image_formats() if name not in _WEAK)
    return tuple(test for test in tests if test is not None)


def is_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a picture, by Pillow's own tests of signatures.

    Pictures that cannot be read but have a reason worth telling (see `missing_format`) are included.
    """
    start = head[:16]
    return any(test(start) for test in _signatures()) or bool(_PORTABLE_MAP.match(head) or missing_format(head))


def missing_format(head: bytes) -> str | None:
    """Why a picture of a known format cannot be read here, and what to do; None if nothing is known against it."""
    if _AVIF.match(head):
        is_read = "AVIF" in image_formats() and features.check("avif")
        return None if is_read else "AVIF, which this Pillow cannot read; install Pillow 11.3 or newer"
    if _JPEG_XL.match(head):
        return "JPEG XL, which Pillow cannot read; save it as PNG or JPEG"
    if _POSTSCRIPT.match(head):
        return "PostScript, which is a program and is not run; save it as PNG"
    if _HEIC.match(head):
        return "HEIC, which Pillow cannot read; save it as JPEG or PNG"
    return None


def suffix_of(data: bytes) -> str:
    """The usual suffix of a picture by its content, without the dot, such as "jpg".

    Raises:
        OSError: not a picture.
    """
    with Image.open(BytesIO(data), formats=image_formats()) as image:
        name = (image.format or "png").lower()
    return {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2"}.get(name, name)
