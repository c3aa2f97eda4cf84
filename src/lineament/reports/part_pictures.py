"""Pictures of parts of the face: where a map acts on the canonical face, and where edits change the image.

Convention:
    Signed maps are drawn on the mean canonical face in grey, within the oval: `MORE` where the surface comes nearer or
    the colour moves along `colour_axis`, `LESS` where the surface recedes or the colour moves against that axis.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from lineament.ops.pixels import to_uint8
from lineament.ops.shapes import face_oval
from lineament.records.parts import Localization
from lineament.reports.figures import in_oval

MAP_PX = 64
"""Largest side of a map's picture; maps are smooth, so more pixels would show nothing new."""
MORE, LESS = (11, 114, 133), (194, 87, 26)
"""The accent and the warm colour of the report."""
_DARKEST = 0.35  # darkest value of the grey face, so that colours on it stay distinguishable


def grey_face(colours: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, "h w"]:
    """A face in [-1, 1] as a pale grey face in [0, 1]."""
    grey = np.clip((colours.mean(axis=0) + 1) / 2, 0, 1)
    return _DARKEST + (1 - _DARKEST) * grey


def tinted(values: Float[np.ndarray, "n h w"], face: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "n 3 h w"]:
    """Values in [-1, 1] as colours over a grey face, which shows through where they are small; result in [-1, 1]."""
    strength = np.abs(values).clip(0, 1)[:, None]
    colour = np.where(values[:, None] > 0, _column(MORE), _column(LESS))
    return ((1 - strength) * face + strength * colour) * 2 - 1


def signed_pictures(values: Float[np.ndarray, "n h w"], face: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "n s s 3"]:
    """Canonical maps in [-1, 1] on a grey canonical face, within the oval."""
    pictures = torch.from_numpy(tinted(values, face)).float()
    return to_uint8(in_oval(pictures, min(face.shape[-1], MAP_PX)))


def colour_axis(change: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, " 3"]:
    """The direction in colour space along which an albedo map acts most; length 1, pointing to brighter colours.

    A part usually acts along one such direction (about nine tenths of the energy), and this is not always brightness:
    the mean of red, green and blue would hide lips that redden.
    """
    flat = change.reshape(3, -1).astype(np.float64)
    axis = np.linalg.eigh(flat @ flat.T)[1][:, -1]
    return axis if axis.sum() >= 0 else -axis


def signed_maps(change: Float[np.ndarray, "4 h w"]) -> Float[np.ndarray, "2 h w"]:
    """Depth (nearer is positive) and colour (along `colour_axis`) of a map, as shares of the larger one's maximum."""
    both = np.stack([-change[0], np.tensordot(colour_axis(change[1:]), change[1:], 1)])
    return both / max(np.abs(both).max(), np.finfo(np.float64).tiny)


def swatches(local: Localization, index: int, sds: float) -> tuple[str, str]:
    """The real colours behind `LESS` and `MORE` in the map of a part: at its place, ``sds`` less and more."""
    change = local.maps[index, 1:]
    axis = colour_axis(change)
    along = np.abs(np.tensordot(axis, change, 1))
    weight = along**2 / max((along**2).sum(), np.finfo(np.float64).tiny)  # largest where the part acts most
    usual = (local.mean[1:] * weight).sum(axis=(1, 2))
    shift = axis * (sds * local.scales["albedo"] * float((along * weight).sum()))
    colours = np.clip((np.stack([usual - shift, usual + shift]) + 1) * 127.5, 0, 255).round().astype(int)
    less, more = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    return less, more


def change_picture(
    change: Float[np.ndarray, "h w"], images: Float[np.ndarray, "n 3 h w"]
) -> UInt8[np.ndarray, "s s 3"]:
    """Changes of images, 0 or more, in the warm colour on the mean image, within the oval of the face.

    Full colour is the largest change within the oval. Outside of it the background also changes with w.
    """
    largest = (change * middle_oval(change.shape[-1])).max()
    share = change / max(largest, np.finfo(np.float64).tiny)
    return signed_pictures(-share[None], grey_face(images.mean(axis=0)))[0]


def middle_oval(side: int) -> Bool[np.ndarray, "s s"]:
    """Pixels of an image that usually show the face, whatever its pose and shift."""
    return face_oval(side).numpy()


def _column(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour)[:, None, None] / 255
