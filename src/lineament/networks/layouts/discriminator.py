"""StyleGAN2 discriminators of other programs: names, shapes and conventions converted to ours."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lineament.errors import ConfigError, FileFormatError
from lineament.networks.layouts.stylegan2 import (
    State,
    channel_rule,
    check_activations,
    check_tensorflow,
    kernel_from_tensorflow,
    mapping_from_nvidia,
    num_mapping_layers_in,
)
from lineament.networks.layouts.tensors import ForeignTensors
from lineament.networks.stylegan.discriminator import DiscriminatorConfig

GROUP_SIZE = DiscriminatorConfig.group_size


def discriminator_from_nvidia(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], module_settings: Mapping[str, Mapping[str, Any]]
) -> tuple[DiscriminatorConfig, State]:
    """From the state of the official PyTorch `Discriminator`; see `generator_from_nvidia`.

    Raises:
        FileFormatError: a tensor is missing or left over, or the network has settings that are not supported.
    """
    t = ForeignTensors(tensors, "StyleGAN2 discriminator of the official PyTorch layout")
    t.drop_filters(r".*\.resample_filter")
    state: State = {}
    if "mapping.embed.weight" in t:
        mapping_from_nvidia(t, state)
        state["mapping.w_avg"] = torch.zeros(t_width(state))
    resolutions = [r for r in reversed(t.numbers(r"b(\d+)\.conv\d?\.weight")) if r > 4]
    for k, r in enumerate(resolutions):
        for layer in ("conv0", "conv1"):
            state |= {f"blocks.{k}.{layer}.{name}": t.take(f"b{r}.{layer}.{name}") for name in ("weight", "bias")}
        if f"b{r}.skip.weight" in t:
            state[f"blocks.{k}.skip.weight"] = t.take(f"b{r}.skip.weight")
    for k, r in enumerate([*resolutions, 4]):
        ours = f"from_smaller.{k - 1}" if k else "from_rgb"
        if f"b{r}.fromrgb.weight" in t or not k:
            state |= {f"{ours}.{name}": t.take(f"b{r}.fromrgb.{name}") for name in ("weight", "bias")}
    for theirs, ours in (("conv", "final_conv"), ("fc", "final_dense"), ("out", "logit")):
        state |= {f"{ours}.{name}": t.take(f"b4.{theirs}.{name}") for name in ("weight", "bias")}
    t.finish()
    check_activations(module_settings)
    group = module_settings.get("b4.mbstd", {}).get("group_size", GROUP_SIZE)
    rate = module_settings.get("mapping.fc0", {}).get("bias_gain", DiscriminatorConfig.mapping_lr_multiplier)
    return discriminator_config(
        state,
        conv_clamp=float(module_settings.get("b4.conv", {}).get("conv_clamp") or 0.0),
        mapping_lr_multiplier=float(rate),
        group_size=int(group or 0),
    ), state


def t_width(state: Mapping[str, Tensor]) -> int:
    """Width of the mapping network's output."""
    layers = [v for k, v in state.items() if k.startswith("mapping.layers.") and k.endswith(".weight")]
    return (layers[-1] if layers else state["mapping.embed.weight"]).shape[0]


def discriminator_from_tensorflow(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> tuple[DiscriminatorConfig, State]:
    """From the variables of the official TensorFlow `D`.

    Raises:
        FileFormatError: a variable is missing or left over, or the network has settings that are not supported.
    """
    t = ForeignTensors(tensors, "StyleGAN2 discriminator of the official TensorFlow layout")
    check_tensorflow(settings)
    t.drop_growth(r"(.*/)?lod")
    t.drop(r"FromRGB_lod[1-9]\d*/.*")
    state: State = {}
    if "LabelEmbed/weight" in t:
        state |= _dense(t, "LabelEmbed", "mapping.embed")
        for i in t.numbers(r"Mapping(\d+)/weight"):
            state |= _dense(t, f"Mapping{i}", f"mapping.layers.{i}")
        state["mapping.w_avg"] = torch.zeros(t_width(state))
    resolutions = [r for r in reversed(t.numbers(r"(\d+)x\d+/.*")) if r > 4]
    for k, r in enumerate([*resolutions, 4]):
        theirs = "FromRGB_lod0" if not k and "FromRGB_lod0/weight" in t else f"{r}x{r}/FromRGB"
        if f"{theirs}/weight" in t or not k:
            state |= _conv(t, theirs, f"from_smaller.{k - 1}" if k else "from_rgb")
    for k, r in enumerate(resolutions):
        state |= _conv(t, f"{r}x{r}/Conv0", f"blocks.{k}.conv0")
        state |= _conv(t, f"{r}x{r}/Conv1_down", f"blocks.{k}.conv1")
        if f"{r}x{r}/Skip/weight" in t:
            state[f"blocks.{k}.skip.weight"] = kernel_from_tensorflow(t.take(f"{r}x{r}/Skip/weight"))
    state |= _conv(t, "4x4/Conv", "final_conv") | _dense(t, "4x4/Dense0", "final_dense") | _dense(t, "Output", "logit")
    t.finish()
    # Unless told otherwise, ADA's network compares a whole batch, the earlier ones groups.
    default = 0 if settings.get("build_func_name") == "D_main" else GROUP_SIZE
    return discriminator_config(
        state,
        conv_clamp=float(settings.get("conv_clamp") or 0.0),
        mapping_lr_multiplier=float(settings.get("mapping_lrmul") or 0.1),
        group_size=int(settings.get("mbstd_group_size", default) or 0),
    ), state


def _dense(t: ForeignTensors, theirs: str, ours: str) -> State:
    return {f"{ours}.weight": t.take(f"{theirs}/weight").T.contiguous(), f"{ours}.bias": t.take(f"{theirs}/bias")}


def _conv(t: ForeignTensors, theirs: str, ours: str) -> State:
    weight = kernel_from_tensorflow(t.take(f"{theirs}/weight"))
    return {f"{ours}.weight": weight, f"{ours}.bias": t.take(f"{theirs}/bias")}


def discriminator_from_rosinality(tensors: Mapping[str, Tensor]) -> tuple[DiscriminatorConfig, State]:
    """From the state of rosinality's `Discriminator`.

    Raises:
        FileFormatError: a tensor is missing or left over.
    """
    t = ForeignTensors(tensors, "StyleGAN2 discriminator of rosinality's layout")
    t.drop_filters(r".*\.kernel")
    state: State = {"from_rgb.weight": t.take("convs.0.0.weight"), "from_rgb.bias": t.take("convs.0.1.bias")}
    for i in t.numbers(r"convs\.(\d+)\.conv1\.0\.weight"):
        ours, theirs = f"blocks.{i - 1}", f"convs.{i}"
        names = {"conv0.weight": "conv1.0.weight", "conv0.bias": "conv1.1.bias", "conv1.weight": "conv2.1.weight"}
        names |= {"conv1.bias": "conv2.2.bias", "skip.weight": "skip.1.weight"}
        state |= {f"{ours}.{name}": t.take(f"{theirs}.{other}") for name, other in names.items()}
    state |= {"final_conv.weight": t.take("final_conv.0.weight"), "final_conv.bias": t.take("final_conv.1.bias")}
    for i, ours in enumerate(("final_dense", "logit")):
        state |= {f"{ours}.{name}": t.take(f"final_linear.{i}.{name}") for name in ("weight", "bias")}
    t.finish()
    return discriminator_config(state), state


def discriminator_from_genforce(tensors: Mapping[str, Tensor]) -> tuple[DiscriminatorConfig, State]:
    """From the state of genforce's `StyleGAN2Discriminator`.

    Raises:
        FileFormatError: a tensor is missing or left over.
    """
    t = ForeignTensors(tensors, "StyleGAN2 discriminator of genforce's layout")
    t.drop_filters(r".*\.kernel")
    layers = t.numbers(r"layer(\d+)\.weight")
    if len(layers) < 5:
        raise FileFormatError("not a StyleGAN2 discriminator of genforce's layout: it has too few layers")
    names = [f"blocks.{i // 2}.conv{i % 2}" for i in layers[:-3]] + ["final_conv", "final_dense", "logit"]
    state: State = {}
    for i, ours in zip(layers, names, strict=True):
        state |= {f"{ours}.{name}": t.take(f"layer{i}.{name}") for name in ("weight", "bias")}
    for k in t.numbers(r"input(\d+)\.weight"):
        ours = f"from_smaller.{k - 1}" if k else "from_rgb"
        state |= {f"{ours}.{name}": t.take(f"input{k}.{name}") for name in ("weight", "bias")}
    for k in t.numbers(r"skip_layer(\d+)\.weight"):
        state[f"blocks.{k}.skip.weight"] = t.take(f"skip_layer{k}.weight")
    t.finish()
    return discriminator_config(state), state


def discriminator_config(state: Mapping[str, Tensor], **stated: Any) -> DiscriminatorConfig:
    """The settings that follow from a discriminator's tensors (with our names), and the stated ones.

    Raises:
        FileFormatError: the tensors do not make a discriminator.
    """
    widths = [state["final_conv.weight"].shape[0]]
    num_blocks = sum(name.endswith(".conv0.weight") for name in state)
    architecture = "skip" if "from_smaller.0.weight" in state else "orig"
    try:
        widths += [state[f"blocks.{k}.conv0.weight"].shape[0] for k in reversed(range(num_blocks))]
        base, maximum, rest = channel_rule(widths)
        mapped = "mapping.embed.weight" in state
        outputs = state["logit.weight"].shape[0]
        return DiscriminatorConfig(
            resolution=4 * 2**num_blocks,
            channel_base=base,
            channel_max=maximum,
            widths=rest,
            image_channels=state["from_rgb.weight"].shape[1],
            architecture="resnet" if "blocks.0.skip.weight" in state else architecture,
            c_dim=state["mapping.embed.weight"].shape[1] if mapped else 0 if outputs == 1 else outputs,
            class_dim=outputs if mapped else 0,
            num_mapping_layers=num_mapping_layers_in(state),
            num_std_channels=state["final_conv.weight"].shape[1] - widths[0],
            **stated,
        )
    except (KeyError, IndexError, ConfigError) as error:
        raise FileFormatError(f"the tensors do not make a StyleGAN2 discriminator: {error}") from error
