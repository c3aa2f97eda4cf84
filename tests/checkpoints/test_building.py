"""Networks from settings that nobody vouches for: refused before memory is taken, and filled without a copy."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lineament.checkpoints import ours
from lineament.checkpoints.building import build_checked
from lineament.errors import FileFormatError
from lineament.networks.decomposer import Decomposer
from lineament.networks.encoder import Encoder
from lineament.networks.judge import Judge
from lineament.networks.perceptual import DiscriminatorFeatures
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.progressive_discriminator import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)
from lineament.networks.stylegan.stylegan1 import StyleGAN1, StyleGAN1Config
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config
from lineament.networks.upsampler import Upsampler
from lineament.records.shapes import DecomposerConfig, EncoderConfig, GeneratorConfig, JudgeConfig, UpsamplerConfig
from lineament.store.tensors import save_tensors
from tests import tiny

MOST_BYTES = 64 << 20
MOST_SECONDS = 5.0

NETWORKS: dict[str, tuple[Callable[[Any], nn.Module], Any]] = {
    "stylegan1": (StyleGAN1, StyleGAN1Config(resolution=16, z_dim=8, w_dim=6, c_dim=3, channel_base=64)),
    "stylegan2": (StyleGAN2, tiny.GENERATOR),
    "stylegan2 resnet": (StyleGAN2, StyleGAN2Config(32, 8, 8, 2, 64, 6, architecture="resnet", c_dim=2)),
    "stylegan3": (StyleGAN3, StyleGAN3Config(resolution=16, z_dim=8, w_dim=6, channel_max=4, use_radial_filters=True)),
    "discriminator": (Discriminator, DiscriminatorConfig(32, 64, 6, c_dim=3, class_dim=5)),
    "progressive": (ProgressiveDiscriminator, ProgressiveDiscriminatorConfig(32, 64, 6, dense_dim=5)),
    "features": (DiscriminatorFeatures, tiny.DISCRIMINATOR),
    "decomposer": (Decomposer, tiny.DECOMPOSER),
    "encoder": (Encoder, EncoderConfig(resolution=16, w_dim=8, num_ws=4, channels=4, channel_max=8, offset_dim=4)),
    "judge": (Judge, JudgeConfig("yaw smile", resolution=16, channels=4, channel_max=8, hidden_dim=8)),
    "upsampler": (Upsampler, UpsamplerConfig(channels=4, num_blocks=2)),
}


def everything(network: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, also those that files do not hold."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_built_as_by_its_class_and_its_tensors_are_not_copied(name: str) -> None:
    build, config = NETWORKS[name]
    torch.manual_seed(0)
    plain = build(config)
    state = {key: tensor.clone() for key, tensor in plain.state_dict().items()}
    found = build_checked("f", build, config, state)
    expected = everything(plain)
    assert everything(found).keys() == expected.keys()
    for key, tensor in everything(found).items():
        torch.testing.assert_close(tensor, expected[key], rtol=0, atol=0)
        assert tensor.requires_grad == expected[key].requires_grad
        assert key not in state or tensor.data_ptr() == state[key].data_ptr()


def test_tensors_of_another_precision_or_layout_are_converted_and_tied_ones_parted() -> None:
    network = tiny.generator()
    state = {key: tensor.half() for key, tensor in network.state_dict().items()}
    state["mapping.layers.0.weight"] = state["mapping.layers.0.weight"].T.contiguous().T
    state["mapping.layers.1.weight"] = state["mapping.layers.0.weight"].float()
    state["mapping.layers.0.weight"] = state["mapping.layers.1.weight"]
    found = build_checked("f", StyleGAN2, tiny.GENERATOR, state)
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in found.state_dict().values())
    with torch.no_grad():
        found.mapping.layers[0].weight.add_(1)
    torch.testing.assert_close(found.mapping.layers[1].weight, state["mapping.layers.1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("mapping.w_avg"), r"missing mapping\.w_avg"),
        (lambda state: state.update(other=torch.ones(1)), "left over other"),
        (lambda state: state.update({"mapping.w_avg": torch.ones(9)}), r"has shape \(9,\), expected \(8,\)"),
        (lambda state: state.update({"mapping.w_avg": torch.ones(8, dtype=torch.complex64)}), "is complex"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: Callable[[dict], Any], message: str) -> None:
    state = tiny.generator().state_dict()
    change(state)
    with pytest.raises(FileFormatError, match=message):
        build_checked("f", StyleGAN2, tiny.GENERATOR, state)


HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "wide": ("generator", GeneratorConfig(w_dim=16_384, z_dim=16_384, num_mapping_layers=1000).to_dict()),
    "wider": ("generator", GeneratorConfig().to_dict() | {"w_dim": 40_000}),
    "deep": ("generator", GeneratorConfig().to_dict() | {"num_mapping_layers": 10**7}),
    "endless": ("generator", GeneratorConfig().to_dict() | {"num_mapping_layers": 10**400}),
    "channels": ("generator", GeneratorConfig(1024, channel_base=2**24, channel_max=16_384).to_dict()),
    "classes": ("generator", StyleGAN2Config(c_dim=10**12).to_dict()),
    "colours": ("generator", StyleGAN2Config(image_channels=10**18).to_dict()),
    "zero rate": ("generator", StyleGAN2Config().to_dict() | {"mapping_lr_multiplier": 0.0}),
    "widths": ("discriminator", DiscriminatorConfig().to_dict() | {"widths": [16] * 9}),
    "long": ("discriminator", DiscriminatorConfig(c_dim=2, class_dim=2).to_dict() | {"num_mapping_layers": 10**9}),
    "samples": ("discriminator", DiscriminatorConfig(num_std_channels=10**15).to_dict()),
    "dense": ("discriminator", ProgressiveDiscriminatorConfig(dense_dim=10**12).to_dict()),
    "features": ("features", DiscriminatorConfig(1024, channel_base=2**24, channel_max=16_384).to_dict()),
    "decomposer": ("decomposer", DecomposerConfig(channels=16_384, channel_max=16_384, code_dim=16_384).to_dict()),
    "groups": ("decomposer", DecomposerConfig().to_dict() | {"channels": 9}),
    "encoder": ("encoder", EncoderConfig(w_dim=16_384, num_ws=1000, channels=16_384, channel_max=16_384).to_dict()),
    "side": ("encoder", EncoderConfig().to_dict() | {"resolution": 2**14_000}),
    "judge": ("judge", asdict(JudgeConfig("yaw", hidden_dim=16_384, channels=16_384, channel_max=16_384))),
    "attributes": ("judge", asdict(JudgeConfig("yaw")) | {"attributes": "ab " * 200_000}),
}
THIRD = StyleGAN3Config().to_dict()
OTHER_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "first": ("stylegan1", StyleGAN1Config().to_dict() | {"num_mapping_layers": 10**9}),
    "first, wide": ("stylegan1", StyleGAN1Config(channel_base=2**40, channel_max=2**30).to_dict()),
    "third": ("stylegan3", THIRD | {"channel_max": 2**30, "channel_base": 2**31}),
    "third, layers": ("stylegan3", THIRD | {"num_layers": 10**8}),
    "third, filters": ("stylegan3", THIRD | {"filter_size": 64, "lrelu_upsampling": 16, "use_radial_filters": True}),
    "third, slow": ("stylegan3", THIRD | {"first_cutoff": 1e-300, "first_stopband": 1e-299}),
    "third, most": (
        "stylegan3",
        StyleGAN3Config(4096, num_layers=100, filter_size=16, lrelu_upsampling=4, use_radial_filters=True).to_dict(),
    ),
}


class Allocated(TorchFunctionMode):
    """Adds up the bytes of all tensors with memory that PyTorch's functions make meanwhile."""

    num_bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made.is_meta:
            self.num_bytes += made.nbytes
        return made


def test_memory_is_counted() -> None:
    with Allocated() as allocated:
        nn.Linear(1000, 1000)
    assert allocated.num_bytes >= 4_000_000


@pytest.mark.parametrize("name", [*HOSTILE, *OTHER_FAMILIES])
def test_a_small_file_that_claims_a_huge_network_is_refused_at_once(tmp_path: Path, name: str) -> None:
    kind, config = HOSTILE[name] if name in HOSTILE else ("generator", OTHER_FAMILIES[name][1])
    header = {"config": config} | ({"family": OTHER_FAMILIES[name][0]} if name in OTHER_FAMILIES else {})
    save_tensors(tmp_path / "f", {}, kind, 1, header)
    load: Callable[..., Any] = getattr(ours, f"load_{kind}")
    started = time.monotonic()
    with Allocated() as allocated, pytest.raises(FileFormatError) as caught:
        load(tmp_path / "f", *((torch.zeros(1, 3, 32, 32), "cpu") if kind == "features" else ()))
    assert time.monotonic() - started < MOST_SECONDS
    assert allocated.num_bytes < MOST_BYTES
    assert str(tmp_path / "f") in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("header", [{"config": 5}, {"config": [{}]}, {"config": {}, "family": []}, {"grown_from": 3}])
def test_headers_of_other_types_are_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    save_tensors(tmp_path / "f", {}, "generator", 1, header)
    with pytest.raises(FileFormatError):
        ours.load_generator(tmp_path / "f")
    save_tensors(tmp_path / "d", {}, "discriminator", 1, header)
    with pytest.raises(FileFormatError):
        ours.load_discriminator(tmp_path / "d")
