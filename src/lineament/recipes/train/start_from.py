"""Start a training from trained networks of the same or a lower resolution.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018. Deviation: nothing is faded in. A larger generator keeps
    all features but resets its layers to RGB, so that its first images are bad. With good first images training fails:
    a discriminator that was not trained along with its generator falls behind at once, whether it is fresh, was trained
    alone before, or was grown from the smaller one. It then gives all images the same logits, and the generator
    drifts. Against bad images it stays ahead, and the generator learns its colours again within some ten thousand
    images.
"""

from pathlib import Path

import torch
from torch import nn

from lineament.checkpoints.ours import load_discriminator, load_generator
from lineament.errors import MismatchError
from lineament.networks.stylegan.discriminator import Discriminator
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2


def start_generator(network: StyleGAN2, path: Path) -> None:
    """Copy a trained generator into the network: all of it, or all but its layers to RGB if the network is larger.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a generator of ours.
        MismatchError: its layers are not the first ones of this network.
    """
    start = load_generator(path)
    larger = len(network.blocks) > len(getattr(start, "blocks", ()))
    _take_over(network, start, path, shift=0, forgotten="to_rgb" if larger else None)


def start_discriminator(network: Discriminator, path: Path) -> None:
    """Copy a trained discriminator into the network: all of it, or all but its layer from RGB if the network is larger.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a discriminator of ours.
        MismatchError: its layers are not the last ones of this network.
    """
    start = load_discriminator(path)
    shift = len(network.blocks) - len(getattr(start, "blocks", ()))
    _take_over(network, start, path, shift=shift, forgotten="from_rgb" if shift else None)


def _take_over(
    network: Generator | Discriminator, start: nn.Module, path: Path, *, shift: int, forgotten: str | None
) -> None:
    """Copy every tensor, from block i to block i + ``shift``, except those of layers named ``forgotten``."""
    own = network.state_dict()
    if type(start) is not type(network) or shift < 0:
        raise MismatchError(f"{path} cannot begin this training: it is another kind of network, or a larger one")
    tensors = {}
    for name, tensor in start.state_dict().items():
        if forgotten in name.split("."):
            continue
        first, _, rest = name.partition(".")
        if first == "blocks":
            index, _, rest = rest.partition(".")
            name = f"blocks.{int(index) + shift}.{rest}"
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
