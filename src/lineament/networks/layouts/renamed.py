"""Generators that other programs hold under other names, renamed to layouts that are read.

Sources: the state dicts of BasicSR's `StyleGAN2Generator` and MMGeneration's `StyleGANv2Generator` (renamed copies of
rosinality's network) and of Hammer's `StyleGAN2Generator` (a renamed copy of the official PyTorch network).
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

Renamings = Iterable[tuple[str, str]]
"""Patterns of whole names and what replaces them; the first that matches counts."""

_BASICSR: Renamings = (
    (r"style_mlp\.(.*)", r"style.\1"),
    (r"constant_input\.weight", "input.input"),
    (r"noises\.noise(\d+)", r"noises.noise_\1"),
    (r"style_conv(.*)\.modulated_conv\.(.*)", r"conv\1.conv.\2"),
    (r"(.*)\.modulated_conv\.(.*)", r"\1.conv.\2"),
    (r"style_conv(.*)\.weight", r"conv\1.noise.weight"),
    (r"style_conv(.*?)(?:\.activate)?\.bias", r"conv\1.activate.bias"),
)
_MMGENERATION: Renamings = (
    (r"style_mapping\.(\d+)\.linear\.weight_orig", r"style.\1.weight"),
    (r"style_mapping\.(.*)", r"style.\1"),
    (r"constant_input\.(input|const)", "input.input"),
    (r"injected_noise_(\d+)", r"noises.noise_\1"),
    (r"(.*)\.style_modulation\.linear\.weight_orig", r"\1.modulation.weight"),
    (r"(.*)\.style_modulation\.bias", r"\1.modulation.bias"),
    (r"(.*)\.noise_injector\.(.*)", r"\1.noise.\2"),
    (r"(.*)\.weight_orig", r"\1.weight"),
)
_HAMMER: Renamings = (
    (r"w_avg", "mapping.w_avg"),
    (r"synthesis\.filter", "synthesis.resample_filter"),
    (r"mapping\.embedding\.(.*)", r"mapping.embed.\1"),
    (r"mapping\.dense(\d+)\.(.*)", r"mapping.fc\1.\2"),
)
_HAMMER_PARTS = {
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "noise": "noise_const",
    "filter": "resample_filter",
}


def rosinality_from_basicsr(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BasicSR's `StyleGAN2Generator` under rosinality's names."""
    return _renamed(tensors, _BASICSR)


def rosinality_from_mmgeneration(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MMGeneration's (MMagic's) `StyleGANv2Generator` under rosinality's names."""
    return _renamed(tensors, _MMGENERATION)


def nvidia_from_hammer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hammer's `StyleGAN2Generator` under the names of the official PyTorch code."""
    return {_from_hammer(name): _without_batch(name, t) for name, t in _renamed(tensors, _HAMMER).items()}


def _renamed(tensors: Mapping[str, Tensor], renamings: Renamings) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        matches = ((re.fullmatch(pattern, name), new) for pattern, new in renamings)
        state[next((match.expand(new) for match, new in matches if match), name)] = tensor
    return state


def _from_hammer(name: str) -> str:
    """Hammer numbers the layers; the official code names them by their size in pixels."""
    match = re.fullmatch(r"synthesis\.(early_layer|layer|output|residual)(\d*)\.(.*)", name)
    if match is None:
        return name
    kind, number, part = match[1], int(match[2] or 0), _HAMMER_PARTS.get(match[3], match[3])
    if kind == "early_layer":
        return f"synthesis.b4.{part}"
    size = 4 * 2 ** ((number + 1) // 2 if kind == "layer" else number)
    layer = {"output": "torgb", "residual": "skip"}.get(kind, "conv0" if number % 2 else "conv1")
    return f"synthesis.b{size}.{layer}.{part}"


def _without_batch(name: str, tensor: Tensor) -> Tensor:
    """Constant and noise without the axes of one that Hammer gives them."""
    if name.endswith("early_layer.const"):
        return tensor[0]
    return tensor[0, 0] if name.endswith(".noise") and tensor.ndim == 4 else tensor
