"""Networks to files and back, and files that do not fit."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.checkpoints.ours import (
    config_from_header,
    load_decomposer,
    load_discriminator,
    load_features,
    load_generator,
    network_fingerprint,
    save_network,
)
from lineament.errors import FileFormatError
from lineament.networks.perceptual import DiscriminatorFeatures
from lineament.networks.stylegan.discriminator import Discriminator
from lineament.networks.stylegan.progressive_discriminator import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)
from lineament.records.shapes import DecomposerConfig, GeneratorConfig
from lineament.store.tensors import save_tensors
from tests import tiny


def saved(path: Path, kind: str, network: torch.nn.Module, config: Any) -> Path:
    save_network(path, kind, network, config.to_dict(), {"note": 1})
    return path


def test_generator_round_trip(tmp_path: Path) -> None:
    network = tiny.generator()
    loaded = load_generator(saved(tmp_path / "g", "generator", network, tiny.GENERATOR))
    assert loaded.config == tiny.GENERATOR
    assert network_fingerprint(loaded) == network_fingerprint(network)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert all(v.dtype == torch.float32 for v in loaded.state_dict().values())
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(z), network(z), atol=0.02, rtol=0.02)  # half precision in the file


def test_fingerprint_is_that_of_the_weights() -> None:
    one, other = tiny.generator(), tiny.generator()
    assert network_fingerprint(one) == network_fingerprint(other)
    other.blocks[0].const[0, 0, 0] += 0.1
    assert network_fingerprint(one) != network_fingerprint(other)


def test_decomposer_and_discriminator_round_trip(tmp_path: Path) -> None:
    apart = load_decomposer(saved(tmp_path / "d", "decomposer", tiny.decomposer(), tiny.DECOMPOSER))
    assert apart.config == tiny.DECOMPOSER
    torch.manual_seed(0)
    judge = Discriminator(tiny.DISCRIMINATOR)
    loaded = load_discriminator(saved(tmp_path / "j", "discriminator", judge, tiny.DISCRIMINATOR))
    assert network_fingerprint(loaded) == network_fingerprint(judge)
    # Files once spoke of the generator as well.
    old = load_discriminator(saved(tmp_path / "o", "discriminator", judge, tiny.GENERATOR))
    assert old.config == tiny.DISCRIMINATOR


def test_a_decomposer_of_an_older_release_measures_as_before(tmp_path: Path) -> None:
    config = replace(tiny.DECOMPOSER, tied_shape=False, face_light=False)
    network = tiny.decomposer(config, gain=20.0)
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    network.tilt.fill_(0.125)
    known = {
        k: v for k, v in asdict(config).items() if k not in ("tied_shape", "face_light", "mean_head", "shape_blur")
    }
    save_network(tmp_path / "old", "decomposer", network, known, {})
    old = load_decomposer(tmp_path / "old")
    assert old.config == config
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(old.measure(images), network.measure(images), atol=1e-3, rtol=0)  # degrees and shares
    torch.testing.assert_close(old.depth(images), network.depth(images))
    # The same weights under today's defaults say something else.
    new = load_decomposer(saved(tmp_path / "new", "decomposer", network, tiny.DECOMPOSER))
    assert new.config == tiny.DECOMPOSER
    assert not torch.allclose(new.measure(images)[:, 5:], old.measure(images)[:, 5:], atol=1e-3)
    assert not torch.allclose(new.depth(images), old.depth(images), atol=1e-3)


def test_features_from_discriminator_and_from_their_own_file_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32)
    path = saved(tmp_path / "j", "discriminator", Discriminator(tiny.DISCRIMINATOR), tiny.DISCRIMINATOR)
    features = load_features(path, images, "cpu")
    assert isinstance(features, DiscriminatorFeatures)
    again = load_features(saved(tmp_path / "f", "features", features, tiny.DISCRIMINATOR), images[:1], "cpu")
    torch.testing.assert_close(again(images), features(images), atol=2e-3, rtol=2e-3)
    with pytest.raises(FileFormatError, match="kind 'generator', expected 'features'"):
        load_features(saved(tmp_path / "g", "generator", tiny.generator(), tiny.GENERATOR), images, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_max": 7}, "does not fit its own configuration: .* has shape"),
        ({"num_mapping_layers": 3}, r"missing mapping\.layers\.2\.bias"),
        ({"num_mapping_layers": 1}, r"left over mapping\.layers\.1\.bias"),
        ({"resolution": 33}, "resolution is 33"),
        ({"resolution": "64"}, "resolution is '64' in the network configuration"),
        ({"resolution": 64.0}, "resolution is 64.0 in the network configuration"),
        ({"resolution": [64]}, r"resolution is \[64\]"),
        ({"w_dim": None}, "w_dim is None"),
        ({"w_dim": True}, "w_dim is True"),
        ({"colour": 3}, r"unknown settings \['colour'\]"),
    ],
)
def test_configuration_that_does_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save_network(tmp_path / "g", "generator", tiny.generator(), tiny.GENERATOR.to_dict() | change, {})
    with pytest.raises(FileFormatError, match=message) as caught:
        load_generator(tmp_path / "g")
    assert str(tmp_path / "g") in str(caught.value)


@pytest.mark.parametrize("config", [None, [], "x"])
def test_no_configuration(tmp_path: Path, config: Any) -> None:
    save_tensors(tmp_path / "g", {"a": torch.ones(1)}, "generator", 1, {"config": config})
    with pytest.raises(FileFormatError, match="has no network configuration"):
        load_generator(tmp_path / "g")


def test_configuration_from_header() -> None:
    for config in (tiny.GENERATOR, tiny.DECOMPOSER):
        assert config_from_header(type(config), config.to_dict(), "f") == config
    whole = config_from_header(DecomposerConfig, {"max_rotation_deg": 45}, "f")
    assert isinstance(whole.max_rotation_deg, float)
    assert config_from_header(GeneratorConfig, {}, "f") == GeneratorConfig()


def test_required_field_that_is_missing() -> None:
    @dataclass(frozen=True)
    class Later:
        size: int

    with pytest.raises(FileFormatError, match="does not fit"):
        config_from_header(Later, {}, "f")


def test_a_discriminator_of_the_first_stylegan_and_its_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = (
        ProgressiveDiscriminator(ProgressiveDiscriminatorConfig(32, 64, 6, dense_dim=5)).eval().requires_grad_(False)
    )
    path = saved(tmp_path / "j", "discriminator", judge, judge.config)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(load_discriminator(path)(images), judge(images), atol=5e-3, rtol=5e-3)
    features = load_features(path, images, "cpu")
    assert features(images).shape == (4, 6, 8, 8)
    again = load_features(saved(tmp_path / "f", "features", features, judge.config), images[:1], "cpu")
    torch.testing.assert_close(again(images), features(images), atol=5e-3, rtol=5e-3)
