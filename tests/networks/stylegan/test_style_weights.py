"""The style weights and first activations of every family, against the networks themselves."""

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.style_weights import first_activations, style_layers, style_weights
from lineament.networks.stylegan.stylegan1 import StyleGAN1, StyleGAN1Config
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config
from lineament.records.shapes import GeneratorConfig
from tests import tiny


def make(family: str) -> Generator:
    torch.manual_seed(0)
    if family == "stylegan1":
        config = StyleGAN1Config(resolution=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8)
        return StyleGAN1(config).eval()
    if family == "stylegan2":
        return tiny.generator(tiny.GENERATOR)
    if family == "resnet":
        return StyleGAN2(StyleGAN2Config(**tiny.GENERATOR.to_dict(), architecture="resnet")).eval()
    return StyleGAN3(StyleGAN3Config(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)).eval()


@pytest.mark.parametrize("family", ["stylegan1", "stylegan2", "resnet", "stylegan3"])
def test_the_styles_of_a_layer_answer_to_its_own_w_alone(family: str) -> None:
    generator = make(family).requires_grad_(False)
    layers = style_layers(generator)
    assert len(layers) == generator.num_ws
    heard: dict[int, torch.Tensor] = {}
    for i, layer in enumerate(layers):
        layer.register_forward_hook(lambda _, inputs, output, i=i: heard.__setitem__(i, output))
    ws = torch.randn(1, generator.num_ws, 8)
    generator.synthesize(ws)
    assert set(heard) == set(range(generator.num_ws))  # none is left out, none is that of another network
    before = dict(heard)
    weights = style_weights(generator)
    for moved in (0, 1, len(layers) // 2, len(layers) - 1):
        step = torch.zeros_like(ws)
        step[:, moved] = torch.randn(8)
        generator.synthesize(ws + step)
        for i in heard:
            expected = before[i] + (weights[moved] @ step[0, moved] if i == moved else 0.0)
            torch.testing.assert_close(heard[i], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["stylegan1", "stylegan2"])
def test_first_activations_are_what_the_first_layer_gives(family: str) -> None:
    generator = make(family).requires_grad_(False)
    first = generator.layers[0] if isinstance(generator, StyleGAN1) else generator.blocks[0].conv1
    heard = []
    w = torch.randn(3, 8)
    activations = first_activations(generator, w)
    first.register_forward_hook(lambda _, inputs, output: heard.append(output))
    generator.synthesize(generator.broadcast(w))
    torch.testing.assert_close(activations, heard[0].flatten(1), atol=1e-5, rtol=1e-4)
    assert activations.shape[1] == 16 * generator.config.channels(4)


class Own(Generator):
    """A generator of a user's own, without styles."""

    family = "own"


def test_generators_without_styles_are_refused() -> None:
    with pytest.raises(ConfigError, match="family 'own' has no style weights"):
        style_weights(Own())
    with pytest.raises(ConfigError, match="take ganspace-w"):
        first_activations(make("stylegan3"), torch.randn(1, 8))


def test_the_trained_shape_has_a_style_for_every_channel() -> None:
    config = GeneratorConfig(resolution=32, z_dim=8, w_dim=8, num_mapping_layers=2, channel_base=64, channel_max=6)
    shapes = [tuple(weight.shape) for weight in style_weights(StyleGAN2(config))]
    # 4 px: 6 channels; 8 px takes 6, 16 px takes 6 and 4, 32 px takes 4 and 2; the last ToRGB takes 2.
    assert shapes == [(6, 8), (6, 8), (6, 8), (6, 8), (4, 8), (4, 8), (2, 8), (2, 8)]
