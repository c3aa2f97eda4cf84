"""Start a training from trained networks of the same or a lower resolution, or from a narrower generator.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018; Chen et al., "Net2Net", ICLR 2016 (wider layers).
    Deviations: nothing is faded in, and new channels start random instead of as copies. A larger generator keeps all
    features but resets its layers to RGB, so that its first images are bad. With good first images training fails:
    a discriminator that was not trained along with its generator falls behind at once, whether it is fresh, was trained
    alone before, or was grown from the smaller one. It then gives all images the same logits, and the generator
    drifts. Against bad images it stays ahead, and the generator learns its colours again within some ten thousand
    images.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from lineament.checkpoints.ours import load_discriminator, load_generator
from lineament.errors import MismatchError
from lineament.networks.stylegan.discriminator import Discriminator
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2


def start_generator(network: StyleGAN2, path: Path) -> None:
    """Copy a trained generator into the network: all of it, or all but its layers to RGB if the network is larger.

    A network is larger if it has more blocks or more channels. Its first channels then compute what they did, because
    the new ones do not act on them yet.

    Raises:
        InputError, FileFormatError: there is no such file, or it is not a generator of ours.
        MismatchError: its layers are not the first ones of this network, or have more channels.
    """
    start = load_generator(path)
    own = network.state_dict()
    larger = len(network.blocks) > len(getattr(start, "blocks", ())) or any(
        name in own and own[name].shape != tensor.shape for name, tensor in start.state_dict().items()
    )
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
    own, widened = network.state_dict(), isinstance(network, StyleGAN2)
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
        if name in own and widened and first == "blocks":
            tensor = _in_corner(tensor, own[name])
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


def _in_corner(tensor: Tensor, wider: Tensor) -> Tensor:
    """The tensor of a wider layer whose first channels compute what those of ``tensor`` do; else ``tensor`` itself."""
    channel_dims = 2 if tensor.ndim == 4 else 1
    same = tensor.ndim == wider.ndim and tensor.shape[channel_dims:] == wider.shape[channel_dims:]
    if not same or any(mine > its for mine, its in zip(tensor.shape, wider.shape, strict=True)):
        return tensor
    out = wider.clone()
    if tensor.ndim == 4:
        out[: len(tensor)] = 0  # new channels do not act on the old ones
    corner = tuple(slice(size) for size in tensor.shape)
    out[corner] = tensor
    return out
