"""Write animations: GIF and WebP by Pillow, MP4 (H.264) by ffmpeg."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from lineament.errors import ConfigError, MissingExtraError
from lineament.records.formats import ANIMATION_SUFFIXES
from lineament.store.atomic import write_bytes_atomic


def animation_bytes(
    frames: UInt8[np.ndarray, "n h w 3"], suffix: str, *, fps: float = 24.0, comment: str = ""
) -> bytes:
    """Encode frames as an endless loop.

    Args:
        frames: the pictures in their order.
        suffix: ".gif", ".webp" or ".mp4".
        fps: frames per second; in a GIF a frame lasts a whole number of hundredths of a second, the nearest one.
        comment: text kept in the file: a comment of a GIF and an MP4, the image description of a WebP.

    Raises:
        ConfigError: another suffix, no frames, or a speed out of range.
    """
    if suffix not in ANIMATION_SUFFIXES:
        raise ConfigError(f"{suffix!r} is not an animation, expected {', '.join(ANIMATION_SUFFIXES)}; rename the file")
    if len(frames) == 0:
        raise ConfigError("an animation without frames, expected at least one; ask for more frames")
    if not 0 < fps <= 100:
        raise ConfigError(f"fps is {fps}, expected above 0 and at most 100")
    if suffix == ".mp4":
        return _mp4_bytes(frames, fps, comment)
    pictures = [Image.fromarray(frame) for frame in frames]
    buffer = BytesIO()
    if suffix == ".gif":
        # One palette for all frames: with a palette per frame the animation would flicker.
        shared = Image.fromarray(np.concatenate(list(frames[:: max(len(frames) // 8, 1)]))).quantize(256)
        pictures = [p.quantize(palette=shared, dither=Image.Dither.FLOYDSTEINBERG) for p in pictures]
        hundredths = max(round(100 / fps), 2)  # browsers slow down faster animations
        extra = {"comment": comment.encode("utf-8", "backslashreplace")} if comment else {}
        options = {"duration": hundredths * 10, "disposal": 1, "optimize": False, **extra}
    else:
        extra = {"exif": _described(comment)} if comment else {}
        options = {"duration": max(round(1000 / fps), 1), "quality": 90, "method": 4, **extra}
    pictures[0].save(buffer, suffix[1:].upper(), save_all=True, append_images=pictures[1:], loop=0, **options)
    return buffer.getvalue()


def need_ffmpeg() -> Any:
    """The library that writes MP4.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import imageio.v3 as iio
        import imageio_ffmpeg  # noqa: F401 - the encoder that imageio asks for only when the first frame comes
    except ImportError as error:
        raise MissingExtraError("MP4", "video") from error
    return iio


def _described(text: str) -> Image.Exif:
    """Exif data with a description; Exif allows only ASCII there, so other characters are escaped."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text.encode("ascii", "backslashreplace").decode()
    return exif


def read_comment(path: str | Path) -> str:
    """The text that `save_animation` put into a GIF or a WebP; empty if there is none."""
    with Image.open(path, formats=("GIF", "WEBP")) as picture:
        comment = picture.info.get("comment", b"")
        if picture.format == "WEBP":
            return str(picture.getexif().get(ExifTags.Base.ImageDescription, ""))
        return comment.decode("utf-8") if isinstance(comment, bytes) else str(comment)


def _mp4_bytes(frames: np.ndarray, fps: float, comment: str) -> bytes:
    """H.264 in yuv420p, which every player supports; it needs even sides, so odd ones get one more pixel."""
    iio = need_ffmpeg()

    pad = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    even = np.pad(frames, pad, mode="edge")
    options = ["-crf", "18", "-preset", "medium", "-movflags", "+faststart"]
    if comment:
        options += ["-metadata", f"comment={comment}"]
    data = iio.imwrite(
        "<bytes>",
        even,
        extension=".mp4",
        plugin="FFMPEG",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        quality=None,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=options,
    )
    if not isinstance(data, bytes):
        raise TypeError("the encoder gave something else than bytes")
    return data


def save_animation(
    path: str | Path, frames: UInt8[np.ndarray, "n h w 3"], *, fps: float = 24.0, comment: str = ""
) -> None:
    """Write frames as an endless loop, atomically; the path's suffix names the format, see `animation_bytes`."""
    write_bytes_atomic(path, animation_bytes(frames, Path(path).suffix.lower(), fps=fps, comment=comment))
