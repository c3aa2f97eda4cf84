"""Put back the details of a photograph that its inversion misses, where an edit leaves the image unchanged."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 0.15
"""Change of the image (values in [-1, 1]) at which half of the missing detail is put back."""


def paste_back(
    edited: Float[Tensor, "n c h w"],
    unedited: Float[Tensor, "n c h w"],
    photograph: Float[Tensor, "n c h w"],
    tolerance: float = TOLERANCE,
) -> Float[Tensor, "n c h w"]:
    """Add the residual ``photograph - unedited`` where ``edited`` looks like ``unedited``.

    The residual is weighted by ``1 / (1 + (d / tolerance)^2)``, where d is the change of the image by the edit (mean
    over colours and a neighbourhood of a sixteenth of the side). Where the face has moved, the old detail would appear
    as a ghost.

    Args:
        edited: the generator's images after the edit, in [-1, 1].
        unedited: its images before the edit: the inversions.
        photograph: the images that were inverted.
        tolerance: change at which the residual counts half.

    Returns:
        Images in [-1, 1]; the photograph itself where nothing was edited. Differentiable in all images, except where
        ``edited`` equals ``unedited``.
    """
    side = (min(edited.shape[2:]) // 16) | 1
    change = (edited - unedited).abs().mean(dim=1, keepdim=True)
    change = F.avg_pool2d(change, side, stride=1, padding=side // 2, count_include_pad=False)
    weight = 1 / (1 + (change / tolerance).square())
    return (edited + weight * (photograph - unedited)).clamp(-1, 1)
