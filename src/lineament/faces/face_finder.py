"""Find faces in photographs with a detector (an optional extra), and crop them like a generator's own images."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from lineament.errors import ConfigError, ImageError, InputError
from lineament.networks.stylegan.generator import Generator
from lineament.ops.alignment import MAX_OUTSIDE, FoundFace, crop, similarity_to, usual_face
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import latents
from lineament.store.pictures import shrink_to

MAX_SIDE_PX = 800
"""Larger photographs are shrunk to this longer side before the search."""
MIN_FACE_PX = 40
"""Minimum side of a face in the shrunk photograph."""
NEIGHBOURS = 3
"""Minimum number of overlapping detections that make a face (OpenCV's ``minNeighbors``)."""
SURE = 56.0
"""Minimum weight from the detector for a face whose eyes were not found. False detections had weights of up to 55.1,
and nine of ten faces had more than 55.7."""
ROI_PX = (192, 115)
"""Width and height to which the upper part of a face is scaled before eyes are searched in it."""

NUM_SAMPLES = 64
"""Number of generated faces used to measure where a generator places its faces."""
MARGIN = 1 / 3
"""Margin added around a generator's image before the search, as a share of its side. The images may be tight crops, and
detectors expect some background around a face."""


@runtime_checkable
class FaceFinder(Protocol):
    """A face detector."""

    def find(self, photograph: UInt8[np.ndarray, "h w 3"]) -> list[FoundFace]:
        """Faces in a photograph, in pixels, the largest first."""
        ...


class CascadeFinder:
    """Finds frontal faces, turned by up to about 30 degrees, with OpenCV's cascades of boosted features.

    Source: Viola and Jones, CVPR 2001; Lienhart and Maydt, ICIP 2002 (OpenCV's implementation).

    Raises:
        InputError: OpenCV is not installed, or it lacks the cascades.
    """

    def __init__(self) -> None:
        try:
            import cv2  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                "finding faces needs OpenCV, which is not installed: pip install 'lineament[align]', or crop the "
                "photographs yourself and use --align none"
            ) from error
        self._cv2: Any = cv2
        self._face = self._load("haarcascade_frontalface_alt2.xml")
        self._eyes = [self._load(f"haarcascade_eye{kind}.xml") for kind in ("_tree_eyeglasses", "")]

    def _load(self, name: str) -> Any:
        data = getattr(self._cv2, "data", None)
        path = Path(data.haarcascades) / name if data is not None else Path(name)
        if not hasattr(self._cv2, "CascadeClassifier") or not path.exists():
            raise InputError(
                f"the installed OpenCV {self._cv2.__version__} comes without {name}: "
                "pip install 'opencv-python-headless<5'"
            )
        return self._cv2.CascadeClassifier(str(path))

    def find(self, photograph: UInt8[np.ndarray, "h w 3"]) -> list[FoundFace]:
        """Faces with both eyes found, or with a weight of at least `SURE`; in pixels, the largest first."""
        small = np.ascontiguousarray(shrink_to(photograph, MAX_SIDE_PX))
        grey = self._cv2.cvtColor(small, self._cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._face.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=NEIGHBOURS, minSize=(MIN_FACE_PX,) * 2, outputRejectLevels=True
        )
        faces: list[FoundFace] = []
        for (x, y, width, height), weight in zip(boxes, weights, strict=True):
            eyes = self._find_eyes(grey, int(x), int(y), int(width), int(height))
            if eyes is not None or float(weight) >= SURE:
                faces.append(FoundFace((float(x + width / 2), float(y + height / 2)), float(width), eyes))
        factor = photograph.shape[1] / small.shape[1]
        return sorted((face.scaled(factor) for face in faces), key=lambda face: -face.width)

    def _find_eyes(
        self, grey: np.ndarray, x: int, y: int, width: int, height: int
    ) -> tuple[tuple[float, float], tuple[float, float]] | None:
        upper = grey[y : y + int(0.6 * height), x : x + width]
        roi = self._cv2.resize(upper, ROI_PX)
        across, down = upper.shape[1] / ROI_PX[0], upper.shape[0] / ROI_PX[1]
        for cascade in self._eyes:
            found, counts = cascade.detectMultiScale2(roi, scaleFactor=1.05, minNeighbors=3, minSize=(24, 24))
            sides: list[list[tuple[int, float, float]]] = [[], []]
            for (left, top, w, h), count in zip(found, counts, strict=True):
                middle = left + w / 2
                sides[int(middle >= ROI_PX[0] / 2)].append((int(count), x + middle * across, y + (top + h / 2) * down))
            if sides[0] and sides[1]:  # on each side, take the eye with the most detections
                (_, *left_eye), (_, *right_eye) = max(sides[0]), max(sides[1])
                return (float(left_eye[0]), float(left_eye[1])), (float(right_eye[0]), float(right_eye[1]))
        return None


@torch.no_grad()
def usual_face_of(generator: Generator, finder: FaceFinder) -> FoundFace:
    """Median position of a generator's faces in its images, in shares of the image's side.

    The same finder is used as for photographs, so that its systematic errors cancel.

    Raises:
        ConfigError: faces are found in fewer than half of the generator's images, or none has eyes.
    """
    z = latents(0, range(NUM_SAMPLES), generator.config.z_dim).to(generator.mapping.w_avg.device)
    images = np.concatenate([to_uint8(generator(part, 0.7)) for part in z.split(8)])
    size = images.shape[1]
    enlarge = max(192 // size, 1)
    margin = int(MARGIN * size) * enlarge
    faces: list[FoundFace] = []
    for image in images:
        large = image.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        padded = np.pad(large, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        faces += [face.scaled(1 / (size * enlarge), shift=-float(margin)) for face in finder.find(padded)[:1]]
    if len(faces) < NUM_SAMPLES // 2:
        raise ConfigError(
            f"faces were found in {len(faces)} of {NUM_SAMPLES} images of the generator, so photographs cannot be "
            "aligned to them; align them yourself and use --align none"
        )
    return usual_face(faces)


def aligned(
    photograph: UInt8[np.ndarray, "h w 3"],
    finder: FaceFinder,
    usual: FoundFace,
    resolution: int,
    *,
    alone: bool = False,
) -> tuple[UInt8[np.ndarray, "r r 3"], int]:
    """Crop the largest face of a photograph so that it is placed like a generator's faces.

    Args:
        photograph: the whole photograph.
        finder: the face detector.
        usual: where the generator's faces are, from `usual_face_of`.
        resolution: side of the crop in pixels.
        alone: refuse photographs with several faces instead of taking the largest.

    Returns:
        The crop, and the number of other faces in the photograph.

    Raises:
        ImageError: there is no face, the face is too small or cut off, or there are several and ``alone`` is set.
    """
    faces = finder.find(photograph)
    if not faces:
        raise ImageError("no face was found")
    if alone and len(faces) > 1:
        raise ImageError(f"{len(faces)} faces were found, expected one")
    matrix = similarity_to(faces[0], usual)
    side = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if side * 2 < resolution:
        raise ImageError(f"the face fills {side:.0f} pixels, too few for {resolution} x {resolution}")
    image, outside = crop(photograph, matrix, resolution)
    if outside > MAX_OUTSIDE:
        raise ImageError(f"{outside:.0%} of the face's crop lie outside of the image")
    return image, len(faces) - 1
