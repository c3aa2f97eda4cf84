"""Check the images before a long training: is there anything to learn, and do they look like centred faces?

Two things cannot be checked without labels: whether the faces are upright (upside-down ones pass every check and train
as well), and whether they are faces at all rather than other centred, symmetric objects.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from lineament.errors import DataError

MAX_CHECKED = 2000
"""Number of images that are checked, evenly spaced over all."""
CHUNK_IMAGES = 128
"""Images converted to floating point at a time."""

BLANK_STD = 2.0
"""Largest standard deviation of a blank image's pixels, of 255: compression of a single colour causes so much."""
SAME_DIFFERENCE = 4.0
"""Largest mean difference of two images that count as the same, of 255. A JPEG of quality 75 differs from its original
by 2; two aligned faces differ by 24 to 100."""
GREY_DIFFERENCE = 1.0
"""Largest mean difference of the channels of a grey image, of 255."""
GREY_SHARE = 0.5
"""Share of grey images from which they are reported; fewer are ordinary in a collection."""
FEW_IMAGES = 200
"""Fewer distinct images give a warning: networks with millions of weights overfit to them."""
MIN_CORRELATION = 0.5
"""Smallest mean correlation of horizontal neighbours: it is 0.9 in photographs and renders of 64 px, 0 in noise."""
ENOUGH_FOR_MEAN = 100
"""Distinct images needed to check their mean. The mean of fewer is lopsided and structured by chance."""
MIN_STRUCTURE = 0.18
"""Smallest standard deviation along the rows of the mean image, relative to that of the images. Centred faces have 0.29
to 0.40; the same faces shifted by up to a quarter of the width or more, or cropped at random, have 0.03 to 0.17."""
MIN_SYMMETRY = 0.5
"""Smallest correlation of the mean image with its mirror image, without each row's mean. Centred faces have 0.99; the
same faces shifted by an eighth of the width have less than 0."""


def baseline_error(images: UInt8[np.ndarray, "n h w 3"]) -> float:
    """The pixel error of the mean image: mean absolute deviation from it, on [-1, 1]; 0 if all images are the same."""
    if not len(images):
        return 0.0
    sample = _sample(images)
    mean = _mean_image(sample)
    return float(np.mean([np.abs(image - mean).mean() for chunk in _chunks(sample) for image in chunk])) / 127.5


def check_images(images: UInt8[np.ndarray, "n h w 3"], *, source: str) -> list[str]:
    """Check the images that a decomposer is to be trained on.

    Args:
        images: without random mirroring, which would hide that faces are off centre.
        source: where the images come from, for the messages.

    Returns:
        Warnings, one line each: what was found, what it means, what to do.

    Raises:
        DataError: training would be useless: there are no images, or they are blank, or all the same.
    """
    if not len(images):
        raise DataError(f"{source} gives no images, expected at least {FEW_IMAGES}; choose another source")
    sample = _sample(images)
    blank = np.concatenate([chunk.std(axis=(1, 2)).max(axis=1) < BLANK_STD for chunk in _chunks(sample)])
    if blank.all():
        raise DataError(
            f"all images of {source} are blank, one colour each; expected photographs of faces: look at the files"
        )
    warnings: list[str] = []
    if blank.any():
        warnings.append(
            f"{blank.sum()} of {len(blank)} images looked at in {source} ({blank.mean():.1%}) are blank, one colour "
            "each: nothing is learned from them; remove them"
        )
        sample = sample[~blank]
    if _all_same(sample):
        raise DataError(
            f"all images of {source}{' that are not blank' if blank.any() else ''} are the same (or almost), so no "
            "shape can be learned; give many faces in varied poses"
        )
    num_distinct = len({min(image.tobytes(), image[:, ::-1].tobytes()) for image in sample})
    if num_distinct < FEW_IMAGES:
        warnings.append(
            f"{source} has only {num_distinct} distinct {'image' if num_distinct == 1 else 'images'}: the decomposer "
            "will learn them by heart and fail on others; use thousands, or samples of a generator"
        )
    grey = np.concatenate([_channel_difference(chunk) < GREY_DIFFERENCE for chunk in _chunks(sample)])
    if grey.mean() >= GREY_SHARE:
        share = "all" if grey.all() else f"{grey.mean():.0%} of the"
        warnings.append(f"{share} images of {source} are grey: fine, their albedo will be grey; nothing to do")
    correlation = np.mean([_neighbour_correlation(chunk).mean() for chunk in _chunks(sample)])
    if correlation < MIN_CORRELATION:
        warnings.append(
            f"{source} does not look like photographs: neighbouring pixels are hardly alike (correlation "
            f"{correlation:.2f}, photographs have about 0.9), as in noise; look at the images, or train the generator"
        )
    elif num_distinct >= ENOUGH_FOR_MEAN and (found := _off_centre(sample)):
        warnings.append(
            f"{source} does not look like centred faces: {found}; shape is learned by comparing faces in one place, so "
            "align and crop them, eyes level and in the same place"
        )
    return warnings


def _sample(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "m h w 3"]:
    """At most `MAX_CHECKED` images, evenly spaced over all, in memory."""
    num = min(len(images), MAX_CHECKED)
    return np.asarray(images[np.arange(num) * len(images) // num])


def _chunks(sample: UInt8[np.ndarray, "n h w 3"]) -> Iterator[Float[np.ndarray, "m h w 3"]]:
    """The images in floating point, a few at a time."""
    for start in range(0, len(sample), CHUNK_IMAGES):
        yield sample[start : start + CHUNK_IMAGES].astype(np.float32)


def _mean_image(sample: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "h w 3"]:
    return np.sum([chunk.sum(axis=0, dtype=np.float64) for chunk in _chunks(sample)], axis=0) / len(sample)


def _all_same(sample: UInt8[np.ndarray, "n h w 3"]) -> bool:
    """Whether every image is the first one or its mirror image."""
    first = sample[0].astype(np.float32)
    for chunk in _chunks(sample):
        straight, mirrored = (np.abs(chunk - other).mean(axis=(1, 2, 3)) for other in (first, first[:, ::-1]))
        if (np.minimum(straight, mirrored) > SAME_DIFFERENCE).any():
            return False
    return True


def _channel_difference(chunk: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
    return (chunk.max(axis=3) - chunk.min(axis=3)).mean(axis=(1, 2))


def _neighbour_correlation(chunk: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
    """Correlation of each pixel's brightness with its right neighbour's."""
    brightness = chunk.mean(axis=3)
    a, b = brightness[:, :, :-1], brightness[:, :, 1:]
    a, b = a - a.mean(axis=(1, 2), keepdims=True), b - b.mean(axis=(1, 2), keepdims=True)
    scale = np.sqrt(np.square(a).sum(axis=(1, 2)) * np.square(b).sum(axis=(1, 2)))
    return (a * b).sum(axis=(1, 2)) / np.maximum(scale, 1e-6)


def _off_centre(sample: UInt8[np.ndarray, "n h w 3"]) -> str:
    """Why the mean image does not look like centred faces; empty if it does.

    Each row's mean is subtracted, because sky above ground has structure and symmetry without any face.
    """
    mean = _mean_image(sample).mean(axis=2)
    mean = mean - mean.mean(axis=1, keepdims=True)
    spread = np.mean([np.square(_along_rows(chunk)).mean() for chunk in _chunks(sample)]) ** 0.5
    structure = mean.std() / max(spread, 1e-6)
    if structure < MIN_STRUCTURE:
        return f"their mean is a blur without a face in it (structure {structure:.2f}, centred faces have about 0.3)"
    symmetry = (mean * mean[:, ::-1]).mean() / np.square(mean).mean()
    if symmetry < MIN_SYMMETRY:
        return (
            f"their mean is lopsided (correlation {symmetry:.2f} with its mirror image, centred faces have above 0.9), "
            "they sit off the middle, all look to one side or are all lit from one side"
        )
    return ""


def _along_rows(chunk: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w"]:
    brightness = chunk.mean(axis=3)
    return brightness - brightness.mean(axis=2, keepdims=True)
