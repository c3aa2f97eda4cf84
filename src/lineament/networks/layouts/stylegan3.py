"""StyleGAN3 generators of the official PyTorch code: names converted to ours, settings read or inferred."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from lineament.errors import ConfigError, FileFormatError
from lineament.networks.layouts.stylegan2 import check_activations, mapping_from_nvidia, num_mapping_layers_in
from lineament.networks.layouts.tensors import ForeignTensors
from lineament.networks.stylegan.stylegan3_plan import LayerPlan, StyleGAN3Config

FILTER_TOLERANCE = 1e-6
STATED = (
    "num_critical",
    "first_cutoff",
    "first_stopband",
    "last_stopband_rel",
    "margin_size",
    "output_scale",
    "filter_size",
    "lrelu_upsampling",
    "conv_clamp",
    "channel_base",
    "channel_max",
    "use_radial_filters",
)
"""Settings that a file may state, with the same names there and here; all others follow from the tensors."""

_ADVICE = "if it was made with settings other than the published ones, open the original .pkl, which states them"


def from_nvidia(
    tensors: dict[str, Tensor], settings: dict[str, Any], module_settings: dict[str, dict[str, Any]]
) -> tuple[StyleGAN3Config, dict[str, Tensor]]:
    """From the state of the official `Generator`, configuration T or R.

    The low-pass filters of the file are compared with ours, which are computed from the settings, and left out.

    Args:
        tensors: parameters and buffers by dotted name.
        settings: the keyword arguments that the network was made with, as far as the file states them.
        module_settings: plain attributes of its modules by dotted path, used for settings missing from ``settings``.
            If both lack a setting, the published value is used, and the tensors must agree with it.

    Returns:
        The settings and the state of a `StyleGAN3`.

    Raises:
        FileFormatError: a tensor is missing or left over, settings and tensors contradict each other, or the network
            has settings that are not supported.
    """
    t = ForeignTensors(tensors, "StyleGAN3 generator of the official layout")
    names = _layer_names(tensors)
    state: dict[str, Tensor] = {"mapping.w_avg": t.take("mapping.w_avg")}
    mapping_from_nvidia(t, state)
    inputs = ("weight", "affine.weight", "affine.bias", "transform", "freqs", "phases")
    state |= {f"input.{name}": t.take(f"synthesis.input.{name}") for name in inputs}
    filters: list[dict[str, Tensor]] = []
    for i, theirs in enumerate(names):
        ours = "to_rgb" if i == len(names) - 1 else f"layers.{i}"
        for name in ("weight", "bias", "affine.weight", "affine.bias", "magnitude_ema"):
            state[f"{ours}.{name}"] = t.take(f"{theirs}.{name}")
        kinds = [kind for kind in ("up_filter", "down_filter") if f"{theirs}.{kind}" in t]
        filters.append({kind: t.take(f"{theirs}.{kind}") for kind in kinds})
    t.finish()
    check_activations(module_settings)
    stated = _stated(settings, module_settings, names)
    stated.setdefault("use_radial_filters", any(f.ndim == 2 for pair in filters for f in pair.values()))
    try:
        config = _config(state, names, stated)
    except ConfigError as error:
        raise FileFormatError(f"the tensors and settings do not make a StyleGAN3 generator: {error}") from error
    for i, (name, plan, pair) in enumerate(zip(names, config.plans(), filters, strict=True)):
        ours = f"layers.{i}" if i < config.num_layers else "to_rgb"
        _check_layer(name, plan, state[f"{ours}.weight"], pair)
    return config, state


def _layer_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """Paths of the synthesis layers in their order; a name contains number, size and channels."""
    found = {
        m[0]: int(m[1]) for name in tensors if (m := re.match(r"synthesis\.L(\d{1,4})_\d{1,5}_\d{1,6}(?=\.)", name))
    }
    names = sorted(found, key=lambda name: found[name])
    if len(names) < 3 or [found[name] for name in names] != list(range(len(names))):
        raise FileFormatError(
            "not a StyleGAN3 generator of the official layout: its synthesis layers L0_..., L1_... are not all there"
        )
    return names


def _stated(
    settings: Mapping[str, Any], module_settings: Mapping[str, Mapping[str, Any]], names: list[str]
) -> dict[str, Any]:
    """The settings that the file states, in the types of ours."""
    sources = (settings, module_settings.get("synthesis", {}), module_settings.get(names[0], {}))
    said = {name: source[name] for source in reversed(sources) for name in STATED if name in source}
    said["conv_clamp"] = said.get("conv_clamp", StyleGAN3Config.conv_clamp) or 0.0
    mapping = settings.get("mapping_kwargs") or {}
    if not isinstance(mapping, Mapping):
        raise FileFormatError(f"the file states mapping_kwargs={mapping!r:.40}, expected settings by name")
    rate = mapping.get("lr_multiplier", StyleGAN3Config.mapping_lr_multiplier)
    said["mapping_lr_multiplier"] = module_settings.get("mapping.fc0", {}).get("bias_gain", rate)
    kinds = {f.name: type(f.default) for f in fields(StyleGAN3Config) if f.default is not MISSING}
    for name, value in said.items():
        if isinstance(value, bool) is not (kinds[name] is bool) or not isinstance(value, bool | int | float):
            raise FileFormatError(f"the file states {name}={value!r:.40}, expected a number")
        if not abs(value) <= 2**31 or (kinds[name] is int and value != int(value)):
            raise FileFormatError(f"the file states {name}={value!r:.40}, expected a number, an integer for counts")
        said[name] = kinds[name](value)
    return said


def _config(state: Mapping[str, Tensor], names: list[str], stated: dict[str, Any]) -> StyleGAN3Config:
    """The settings: shapes from the tensors, the rest as stated or published."""
    embed = state.get("mapping.embed.weight")
    num_mapping_layers = num_mapping_layers_in(state)
    if not num_mapping_layers:
        raise FileFormatError("the file holds a synthesis network without the mapping network that feeds it")
    weights = [state[f"layers.{i}.weight"] for i in range(len(names) - 1)] + [state["to_rgb.weight"]]
    flat = [k for k, v in state.items() if k.endswith(".weight") and v.ndim < 2]
    if flat or any(weight.ndim != 4 for weight in weights):
        raise FileFormatError("the weights of this StyleGAN3 generator have the wrong number of axes")
    shapes: dict[str, Any] = {
        "resolution": int(names[-1].split("_")[1]),
        "image_channels": len(weights[-1]),
        "z_dim": state["mapping.layers.0.weight"].shape[1] - (0 if embed is None else len(embed)),
        "w_dim": state["input.affine.weight"].shape[1],
        "c_dim": 0 if embed is None else embed.shape[1],
        "num_mapping_layers": num_mapping_layers,
        "num_layers": len(weights) - 1,
        "conv_kernel": weights[0].shape[-1],
    }
    known = shapes | stated
    cutoffs = [plan.out_cutoff for plan in StyleGAN3Config(**known).plans()[:-1]]
    return StyleGAN3Config(**(_channel_rule([len(weight) for weight in weights[:-1]], cutoffs) | known))


def _channel_rule(widths: list[int], cutoffs: list[float]) -> dict[str, Any]:
    """Base and maximum that give these widths; the roundest base if several do."""
    maximum = max(widths)
    cut = [
        (2 * f * (width - 0.49), 2 * f * (width + 0.49))
        for width, f in zip(widths, cutoffs, strict=True)
        if width < maximum
    ]
    if not cut:
        return {"channel_base": math.ceil(2 * cutoffs[-1] * maximum), "channel_max": maximum}
    low, high = max(low for low, _ in cut), min(high for _, high in cut)
    step = 2 ** max(math.floor(math.log2(max(high, 1))), 0)
    while step > 1 and math.ceil(low / step) * step > high:
        step //= 2
    return {"channel_base": max(math.ceil(low / step) * step, 1), "channel_max": maximum}


def _check_layer(name: str, plan: LayerPlan, weight: Tensor, filters: Mapping[str, Tensor]) -> None:
    """Check that a layer's size, weight and filters follow from the settings, so that our images are the original's."""
    size, shape = int(name.split("_")[1]), (plan.out_channels, plan.in_channels, plan.kernel, plan.kernel)
    if size != plan.out_size or weight.shape != shape:
        raise FileFormatError(
            f"{name} is of size {size} with a weight of shape {tuple(weight.shape)}, but by the settings of this "
            f"StyleGAN3 generator they should be {plan.out_size} and {shape}; {_ADVICE}"
        )
    for kind, found in filters.items():
        expected = torch.from_numpy(plan.up_filter() if kind == "up_filter" else plan.down_filter())
        if found.shape != expected.shape or not float((found - expected).abs().max()) <= FILTER_TOLERANCE:
            raise FileFormatError(
                f"the filter {name}.{kind} is not the one that the settings of this StyleGAN3 generator give; {_ADVICE}"
            )
