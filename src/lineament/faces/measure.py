"""Measure generated faces: pose and light with the decomposer, attributes with a judge."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.estimators.part_scores import PartReader
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.maps import maps_of_images
from lineament.networks.decomposer import Decomposer
from lineament.networks.judge import Judge
from lineament.networks.stylegan.generator import Generator


@torch.inference_mode()
def synthesize_edited(
    generator: Generator,
    w: Float[Tensor, "n d"] | Float[Tensor, "n l d"],
    step: Float[np.ndarray, "s d"] | Float[np.ndarray, "n s d"] | None = None,
    shown_to: Decomposer | None = None,
) -> Float[Tensor, "n c h w"]:
    """Images of ``w`` moved by a step, clipped to [-1, 1].

    Args:
        generator: draws the images.
        w: one for all layers, or one for each layer (photographs have the latter).
        step: one step for all images, or one for each; None leaves w unchanged.
        shown_to: return the inputs of this decomposer instead, so that large images are not all in memory.
    """
    ws = generator.broadcast(w) if w.ndim == 2 else w
    if step is not None:
        ws = ws + torch.as_tensor(step, dtype=w.dtype, device=w.device)
    images = (generator.synthesize(part).clamp(-1, 1) for part in ws.split(min(images_at_a_time(generator), 32)))
    return torch.cat([image if shown_to is None else shown_to.shown(image) for image in images])


@torch.inference_mode()
def measure(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, "n m"]:
    """Scalar semantics of images as float64, in the order of `SCALAR_SEMANTICS`."""
    small = decomposer.shown(images)
    return torch.cat([decomposer.measure(part) for part in small.split(64)]).double().cpu().numpy()


@torch.inference_mode()
def measure_parts(
    decomposer: Decomposer, reader: PartReader, images: Float[Tensor, "n 3 h w"]
) -> Float[np.ndarray, "n k"]:
    """Scores of the parts of the face on images, in standard deviations."""
    small = decomposer.shown(images)
    return np.concatenate([reader.read(maps_of_images(decomposer, some).cpu().numpy()) for some in small.split(64)])


@torch.no_grad()
def read(judge: Judge, images: Float[Tensor, "n 3 h w"], batch_size: int = 128) -> Float[np.ndarray, "n m"]:
    """Attributes of images as float64, standardised by mean and standard deviation of the judge's training data."""
    parts = [judge.standardised(part.to(judge.mean.device)) for part in images.split(batch_size)]
    return torch.cat(parts).double().cpu().numpy()
