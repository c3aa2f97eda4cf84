"""Read folders of faces with known depth, in two layouts, as `FaceTruth`.

Rendered faces:  images/000000.png (or .jpg), truth/000000.npz and so on, and truth.npz with a row per face: ``index``,
                 ``names`` and ``values`` (angles in degrees). A face's npz has depth, mask, canon_depth, canon_mask and
                 canon_albedo. If info.json lists ``labels``, the npz also has label, an index into that list for each
                 pixel; the inside of open mouths then counts as background, because it is a hole behind the surface.
                 It has canon_label if the labels of the frontal view are used. If info.json lists ``landmarks``, it
                 has canon_landmarks, a row (x, y in pixels, depth) for each landmark.
Pairs:           image/*.png and depth/*.png, the n-th image with the n-th depth map; no pose, light or albedo. A value
                 v in [0, 1] means a depth of 1.1 - 0.2 v. The face is all pixels nearer than the farthest value of the
                 map. Source: the synthetic set of Wu et al., CVPR 2020.
"""

import json
import warnings
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from lineament.errors import ConfigError, FileFormatError, ImageError
from lineament.records.camera import Camera
from lineament.records.proportions import LABELS, LANDMARKS, proportions
from lineament.records.truth import FaceTruth
from lineament.store.atomic import storage_error
from lineament.store.image_files import MAX_BYTES
from lineament.store.images import MAX_PIXELS, decode_image
from lineament.store.regular_files import check_regular

_VIEW, _LIGHT = ("pitch", "yaw", "roll", "tx", "ty", "tz"), ("ambient", "diffuse", "dx", "dy")
_HOLES = ("mouth_inside",)
FACE_LABELS = ("skin", "lips", "brows", "eye_white", "iris", "pupil", "nose")
"""Labels of the face itself, without hair, ears, neck and clothes."""
MIN_SIDE = 16
"""Proportions are not measured on pictures with fewer pixels a side."""
_SHAPE, _CANON = ("depth", "mask"), ("canon_depth", "canon_mask", "canon_albedo")


@dataclass(frozen=True, eq=False)
class TruthFolder:
    """A folder whose file names were read and checked; the faces are read on demand.

    Attributes:
        images: file of each face's image.
        maps: file of each face's depth.
        scalars: view and light of each face in the order and units of `FaceTruth`; None in the layout of pairs.
        labels: meaning of the numbers in the label maps; empty if there are none.
        landmarks: names of the known points of each face; empty if there are none.
        names: of all columns of the table, including those of `scalars`; empty in the layout of pairs.
        parameters: the table, in its own units (angles in degrees); None in the layout of pairs.
    """

    images: tuple[Path, ...]
    maps: tuple[Path, ...]
    scalars: Float[np.ndarray, "n 10"] | None
    labels: tuple[str, ...] = ()
    landmarks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    parameters: Float[np.ndarray, "n k"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int, resolution: int) -> UInt8[np.ndarray, "h w 3"]:
        """One image; if it is larger by a whole factor, blocks of pixels are averaged."""
        path = self.images[index]
        data = _read(path)
        width, height = _open_picture(path, data).size
        factor = width // resolution
        if width != height or not factor or width % resolution:
            raise ImageError(
                f"{path} is {width} x {height} px, expected {resolution} x {resolution} or a whole multiple; "
                "render the truth at the decomposer's resolution"
            )
        try:
            pixels = decode_image(data, width)
        except ImageError as error:
            raise ImageError(f"{path}: {error}; get or make it again") from error
        blocks = pixels.reshape(resolution, factor, resolution, factor, 3)
        return blocks.mean(axis=(1, 3)).round().astype(np.uint8)

    def shape(self, index: int, resolution: int) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Depth and mask of one face as its image shows it."""
        path = self.maps[index]
        if self.scalars is None:
            depth = _read_depth_png(path, resolution)
            mask = depth < depth.max()
        else:
            members = _read_npz(path, _SHAPE)
            depth = _checked(path, members, "depth", (resolution, resolution), positive=True)
            mask = _checked(path, members, "mask", (resolution, resolution)) > 0
            if self.labels:
                mask &= ~self._labelled(index, resolution, _HOLES)
        if not mask.any():
            raise FileFormatError(f"{path} shows no face, all of it is background; make it again")
        return depth, mask

    def face(self, index: int, resolution: int) -> Bool[np.ndarray, "h w"] | None:
        """Mask of the face itself, without hair, ears, neck and clothes; None if there are no labels."""
        return self._labelled(index, resolution, FACE_LABELS) if self.labels else None

    def canonical_labels(self, index: int, resolution: int) -> Float[np.ndarray, "h w"]:
        """Index into `labels` for each pixel of the frontal view of one face; rendered faces only."""
        path = self.maps[index]
        return _checked(path, _read_npz(path, ("canon_label",)), "canon_label", (resolution, resolution))

    @property
    def has_proportions(self) -> bool:
        """Whether the landmarks and labels that `proportions` needs are known."""
        return set(LANDMARKS) <= set(self.landmarks) and set(LABELS) <= set(self.labels)

    def proportions(self, index: int) -> dict[str, float]:
        """Proportions of one face, measured at the size it was rendered; needs `has_proportions`."""
        path = self.maps[index]
        members = _read_npz(path, ("canon_landmarks", "canon_label", "canon_depth"))
        side = max(members["canon_depth"].shape, default=0)
        if side < MIN_SIDE:
            raise FileFormatError(f"{path}: canon_depth is {side} px wide, expected at least {MIN_SIDE}; make it again")
        landmarks = _checked(path, members, "canon_landmarks", (len(self.landmarks), 3))
        label, depth = (_checked(path, members, name, (side, side)) for name in ("canon_label", "canon_depth"))
        x = dict(zip(self.landmarks, landmarks[:, 0].tolist(), strict=True))
        if abs(x["eyeball_l"] - x["eyeball_r"]) < 1 or abs(x["mouth_l"] - x["mouth_r"]) < 1:
            raise FileFormatError(f"{path} has eyes or corners of the mouth less than a pixel apart; make it again")
        return proportions(landmarks, self.landmarks, label, self.labels, depth)

    def _labelled(self, index: int, resolution: int, names: Sequence[str]) -> Bool[np.ndarray, "h w"]:
        path = self.maps[index]
        label = _checked(path, _read_npz(path, ("label",)), "label", (resolution, resolution))
        return np.isin(label, [i for i, name in enumerate(self.labels) if name in names])

    def canonical(
        self, index: int, resolution: int
    ) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]:
        """Canonical depth, mask and albedo of one face; rendered faces only."""
        path, size = self.maps[index], (resolution, resolution)
        members = _read_npz(path, _CANON)
        depth = _checked(path, members, "canon_depth", size, positive=True)
        mask = _checked(path, members, "canon_mask", size) > 0
        albedo = _checked(path, members, "canon_albedo", (*size, 3))
        if not mask.any():
            raise FileFormatError(f"{path} shows no face from the front; make it again")
        if albedo.min() < 0 or albedo.max() > 1:
            raise FileFormatError(
                f"{path}: canon_albedo is {albedo.min():.3g} to {albedo.max():.3g}, expected 0 to 1; make it again"
            )
        return depth, mask, albedo


def open_truth(folder: str | Path) -> TruthFolder:
    """Find out which layout a folder has and whether its files are complete.

    Raises:
        ImageError: not a folder, or neither of the layouts.
        FileFormatError: files are missing, left over or damaged.
        StorageError: reading failed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder; expected one of rendered faces or of image/depth pairs")
    if (folder / "truth").is_dir() or (folder / "truth.npz").exists():
        return _open_rendered(folder)
    if (folder / "image").is_dir() and (folder / "depth").is_dir():
        return _open_pairs(folder)
    raise ImageError(
        f"{folder} holds no truth: expected rendered faces (images/, truth/, truth.npz) or pairs (image/, depth/)"
    )


def load_truth(folder: str | Path, resolution: int, limit: int | None = None) -> FaceTruth:
    """Read faces with known depth; no code in the files is ever run.

    Args:
        folder: in one of the layouts at the top of this module.
        resolution: side of the maps in pixels. Images may be larger by a whole factor. Depth may not: averaging or
            picking pixels would move its edges away from those of the smaller image.
        limit: read only this many faces, from the first; only these take memory.

    Raises:
        ConfigError: the limit is below 1.
        ImageError: the folder or an image cannot be used.
        FileFormatError: files are missing, left over, damaged, of another size, or hold NaN.
        StorageError: reading failed.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} faces, expected at least 1")
    source = open_truth(folder)
    n = min(len(source), limit or len(source))
    size = (n, resolution, resolution)
    face = np.empty(size, bool) if source.labels else None
    images, depth, mask = np.empty((*size, 3), np.uint8), np.empty(size, np.float32), np.empty(size, bool)
    for i in range(n):
        images[i] = source.image(i, resolution)
        depth[i], mask[i] = source.shape(i, resolution)
        if face is not None:
            face[i] = source.face(i, resolution)
    if source.scalars is None:
        return FaceTruth(images, depth, mask)
    scalars = source.scalars[:n]
    canon_depth, canon_mask, canon_albedo = np.empty_like(depth), np.empty_like(mask), np.empty((*size, 3), np.float32)
    for i in range(n):
        canon_depth[i], canon_mask[i], canon_albedo[i] = source.canonical(i, resolution)
    return FaceTruth(images, depth, mask, scalars[:, :6], scalars[:, 6:], canon_depth, canon_mask, canon_albedo, face)


def _open_rendered(folder: Path) -> TruthFolder:
    path = folder / "truth.npz"
    if not path.exists():
        raise FileFormatError(
            f"{path} does not exist, but {folder / 'truth'} does; let the rendering end, or repeat it"
        )
    table = _read_npz(path, ("index", "names", "values"))
    index, names, values = table["index"], [str(name) for name in table["names"].ravel()], table["values"]
    if index.ndim != 1 or index.dtype.kind not in "iu" or values.shape != (len(index), len(names)):
        raise FileFormatError(
            f"{path}: index {index.shape}, names ({len(names)},) and values {values.shape} do not fit together, "
            "expected (n,), (k,) and (n, k); make it again"
        )
    if not len(index):
        raise FileFormatError(f"{path} has no row; render at least one face")
    if missing := [name for name in (*_VIEW, *_LIGHT) if name not in names]:
        raise FileFormatError(f"{path} has no column {missing[0]!r}; make it again")
    parameters = _checked(path, {"values": values}, "values", values.shape)
    scalars = parameters[:, [names.index(name) for name in (*_VIEW, *_LIGHT)]]
    scalars[:, :3] = np.radians(scalars[:, :3])
    rows = [f"{i:06d}" for i in index.tolist()]
    _check_csv(folder / "truth.csv", rows)
    maps = _listed(folder / "truth", {".npz"})
    images = _listed(folder / "images", {".png", ".jpg"})
    for kind, files in (("truth", maps), ("image", images)):
        _check_rows(path, rows, kind, files)
    labels, landmarks = _read_names(folder / "info.json")
    pictures, truths = (tuple(found[row] for row in rows) for found in (images, maps))
    return TruthFolder(pictures, truths, scalars, labels, landmarks, tuple(names), parameters)


def _read_names(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of labels and of landmarks; empty if the file or a list is missing."""
    if not path.exists():
        return (), ()
    try:
        info = json.loads(_read(path))
        return tuple(map(str, info.get("labels", []))), tuple(map(str, info.get("landmarks", [])))
    except (ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"{path} is damaged ({error}); make it again, or delete it to go without labels and landmarks"
        ) from error


def _check_rows(path: Path, rows: Sequence[str], kind: str, files: Collection[str]) -> None:
    if len(set(rows)) != len(rows):
        raise FileFormatError(f"{path} has two rows for one face; make it again")
    for odd, what in ((set(rows) - set(files), "has no file"), (set(files) - set(rows), "has no row")):
        if odd:
            raise FileFormatError(
                f"{path} has {len(rows)} rows for {len(files)} {kind} files, and {kind} {min(odd)} {what}; "
                "let the rendering end, or repeat it in an empty folder"
            )


def _check_csv(path: Path, rows: Sequence[str]) -> None:
    """Check that truth.csv (for people, may be missing) lists the same faces as truth.npz."""
    if not path.exists():
        return
    check_regular(path)
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            listed = [line.partition(",")[0].strip() for line in lines][1:]
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    if [word.zfill(6) for word in listed] != list(rows):
        raise FileFormatError(f"{path} lists other faces than truth.npz beside it; make both again")


def _open_pairs(folder: Path) -> TruthFolder:
    images, maps = (sorted(_listed(folder / kind, {".png"}).values()) for kind in ("image", "depth"))
    if not images or len(images) != len(maps):
        raise FileFormatError(
            f"{folder} has {len(images)} PNG files in image/ and {len(maps)} in depth/; expected as many of each"
        )
    for image, depth in zip(images, maps, strict=True):
        if image.name.partition("_")[2] != depth.name.partition("_")[2]:
            raise FileFormatError(
                f"{folder}: image/{image.name} is paired with depth/{depth.name}, expected the same name after the "
                "first '_'; remove files without a partner"
            )
    return TruthFolder(tuple(images), tuple(maps), None)


def _listed(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Files of a folder, by name without suffix."""
    try:
        return {path.stem: path for path in folder.iterdir() if path.suffix.lower() in suffixes}
    except OSError as error:
        raise storage_error(folder, error, verb="read") from error


def _read(path: Path) -> bytes:
    check_regular(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path} has more than {MAX_BYTES} bytes, expected a small picture; make it again")
        return path.read_bytes()
    except OSError as error:
        raise storage_error(path, error, verb="read") from error


def _open_picture(path: Path, data: bytes) -> Image.Image:
    """A picture whose header was read but not its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about odd metadata
            picture = Image.open(BytesIO(data), formats=("PNG", "JPEG"))
    except Exception as error:  # damaged bytes raise errors of every kind
        raise ImageError(f"{path} is not a readable PNG or JPEG; get or make it again") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ImageError(f"{path} is {picture.width} x {picture.height} px, more than {MAX_PIXELS} pixels in all")
    return picture


def _read_depth_png(path: Path, resolution: int) -> Float[np.ndarray, "h w"]:
    """Depth of a pair, from the first channel."""
    picture = _open_picture(path, _read(path))
    if picture.size != (resolution, resolution):
        raise _wrong_size(path, "depth", picture.size[::-1], (resolution, resolution))
    try:
        if picture.mode.startswith("I"):  # 16 bits per pixel
            value = np.asarray(picture).astype(np.float32) / 65535
        else:
            value = np.asarray(picture.convert("RGB"))[..., 0].astype(np.float32) / 255
    except Exception as error:  # as above
        raise ImageError(f"{path} is a damaged picture ({type(error).__name__}); get or make it again") from error
    camera = Camera()
    return np.float32(camera.max_depth) - np.float32(camera.max_depth - camera.min_depth) * value


def _read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an npz; pickled arrays and those above `MAX_BYTES` are refused."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := [name for name in names if f"{name}.npy" not in archive.namelist()]:
                raise FileFormatError(f"{path} has no array {missing[0]!r}; render it with its truth")
            arrays: dict[str, np.ndarray] = {}
            for name in names:
                member = archive.getinfo(f"{name}.npy")
                if member.file_size > MAX_BYTES:
                    raise FileFormatError(f"{path}: {name} has more than {MAX_BYTES} bytes; make it again")
                stream: Any = BytesIO(archive.read(member))
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
            return arrays
    except FileFormatError:
        raise
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    except Exception as error:  # zip, zlib and NumPy raise errors of every kind on damaged bytes
        raise FileFormatError(f"{path} is damaged or truncated ({error}); get or make it again") from error


def _checked(
    path: Path, members: dict[str, np.ndarray], name: str, shape: tuple[int, ...], *, positive: bool = False
) -> np.ndarray:
    """An array in single precision; raises if its shape is wrong or a value is not finite."""
    array = members[name]
    if array.shape != shape:
        raise _wrong_size(path, name, array.shape, shape)
    if array.dtype.kind not in "fiub":
        raise FileFormatError(f"{path}: {name} is of type {array.dtype}, expected numbers; make it again")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise FileFormatError(f"{path}: {name} holds NaN or infinity; make it again")
    if positive and array.min() <= 0:
        raise FileFormatError(f"{path}: {name} falls to {array.min():.3g}, expected more than 0; make it again")
    return array


def _wrong_size(path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> FileFormatError:
    return FileFormatError(
        f"{path}: {name} is {found}, expected {expected}; truth is not resized, so make it at this size, or measure a "
        "decomposer of its size"
    )
