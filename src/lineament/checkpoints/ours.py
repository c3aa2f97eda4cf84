"""Save and load our networks."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.checkpoints.building import build_empty, fill
from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.errors import FileFormatError, LineamentError
from lineament.networks.decomposer import Decomposer
from lineament.networks.encoder import Encoder
from lineament.networks.judge import Judge
from lineament.networks.perceptual import DiscriminatorFeatures
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.progressive_discriminator import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)
from lineament.networks.stylegan.stylegan1 import StyleGAN1, StyleGAN1Config
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.networks.stylegan.stylegan3_plan import StyleGAN3Config
from lineament.records.shapes import DecomposerConfig, EncoderConfig, GeneratorConfig, JudgeConfig
from lineament.store.tensors import check_kind, fingerprint, load_tensors, read_header, save_tensors

SCHEMA_VERSION = 1
_YOUNG = ("mean_shape", "mean_albedo", "aligned", "equivariant", "symmetric_depth", "symmetric_albedo")
_YOUNG += ("tied_shape", "face_light", "mean_head")
_BEFORE = {"decomposer": dict.fromkeys(_YOUNG, False) | {"shape_blur": 0.0}}
"""Values assumed for settings missing from older files."""

_OF_GENERATORS = ("z_dim", "w_dim", "num_mapping_layers")
"""Settings of the generator that older files of discriminators also hold; they are ignored."""

ConfigT = TypeVar("ConfigT")
NetworkT = TypeVar("NetworkT", bound=nn.Module)
Device: TypeAlias = torch.device | str


def config_from_header(cls: type[ConfigT], values: Any, path: str | Path) -> ConfigT:
    """Rebuild a configuration from a file's header; FileFormatError if it does not fit."""
    if not isinstance(values, dict):
        raise FileFormatError(f"{path}: the header has no network configuration; the file is damaged")
    defaults = {f.name: f.default for f in fields(cls)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(set(values) - set(defaults)):
        raise FileFormatError(f"{path}: unknown settings {unknown!s:.200} in the network configuration")
    plain = {}
    for name, value in values.items():
        try:
            plain[name] = _like(defaults[name], value)
        except (TypeError, OverflowError) as error:
            raise FileFormatError(
                f"{path}: {name} is {value!r:.40} in the network configuration, expected something like "
                f"{defaults[name]!r}; the file is damaged"
            ) from error
    try:
        return cls(**plain)
    except (TypeError, LineamentError) as error:
        raise FileFormatError(f"{path}: the network configuration does not fit: {error!s:.300}") from error


def _like(default: Any, value: Any) -> Any:
    """A header's value converted to the type of a setting's default; TypeError if it does not fit."""
    if isinstance(default, tuple) and isinstance(value, list):
        kinds = (int, float) if default and isinstance(default[0], float) else (int,)
        if (default and len(value) != len(default)) or not all(type(number) in kinds for number in value):
            raise TypeError("not such numbers")
        return tuple(map(kinds[-1], value))
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise TypeError("another type")
    return value


def save_block(path: str | Path, generator: StyleGAN2, pair: Pair, provenance: dict[str, Any]) -> None:
    """Write only the finest block of a generator that was grown from a shipped one, in half precision.

    `load_generator` takes the other blocks from the shipped generator. The file is a tenth as large.
    """
    newest = f"blocks.{len(generator.blocks) - 1}."
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in generator.state_dict().items()}
    header = {
        "config": generator.config.to_dict(),
        "provenance": provenance,
        "family": generator.family,
        "grown_from": {"pair": pair, "fingerprint": network_fingerprint(generator, without=(newest,))},
    }
    own = {k: v for k, v in tensors.items() if k.startswith(newest)}
    save_tensors(path, own, kind="generator", schema_version=SCHEMA_VERSION, header=header)


def save_network(
    path: str | Path, kind: str, network: nn.Module, config: dict[str, Any], provenance: dict, *, half: bool = True
) -> None:
    """Write a network, by default in half precision, with its configuration and provenance."""
    dtype = torch.float16 if half else torch.float32
    tensors = {k: v.detach().cpu().to(dtype).contiguous() for k, v in network.state_dict().items()}
    header = {"config": config, "provenance": provenance}
    if isinstance(network, Generator):
        header["family"] = network.family
    save_tensors(path, tensors, kind=kind, schema_version=SCHEMA_VERSION, header=header)


def network_fingerprint(network: nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """Fingerprint of the weights in half precision: the same before saving and after loading.

    Tensors whose names begin with one of ``without`` are left out.
    """
    state = network.state_dict()
    return fingerprint({k: v.detach().cpu().half() for k, v in state.items() if not k.startswith(without)})


def _load(
    path: str | Path,
    kind: str,
    config_class: type[ConfigT],
    build: Callable[[ConfigT], NetworkT],
    device: Device,
    *,
    mapped: bool = False,
    others: Mapping[str, Tensor] | None = None,
) -> NetworkT:
    """Rebuild a network from our file, ready for inference; ``others`` are tensors that the file does not hold."""
    found, others = read_header(path), others or {}
    check_kind(path, found, kind, SCHEMA_VERSION)
    values = found.header.get("config")
    if isinstance(values, dict):
        values = _BEFORE.get(kind, {}) | values
        if config_class is DiscriminatorConfig:
            values = {k: v for k, v in values.items() if k not in _OF_GENERATORS}
    config = config_from_header(config_class, values, path)
    shapes = {name: tuple(tensor.shape) for name, tensor in others.items()}
    network = build_empty(path, build, config, shapes | {name: shape for name, (_, shape) in found.tensors.items()})
    tensors, _ = load_tensors(path, kind=kind, framework="pt", mapped=mapped)
    fill(path, network, {**others, **tensors})
    return ready(network, device)


def ready(network: NetworkT, device: Device = "cpu") -> NetworkT:
    """The network on a device, ready for inference."""
    network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.eval().requires_grad_(False)


FAMILIES: dict[str, tuple[type, Callable[[Any], Generator]]] = {
    StyleGAN1.family: (StyleGAN1Config, StyleGAN1),
    StyleGAN2.family: (StyleGAN2Config, StyleGAN2),
    StyleGAN3.family: (StyleGAN3Config, StyleGAN3),
}
"""Classes of the settings and the network of each family of generators."""


def load_generator(path: str | Path, device: Device = "cpu", *, mapped: bool = False) -> Generator:
    """A generator of ours, ready for inference; ``mapped`` as in `load_tensors`."""
    header = read_header(path).header
    family = header.get("family", StyleGAN2.family)
    if not isinstance(family, str) or family not in FAMILIES:
        raise FileFormatError(f"{path} holds a generator of the family {family!r:.40}; upgrade Lineament")
    config_class, build = FAMILIES[family]
    trained = {f.name for f in fields(GeneratorConfig)}
    if config_class is StyleGAN2Config and set(_settings(header)) <= trained:
        config_class = GeneratorConfig
    others = None if (grown := header.get("grown_from")) is None else _grown_from(path, grown)
    generator = _load(path, "generator", config_class, build, device, mapped=mapped, others=others)
    generator.file = Path(path)
    return generator


def _grown_from(path: str | Path, grown: Any) -> dict[str, Tensor]:
    """Tensors of the shipped generator from which a generator was grown whose file holds only the finest block.

    Raises:
        FileFormatError: this release ships no such generator, or a different one.
    """
    pair = grown.get("pair") if isinstance(grown, dict) else None
    if pair is None or pair not in get_args(Pair):
        raise FileFormatError(f"{path} was grown from a generator {pair!r:.40} that does not come with this release")
    base = load_generator(shipped_path("generator.safetensors", pair))
    if network_fingerprint(base) != grown.get("fingerprint"):
        raise FileFormatError(
            f"{path} was grown from another {pair} than comes with this release; install the release that wrote it"
        )
    return base.state_dict()


def _settings(header: dict[str, Any]) -> dict[str, Any]:
    """The network's settings in a header; empty if there are none, which `config_from_header` refuses."""
    values = header.get("config")
    return values if isinstance(values, dict) else {}


def _is_progressive(path: str | Path) -> bool:
    """Whether a file holds (features of) a discriminator of the first StyleGAN: no other has a ``dense_dim``."""
    return "dense_dim" in _settings(read_header(path).header)


def load_discriminator(path: str | Path, device: Device = "cpu") -> Discriminator | ProgressiveDiscriminator:
    """A discriminator of ours, ready for inference."""
    if _is_progressive(path):
        return _load(path, "discriminator", ProgressiveDiscriminatorConfig, ProgressiveDiscriminator, device)
    return _load(path, "discriminator", DiscriminatorConfig, Discriminator, device)


def load_decomposer(path: str | Path, device: Device = "cpu") -> Decomposer:
    """A decomposer of ours, ready for inference."""
    return _load(path, "decomposer", DecomposerConfig, Decomposer, device)


def load_encoder(path: str | Path, device: Device = "cpu") -> Encoder:
    """An encoder of ours, ready for inference."""
    return _load(path, "encoder", EncoderConfig, Encoder, device)


def load_judge(path: str | Path, device: Device = "cpu") -> Judge:
    """A judge of ours, ready for inference."""
    return _load(path, "judge", JudgeConfig, Judge, device)


def load_features(path: str | Path, sample: Float[Tensor, "n 3 h w"], device: Device) -> nn.Module:
    """The perceptual features: read from a file of features, or made from a discriminator and scaled on ``sample``."""
    if read_header(path).kind == "discriminator":
        return DiscriminatorFeatures.from_discriminator(load_discriminator(path, device), sample)
    config_class = ProgressiveDiscriminatorConfig if _is_progressive(path) else DiscriminatorConfig
    return _load(path, "features", config_class, DiscriminatorFeatures, device)
