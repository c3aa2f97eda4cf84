"""Pictures out: PNG grids, GIF and MP4."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lineament.store.atomic import atomic_write


def to_uint8(images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Images in [-1, 1] to bytes, rounded and clipped."""
    scaled = images.detach().float().mul(127.5).add(127.5).round().clamp(0, 255)
    return scaled.permute(0, 2, 3, 1).byte().cpu().numpy()


def tile(images: UInt8[np.ndarray, "n h w 3"], columns: int, *, gap: int = 2) -> UInt8[np.ndarray, "gh gw 3"]:
    """Arrange images row by row on white."""
    n, h, w, _ = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return canvas


def png_bytes(image: UInt8[np.ndarray, "h w 3"], *, scale: int = 1) -> bytes:
    """Encode as PNG, optionally enlarged by a whole factor."""
    picture = Image.fromarray(image)
    if scale != 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_png(path: str | Path, image: UInt8[np.ndarray, "h w 3"], *, scale: int = 1) -> None:
    """Write a PNG atomically."""
    with atomic_write(Path(path)) as handle:
        handle.write(png_bytes(image, scale=scale))
