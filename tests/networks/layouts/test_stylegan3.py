"""The official layout becomes ours: names, settings stated or inferred, filters compared, misfits named."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.errors import FileFormatError
from lineament.networks.layouts.stylegan3 import from_nvidia
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config

SMALL: dict[str, Any] = {
    "resolution": 16,
    "z_dim": 5,
    "w_dim": 6,
    "channel_base": 100,
    "channel_max": 9,
    "num_layers": 4,
}


def made(**changes: Any) -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(StyleGAN3Config(**(SMALL | changes))).eval().requires_grad_(False)


def theirs(network: StyleGAN3) -> dict[str, Tensor]:
    """Our names to the official code's, with its filters."""
    prefixes, tensors = {}, {}
    for i, plan in enumerate(network.config.plans()):
        last = i == network.config.num_layers
        prefixes["to_rgb" if last else f"layers.{i}"] = path = f"synthesis.L{i}_{plan.out_size}_{plan.out_channels}"
        for kind, factor in (("up_filter", plan.up), ("down_filter", plan.down)):
            if factor > 1:
                tensors[f"{path}.{kind}"] = getattr(network.layers[i], kind)
    for name, tensor in network.state_dict().items():
        if name.startswith("mapping"):
            tensors[name.replace("layers.", "fc")] = tensor
        elif name.startswith("input"):
            tensors[f"synthesis.{name}"] = tensor
        else:
            ours = "to_rgb" if name.startswith("to_rgb") else ".".join(name.split(".")[:2])
            tensors[prefixes[ours] + name[len(ours) :]] = tensor
    return tensors


CONFIGS = [
    {},
    {"c_dim": 3, "image_channels": 1, "num_mapping_layers": 3},
    {"conv_kernel": 1, "use_radial_filters": True},
    {"channel_base": 10**4},
    {"channel_base": 40},
]


@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_settings_are_inferred(changes: dict[str, Any]) -> None:
    network = made(**changes)
    config, state = from_nvidia(theirs(network), {}, {})
    ours = network.state_dict()
    assert state.keys() == ours.keys()
    assert all(torch.equal(state[name], ours[name]) for name in ours)
    assert config.plans() == network.config.plans()
    free = {"channel_base": 0, "channel_max": 0}  # several of these give the same channels
    assert config.to_dict() | free == network.config.to_dict() | free
    StyleGAN3(config).load_state_dict(state)


STATED = {
    "first_cutoff": 1.5,
    "first_stopband": 3,
    "last_stopband_rel": 1.5,
    "margin_size": 3,
    "output_scale": 0.5,
    "num_critical": 1,
    "filter_size": 4,
    "lrelu_upsampling": 4,
    "conv_clamp": None,
    "channel_base": 100,
    "channel_max": 9,
}
MEANT = STATED | {"first_stopband": 3.0, "conv_clamp": 0.0}


def test_settings_as_stated() -> None:
    network = made(**MEANT, mapping_lr_multiplier=0.1)
    stated = STATED | {"mapping_kwargs": {"lr_multiplier": 0.1}, "magnitude_ema_beta": 0.9, "num_fp16_res": 4}
    assert from_nvidia(theirs(network), stated, {})[0] == network.config


def test_settings_of_modules() -> None:
    network = made(margin_size=3, output_scale=0.5, conv_clamp=7.0, mapping_lr_multiplier=0.1)
    modules = {
        "synthesis": {"margin_size": 3, "output_scale": 0.5, "_init_args": []},
        f"synthesis.L0_{network.config.plans()[0].out_size}_9": {"conv_clamp": 7, "use_fp16": True},
        "mapping.fc0": {"bias_gain": 0.1, "activation": "lrelu"},
    }
    found = from_nvidia(theirs(network), {}, modules)[0]
    assert found.plans() == network.config.plans()
    wanted = ("margin_size", "output_scale", "conv_clamp", "mapping_lr_multiplier")
    assert [getattr(found, name) for name in wanted] == [3, 0.5, 7.0, 0.1]


@pytest.mark.parametrize(
    "pattern", ["mapping.w_avg", "mapping.fc1.bias", "synthesis.input.phases", "L2.*ema", "L4.*bias"]
)
def test_missing_tensor_is_named(pattern: str) -> None:
    tensors = theirs(made())
    name = next(name for name in tensors if re.search(pattern, name))
    del tensors[name]
    with pytest.raises(FileFormatError, match=f"tensor '{name}' is missing"):
        from_nvidia(tensors, {}, {})


def test_left_over_tensor_is_named() -> None:
    with pytest.raises(FileFormatError, match=r"1 tensors are left over .*'synthesis.b4.const'"):
        from_nvidia(theirs(made()) | {"synthesis.b4.const": torch.zeros(1)}, {}, {})


def test_other_networks_are_refused() -> None:
    with pytest.raises(FileFormatError, match=r"synthesis layers L0_\.\.\., L1_\.\.\. are not all there"):
        from_nvidia({"synthesis.b4.const": torch.zeros(1)}, {}, {})
    tensors = {name: tensor for name, tensor in theirs(made()).items() if "L1_" not in name}
    with pytest.raises(FileFormatError, match="are not all there"):
        from_nvidia(tensors, {}, {})
    tensors = {name: tensor for name, tensor in theirs(made()).items() if ".fc" not in name}
    with pytest.raises(FileFormatError, match="without the mapping network"):
        from_nvidia(tensors, {}, {})


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"margin_size": 4}, "is of size .* but by the settings .* they should be"),
        ({"first_cutoff": 1.0}, "the filter synthesis.L.*_filter is not the one"),
        ({"use_radial_filters": True}, "the filter synthesis.L0.*down_filter is not the one"),
        ({"channel_max": 8}, "should be"),
        ({"num_critical": 9}, "do not make a StyleGAN3 generator: num_critical is 9"),
        ({"filter_size": 2**40}, "the file states filter_size="),
        ({"filter_size": "6"}, "the file states filter_size='6', expected a number"),
        ({"filter_size": 6.5}, "the file states filter_size=6.5"),
        ({"first_cutoff": float("nan")}, "the file states first_cutoff=nan"),
        ({"use_radial_filters": 1}, "the file states use_radial_filters=1"),
        ({"mapping_kwargs": [0.01]}, "the file states mapping_kwargs="),
        ({"mapping_kwargs": {"lr_multiplier": [1]}}, "the file states mapping_lr_multiplier="),
    ],
)
def test_settings_that_do_not_fit(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        from_nvidia(theirs(made()), stated, {})


def test_weight_of_wrong_shape() -> None:
    tensors = theirs(made())
    name = next(name for name in tensors if "L2_" in name and name.endswith(".weight") and "affine" not in name)
    for wrong in (tensors[name][:, :4], torch.zeros(3)):
        with pytest.raises(FileFormatError, match=r"shape|axes"):
            from_nvidia(tensors | {name: wrong}, {}, {})


def test_other_rectifier() -> None:
    with pytest.raises(FileFormatError, match="activation 'relu'"):
        from_nvidia(theirs(made()), {}, {"mapping.fc0": {"activation": "relu"}})
