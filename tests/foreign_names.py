"""Our StyleGAN2 under the names and in the shapes of other programs: what the readers turn back."""

from typing import Any

import torch
from torch import Tensor

from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config

SMALL = {"resolution": 32, "z_dim": 6, "w_dim": 8, "num_mapping_layers": 2, "channel_base": 128, "channel_max": 12}
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
FILTER = torch.outer(TAPS, TAPS) / 64


def made(**changes: Any) -> StyleGAN2:
    torch.manual_seed(0)
    network = StyleGAN2(StyleGAN2Config(**(SMALL | changes))).eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith(("bias", "noise_strength", "w_avg")):
            tensor.add_(torch.randn_like(tensor) * 0.3)
    return network


def judge(**changes: Any) -> Discriminator:
    torch.manual_seed(1)
    network = Discriminator(DiscriminatorConfig(32, 128, 12, **changes)).eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith("bias"):
            tensor.add_(torch.randn_like(tensor) * 0.3)
    return network


def to_nvidia(network: StyleGAN2) -> dict[str, Tensor]:
    """Our names to the official PyTorch code's."""
    named: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            theirs = f"synthesis.b{4 * 2 ** int(parts[1])}." + ".".join(parts[2:]).replace("to_rgb", "torgb")
        else:
            theirs = name.replace("layers.", "fc")
        named[theirs] = tensor
        if name.endswith("conv1.weight"):
            named[theirs.replace("weight", "resample_filter")] = FILTER
    return named


def to_tensorflow(network: StyleGAN2) -> dict[str, Tensor]:
    """Our names and shapes to the official TensorFlow code's."""
    ours = network.state_dict()
    named: dict[str, Tensor] = {"dlatent_avg": ours["mapping.w_avg"], "lod": torch.zeros(())}
    for name, tensor in ours.items():
        parts = name.split(".")
        if parts[0] == "mapping":
            if parts[1] != "w_avg":
                layer = f"Dense{parts[2]}" if parts[1] == "layers" else "LabelEmbed"
                named[f"mapping/{layer}/{parts[-1]}"] = tensor.T if parts[-1] == "weight" else tensor
            continue
        k = int(parts[1])
        r, rest = 4 * 2**k, ".".join(parts[3:])
        layer = {"conv0": "Conv0_up", "conv1": "Conv1" if k else "Conv", "to_rgb": "ToRGB", "skip": "Skip"}.get(
            parts[2]
        )
        prefix = f"synthesis/{r}x{r}/{layer}"
        if parts[2] == "const":
            named[f"synthesis/{r}x{r}/Const/const"] = tensor[None]
        elif rest == "noise_const":
            named[f"synthesis/noise{2 * k - (parts[2] == 'conv0')}"] = tensor[None, None]
        elif rest == "weight":
            weight = tensor.flip(2, 3) if parts[2] == "conv0" else tensor
            named[f"{prefix}/weight"] = weight.permute(2, 3, 1, 0)
        elif rest == "affine.weight":
            named[f"{prefix}/mod_weight"] = tensor.T
        elif rest == "affine.bias":
            named[f"{prefix}/mod_bias"] = tensor - 1
        else:
            named[f"{prefix}/{rest}"] = tensor
    return named


def to_genforce(network: StyleGAN2) -> dict[str, Tensor]:
    """Our names and shapes to genforce's."""
    ours = network.state_dict()
    named: dict[str, Tensor] = {
        "truncation.w_avg": ours["mapping.w_avg"],
        "synthesis.upsample.kernel": FILTER[None, None],
    }
    for name, tensor in ours.items():
        parts = name.split(".")
        if parts[1] == "layers":
            named[f"mapping.dense{parts[2]}.{parts[-1]}"] = tensor
        elif parts[0] == "blocks":
            k, rest = int(parts[1]), ".".join(parts[3:])
            layer = f"output{k}" if parts[2] == "to_rgb" else f"layer{2 * k - (parts[2] == 'conv0')}"
            if parts[2] == "const":
                named["synthesis.early_layer.const"] = tensor[None]
            elif rest == "weight":
                named[f"synthesis.{layer}.weight"] = tensor.flip(2, 3) if parts[2] == "conv0" else tensor
            elif rest == "noise_const":
                named[f"synthesis.{layer}.noise"] = tensor[None, None]
            elif rest.startswith("affine"):
                named[f"synthesis.{layer}.style.{parts[-1]}"] = tensor - int(parts[-1] == "bias")
            else:
                named[f"synthesis.{layer}.{rest}"] = tensor
    return named
