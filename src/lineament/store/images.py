"""Read folders and zips of images, and decode them into a memory-mapped uint8 array."""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from lineament.errors import ConfigError, ImageError
from lineament.store.atomic import atomic_write, make_folder
from lineament.store.image_files import (
    MAX_BYTES,
    head_of,
    head_of_member,
    read_file,
    read_member,
    reason_of,
    walk,
)
from lineament.store.image_formats import HEAD_BYTES, image_formats, image_suffixes, is_image, missing_format
from lineament.store.names import is_hidden, shown_names

MAX_PIXELS = MAX_BYTES // 4
"""Images with more pixels are refused before decoding: a file of a few kilobytes can claim a hundred gigapixels."""
_EXPECTED = "JPEG, PNG, WebP, AVIF, TIFF or other images"


@dataclass
class ReadingReport:
    """What happened when images were read.

    Attributes:
        skipped: reason for each file that could not be used.
        blended: number of images with transparent pixels, which were blended with white.
    """

    skipped: dict[str, str] = field(default_factory=dict)
    blended: int = 0

    def summary(self) -> str:
        """One line: the number of skipped files, and the first of them with its reason."""
        name, reason = next(iter(self.skipped.items()))
        return f"skipped {len(self.skipped)} unusable image(s), the first: {name} ({reason})"

    def lines(self) -> list[str]:
        """What to tell the user; empty if there was nothing unusual."""
        found = [self.summary()] if self.skipped else []
        return [*found, blended_text(self.blended)] if self.blended else found


def blended_text(count: int) -> str:
    """The line about images with transparent pixels."""
    return f"{count} image(s) have transparent pixels, which were blended with white"


class ImageSource:
    """The images of a folder (searched recursively) or of a zip, in the order of their names; or one image.

    Files with the suffix of an image count as images until they are decoded. The content of other files decides: their
    first bytes are read. Hidden files and folders are left alone; links to folders are not followed.

    Args:
        path: folder, zip file, or image file.

    Attributes:
        path: the folder or file.
        names: names of the images, as text without control characters (see `shown_names`); each once.
        left: why other files are no images, by name.

    Raises:
        ImageError: nothing there, not a folder, zip or image, not readable, or no image inside.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._folder: Path | None = None
        self.left: dict[str, str] = {}
        try:
            raw = self._list()
        except OSError as error:
            raise ImageError(
                f"{self.path} cannot be read ({reason_of(error)}); check the path and its permissions"
            ) from error
        self._raw = shown_names(raw)
        self.left = {name: self.left[own] for name, own in shown_names(self.left).items()}
        self.names = list(self._raw)
        if not self.names:
            raise ImageError(f"{self.path} holds no images ({self._left_text()}); expected {_EXPECTED}")

    def __len__(self) -> int:
        return len(self.names)

    def _list(self) -> list[str]:
        """Names of the images as the folder or zip has them; fills ``left``."""
        if self.path.is_dir():
            self._folder = self.path
            return self._images_of(walk(self.path, self.left), lambda name: head_of(os.path.join(self.path, name)))
        if not self.path.exists():
            raise ImageError(f"{self.path} does not exist; expected a folder or a zip of {_EXPECTED}")
        if not self.path.is_file():
            raise ImageError(f"{self.path} is no ordinary file; expected a folder or a zip of {_EXPECTED}")
        if is_image(head_of(self.path)):
            self._folder = self.path.parent
            return [self.path.name]
        if zipfile.is_zipfile(self.path):
            with self._zip() as archive:
                members = [i.filename for i in archive.infolist() if not i.is_dir() and not is_hidden(i.filename)]
                return self._images_of(members, lambda name: head_of_member(archive, name))
        if self.path.suffix.lower() in image_suffixes():
            self._folder = self.path.parent  # damaged; decoding says so
            return [self.path.name]
        raise ImageError(f"{self.path} is neither a folder, nor a readable zip, nor an image; expected one of these")

    def _images_of(self, names: Iterable[str], head: Callable[[str], bytes]) -> list[str]:
        """Names of the images among visible files; the others go to ``left``."""
        images: list[str] = []
        suffixes = image_suffixes()
        for name in names:
            try:
                if os.path.splitext(name)[1].lower() in suffixes or is_image(head(name)):
                    images.append(name)
                else:
                    self.left[name] = "not an image"
            except ImageError as error:
                self.left[name] = str(error)
        return images

    def _left_text(self) -> str:
        first = "".join(f", the first: {name} ({reason})" for name, reason in list(self.left.items())[:1])
        return f"{len(self.left)} other files{first}"

    @contextmanager
    def _zip(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except Exception as error:  # a damaged directory raises errors of every kind
            raise ImageError(f"{self.path} is a damaged zip ({reason_of(error)}); get or make it again") from error
        with archive:
            yield archive

    @contextmanager
    def reader(self) -> Iterator[Callable[[str], bytes]]:
        """A function that reads the encoded bytes of an image by name; it raises ImageError if that fails."""
        if (folder := self._folder) is not None:
            yield lambda name: read_file(folder / self._raw[name])
            return
        with self._zip() as archive:
            yield lambda name: read_member(archive, self._raw[name])

    def signature(self) -> str:
        """A hash that changes when a file is added, removed or modified (names, sizes, times or checksums)."""
        digest = hashlib.sha256()
        if self._folder is not None:
            for name in self.names:
                try:
                    status = (self._folder / self._raw[name]).stat()
                except OSError:  # gone since it was listed
                    continue
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n".encode())
        else:
            with self._zip() as archive:
                for name in self.names:
                    info = archive.getinfo(self._raw[name])
                    digest.update(f"{name}\0{info.file_size}\0{info.CRC}\n".encode())
        return digest.hexdigest()[:16]


class ImageSources:
    """The images of several folders and zips, one source after the other; like one `ImageSource`.

    Args:
        paths: folders, zips or images, at least one.

    Attributes:
        names: as in `ImageSource`; with several sources, the number of the source (from 1) and a colon come first.

    Raises:
        ConfigError: there is no path.
        ImageError: as in `ImageSource`, for any of the paths.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        if not paths:
            raise ConfigError("no images are named; give --images a folder or a zip")
        self._sources = [ImageSource(path) for path in paths]
        self._places = {
            name if len(paths) == 1 else f"{i}: {name}": (i - 1, name)
            for i, source in enumerate(self._sources, start=1)
            for name in source.names
        }
        self.names = list(self._places)

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return ", ".join(str(source.path) for source in self._sources)

    @contextmanager
    def reader(self) -> Iterator[Callable[[str], bytes]]:
        """As `ImageSource.reader`."""
        with ExitStack() as stack:
            readers = [stack.enter_context(source.reader()) for source in self._sources]

            def read(name: str) -> bytes:
                i, own = self._places[name]
                return readers[i](own)

            yield read

    def signature(self) -> str:
        """As `ImageSource.signature`."""
        signatures = [source.signature() for source in self._sources]
        if len(signatures) == 1:
            return signatures[0]
        return hashlib.sha256("\n".join(signatures).encode()).hexdigest()[:16]


def decode_image(data: bytes, resolution: int, report: ReadingReport | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """One image as RGB, centre-cropped to a square and resized with antialiasing; otherwise as `decode_whole`.

    Raises:
        ImageError: as in `decode_whole`, or the shorter side is less than half of ``resolution``.
    """
    image = Image.fromarray(decode_whole(data, report))
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


def typical_side(source: ImageSource | ImageSources, count: int = 100) -> float:
    """Median shorter side of up to ``count`` images, in pixels, from their headers; 0 if no header can be read."""
    chosen = source.names[:: -(-len(source.names) // count)]
    sides: list[int] = []
    with source.reader() as read, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in chosen:
            with suppress(Exception):  # damaged bytes raise errors of every kind; decoding reports them later
                sides.append(min(Image.open(BytesIO(read(name)), formats=image_formats()).size))
    return float(np.median(sides)) if sides else 0.0


def decode_whole(data: bytes, report: ReadingReport | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """One image as RGB, at its own size; the first frame of an animation.

    Grey images and CMYK become RGB, 16 and 32 bits become 8, transparent pixels are blended with white, and the EXIF
    orientation is applied.

    Args:
        data: the encoded image, in one of `image_formats`.
        report: counts the images with transparent pixels.

    Raises:
        ImageError: not a readable image, truncated, or more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about odd metadata
            image = Image.open(BytesIO(data), formats=image_formats())
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            image.load()
            pixels, is_blended = _to_rgb(ImageOps.exif_transpose(image))
            array = np.asarray(pixels)
    except ImageError:
        raise
    except Exception as error:  # damaged bytes raise errors of every kind, from IndexError to struct.error
        raise ImageError(f"not a readable image: {_problem(data, error)}") from error
    if report is not None:
        report.blended += is_blended
    return array


def _problem(data: bytes, error: Exception) -> str:
    if not data:
        return "the file is empty"
    if (known := missing_format(data[:HEAD_BYTES])) is not None:
        return known
    return "unknown format" if isinstance(error, UnidentifiedImageError) else f"damaged ({type(error).__name__})"


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as RGB, and whether transparent pixels were blended with white."""
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would clip these at 255 instead of scaling
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB"), False
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    rgba = image.convert("RGBA")
    is_opaque = rgba.getchannel("A").getextrema() == (255, 255)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"), not is_opaque


def _to_bytes(values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """Grey values of 16 or 32 bits, or fractions of white, as 8 bits.

    Raises:
        ImageError: values that are no numbers, below black or above white.
    """
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError("its values are not between 0 and 1, so black and white are unknown; save it with 8 bits")
        return (values * 255).round().astype(np.uint8)
    values = values.astype(np.uint32)  # Pillow reads 32 bits without a sign as with one
    return (values >> (24 if values.max() >= 1 << 16 else 8)).astype(np.uint8)


def load_image_array(
    path: str | Path | Sequence[str | Path],
    resolution: int,
    cache_dir: str | Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_report: Callable[[ReadingReport], None] | None = None,
) -> UInt8[np.ndarray, "n h w 3"]:
    """All usable images of folders or zips as one memory-mapped array, decoded once and then cached.

    Args:
        path: folder or zip, or several of them.
        resolution: side of the square images.
        cache_dir: folder of the decoded array, which is used again as long as the source does not change.
        on_progress: called with (images done, images in all).
        on_report: called with what happened, if files could not be used or had transparent pixels.

    Raises:
        ImageError: no usable image at all.
        StorageError: the cache cannot be written.
    """
    if resolution < 1:
        raise ConfigError(f"resolution is {resolution}, expected at least 1")
    source = ImageSources([path] if isinstance(path, (str, Path)) else path)
    cache = Path(cache_dir) / f"images-{resolution}px-{source.signature()}.npy"
    found = _cached(cache, resolution)
    if found is None:
        images, report = _decode_all(source, resolution, on_progress)
        _keep(cache, images, report)
        found = np.load(cache, mmap_mode="r", allow_pickle=False), report
    array, report = found
    if on_report and report.lines():
        on_report(report)
    return array


def _cached(cache: Path, resolution: int) -> tuple[UInt8[np.ndarray, "n h w 3"], ReadingReport] | None:
    """What was decoded before; None if there is nothing, or it is damaged."""
    try:
        array = np.load(cache, mmap_mode="r", allow_pickle=False)
        stored = json.loads(cache.with_suffix(".json").read_text(encoding="utf-8"))
        report = ReadingReport(dict(stored["skipped"]), int(stored["blended"]))
    except (ValueError, TypeError, KeyError, OSError, EOFError):
        return None
    is_ours = array.dtype == np.uint8 and array.shape[1:] == (resolution, resolution, 3)
    return (array, report) if is_ours else None


def _decode_all(
    source: ImageSources, resolution: int, on_progress: Callable[[int, int], None] | None
) -> tuple[UInt8[np.ndarray, "n h w 3"], ReadingReport]:
    images = np.empty((len(source), resolution, resolution, 3), np.uint8)
    count, report = 0, ReadingReport()
    with source.reader() as read:
        for done, name in enumerate(source.names, start=1):
            try:
                images[count] = decode_image(read(name), resolution, report)
                count += 1
            except ImageError as error:
                report.skipped[name] = str(error)
            if on_progress:
                on_progress(done, len(source))
    if not count:
        raise ImageError(f"{source} has no usable image among {len(source)}: {report.summary()}")
    return images[:count], report


def _keep(cache: Path, images: UInt8[np.ndarray, "n h w 3"], report: ReadingReport) -> None:
    make_folder(cache.parent)
    with atomic_write(cache.with_suffix(".json")) as handle:
        handle.write(json.dumps(asdict(report)).encode())
    with atomic_write(cache) as handle:
        np.save(handle, images, allow_pickle=False)
