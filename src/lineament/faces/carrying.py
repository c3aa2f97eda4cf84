"""Edits of pose and light that keep the person: the face keeps its own pixels, a generator draws what they miss."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.ops.blend import multi_band
from lineament.ops.carry import carry
from lineament.ops.resample import crop_box
from lineament.records.decomposition import Decomposition
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.records.shapes import WHOLE_IMAGE

LEAST_SEEN = 0.3
"""Share of the new view's face that the old picture must have seen; below it, the generator's picture is kept."""

_BATCH = 32


class FaceCarrier:
    """Faces that are taken apart once, to be carried to many poses and lights.

    The surface turns by what is asked, exactly. How the result is read is not fed back, since a reading depends on hair
    and background, too.

    Args:
        decomposer: reads depth, pose and light of the faces.
        images: the faces before all changes, in [-1, 1].
    """

    @torch.inference_mode()
    def __init__(self, decomposer: Decomposer, images: Float[Tensor, "n c h w"]) -> None:
        self.decomposer = decomposer
        self._batches: list[tuple[Tensor, Decomposition, Tensor]] = []
        for part in images.split(_BATCH):
            small = decomposer.shown(part)
            parts = decomposer(small)
            own = decomposer.in_units(*decomposer.upright(parts.view, parts.light))
            self._box = WHOLE_IMAGE if part.shape == small.shape else decomposer.face_box
            self._batches.append((crop_box(part, self._box), parts, own))

    @torch.inference_mode()
    def edit(
        self, rest: Float[Tensor, "n c h w"], changes: Mapping[str, Float[np.ndarray, " n"]]
    ) -> tuple[Float[Tensor, "n c h w"], Float[np.ndarray, " n"]]:
        """The faces after changes of pose and light, made of their own pixels where these saw the surface.

        Args:
            rest: the faces after the changes by another way, such as a generator's: what was hidden, and all but the
                face.
            changes: change of each face by name, for some of `SEMANTIC_NAMES`, in their units.

        Returns:
            The new images in [-1, 1], and the share of each new face that was seen in the old one. Where that is below
            `LEAST_SEEN`, the image is ``rest``.
        """
        amounts = np.zeros((len(rest), len(SEMANTIC_NAMES)), np.float32)
        for name, column in changes.items():
            amounts[:, SEMANTIC_NAMES.index(name)] = column
        asked = torch.from_numpy(amounts).to(rest.device)
        triples = zip(self._batches, rest.split(_BATCH), asked.split(_BATCH), strict=True)
        joined, seen = zip(*(self._joined(*batch, *others) for batch, *others in triples), strict=True)
        return torch.cat(joined), torch.cat(seen).double().cpu().numpy()

    def _joined(
        self, faces: Tensor, parts: Decomposition, own: Tensor, rest: Tensor, asked: Tensor
    ) -> tuple[Tensor, Tensor]:
        made = carry(faces, parts, *self.decomposer.from_units(own + asked), self.decomposer.camera)
        weight = made.weight * (made.seen >= LEAST_SEEN)[:, None, None, None]
        new = rest.clone()
        inside = crop_box(new, self._box)
        inside.copy_(multi_band(made.images, inside, weight))
        return new.clamp_(-1, 1), made.seen


def carried_edit(
    decomposer: Decomposer,
    images: Float[Tensor, "n c h w"],
    rest: Float[Tensor, "n c h w"],
    changes: Mapping[str, Float[np.ndarray, " n"]],
) -> tuple[Float[Tensor, "n c h w"], Float[np.ndarray, " n"]]:
    """One edit by a `FaceCarrier`; its methods say what the arguments and results are."""
    return FaceCarrier(decomposer, images).edit(rest, changes)
