"""Begin a training from trained networks, of the same resolution or of a lower one.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018. Deviation: nothing is faded in. With skip connections the
    image of a new resolution begins as the upsampled one below it, since its own contribution begins at zero.
"""

from pathlib import Path

import torch
from torch import nn

from lineament.errors import MismatchError
from lineament.networks.discriminator import Discriminator
from lineament.networks.generator import Generator
from lineament.networks.stylegan2 import StyleGAN2
from lineament.recipes.models import load_discriminator, load_generator


def start_generator(network: StyleGAN2, path: Path) -> None:
    """Take over all of a trained generator; the blocks of higher resolutions add nothing to the image yet.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a generator of ours.
        MismatchError: its layers are not the first ones of this network.
    """
    start = load_generator(path)
    _take_over(network, start, path, shift=0)
    assert isinstance(start, StyleGAN2)
    for block in network.synthesis_blocks()[len(start.blocks) :]:
        if block.to_rgb is not None:
            nn.init.zeros_(block.to_rgb.weight)


def start_discriminator(network: Discriminator, path: Path) -> None:
    """Take over all of a trained discriminator but, in one of higher resolution, its first look at the colours.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a discriminator of ours.
        MismatchError: its layers are not the last ones of this network.
    """
    start = load_discriminator(path)
    _take_over(network, start, path, shift=len(network.blocks) - len(getattr(start, "blocks", ())))


def _take_over(network: Generator | Discriminator, start: nn.Module, path: Path, *, shift: int) -> None:
    """Copy every tensor, those of block i to block i + ``shift``."""
    own = network.state_dict()
    if type(start) is not type(network) or shift < 0:
        raise MismatchError(f"{path} cannot begin this training: it is another kind of network, or a larger one")
    tensors = {}
    for name, tensor in start.state_dict().items():
        first, _, rest = name.partition(".")
        if first == "blocks":
            index, _, rest = rest.partition(".")
            name = f"blocks.{int(index) + shift}.{rest}"
        elif first == "from_rgb" and shift:
            continue
        if name not in own or own[name].shape != tensor.shape:
            found = tuple(own[name].shape) if name in own else "nothing of that name"
            raise MismatchError(
                f"{path} cannot begin this training: its {name} has shape {tuple(tensor.shape)}, here is {found}; "
                "choose the same widths (--network)"
            )
        tensors[name] = tensor
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
