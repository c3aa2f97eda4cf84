"""Generators and discriminators of other programs' layouts become ours, and what does not fit is named."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.errors import ConfigError, FileFormatError
from lineament.networks.layouts.discriminator import (
    discriminator_from_genforce,
    discriminator_from_nvidia,
    discriminator_from_rosinality,
    discriminator_from_tensorflow,
)
from lineament.networks.layouts.stylegan2 import (
    generator_from_genforce,
    generator_from_nvidia,
    generator_from_rosinality,
    generator_from_tensorflow,
    generator_to_rosinality,
)
from lineament.networks.stylegan.discriminator import Discriminator
from tests.foreign_names import FILTER, judge, made, to_genforce, to_nvidia, to_tensorflow


def assert_same(network: torch.nn.Module, read: tuple[Any, dict[str, Tensor]], *inputs: Any) -> Any:
    config, state = read
    again = type(network)(config).eval().requires_grad_(False)
    again.load_state_dict(state)
    torch.testing.assert_close(again(*inputs), network(*inputs), atol=1e-5, rtol=1e-5)
    return config


Z = torch.randn(3, 6, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_official_pytorch(architecture: str) -> None:
    network = made(architecture=architecture, conv_clamp=1.5, mapping_lr_multiplier=0.1)
    modules = {"synthesis.b4.conv1": {"conv_clamp": 1.5, "activation": "lrelu"}, "mapping.fc0": {"bias_gain": 0.1}}
    config = assert_same(network, generator_from_nvidia(to_nvidia(network), {}, modules), Z, 0.7)
    assert config.architecture == architecture
    assert config.conv_clamp == 1.5
    assert (config.resolution, config.z_dim, config.channel_max, config.widths) == (32, 6, 12, ())


def test_official_pytorch_with_classes_and_odd_widths() -> None:
    network = made(c_dim=4, embedding_dim=5, mapping_dim=7, widths=(9, 11, 5, 3), image_channels=1)
    label = torch.eye(4)[:3]
    settings = {"mapping_kwargs": {"lr_multiplier": 0.01}}
    config = assert_same(network, generator_from_nvidia(to_nvidia(network), settings, {}), Z, 0.5, "const", label)
    assert config.widths == (9, 11, 5, 3)
    assert (config.c_dim, config.embedding_dim, config.mapping_dim, config.image_channels) == (4, 5, 7, 1)
    for wrong in (None, torch.eye(5)[:3]):
        with pytest.raises(ConfigError, match="has 4 classes, but got"):
            network(Z, 0.5, "const", wrong)
    with pytest.raises(ConfigError, match="has no classes, but got a label of 4"):
        made()(Z, label=label)


@pytest.mark.parametrize(("architecture", "classes"), [("skip", 0), ("resnet", 0), ("skip", 3)])
def test_official_tensorflow(architecture: str, classes: int) -> None:
    network = made(architecture=architecture, c_dim=classes, conv_clamp=2.0)
    read = generator_from_tensorflow(to_tensorflow(network), {"conv_clamp": 2.0, "mapping_lrmul": 0.01})
    assert_same(network, read, Z, 0.7, "const", torch.eye(3)[:3] if classes else None)


def test_tensorflow_before_ada_joins_the_class_before_normalising() -> None:
    # Karras et al., 2020: y = label W, [z y] normalised together.
    network = made(c_dim=3, joint_normalization=True, embedding_dim=6)
    network.mapping.embed.bias.zero_()
    named = to_tensorflow(network)
    del named["mapping/LabelEmbed/bias"]
    named["mapping/LabelConcat/weight"] = named.pop("mapping/LabelEmbed/weight") / math.sqrt(3)
    label = torch.eye(3)[[0, 2, 1]]
    config = assert_same(network, generator_from_tensorflow(named, {}), Z, 1.0, "const", label)
    assert config.joint_normalization
    joined = torch.cat([Z, label @ named["mapping/LabelConcat/weight"]], dim=1)
    joined = joined / (joined.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    x = joined
    for layer in network.mapping.layers:
        x = layer(x)
    torch.testing.assert_close(network.mapping(Z, label), x)


def test_genforce() -> None:
    network = made(w_dim=6)
    assert_same(network, generator_from_genforce(to_genforce(network)), Z, 0.7)


def test_rosinality_there_and_back() -> None:
    network = made(w_dim=6)
    written = generator_to_rosinality(network)
    shapes = {k: tuple(v.shape) for k, v in written["g_ema"].items()}
    assert shapes["conv1.conv.weight"] == (1, 12, 12, 3, 3)
    assert shapes["convs.4.conv.weight"] == (1, 4, 8, 3, 3)
    assert shapes["to_rgbs.2.bias"] == (1, 3, 1, 1)
    assert shapes["noises.noise_6"] == (1, 1, 32, 32)
    assert_same(network, generator_from_rosinality(written["g_ema"], written["latent_avg"]), Z, 0.7)
    config, state = generator_from_rosinality(written["g_ema"])
    assert not state["mapping.w_avg"].any()
    assert config.w_dim == 6


@pytest.mark.parametrize("change", [{"c_dim": 2}, {"conv_clamp": 1.0}, {"architecture": "orig"}, {"w_dim": 9}])
def test_what_rosinality_lacks_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="which rosinality's layout lacks"):
        generator_to_rosinality(made(**change))


def test_missing_and_left_over_tensors_are_named() -> None:
    named = to_nvidia(made())
    del named["synthesis.b8.conv0.bias"]
    with pytest.raises(FileFormatError, match=r"'synthesis.b8.conv0.bias' is missing"):
        generator_from_nvidia(named, {}, {})
    named = to_nvidia(made()) | {"synthesis.b8.attention.weight": torch.ones(1)}
    with pytest.raises(FileFormatError, match=r"1 tensors are left over .*'synthesis.b8.attention.weight'"):
        generator_from_nvidia(named, {}, {})
    with pytest.raises(FileFormatError, match="without the mapping network"):
        generator_from_nvidia({k: v for k, v in to_nvidia(made()).items() if ".fc" not in k}, {}, {})
    with pytest.raises(FileFormatError, match=r"w_avg.* is missing"):
        generator_from_nvidia({"model.diffusion_model.input_blocks.0.weight": torch.ones(1)}, {}, {})


def test_other_filters_and_rectifiers_are_refused() -> None:
    named = to_nvidia(made())
    name = next(name for name in named if name.endswith("resample_filter"))
    with pytest.raises(FileFormatError, match="is not \\[1, 3, 3, 1\\]"):
        generator_from_nvidia(named | {name: torch.ones(4, 4) / 16}, {}, {})
    with pytest.raises(FileFormatError, match="activation 'relu'"):
        generator_from_nvidia(named, {}, {"synthesis.b4.conv1": {"activation": "relu"}})
    for settings in ({"nonlinearity": "relu"}, {"resample_kernel": [1, 2, 1]}):
        with pytest.raises(FileFormatError, match="only"):
            generator_from_tensorflow(to_tensorflow(made()), settings)


def to_nvidia_judge(network: Discriminator) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {"b32.conv1.resample_filter": FILTER}
    last = {"final_conv": "conv", "final_dense": "fc", "logit": "out"}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            named[f"b{32 // 2 ** int(parts[1])}.{parts[2]}.{parts[3]}"] = tensor
        elif parts[0] in last:
            named[f"b4.{last[parts[0]]}.{parts[1]}"] = tensor
        elif parts[0] == "mapping":
            if parts[1] != "w_avg":
                named[name.replace("layers.", "fc")] = tensor
        else:
            size = 32 if parts[0] == "from_rgb" else 16 // 2 ** int(parts[1])
            named[f"b{size}.fromrgb.{parts[-1]}"] = tensor
    return named


IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("classes", [0, 4])
def test_official_pytorch_discriminator(architecture: str, classes: int) -> None:
    network = judge(architecture=architecture, c_dim=classes, class_dim=5 if classes else 0, conv_clamp=1.5)
    modules = {"b4.conv": {"conv_clamp": 1.5}, "b4.mbstd": {"group_size": 4}}
    read = discriminator_from_nvidia(to_nvidia_judge(network), {}, modules)
    config = assert_same(network, read, IMAGES, torch.eye(4)[:4] if classes else None)
    assert config.architecture == architecture


def to_tensorflow_judge(network: Discriminator) -> dict[str, Tensor]:
    names = {"final_conv": "4x4/Conv", "final_dense": "4x4/Dense0", "logit": "Output", "from_rgb": "32x32/FromRGB"}
    named: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            r = 32 // 2 ** int(parts[1])
            layer = {"conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}[parts[2]]
            theirs = f"{r}x{r}/{layer}"
        elif parts[0] == "from_smaller":
            r = 16 // 2 ** int(parts[1])
            theirs = f"{r}x{r}/FromRGB"
        elif parts[0] == "mapping":
            if parts[1] == "w_avg":
                continue
            theirs = "LabelEmbed" if parts[1] == "embed" else f"Mapping{parts[2]}"
        else:
            theirs = names[parts[0]]
        if tensor.dim() > 1:
            tensor = tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.T
        named[f"{theirs}/{parts[-1]}"] = tensor
    return named


@pytest.mark.parametrize("layers", [0, 2])
def test_official_tensorflow_discriminator_of_mapped_classes(layers: int) -> None:
    network = judge(c_dim=3, class_dim=5, num_mapping_layers=layers, mapping_lr_multiplier=0.1)
    label = torch.eye(3)[[0, 1, 2]]
    read = discriminator_from_tensorflow(to_tensorflow_judge(network), {})
    assert assert_same(network, read, torch.randn(3, 3, 32, 32), label).num_mapping_layers == layers


def test_groups_of_tensorflow_discriminators_that_state_none() -> None:
    named = to_tensorflow_judge(judge())
    sizes = {
        name: discriminator_from_tensorflow(named, {"build_func_name": name})[0] for name in ("D_main", "D_stylegan2")
    }
    assert {name: config.group_size for name, config in sizes.items()} == {"D_main": 0, "D_stylegan2": 4}


@pytest.mark.parametrize(("architecture", "classes"), [("resnet", 0), ("skip", 0), ("resnet", 4)])
def test_official_tensorflow_discriminator(architecture: str, classes: int) -> None:
    network = judge(architecture=architecture, c_dim=classes)
    read = discriminator_from_tensorflow(to_tensorflow_judge(network), {"mbstd_group_size": 4})
    assert_same(network, read, IMAGES, torch.eye(4)[:4] if classes else None)


def test_rosinality_and_genforce_discriminators() -> None:
    network = judge()
    ours = network.state_dict()
    rosinality = {"convs.1.conv2.0.kernel": FILTER}
    layers = {"conv0": "conv1.0", "conv1": "conv2.1", "skip": "skip.1"}
    biases = {"conv0": "conv1.1", "conv1": "conv2.2"}
    last = {
        "final_conv": "final_conv.0",
        "final_dense": "final_linear.0",
        "logit": "final_linear.1",
        "from_rgb": "convs.0.0",
    }
    lasting = last | {"final_conv": "final_conv.1", "from_rgb": "convs.0.1"}
    genforce = {"layer1.filter.kernel": FILTER[None, None]}
    for name, tensor in ours.items():
        parts, is_bias = name.split("."), name.endswith("bias")
        if parts[0] == "blocks":
            k = int(parts[1])
            theirs = f"convs.{k + 1}." + (biases if is_bias else layers)[parts[2]]
            other = f"skip_layer{k}" if parts[2] == "skip" else f"layer{2 * k + int(parts[2][-1])}"
        else:
            theirs = (lasting if is_bias else last)[parts[0]]
            other = {"from_rgb": "input0", "final_conv": "layer6", "final_dense": "layer7", "logit": "layer8"}[parts[0]]
        rosinality[f"{theirs}.{parts[-1]}"] = tensor
        genforce[f"{other}.{parts[-1]}"] = tensor
    assert_same(network, discriminator_from_rosinality(rosinality), IMAGES)
    assert_same(network, discriminator_from_genforce(genforce), IMAGES)
    with pytest.raises(FileFormatError, match="too few layers"):
        discriminator_from_genforce({"layer0.weight": torch.ones(1)})
    for reader in (discriminator_from_rosinality, discriminator_from_genforce):
        with pytest.raises(FileFormatError, match="left over"):
            reader((rosinality if reader is discriminator_from_rosinality else genforce) | {"x": torch.ones(1)})
