"""Write pictures: grids as PNG, with the recipe of the picture inside the file."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lineament.errors import ConfigError
from lineament.store.atomic import write_bytes_atomic

MAX_SIDE_PX = 16_000
MAX_PIXELS = 200_000_000


def tile(images: UInt8[np.ndarray, "n h w 3"], columns: int, *, gap: int = 2) -> UInt8[np.ndarray, "gh gw 3"]:
    """Arrange images row by row on a white background."""
    n, h, w, _ = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return canvas


def check_size(width: int, height: int, num_frames: int = 1) -> None:
    """Refuse pictures and animations that few programs could open, before they are computed.

    Raises:
        ConfigError: too wide, too high, or too much in all.
    """
    if max(height, width) > MAX_SIDE_PX or height * width * num_frames > MAX_PIXELS:
        raise ConfigError(
            f"{num_frames} picture(s) of {width} x {height} pixels are too much, expected at most {MAX_SIDE_PX} a side "
            f"and {MAX_PIXELS} in all; ask for fewer faces, steps or frames, or a smaller scale"
        )


def enlarge(image: UInt8[np.ndarray, "h w 3"], scale: int) -> UInt8[np.ndarray, "sh sw 3"]:
    """Enlarge by a whole factor, with bicubic interpolation."""
    if scale == 1:
        return image
    size = (image.shape[1] * scale, image.shape[0] * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def shrink_to(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Shrink with antialiasing until the longer side is ``side`` pixels; smaller images are returned unchanged."""
    height, width, _ = image.shape
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def png_bytes(
    image: UInt8[np.ndarray, "h w 3"],
    *,
    scale: int = 1,
    text: Mapping[str, str] | None = None,
    quick: bool = False,
) -> bytes:
    """Encode as PNG, optionally enlarged by a whole factor.

    Args:
        image: the picture.
        scale: whole factor of enlargement.
        text: keys and values to store in the file (tEXt chunks; iTXt if Latin-1 does not suffice).
        quick: compress in less time; files of faces grow by 2 %.
    """
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value.encode("utf-8", "backslashreplace").decode())  # a path need not be UTF-8
    buffer = BytesIO()
    compression: dict[str, int | bool] = {"compress_level": 1} if quick else {"optimize": True}
    Image.fromarray(enlarge(image, scale)).save(buffer, "PNG", pnginfo=info, **compression)
    return buffer.getvalue()


def jpeg_bytes(image: UInt8[np.ndarray, "h w 3"], *, quality: int = 90) -> bytes:
    """Encode as JPEG without chroma subsampling."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def save_png(
    path: str | Path, image: UInt8[np.ndarray, "h w 3"], *, scale: int = 1, text: Mapping[str, str] | None = None
) -> None:
    """Write a PNG atomically; see `png_bytes`."""
    write_bytes_atomic(path, png_bytes(image, scale=scale, text=text))


def save_picture(path: str | Path, image: UInt8[np.ndarray, "h w 3"], text: Mapping[str, str] | None = None) -> None:
    """Write a PNG, JPEG or WebP atomically, as the suffix says; a PNG keeps the ``text``.

    Raises:
        ConfigError: another suffix.
        StorageError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        data = png_bytes(image, text=text)
    elif suffix in (".jpg", ".jpeg"):
        data = jpeg_bytes(image)
    elif suffix == ".webp":
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "WEBP", quality=90, method=6)
        data = buffer.getvalue()
    else:
        raise ConfigError(f"{path} has no picture's name, expected one in .png, .jpg or .webp")
    write_bytes_atomic(path, data)


def read_png_text(path: str | Path) -> dict[str, str]:
    """The keys and values that `save_png` stored in a PNG."""
    with Image.open(path, formats=("PNG",)) as picture:
        picture.load()
        return {str(key): str(value) for key, value in picture.info.items() if isinstance(value, str)}
