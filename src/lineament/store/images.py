"""Read folders and zips of images into a memory-mapped uint8 array."""

import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from lineament.errors import ConfigError, ImageError
from lineament.store.atomic import atomic_write, storage_error

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
MAX_PIXELS = 64 * 1024 * 1024
"""Images with more pixels are refused before decoding: a file of a few kilobytes can claim a hundred gigapixels."""
MAX_BYTES = 4 * MAX_PIXELS
"""Larger files are refused without reading them; in a zip the unpacked size counts."""


@dataclass
class SkippedImages:
    """Files that could not be used, and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """One line: the number of files, and the first of them with its reason."""
        name, reason = next(iter(self.reasons.items()))
        return f"skipped {len(self.reasons)} unusable image(s), the first: {name} ({reason})"


class ImageSource:
    """The images of a folder (searched recursively) or of a zip, in the order of their names; or one image.

    Args:
        path: folder, zip file, or image file.

    Raises:
        ImageError: nothing there, not a folder, zip or image, or no PNG, JPEG or WebP inside.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        is_image = self.path.suffix.lower() in IMAGE_SUFFIXES and self.path.is_file()
        self._folder = self.path if self.path.is_dir() else self.path.parent if is_image else None
        if is_image:
            candidates = [self.path.name]
        elif self.path.is_dir():
            files = (p for p in self.path.rglob("*") if p.is_file())
            candidates = [p.relative_to(self.path).as_posix() for p in files]
        elif zipfile.is_zipfile(self.path):
            try:
                with zipfile.ZipFile(self.path) as archive:
                    candidates = [info.filename for info in archive.infolist() if not info.is_dir()]
            except _ZIP_ERRORS as error:
                raise ImageError(f"{self.path} is a damaged zip ({error}); get or make it again") from error
        elif not self.path.exists():
            raise ImageError(f"{self.path} does not exist; expected a folder or a zip of PNG, JPEG or WebP images")
        else:
            raise ImageError(f"{self.path} is neither a folder nor a readable zip; expected one with images inside")
        self.names = sorted(name for name in candidates if Path(name).suffix.lower() in IMAGE_SUFFIXES)
        self.others = sorted(set(candidates) - set(self.names))
        self.num_other = len(self.others)
        if not self.names:
            raise ImageError(
                f"{self.path} holds no images ({len(candidates)} other files); expected PNG, JPEG or WebP files"
            )

    def __len__(self) -> int:
        return len(self.names)

    def read_all(self) -> Iterator[tuple[str, bytes]]:
        """Name and encoded bytes of every image."""
        with self.reader() as read:
            for name in self.names:
                yield name, read(name)

    @contextmanager
    def reader(self) -> Iterator[Callable[[str], bytes]]:
        """A function that reads the encoded bytes of an image by name; empty bytes if it cannot be read."""
        if (folder := self._folder) is not None:
            yield lambda name: _read_file(folder / name)
            return
        with zipfile.ZipFile(self.path) as archive:
            yield lambda name: _read_member(archive, name)

    def signature(self) -> str:
        """A hash that changes when a file is added, removed or modified (names, sizes, times or checksums)."""
        digest = hashlib.sha256()
        if self._folder is not None:
            for name in self.names:
                try:
                    status = (self._folder / name).stat()
                except OSError:  # gone since it was listed
                    continue
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        else:
            with zipfile.ZipFile(self.path) as archive:
                for name in self.names:
                    info = archive.getinfo(name)
                    digest.update(f"{name}\0{info.file_size}\0{info.CRC}\n".encode())
        return digest.hexdigest()[:16]


# A broken zip can also raise errors of its compression; an encrypted member raises a RuntimeError.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, KeyError)


def _read_file(path: Path) -> bytes:
    """The bytes; empty if the file is unreadable or larger than `MAX_BYTES`."""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return b""


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name) if archive.getinfo(name).file_size <= MAX_BYTES else b""
    except _ZIP_ERRORS:
        return b""


def decode_image(data: bytes, resolution: int) -> UInt8[np.ndarray, "h w 3"]:
    """One image as RGB, centre-cropped to a square and resized with antialiasing; otherwise as `decode_whole`.

    Raises:
        ImageError: as in `decode_whole`, or the shorter side is less than half of ``resolution``.
    """
    image = Image.fromarray(decode_whole(data))
    side = min(image.size)
    if side * 2 < resolution:
        raise ImageError(f"{image.width} x {image.height} pixels are too few for {resolution} x {resolution}")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image)


def halved(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h2 w2 3"]:
    """Images at half the size, by the same filter as in `decode_image`."""
    n, height, width, _ = images.shape
    size = width // 2, height // 2
    rows = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in images]
    return np.array(rows, np.uint8).reshape(n, height // 2, width // 2, 3)


def typical_side(source: ImageSource, count: int = 100) -> float:
    """Median shorter side of up to ``count`` images, in pixels, from their headers; 0 if no header can be read."""
    chosen = source.names[:: -(-len(source.names) // count)]
    sides: list[int] = []
    with source.reader() as read, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in chosen:
            with suppress(Exception):  # damaged bytes raise errors of every kind; decoding reports them later
                sides.append(min(Image.open(BytesIO(read(name)), formats=("PNG", "JPEG", "WEBP")).size))
    return float(np.median(sides)) if sides else 0.0


def decode_whole(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """One image as RGB, at its own size; the first frame of an animation.

    Grey images and CMYK become RGB, 16 bits become 8, transparent pixels are blended with white, and the EXIF
    orientation is applied.

    Raises:
        ImageError: not a readable image, truncated, or more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about odd metadata
            image = Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            image.load()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except ImageError:
        raise
    except Exception as error:  # damaged bytes raise errors of every kind, from IndexError to struct.error
        raise ImageError(f"not a readable PNG, JPEG or WebP: {type(error).__name__}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def load_image_array(
    path: str | Path,
    resolution: int,
    cache_dir: str | Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_skip: Callable[[SkippedImages], None] | None = None,
) -> UInt8[np.ndarray, "n h w 3"]:
    """All usable images of a folder or zip as one memory-mapped array, decoded once and then cached.

    Args:
        path: folder or zip.
        resolution: side of the square images.
        cache_dir: folder of the decoded array, which is used again as long as the source does not change.
        on_progress: called with (images done, images in all).
        on_skip: called with the files that could not be used, if there are any.

    Raises:
        ImageError: no usable image at all.
        StorageError: the cache cannot be written.
    """
    if resolution < 1:
        raise ConfigError(f"resolution is {resolution}, expected at least 1")
    source = ImageSource(path)
    cache = Path(cache_dir) / f"images-{resolution}px-{source.signature()}.npy"
    report = cache.with_suffix(".json")
    skipped = SkippedImages()
    if cache.exists() and report.exists():
        try:
            array = np.load(cache, mmap_mode="r", allow_pickle=False)
            skipped.reasons = dict(json.loads(report.read_text(encoding="utf-8")))
            if array.dtype != np.uint8 or array.shape[1:] != (resolution, resolution, 3):
                raise ValueError(f"the cache holds {array.dtype} {array.shape}")
        except (ValueError, TypeError, OSError, EOFError):  # a damaged cache: decode again and replace it
            skipped.reasons = {}
        else:
            if skipped.reasons and on_skip:
                on_skip(skipped)
            return array
    images = np.empty((len(source), resolution, resolution, 3), np.uint8)
    count = 0
    for done, (name, data) in enumerate(source.read_all(), start=1):
        try:
            images[count] = decode_image(data, resolution)
            count += 1
        except ImageError as error:
            skipped.reasons[name] = str(error)
        if on_progress:
            on_progress(done, len(source))
    if not count:
        raise ImageError(f"{source.path} has no usable image among {len(source)}: {skipped.summary()}")
    if skipped.reasons and on_skip:
        on_skip(skipped)
    try:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(cache_dir, error, verb="make the folder") from error
    with atomic_write(report) as handle:
        handle.write(json.dumps(skipped.reasons).encode())
    with atomic_write(cache) as handle:
        np.save(handle, images[:count], allow_pickle=False)
    return np.load(cache, mmap_mode="r", allow_pickle=False)
