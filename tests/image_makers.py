"""Images, folders and zips for tests of what reads them."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from lineament.errors import ImageError
from lineament.store.images import ImageSource


def picture(width: int = 16, height: int = 16, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder_of(path: Path, **files: bytes) -> Path:
    for name, data in files.items():
        target = path / name.replace("__", "/").replace("_dot_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def zip_of(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def contents(source: ImageSource) -> list[bytes | str]:
    """The bytes of each image, or the reason why it cannot be read."""
    found: list[bytes | str] = []
    with source.reader() as read:
        for name in source.names:
            try:
                found.append(read(name))
            except ImageError as error:
                found.append(str(error))
    return found
