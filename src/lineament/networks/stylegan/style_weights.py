"""Parts of a generator that published methods use: the weights of its styles, and its first layer."""

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.layers import Dense
from lineament.networks.stylegan.stylegan1 import StyledLayer, StyleGAN1
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.networks.stylegan.stylegan3 import StyleGAN3


def style_layers(generator: Generator) -> list[Dense]:
    """The affine map from w to styles of every layer, ``num_ws`` of them, from coarse to fine.

    Convention:
        Layer i takes ``ws[:, i]``. For StyleGAN2 these are the convolutions and then the last ToRGB (the other ToRGBs
        share the w of the next convolution, and are left out as in SeFa's program).

    Raises:
        ConfigError: a generator of another family, whose styles are not known.
    """
    if isinstance(generator, StyleGAN1):
        return [layer.style for layer in generator.layers if isinstance(layer, StyledLayer)]
    if isinstance(generator, StyleGAN2):
        *_, last = blocks = generator.synthesis_blocks()
        convolutions = [layer.affine for block in blocks for layer in block.layers()]
        return [*convolutions, *([last.to_rgb.affine] if last.to_rgb is not None else [])]
    if isinstance(generator, StyleGAN3):
        layers = [layer.affine for layer in generator.synthesis_layers()]
        return [generator.input.affine, *layers, generator.to_rgb.affine]
    raise ConfigError(
        f"a generator of the family {generator.family!r:.40} has no style weights that are known, expected a "
        "StyleGAN, StyleGAN2 or StyleGAN3; take a method that looks at samples, such as ganspace-w"
    )


def style_weights(generator: Generator) -> list[Float[Tensor, "_ d"]]:
    """The weights of `style_layers`, one row for each style, as they act."""
    return [layer.weight.detach() * layer.weight_gain for layer in style_layers(generator)]


@torch.no_grad()
def first_activations(generator: Generator, w: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
    """Output of the first layer that takes a w, with its constant noise, flattened.

    Raises:
        ConfigError: a generator whose first layer has no feature maps of 4 x 4 pixels.
    """
    if isinstance(generator, StyleGAN1):
        return generator.layers[0](None, w).flatten(1)
    if isinstance(generator, StyleGAN2):
        block = generator.synthesis_blocks()[0]
        x = block.const.expand(len(w), -1, -1, -1)
        return block.conv1(x, w, block.conv1.noise(len(w), "const", None)).flatten(1)
    raise ConfigError(
        f"a generator of the family {generator.family!r:.40} has no first layer of 4 x 4 pixels, expected a StyleGAN "
        "or StyleGAN2; take ganspace-w, as the method's authors do for StyleGAN"
    )
