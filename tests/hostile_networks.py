"""Checkpoints of other programs that claim huge networks, or hold what their names do not promise."""

import io
from collections.abc import Callable
from typing import Any

import torch

from tests.foreign_checkpoints import saved
from tests.hostile_registry import add_own
from tests.own_files import honest


def _claims(settings: dict[str, Any], **changes: torch.Tensor) -> Callable[[], bytes]:
    """A checkpoint of StyleGAN2 with these settings and with other tensors."""

    def maker() -> bytes:
        state = torch.load(io.BytesIO(honest()["foreign"][0]), weights_only=True)
        return saved({**settings, **{k: v for k, v in {**state, **changes}.items() if v is not None}})

    return maker


def _expanded(*shape: int) -> torch.Tensor:
    return torch.zeros(1).expand(*shape)


for _label, _maker in {
    "foreign: settings of 2^40 pixels": _claims({"img_resolution": 2**40}),
    "foreign: settings of 2^60 classes": _claims({"c_dim": 2**60, "w_dim": 2**60, "z_dim": 2**60}),
    "foreign: settings that are texts": _claims(
        {"img_resolution": "32", "synthesis_kwargs": "x", "mapping_kwargs": [1]}
    ),
    "foreign: a block of 2^40 pixels": _claims({}, **{"synthesis.b1099511627776.conv0.weight": torch.zeros(1)}),
    "foreign: a block of 3 pixels": _claims({}, **{"synthesis.b3.conv0.weight": torch.zeros(1)}),
    "foreign: a block of many digits": _claims({}, **{f"synthesis.b{'9' * 5000}.const": torch.zeros(1)}),
    "foreign: a layer of many digits": _claims({}, **{f"mapping.fc{'9' * 5000}.weight": torch.zeros(1)}),
    "foreign: the layer 10^9": _claims({}, **{"mapping.fc1000000000.weight": torch.zeros(6, 6)}),
    "foreign: a w of no axes": _claims({}, **{"mapping.w_avg": torch.zeros(())}),
    "foreign: a constant of no axes": _claims({}, **{"synthesis.b4.const": torch.zeros(())}),
    "foreign: a constant of whole numbers": _claims(
        {}, **{"synthesis.b4.const": torch.zeros(12, 4, 4, dtype=torch.long)}
    ),
    "foreign: a weight of no numbers": _claims({}, **{"synthesis.b8.conv0.weight": torch.zeros(0, 0, 3, 3)}),
    "foreign: a weight of one number": _claims({}, **{"synthesis.b8.conv0.weight": _expanded(10**4, 10**4, 3, 3)}),
    "foreign: layers called alike": _claims({}, **{"mapping.fc00.weight": torch.zeros(6, 6)}),
    "foreign: a layer of digits of another script": _claims({}, **{"mapping.fc\u0661.weight": torch.zeros(6, 6)}),
    "foreign: a block of digits of another script": _claims({}, **{"synthesis.b\u00b2.const": torch.zeros(1)}),
    "foreign: TensorFlow's sizes of nonsense": lambda: saved(
        {"synthesis/4x4/Conv/mod_weight": torch.zeros(2, 2), "synthesis/\u00b2x\u00b2/Conv/weight": torch.zeros(1)}
    ),
    "foreign: rosinality's signs alone": lambda: saved({"convs.0.conv.modulation.weight": torch.zeros(())}),
    "foreign: StyleGAN3's signs alone": lambda: saved({"synthesis.input.freqs": torch.zeros(())}),
    "foreign: genforce's signs alone": lambda: saved(
        {"synthesis.layer0.const": torch.zeros(()), "synthesis.layer0.style.weight": torch.zeros(())}
    ),
    "foreign: Hammer's signs alone": lambda: saved({"synthesis.early_layer.const": torch.zeros(2)}),
    "foreign: BasicSR's signs alone": lambda: saved({"style_convs.0.modulated_conv.modulation.weight": torch.zeros(0)}),
    "foreign: MMGeneration's signs alone": lambda: saved(
        {"convs.0.conv.style_modulation.linear.weight_orig": torch.zeros(1)}
    ),
    "foreign: a discriminator's signs alone": lambda: saved(
        {"b4.fc.weight": torch.zeros(()), "Output/weight": torch.zeros(()), "4x4/Dense1/weight": torch.zeros(())}
    ),
}.items():
    add_own("foreign", _label, _maker)

add_own(
    "foreign",
    "foreign: a thousand generators of one tensor",
    lambda: saved({f"g{i}.convs.0.conv.modulation.weight": torch.zeros(1) for i in range(3000)}),
)
