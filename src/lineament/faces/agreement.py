"""How far a decomposer can be believed about an image: a number per image, without truth.

What a decomposer takes apart it can put together again, if the image shows a face as it knows them. Drawings, animals,
faces in another place or upside down, hands and masks cannot be put together from a face's shape and colours.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.networks.decomposer import Decomposer
from lineament.ops.render import render
from lineament.ops.resample import gaussian_blur
from lineament.ops.shapes import distance_in_oval
from lineament.records.decomposition import Decomposition

BRIGHTNESS_BLUR = 3 / 32
"""Standard deviation of the blur that is taken off both images (1 is the whole width): smooth brightness is easily put
together, whatever the image shows."""

DOUBTFUL = 0.5
"""Agreement below which an image shows no face that the decomposer knows, or a large part of it is hidden."""


@torch.no_grad()
def agreement(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"], parts: Decomposition) -> Float[Tensor, " n"]:
    """Correlation of images with what the decomposer makes of them, within the face; 1 is perfect, 0 is nothing.

    Args:
        decomposer: the network that took them apart.
        images: its inputs, in [-1, 1].
        parts: its outputs for them.
    """
    made = render(parts, decomposer.camera)
    within = torch.logical_and(made.recon_mask, distance_in_oval(made.grid) <= 1)[:, None].to(images)
    real = images.mean(dim=1, keepdim=True)
    again = torch.where(within > 0, made.recon_image.mean(dim=1, keepdim=True), real)
    count = within.sum(dim=(1, 2, 3)).clamp_min(1)

    def details(grey: Tensor) -> Tensor:
        sharp = grey - gaussian_blur(grey, BRIGHTNESS_BLUR * grey.shape[-1])
        return (sharp - ((sharp * within).sum(dim=(1, 2, 3)) / count)[:, None, None, None]) * within

    a, b = details(real), details(again)
    size = (a.square().sum(dim=(1, 2, 3)) * b.square().sum(dim=(1, 2, 3))).sqrt()
    return (a * b).sum(dim=(1, 2, 3)) / size.clamp_min(1e-6)
