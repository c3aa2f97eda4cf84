"""Regions of the named parts of rendered faces, to evaluate parts that were found without names.

Every render has labels and named parameters. The region of a part with a label (lips, brows, hair) is where at least
half of the faces have this label, seen from the front. The region of a part with parameters (shape of the chin, colour
of the lips) comes from a regression of every pixel on all parameters: it is where the response to the part's own
parameters, as a share of the pixel's standard deviation, exceeds half of the largest share in the face.

Convention:
    Shape is canonical depth minus the face's median, because the distance of a whole face is not shape. Colour is
    canonical albedo. The share is used, not the response itself, because at the outline of the face depth responds to
    every parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from lineament.engine.console import progress_bar
from lineament.errors import ConfigError
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.store.truth import FACE_LABELS, TruthFolder

MIN_FACES_SHARE = 0.5
"""Smallest share of faces that have a label at a pixel of its region."""

MIN_RESPONSE = 0.5
"""Smallest response at a pixel of a region, in units of the largest."""

MIN_CERTAINTY = 6.0
"""Smallest value of the largest response, in units of its standard error; half of it is then still significant."""

MIN_PIXELS, MAX_FACE_SHARE = 4, 0.5
"""Smaller regions are not measured, nor are regions of more than this share of the face, which are not parts of it."""

_BATCH = 256


@dataclass(frozen=True)
class NamedPart:
    """A part that has a name in the renders.

    Attributes:
        name: name for people to read.
        source: labels, or parameters that act on depth ("shape") or on albedo ("colour").
        keys: the labels, or prefixes of the parameters' names.
        zones: zones of the template (`lineament.estimators.part_analysis.zones`) in which such a part lies.
        but: prefixes of names that do not belong to the part.
    """

    name: str
    source: Literal["label", "shape", "colour"]
    keys: tuple[str, ...]
    zones: tuple[str, ...]
    but: tuple[str, ...] = ()

    def columns(self, names: Sequence[str]) -> list[int]:
        """Indices of the part's parameters among ``names``."""
        return [i for i, name in enumerate(names) if name.startswith(self.keys) and not name.startswith(self.but)]


_NOSE_TIP = ("w_nose-base", "w_nose-flaring", "w_nose-nostrils", "w_nose-point", "w_nose-septumangle")
_NOSE_BRIDGE = ("w_nose-compression", "w_nose-curve", "w_nose-greek", "w_nose-hump", "w_nose-width1", "w_nose-width2")
_HAIR = ("hair and border", "forehead", "temples")

NAMED_PARTS = (
    NamedPart("lips", "label", ("lips",), ("mouth",)),
    NamedPart("brows", "label", ("brows",), ("brows",)),
    NamedPart("eyes", "label", ("eye_white", "iris", "pupil"), ("eyes",)),
    NamedPart("nose", "label", ("nose",), ("nose",)),
    NamedPart("ears", "label", ("ears",), ("hair and border", "temples", "cheeks")),
    NamedPart("hair", "label", ("hair",), _HAIR),
    NamedPart("neck", "label", ("neck",), ("chin and jaw", "hair and border")),
    NamedPart("shape of the nose", "shape", ("w_nose-", "e_nose-"), ("nose",)),
    NamedPart("tip of the nose", "shape", _NOSE_TIP, ("nose",)),
    NamedPart("bridge of the nose", "shape", _NOSE_BRIDGE, ("nose",)),
    NamedPart("shape of the mouth", "shape", ("w_mouth-", "e_mouth-"), ("mouth",)),
    NamedPart("opening of the mouth", "shape", ("e_mouth-open", "e_mouth-part"), ("mouth",)),
    NamedPart("upper lip", "shape", ("w_mouth-upperlip", "w_mouth-cupidsbow"), ("mouth",)),
    NamedPart("lower lip", "shape", ("w_mouth-lowerlip",), ("mouth", "chin and jaw")),
    NamedPart("corners of the mouth", "shape", ("e_mouth-corner-puller", "w_mouth-angles"), ("mouth", "cheeks")),
    NamedPart("folds beside the mouth", "shape", ("w_mouth-laugh-lines", "w_mouth-dimples"), ("mouth", "cheeks")),
    NamedPart("philtrum", "shape", ("w_mouth-philtrum",), ("mouth", "nose")),
    NamedPart("chin", "shape", ("w_chin-",), ("chin and jaw",), but=("w_chin-jaw",)),
    NamedPart("jaw", "shape", ("w_chin-jaw",), ("chin and jaw",)),
    NamedPart("cheeks", "shape", ("w_cheek-",), ("cheeks",)),
    NamedPart("temples", "shape", ("w_forehead-",), ("temples", "forehead", "hair and border")),
    NamedPart("ridge of the brows", "shape", ("w_eyebrows-", "e_brow-"), ("brows", "forehead")),
    NamedPart("shape of the eyes", "shape", ("w_eye-", "e_eye-"), ("eyes",), but=("w_eye-bag",)),
    NamedPart("bags under the eyes", "shape", ("w_eye-bag",), ("eyes", "cheeks")),
    NamedPart("shape of the head", "shape", ("w_head-",), ("temples", "cheeks", "chin and jaw", "hair and border")),
    NamedPart("colour of the lips", "colour", ("lip_red", "lipstick"), ("mouth",)),
    NamedPart("colour of the eyes", "colour", ("eye_tone", "iris_r", "pupil_r"), ("eyes",)),
    NamedPart("painted brows", "colour", ("brow_",), ("brows",)),
    NamedPart("colour of the hair", "colour", ("hair_tone", "hair_red", "hair_grey"), (*_HAIR, "brows")),
    NamedPart("hairline", "colour", ("hairline", "recede", "peak", "bangs"), _HAIR),
    NamedPart("beard", "colour", ("stubble", "beard"), ("chin and jaw", "cheeks")),
    NamedPart("moustache", "colour", ("moustache",), ("mouth", "nose")),
    NamedPart("eye shadow", "colour", ("makeup",), ("eyes", "brows")),
    NamedPart("rings under the eyes", "colour", ("under_eye",), ("eyes", "cheeks")),
    NamedPart("redness of the cheeks", "colour", ("skin_red",), ("cheeks",)),
    NamedPart("freckles", "colour", ("freckles",), ("cheeks", "nose")),
    NamedPart("sideburns", "colour", ("sideburn",), ("temples", "cheeks", "hair and border")),
)
"""Fixed before any component was measured. The parameters of ears and neck are left out: they act outside the face."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the named parts are, in the canonical frame.

    Attributes:
        face: where at least half of the faces show the face proper (`FACE_LABELS`).
        maps: region of every part that can be measured, by name; regions may overlap.
        dropped: reason why each of the other parts cannot be measured, by name.
        num_faces: number of faces that were read.
    """

    face: Bool[np.ndarray, "h w"]
    maps: dict[str, Bool[np.ndarray, "h w"]]
    dropped: dict[str, str]
    num_faces: int


def find_regions(source: TruthFolder, resolution: int, limit: int | None = None) -> Regions:
    """Read faces with known labels and parameters, and find where the named parts are.

    Args:
        source: rendered faces.
        resolution: side of their maps in pixels.
        limit: read only this number of faces.

    Raises:
        ConfigError: the faces have no labels or parameters, or there are fewer faces than parameters.
        FileFormatError: a face's file is damaged or lacks canon_label, or its maps have another size.
    """
    if not source.labels or source.parameters is None:
        raise ConfigError(
            "the truth has no labels or no parameters, so no part in it has a name; "
            "take a folder of rendered faces with truth.npz and with labels in info.json"
        )
    num = min(len(source), limit or len(source))
    table = source.parameters[:num].astype(np.float64)
    spread = table.std(axis=0)
    varying = spread > 0
    names = [name for name, varies in zip(source.names, varying, strict=True) if varies]
    if num <= len(names) + 1:
        raise ConfigError(
            f"{num} faces do not determine the responses to {len(names)} parameters; "
            f"take more than {len(names) + 1}, better ten times as many"
        )
    w = (table[:, varying] - table[:, varying].mean(axis=0)) / spread[varying]
    counts, jacobian = _read(source, resolution, w)
    shares = counts / num
    label = {name: i for i, name in enumerate(source.labels)}

    def labelled(keys: Sequence[str]) -> Bool[np.ndarray, "h w"]:
        return shares[[label[key] for key in keys if key in label]].sum(axis=0) >= MIN_FACES_SHARE

    face = labelled(FACE_LABELS)
    maps, dropped = {}, {}
    for part in NAMED_PARTS:
        if part.source == "label":
            region = labelled(part.keys)
        else:
            columns = part.columns(names)
            region = responding(jacobian, part.source, columns, face) if columns else np.zeros_like(face)
        pixels, share = int(region.sum()), (region & face).sum() / max(face.sum(), 1)
        if pixels < MIN_PIXELS:
            dropped[part.name] = f"{pixels} pixels"
        elif share > MAX_FACE_SHARE:
            dropped[part.name] = f"{share:.0%} of the face"
        else:
            maps[part.name] = region
    if not maps:
        raise ConfigError(f"none of {len(NAMED_PARTS)} named parts has a region ({dropped}); render more faces")
    return Regions(face, maps, dropped, num)


def _read(
    source: TruthFolder, resolution: int, w: Float[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "l h w"], PixelJacobian]:
    """Number of faces with each label at each pixel, and response of the pixels to one sd of each parameter."""
    counts = np.zeros((len(source.labels), resolution, resolution))
    jacobian = PixelJacobian()
    numbers = np.arange(len(source.labels))[:, None, None]
    face_numbers = [i for i, name in enumerate(source.labels) if name in FACE_LABELS]
    with progress_bar() as bar:
        task = bar.add_task("reading known faces", total=len(w), note="")
        for first in range(0, len(w), _BATCH):
            batch = range(first, min(first + _BATCH, len(w)))
            maps = np.empty((len(batch), 4 * resolution**2), np.float32)
            for row, i in zip(maps, batch, strict=True):
                depth, mask, albedo = source.canonical(i, resolution)
                label = source.canonical_labels(i, resolution)
                counts += label == numbers
                own = np.isin(label, face_numbers) & mask
                row[: depth.size] = (depth - np.median(depth[own if own.any() else mask])).ravel()
                row[depth.size :] = albedo.transpose(2, 0, 1).ravel()
            jacobian.partial_fit(w[first : first + len(batch)], maps)
            bar.advance(task, len(batch))
    return counts, jacobian.solve()


def responding(
    jacobian: PixelJacobian, source: str, columns: Sequence[int], face: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Where in the face depth ("shape") or albedo ("colour") responds to some parameters; see the top of the module.

    The variance of the estimate is subtracted. The region is empty if the largest response is not significant.

    Args:
        jacobian: Jacobian of the maps with respect to parameters of variance 1.
        source: which of the maps to use.
        columns: indices of the parameters.
        face: pixels of the face.
    """
    channels = slice(0, 1) if source == "shape" else slice(1, 4)

    def summed(values: Float[np.ndarray, " p"]) -> Float[np.ndarray, "h w"]:
        return values.reshape(4, *face.shape)[channels].sum(axis=0)

    found = summed((jacobian.coef_[:, columns].astype(np.float64) ** 2).sum(axis=1))
    chance = summed((jacobian.standard_error()[:, columns] ** 2).sum(axis=1))
    variance = summed(jacobian.y_std_**2)
    varying = face & (variance > 0)
    share = np.sqrt(np.where(varying, found - chance, 0.0).clip(0) / np.where(varying, variance, 1.0))
    most = share.argmax()
    if found.flat[most] < MIN_CERTAINTY**2 * chance.flat[most]:
        return np.zeros_like(face)
    return share > MIN_RESPONSE * share.max()
