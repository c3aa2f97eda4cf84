"""StyleGAN2 generators of other programs: names, shapes and conventions converted to ours, and ours to rosinality's.

Layouts: the official PyTorch code (ADA, and StyleGAN3's copy of it), the official TensorFlow code (before and since
ADA), rosinality's and genforce's. What a file does not state is inferred from its tensors.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lineament.errors import ConfigError, FileFormatError
from lineament.networks.layouts.tensors import ForeignTensors
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config

State = dict[str, Tensor]

SUPPORTED_ACTIVATION = "lrelu"


def generator_from_nvidia(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], module_settings: Mapping[str, Mapping[str, Any]]
) -> tuple[StyleGAN2Config, State]:
    """From the state of the official PyTorch `Generator`.

    Args:
        tensors: parameters and buffers by dotted name.
        settings: keyword arguments that the network was made with.
        module_settings: plain attributes of its modules by dotted path; without them, as for a plain state dict,
            nothing is clamped.

    Raises:
        FileFormatError: a tensor is missing or left over, or the network has settings that are not supported.
    """
    t = ForeignTensors(tensors, "StyleGAN2 generator of the official PyTorch layout")
    t.drop_filters(r".*\.resample_filter")
    state: State = {"mapping.w_avg": t.take("mapping.w_avg")}
    mapping_from_nvidia(t, state)
    for k, r in enumerate(_powers(t.numbers(r"synthesis\.b(\d+)\.conv1\.weight"))):
        ours, theirs = f"blocks.{k}", f"synthesis.b{r}"
        if k == 0:
            state[f"{ours}.const"] = t.take(f"{theirs}.const")
        for layer in ("conv0", "conv1") if k else ("conv1",):
            for name in ("weight", "bias", "affine.weight", "affine.bias"):
                state[f"{ours}.{layer}.{name}"] = t.take(f"{theirs}.{layer}.{name}")
            state[f"{ours}.{layer}.noise_const"] = t.take_or(f"{theirs}.{layer}.noise_const", (r, r))
            state[f"{ours}.{layer}.noise_strength"] = t.take_or(f"{theirs}.{layer}.noise_strength", ())
        if f"{theirs}.torgb.weight" in t:
            for name in ("weight", "bias", "affine.weight", "affine.bias"):
                state[f"{ours}.to_rgb.{name}"] = t.take(f"{theirs}.torgb.{name}")
        if f"{theirs}.skip.weight" in t:
            state[f"{ours}.skip.weight"] = t.take(f"{theirs}.skip.weight")
    t.finish()
    check_activations(module_settings)
    layer = module_settings.get("synthesis.b4.conv1", {})
    return generator_config(
        state,
        conv_clamp=float(layer.get("conv_clamp") or 0.0),
        mapping_lr_multiplier=_mapping_rate(settings, module_settings),
    ), state


def mapping_from_nvidia(t: ForeignTensors, state: State) -> None:
    """The mapping network of the official PyTorch layout."""
    if "mapping.embed.weight" in t:
        state |= {f"mapping.embed.{name}": t.take(f"mapping.embed.{name}") for name in ("weight", "bias")}
    for i in t.numbers(r"mapping\.fc(\d+)\.weight"):
        state |= {f"mapping.layers.{i}.{name}": t.take(f"mapping.fc{i}.{name}") for name in ("weight", "bias")}


def check_activations(module_settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise FileFormatError for rectifiers other than the published one."""
    for path, values in module_settings.items():
        name = values.get("activation", SUPPORTED_ACTIVATION)
        if name not in (SUPPORTED_ACTIVATION, "linear"):
            raise FileFormatError(f"{path} has the activation {name!r:.40}; only {SUPPORTED_ACTIVATION!r} is read")


def _mapping_rate(settings: Mapping[str, Any], module_settings: Mapping[str, Mapping[str, Any]]) -> float:
    default = StyleGAN2Config.mapping_lr_multiplier
    stated = (settings.get("mapping_kwargs") or {}).get("lr_multiplier", default)
    return float(module_settings.get("mapping.fc0", {}).get("bias_gain", stated))


def generator_from_tensorflow(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> tuple[StyleGAN2Config, State]:
    """From the variables of the official TensorFlow `Gs`.

    Args:
        tensors: variables by name, those of the components behind "mapping/" and "synthesis/".
        settings: its static arguments.

    Raises:
        FileFormatError: a variable is missing or left over, the network was saved while it grew, or it has settings
            that are not supported.
    """
    t = ForeignTensors(tensors, "StyleGAN2 generator of the official TensorFlow layout")
    check_tensorflow(settings)
    t.drop_growth(r"(.*/)?lod")
    t.drop(r"synthesis/ToRGB_lod[1-9]\d*/.*")
    state: State = {"mapping.w_avg": t.take("dlatent_avg")}
    joint = "mapping/LabelConcat/weight" in t
    if joint:
        state |= embedding_of(t.take("mapping/LabelConcat/weight"))
    elif "mapping/LabelEmbed/weight" in t:
        state |= _dense(t, "mapping/LabelEmbed", "mapping.embed")
    for i in t.numbers(r"mapping/Dense(\d+)/weight"):
        state |= _dense(t, f"mapping/Dense{i}", f"mapping.layers.{i}")
    resolutions = _powers(t.numbers(r"synthesis/(\d+)x\d+/.*"))
    for k, r in enumerate(resolutions):
        ours, theirs = f"blocks.{k}", f"synthesis/{r}x{r}"
        if k == 0:
            state[f"{ours}.const"] = t.take(f"{theirs}/Const/const")[0]
        else:
            state |= _layer(t, f"{theirs}/Conv0_up", f"{ours}.conv0", 2 * k - 1, r, flip=True)
        state |= _layer(t, f"{theirs}/Conv1" if k else f"{theirs}/Conv", f"{ours}.conv1", 2 * k, r)
        # Configurations B to D grew, and draw the image of the last resolution alone.
        grew = k == len(resolutions) - 1 and "synthesis/ToRGB_lod0/weight" in t
        rgb = "synthesis/ToRGB_lod0" if grew else f"{theirs}/ToRGB"
        if f"{rgb}/weight" in t:
            state |= _modulated(t, rgb, f"{ours}.to_rgb")
        if f"{theirs}/Skip/weight" in t:
            state[f"{ours}.skip.weight"] = kernel_from_tensorflow(t.take(f"{theirs}/Skip/weight"))
    t.finish()
    return generator_config(
        state,
        conv_clamp=float(settings.get("conv_clamp") or 0.0),
        mapping_lr_multiplier=float(settings.get("mapping_lrmul") or StyleGAN2Config.mapping_lr_multiplier),
        joint_normalization=joint,
    ), state


def check_tensorflow(settings: Mapping[str, Any]) -> None:
    """Raise FileFormatError for settings of the TensorFlow code that are not supported."""
    wanted = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "fused_modconv": None, "resample_kernel": None}
    for name, value in wanted.items():
        found = settings.get(name, value)
        if value is not None and found != value:
            raise FileFormatError(f"the network was made with {name}={found!r:.40}; only {value!r} is read")
    taps = settings.get("resample_kernel") or [1, 3, 3, 1]
    if list(taps) != [1, 3, 3, 1]:
        raise FileFormatError(f"the network filters with {taps!r:.40}; only [1, 3, 3, 1] is read")


def embedding_of(weight: Tensor) -> State:
    """The class embedding from a plain matrix (classes, width), as before ADA.

    There the class selects a row. Our layer divides by the square root of the number of classes, and has a bias.
    """
    return {
        "mapping.embed.weight": weight.T * math.sqrt(len(weight)),
        "mapping.embed.bias": torch.zeros(weight.shape[1]),
    }


def num_mapping_layers_in(state: Mapping[str, Tensor]) -> int:
    """Number of fully connected layers of the mapping network in a state with our names."""
    return sum(name.startswith("mapping.layers.") and name.endswith(".weight") for name in state)


def kernel_from_tensorflow(weight: Tensor) -> Tensor:
    """(h, w, in, out) to (out, in, h, w)."""
    return weight.permute(3, 2, 0, 1).contiguous()


def _dense(t: ForeignTensors, theirs: str, ours: str) -> State:
    return {f"{ours}.weight": t.take(f"{theirs}/weight").T.contiguous(), f"{ours}.bias": t.take(f"{theirs}/bias")}


def _modulated(t: ForeignTensors, theirs: str, ours: str, *, flip: bool = False) -> State:
    weight = kernel_from_tensorflow(t.take(f"{theirs}/weight"))
    return {
        f"{ours}.weight": weight.flip(2, 3) if flip else weight,
        f"{ours}.bias": t.take(f"{theirs}/bias"),
        f"{ours}.affine.weight": t.take(f"{theirs}/mod_weight").T.contiguous(),
        f"{ours}.affine.bias": t.take(f"{theirs}/mod_bias") + 1,
    }


def _layer(t: ForeignTensors, theirs: str, ours: str, index: int, r: int, *, flip: bool = False) -> State:
    return _modulated(t, theirs, ours, flip=flip) | {
        f"{ours}.noise_const": t.take_or(f"synthesis/noise{index}", (1, 1, r, r))[0, 0],
        f"{ours}.noise_strength": t.take_or(f"{theirs}/noise_strength", ()).reshape(()),
    }


def generator_from_rosinality(
    tensors: Mapping[str, Tensor], latent_avg: Tensor | None = None
) -> tuple[StyleGAN2Config, State]:
    """From the state of rosinality's `Generator`; ``latent_avg`` is another entry of the file.

    Without it the mean w is zero, and truncation is of little use; `mean_w` computes the mean.

    Raises:
        FileFormatError: a tensor is missing or left over.
    """
    t = ForeignTensors(tensors, "StyleGAN2 generator of rosinality's layout")
    t.drop_filters(r".*\.kernel")
    state: State = {}
    for i in t.numbers(r"style\.(\d+)\.weight"):
        state |= {f"mapping.layers.{i - 1}.{name}": t.take(f"style.{i}.{name}") for name in ("weight", "bias")}
    state["blocks.0.const"] = t.take("input.input")[0]
    num_convs = len(t.numbers(r"convs\.(\d+)\.conv\.weight"))
    for i in range(-1, num_convs):
        k, layer = (i + 2) // 2, "conv1" if i % 2 else "conv0"
        ours, theirs = f"blocks.{k}.{layer}", "conv1" if i < 0 else f"convs.{i}"
        state |= _rosinality_modulated(t, theirs, ours, f"{theirs}.activate.bias")
        state[f"{ours}.noise_strength"] = t.take(f"{theirs}.noise.weight").reshape(())
        state[f"{ours}.noise_const"] = t.take_or(f"noises.noise_{i + 1}", (1, 1, 4 * 2**k, 4 * 2**k))[0, 0]
    for k in range(num_convs // 2 + 1):
        theirs = f"to_rgbs.{k - 1}" if k else "to_rgb1"
        state |= _rosinality_modulated(t, theirs, f"blocks.{k}.to_rgb", f"{theirs}.bias")
    t.finish()
    w_dim = state["blocks.0.conv1.affine.weight"].shape[1]
    state["mapping.w_avg"] = torch.zeros(w_dim) if latent_avg is None else _one_mean(latent_avg, w_dim)
    return generator_config(state), state


def _one_mean(latent_avg: Tensor, w_dim: int) -> Tensor:
    """The mean w; pSp and its like save it once for each layer."""
    if latent_avg.numel() == 0 or latent_avg.shape[-1:] != (w_dim,):
        raise FileFormatError(f"latent_avg has shape {tuple(latent_avg.shape)}, expected rows of {w_dim}")
    rows = latent_avg.float().reshape(-1, w_dim)
    if not torch.allclose(rows, rows[:1]):
        raise FileFormatError("latent_avg differs from layer to layer; one mean w for all layers is read")
    return rows[0].clone()


def _rosinality_modulated(t: ForeignTensors, theirs: str, ours: str, bias: str) -> State:
    return {
        f"{ours}.weight": t.take(f"{theirs}.conv.weight")[0],
        f"{ours}.bias": t.take(bias).reshape(-1),
        f"{ours}.affine.weight": t.take(f"{theirs}.conv.modulation.weight"),
        f"{ours}.affine.bias": t.take(f"{theirs}.conv.modulation.bias"),
    }


def generator_from_genforce(tensors: Mapping[str, Tensor]) -> tuple[StyleGAN2Config, State]:
    """From the state of genforce's `StyleGAN2Generator`.

    Raises:
        FileFormatError: a tensor is missing or left over.
    """
    t = ForeignTensors(tensors, "StyleGAN2 generator of genforce's layout")
    t.drop_filters(r".*\.kernel")
    state: State = {"mapping.w_avg": t.take("truncation.w_avg")}
    joint = "mapping.label_weight" in t
    if joint:
        state |= embedding_of(t.take("mapping.label_weight"))
    for i in t.numbers(r"mapping\.dense(\d+)\.weight"):
        state |= {f"mapping.layers.{i}.{name}": t.take(f"mapping.dense{i}.{name}") for name in ("weight", "bias")}
    state["blocks.0.const"] = t.take("synthesis.early_layer.const")[0]
    for i in t.numbers(r"synthesis\.layer(\d+)\.weight"):
        k, layer = (i + 1) // 2, "conv0" if i % 2 else "conv1"
        ours, theirs = f"blocks.{k}.{layer}", f"synthesis.layer{i}"
        state |= _genforce_modulated(t, theirs, ours, flip=layer == "conv0")
        size = 4 * 2**k
        state[f"{ours}.noise_const"] = t.take_or(f"{theirs}.noise", (1, 1, size, size)).reshape(size, size)
        state[f"{ours}.noise_strength"] = t.take_or(f"{theirs}.noise_strength", ()).reshape(())
    for k in t.numbers(r"synthesis\.output(\d+)\.weight"):
        state |= _genforce_modulated(t, f"synthesis.output{k}", f"blocks.{k}.to_rgb")
    t.finish()
    return generator_config(state, joint_normalization=joint), state


def _genforce_modulated(t: ForeignTensors, theirs: str, ours: str, *, flip: bool = False) -> State:
    weight = t.take(f"{theirs}.weight")
    return {
        f"{ours}.weight": weight.flip(2, 3) if flip else weight,
        f"{ours}.bias": t.take(f"{theirs}.bias"),
        f"{ours}.affine.weight": t.take(f"{theirs}.style.weight"),
        f"{ours}.affine.bias": t.take(f"{theirs}.style.bias") + 1,
    }


def generator_config(state: Mapping[str, Tensor], **stated: Any) -> StyleGAN2Config:
    """The settings that follow from a generator's tensors (with our names), and the stated ones.

    Raises:
        FileFormatError: the tensors do not make a generator.
    """
    widths = widths_of(state, "conv1")
    resolution = 4 * 2 ** (len(widths) - 1)
    num_layers = num_mapping_layers_in(state)
    if not num_layers:
        raise FileFormatError("the file holds a synthesis network without the mapping network that feeds it")
    first, embed = state["mapping.layers.0.weight"], state.get("mapping.embed.weight")
    architecture = "skip" if "blocks.0.to_rgb.weight" in state else "orig"
    base, maximum, rest = channel_rule(widths)
    try:
        return StyleGAN2Config(
            resolution=resolution,
            z_dim=first.shape[1] - (0 if embed is None else embed.shape[0]),
            w_dim=state["blocks.0.conv1.affine.weight"].shape[1],
            num_mapping_layers=num_layers,
            channel_base=base,
            channel_max=maximum,
            widths=rest,
            c_dim=0 if embed is None else embed.shape[1],
            embedding_dim=0 if embed is None else embed.shape[0],
            mapping_dim=first.shape[0],
            image_channels=state[f"blocks.{len(widths) - 1}.to_rgb.weight"].shape[0],
            architecture="resnet" if "blocks.1.skip.weight" in state else architecture,
            **stated,
        )
    except (KeyError, IndexError, ConfigError) as error:
        raise FileFormatError(f"the tensors do not make a StyleGAN2 generator: {error}") from error


def widths_of(state: Mapping[str, Tensor], layer: str) -> list[int]:
    """Output channels of ``layer`` in each block."""
    widths: list[int] = []
    while (name := f"blocks.{len(widths)}.{layer}.weight") in state:
        widths.append(state[name].shape[0])
    return widths


def channel_rule(widths: list[int]) -> tuple[int, int, tuple[int, ...]]:
    """Base and maximum for the channels at 4, 8, ... pixels; and the channels themselves if these do not give them."""
    base, maximum = widths[-1] * 4 * 2 ** (len(widths) - 1), max(widths)
    follows = all(max(min(base // (4 * 2**k), maximum), 1) == width for k, width in enumerate(widths))
    return base, maximum, () if follows else tuple(widths)


def _powers(resolutions: list[int]) -> list[int]:
    """4, 8, ... up to the largest of the resolutions.

    Raises:
        FileFormatError: there are none.
    """
    if not resolutions or resolutions[-1] > 4096:
        raise FileFormatError("the file has no synthesis network of the StyleGAN2 layout")
    return [4 * 2**k for k in range(max(int(math.log2(resolutions[-1])) - 1, 1))]


def generator_to_rosinality(generator: StyleGAN2) -> dict[str, Any]:
    """Our generator in rosinality's layout: {"g_ema": state, "latent_avg": mean w}, for `torch.save`.

    That layout does not clamp the outputs of convolutions; see `StyleGAN2Config.conv_clamp`.

    Raises:
        ConfigError: that layout lacks what the generator has (classes, another architecture).
    """
    config = generator.config
    lacks = {"classes": config.c_dim, "another size of z": config.z_dim != config.w_dim}
    lacks |= {f"the architecture {config.architecture!r}": config.architecture != "skip"}
    for name, found in lacks.items():
        if found:
            raise ConfigError(f"the generator has {name}, which rosinality's layout lacks")
    ours = {k: v.detach().float().cpu() for k, v in generator.state_dict().items()}
    state: State = {"input.input": ours["blocks.0.const"][None]}
    kernel = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
    for i in range(config.num_mapping_layers):
        state |= {f"style.{i + 1}.{name}": ours[f"mapping.layers.{i}.{name}"] for name in ("weight", "bias")}
    for k in range(len(generator.blocks)):
        rgb = f"to_rgbs.{k - 1}" if k else "to_rgb1"
        state |= _to_rosinality(ours, f"blocks.{k}.to_rgb", rgb) | {
            f"{rgb}.bias": ours[f"blocks.{k}.to_rgb.bias"].reshape(1, -1, 1, 1)
        }
        if k:
            state[f"{rgb}.upsample.kernel"] = kernel * 4
            state[f"convs.{2 * k - 2}.conv.blur.kernel"] = kernel * 4
        for layer in ("conv0", "conv1") if k else ("conv1",):
            index = 2 * k - (layer == "conv0")
            theirs, mine = f"convs.{index - 1}" if k else "conv1", f"blocks.{k}.{layer}"
            state |= _to_rosinality(ours, mine, theirs)
            state[f"{theirs}.activate.bias"] = ours[f"{mine}.bias"]
            state[f"{theirs}.noise.weight"] = ours[f"{mine}.noise_strength"].reshape(1)
            state[f"noises.noise_{index}"] = ours[f"{mine}.noise_const"][None, None]
    return {"g_ema": {k: v.contiguous() for k, v in state.items()}, "latent_avg": ours["mapping.w_avg"]}


def _to_rosinality(ours: State, mine: str, theirs: str) -> State:
    return {
        f"{theirs}.conv.weight": ours[f"{mine}.weight"][None],
        f"{theirs}.conv.modulation.weight": ours[f"{mine}.affine.weight"],
        f"{theirs}.conv.modulation.bias": ours[f"{mine}.affine.bias"],
    }
