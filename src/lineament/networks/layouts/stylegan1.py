"""The first StyleGAN's networks of other programs: names, shapes and conventions converted to ours.

Layouts: the official TensorFlow code and genforce's. Both keep the factors of the equalised learning rate apart from
the weights; here they become part of the weights. Settings that a file does not state are inferred from its tensors.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lineament.errors import ConfigError, FileFormatError
from lineament.networks.layouts.stylegan2 import (
    State,
    channel_rule,
    embedding_of,
    kernel_from_tensorflow,
    num_mapping_layers_in,
)
from lineament.networks.layouts.tensors import ForeignTensors
from lineament.networks.stylegan.layers import LRELU_GAIN
from lineament.networks.stylegan.progressive_discriminator import ProgressiveDiscriminatorConfig
from lineament.networks.stylegan.stylegan1 import StyleGAN1Config

MAPPING_RATE = 0.01
"""Relative learning rate of the mapping network; `MappingNetwork` scales its weights by it."""
FUSED_FROM = 128
"""Size in pixels from which the original upscales by a transposed convolution, unless its settings say otherwise."""
PUBLISHED_SETTINGS = {
    "use_styles": True,
    "const_input_layer": True,
    "use_noise": True,
    "use_wscale": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "normalize_latents": True,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "blur_filter": [1, 2, 1],
}


def generator_from_tensorflow(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> tuple[StyleGAN1Config, State]:
    """From the variables of the official TensorFlow `Gs`.

    Args:
        tensors: variables by name, those of the components behind "G_mapping/" and "G_synthesis/", with or without
            the "G_".
        settings: its static arguments.

    Raises:
        FileFormatError: a variable is missing, left over or of another shape, or the network has settings that we
            lack.
    """
    tensors = {name.removeprefix("G_"): tensor for name, tensor in tensors.items()}
    t = ForeignTensors(tensors, "StyleGAN generator of the official TensorFlow layout")
    check_settings(settings)
    t.drop_growth(r"(synthesis/)?lod")
    t.drop(r"synthesis/ToRGB_lod[1-9]\d*/(weight|bias)")
    state: State = {"mapping.w_avg": take(t, "dlatent_avg", 1)}
    if "mapping/LabelConcat/weight" in t:
        state |= embedding_of(take(t, "mapping/LabelConcat/weight", 2))
    rate = float(settings.get("mapping_lrmul") or MAPPING_RATE)
    for i in t.numbers(r"mapping/Dense(\d+)/weight"):
        theirs = f"mapping/Dense{i}"
        state |= _mapping_layer(i, take(t, f"{theirs}/weight", 2).T, take(t, f"{theirs}/bias", 1), rate)
    state["layers.0.const"] = take(t, "synthesis/4x4/Const/const", 4)[0]
    for i in range(2 * len(t.numbers(r"synthesis/(\d+)x\d+/.*"))):
        size = 4 * 2 ** (i // 2)
        place = ("Const", "Conv")[i] if i < 2 else f"Conv{i % 2}{'' if i % 2 else '_up'}"
        ours, theirs = f"layers.{i}", f"synthesis/{size}x{size}/{place}"
        if i:
            kernel = kernel_from_tensorflow(take(t, f"{theirs}/weight", 4))
            state[f"{ours}.weight"] = _layer_weight(kernel, i, settings.get("fused_scale", "auto"))
        state |= {
            f"{ours}.bias": take(t, f"{theirs}/bias", 1),
            f"{ours}.noise_strength": take(t, f"{theirs}/Noise/weight", 1),
            f"{ours}.noise_const": take(t, f"synthesis/noise{i}", 4)[0, 0],
            f"{ours}.style.weight": take(t, f"{theirs}/StyleMod/weight", 2).T.contiguous(),
            f"{ours}.style.bias": take(t, f"{theirs}/StyleMod/bias", 1),
        }
    kernel = kernel_from_tensorflow(take(t, "synthesis/ToRGB_lod0/weight", 4))
    state |= _to_rgb(kernel, take(t, "synthesis/ToRGB_lod0/bias", 1))
    t.finish()
    cutoff = settings.get("truncation_cutoff", StyleGAN1Config.truncation_cutoff)
    return generator_config(state, truncation_cutoff=cutoff if isinstance(cutoff, int) else 0), state


def generator_from_genforce(tensors: Mapping[str, Tensor]) -> tuple[StyleGAN1Config, State]:
    """From the state of genforce's `StyleGANGenerator`, made with its default ``fused_scale``.

    Raises:
        FileFormatError: a tensor is missing, left over or of another shape.
    """
    t = ForeignTensors(tensors, "StyleGAN generator of genforce's layout")
    t.drop_growth(r"synthesis\.lod")
    num_layers = len(t.numbers(r"synthesis\.layer(\d+)\.bias"))
    last = max(num_layers // 2 - 1, 0)
    t.drop(rf"synthesis\.layer\d+\.blur\.kernel|synthesis\.output(?!{last}\.)\d+\.(weight|bias)")
    state: State = {"mapping.w_avg": take(t, "truncation.w_avg", 1)}
    if "mapping.label_weight" in t:
        state |= embedding_of(take(t, "mapping.label_weight", 2))
    for i in t.numbers(r"mapping\.dense(\d+)\.weight"):
        theirs = f"mapping.dense{i}"
        state |= _mapping_layer(i, take(t, f"{theirs}.weight", 2), take(t, f"{theirs}.bias", 1), MAPPING_RATE)
    state["layers.0.const"] = take(t, "synthesis.layer0.const", 4)[0]
    for i in range(num_layers):
        ours, theirs = f"layers.{i}", f"synthesis.layer{i}"
        if i:
            state[f"{ours}.weight"] = _layer_weight(take(t, f"{theirs}.weight", 4), i, "auto")
        state |= {
            f"{ours}.bias": take(t, f"{theirs}.bias", 1),
            f"{ours}.noise_strength": take(t, f"{theirs}.apply_noise.weight", 1),
            f"{ours}.noise_const": take(t, f"{theirs}.apply_noise.noise", 4)[0, 0],
            f"{ours}.style.weight": take(t, f"{theirs}.style.weight", 2),
            f"{ours}.style.bias": take(t, f"{theirs}.style.bias", 1),
        }
    theirs = f"synthesis.output{last}"
    state |= _to_rgb(take(t, f"{theirs}.weight", 4), take(t, f"{theirs}.bias", 1))
    t.finish()
    return generator_config(state), state


def take(t: ForeignTensors, name: str, num_axes: int) -> Tensor:
    """Take a tensor that has ``num_axes`` axes, none of them empty.

    Raises:
        FileFormatError: there is none of that name, or it has another shape.
    """
    tensor = t.take(name)
    if tensor.dim() != num_axes or not tensor.numel():
        raise FileFormatError(f"tensor {name!r} has the shape {tuple(tensor.shape)}, expected {num_axes} axes")
    return tensor


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise FileFormatError for settings of the TensorFlow code that are not supported."""
    for name, value in PUBLISHED_SETTINGS.items():
        found = settings.get(name, value)
        if (list(found) if isinstance(found, tuple) else found) != value:
            raise FileFormatError(f"the network was made with {name}={found!r:.40}; only {value!r} is read")


def spread(kernel: Float[Tensor, "o i 3 3"]) -> Float[Tensor, "o i 4 4"]:
    """The sum of a 3 x 3 kernel at four neighbouring positions, which equals the kernel convolved with a 2 x 2 box."""
    return sum((F.pad(kernel, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)), kernel.new_zeros(4, 4))


def _layer_weight(kernel: Tensor, index: int, fused_scale: Any) -> Tensor:
    kernel = kernel * (LRELU_GAIN / math.sqrt(kernel[0].numel()))
    if index % 2 or index == 0:
        return kernel
    if fused_scale not in (True, False, "auto"):
        raise FileFormatError(f"the network was made with fused_scale={fused_scale!r:.40}; expected a bool or 'auto'")
    fused = 4 * 2 ** (index // 2) >= FUSED_FROM if fused_scale == "auto" else fused_scale
    # A transposed convolution uses its kernel flipped, compared with a convolution of the upscaled map. The original
    # uses one or the other, by size, without flipping the kernel; borders are the same.
    return spread(_three(kernel if fused else kernel.flip(2, 3))).transpose(0, 1).contiguous()


def _three(kernel: Tensor) -> Tensor:
    if kernel.shape[2:] != (3, 3):
        raise FileFormatError(f"a convolution has {kernel.shape[2]} x {kernel.shape[3]} kernels, expected 3 x 3")
    return kernel


def _mapping_layer(index: int, weight: Tensor, bias: Tensor, rate: float) -> State:
    # The rectifier's gain scales only the weights there; in ours it also scales the bias.
    factor = rate / MAPPING_RATE
    ours = f"mapping.layers.{index}"
    return {f"{ours}.weight": weight.contiguous() * factor, f"{ours}.bias": bias * (factor / LRELU_GAIN)}


def _to_rgb(kernel: Tensor, bias: Tensor) -> State:
    return {"to_rgb.weight": kernel / math.sqrt(kernel.shape[1]), "to_rgb.bias": bias}


def generator_config(state: Mapping[str, Tensor], **stated: Any) -> StyleGAN1Config:
    """The settings that follow from a generator's tensors (with our names), and the stated ones.

    Raises:
        FileFormatError: the tensors do not make a generator.
    """
    num_layers = sum(name.endswith(".noise_const") for name in state)
    try:
        base, maximum, rest = channel_rule([len(state[f"layers.{i}.bias"]) for i in range(1, num_layers, 2)])
        first, embed = state["mapping.layers.0.weight"], state.get("mapping.embed.weight")
        return StyleGAN1Config(
            resolution=4 * 2 ** (num_layers // 2 - 1),
            z_dim=first.shape[1] - (0 if embed is None else embed.shape[0]),
            w_dim=state["layers.0.style.weight"].shape[1],
            c_dim=0 if embed is None else embed.shape[1],
            image_channels=len(state["to_rgb.bias"]),
            num_mapping_layers=num_mapping_layers_in(state),
            mapping_dim=len(first),
            channel_base=base,
            channel_max=maximum,
            widths=rest,
            **stated,
        )
    except (KeyError, IndexError, ConfigError) as error:
        raise FileFormatError(f"the tensors do not make a StyleGAN generator: {error}") from error


def discriminator_from_tensorflow(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> tuple[ProgressiveDiscriminatorConfig, State]:
    """From the variables of the official TensorFlow `D`; see `generator_from_tensorflow`.

    Raises:
        FileFormatError: a variable is missing, left over or of another shape, or the network has settings that we
            lack.
    """
    t = ForeignTensors(tensors, "StyleGAN discriminator of the official TensorFlow layout")
    check_settings(settings)
    t.drop_growth("lod")
    t.drop(r"FromRGB_lod[1-9]\d*/(weight|bias)")
    num_blocks = max(len(t.numbers(r"(\d+)x\d+/.*")) - 1, 0)
    places = {"from_rgb": "FromRGB_lod0", "final_conv": "4x4/Conv", "final_dense": "4x4/Dense0", "logit": "4x4/Dense1"}
    for k in range(num_blocks):
        size = 4 * 2 ** (num_blocks - k)
        places |= {f"blocks.{k}.conv0": f"{size}x{size}/Conv0", f"blocks.{k}.conv1": f"{size}x{size}/Conv1_down"}
    state: State = {}
    for ours, theirs in places.items():
        dense = ours in ("final_dense", "logit")
        weight = take(t, f"{theirs}/weight", 2 if dense else 4)
        weight = weight.T.contiguous() if dense else kernel_from_tensorflow(weight)
        state |= _discriminator_layer(ours, weight, take(t, f"{theirs}/bias", 1))
    t.finish()
    group_size = settings.get("mbstd_group_size", ProgressiveDiscriminatorConfig.group_size)
    return discriminator_config(state, group_size=int(group_size), c_dim=settings.get("label_size")), state


def discriminator_from_genforce(tensors: Mapping[str, Tensor]) -> tuple[ProgressiveDiscriminatorConfig, State]:
    """From the state of genforce's `StyleGANDiscriminator`.

    Raises:
        FileFormatError: a tensor is missing, left over or of another shape.
    """
    t = ForeignTensors(tensors, "StyleGAN discriminator of genforce's layout")
    t.drop_growth("lod")
    t.drop(r"layer\d+\.blur\.kernel|input[1-9]\d*\.(weight|bias)")
    num_blocks = max(len(t.numbers(r"layer(\d+)\.weight")) - 3, 0) // 2
    names = [f"blocks.{i // 2}.conv{i % 2}" for i in range(2 * num_blocks)] + ["final_conv", "final_dense", "logit"]
    places = {"from_rgb": "input0"} | {ours: f"layer{i}" for i, ours in enumerate(names)}
    state: State = {}
    for ours, theirs in places.items():
        weight = take(t, f"{theirs}.weight", 2 if ours in ("final_dense", "logit") else 4)
        state |= _discriminator_layer(ours, weight, take(t, f"{theirs}.bias", 1))
    t.finish()
    return discriminator_config(state), state


def _discriminator_layer(ours: str, weight: Tensor, bias: Tensor) -> State:
    if ours.endswith("conv1"):
        weight = spread(_three(weight)) * (0.25 * LRELU_GAIN / math.sqrt(weight[0].numel()))
    elif ours != "logit":
        bias = bias / LRELU_GAIN
    return {f"{ours}.weight": weight, f"{ours}.bias": bias}


def discriminator_config(
    state: Mapping[str, Tensor],
    *,
    group_size: int = ProgressiveDiscriminatorConfig.group_size,
    c_dim: int | None = None,
) -> ProgressiveDiscriminatorConfig:
    """The settings that follow from a discriminator's tensors (with our names), and the stated ones.

    Raises:
        FileFormatError: the tensors do not make a discriminator.
    """
    num_blocks = sum(name.endswith(".conv0.weight") for name in state)
    widths = [len(state["final_conv.weight"])]
    widths += [len(state[f"blocks.{k}.conv0.weight"]) for k in reversed(range(num_blocks))]
    base, maximum, rest = channel_rule(widths)
    outputs = len(state["logit.weight"])
    try:
        return ProgressiveDiscriminatorConfig(
            resolution=4 * 2**num_blocks,
            channel_base=base,
            channel_max=maximum,
            widths=rest,
            dense_dim=len(state["final_dense.weight"]),
            image_channels=state["from_rgb.weight"].shape[1],
            # The tensors of one class and of none look the same.
            c_dim=outputs if outputs > 1 or c_dim else 0,
            group_size=group_size,
            num_std_channels=state["final_conv.weight"].shape[1] - widths[0],
        )
    except ConfigError as error:
        raise FileFormatError(f"the tensors do not make a StyleGAN discriminator: {error}") from error
