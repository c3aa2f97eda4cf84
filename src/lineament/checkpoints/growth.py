"""Grow a generator to twice the resolution, and use atlases and latents of the smaller one with it."""

from dataclasses import asdict, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.checkpoints.ours import network_fingerprint
from lineament.errors import MismatchError
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.records.atlas import Atlas
from lineament.records.shapes import GeneratorConfig
from lineament.store.atlas import check_atlas_matches
from lineament.store.tensors import short_fingerprint

SMALLEST = 4
"""Number of blocks of the smallest StyleGAN2, of 32 px."""


def grown(small: StyleGAN2, channels: int = 0) -> StyleGAN2:
    """A generator of twice the resolution that draws the same image, interpolated.

    Args:
        small: the generator whose blocks and mapping are copied.
        channels: of the new block; 0 for as many as the last one has.

    Raises:
        MismatchError: ``small`` does not draw an image at every resolution (architecture skip).
        ConfigError: twice its resolution is not supported.
    """
    if small.config.architecture != "skip":
        raise MismatchError("only generators that draw an image at every resolution (skip) can be grown")
    large = StyleGAN2(_shape_of_grown(small.config, channels))
    large.load_state_dict(large.state_dict() | small.state_dict())
    newest = large.synthesis_blocks()[-1].to_rgb
    if newest is not None:
        nn.init.zeros_(newest.weight)
    return large


def _shape_of_grown(before: GeneratorConfig, channels: int) -> GeneratorConfig:
    """Settings with one more resolution and the same widths at all others."""
    widths = [before.channels(2**i) for i in range(2, before.resolution.bit_length())]
    widths.append(channels or widths[-1])
    size = 2 * before.resolution
    shape = replace(before, resolution=size, channel_min=max(widths[-1], before.channel_min))
    if [shape.channels(2**i) for i in range(2, size.bit_length())] == widths:
        return shape
    return StyleGAN2Config(**(asdict(before) | {"resolution": size, "widths": tuple(widths)}))


def layers_then(generator: Generator, fingerprint: str) -> int | None:
    """Number of layers of this generator, or of the one it grew from, that has this fingerprint; None if neither has.

    Growing leaves the weights of the coarser resolutions unchanged, so leaving out the finest blocks gives the
    fingerprints of the smaller generators.
    """
    if fingerprint == network_fingerprint(generator):
        return generator.num_ws
    if isinstance(generator, StyleGAN2) and generator.config.architecture == "skip":
        for count in range(len(generator.blocks) - 1, SMALLEST - 1, -1):
            finer = tuple(f"blocks.{i}." for i in range(count, len(generator.blocks)))
            if fingerprint == network_fingerprint(generator, without=finer):
                return 2 * count
    return None


def atlas_for(atlas: Atlas, generator: Generator, name: object = "the generator") -> Atlas:
    """The atlas for this generator. If it was made for one it grew from, the new layers move as the last one did.

    Raises:
        MismatchError: the atlas belongs to another generator.
    """
    layers = layers_then(generator, atlas.generator_fingerprint)
    if layers == generator.num_ws:
        _check_sizes(atlas, generator, layers)
        return atlas
    fingerprint = network_fingerprint(generator)
    if layers is None:
        check_atlas_matches(atlas, fingerprint, str(name))
    _check_sizes(atlas, generator, layers)
    return atlas.of_grown(fingerprint, generator.num_ws, generator.config.resolution)


def _check_sizes(atlas: Atlas, generator: Generator, num_layers: int | None) -> None:
    """Refuse an atlas that names the generator, but has other sizes."""
    layers, width = atlas.generator.get("num_layers", num_layers), generator.config.w_dim
    if layers != num_layers or atlas.w_dim != width:
        raise MismatchError(
            f"the atlas is of {layers} layers and a w of {atlas.w_dim}, but the generator that it names has "
            f"{num_layers} and {width}; the atlas is damaged, run discover again"
        )


def for_all_layers(ws: Float[Tensor, "n l d"], generator: Generator) -> Float[Tensor, "n m d"]:
    """Extend latents of a generator that this one grew from: the new layers take the w of the last one."""
    missing = generator.num_ws - ws.shape[1]
    return torch.cat([ws, ws[:, -1:].expand(-1, missing, -1)], dim=1) if missing else ws


def check_encoder_matches(encoder: Encoder, generator: Generator, name: object = "the generator") -> None:
    """Refuse an encoder of another generator, but for one that this generator grew from.

    Raises:
        MismatchError: the fingerprints differ.
    """
    if layers_then(generator, encoder.config.generator) is None:
        raise MismatchError(
            f"the encoder was trained for generator {short_fingerprint(encoder.config.generator) or 'unknown'}, but "
            f"{name} is {short_fingerprint(network_fingerprint(generator))}; use that generator's own encoder, train "
            "one (train encoder), or go without (--encoder none)"
        )
