"""A training goes on with the data and networks it began with, wherever they lie now, and with no others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lineament.checkpoints.ours import save_network
from lineament.errors import ConfigError
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.recipes.train import decomposer, details, encoder, generator, judge
from lineament.recipes.train.origin_files import fingerprint_of_file, fingerprint_of_start
from lineament.records.devices import Device, Devices, TrainingDevice, TrainingDevices
from lineament.records.shapes import EncoderConfig, JudgeConfig, UpsamplerConfig
from lineament.settings.train_decomposer import TrainDecomposerConfig
from lineament.settings.train_details import TrainDetailsConfig
from lineament.settings.train_encoder import TrainEncoderConfig
from lineament.settings.train_generator import TrainGeneratorConfig
from lineament.settings.train_judge import TrainJudgeConfig
from lineament.store.tensors import load_tensors, read_header, save_tensors
from tests import tiny
from tests.truths import known_faces, write_rendered


def save_generator(path: Path, seed: int, config: Any = tiny.GENERATOR) -> None:
    network = tiny.generator(config, seed=seed)
    save_network(path, "generator", network, network.config.to_dict(), {})


def generator_settings(world: Path, out: Path) -> TrainGeneratorConfig:
    return TrainGeneratorConfig(
        (world / "faces",), out, tiny.GENERATOR, start_from=world / "generator.safetensors", kimg=0.002, batch_size=2,
        snapshot_kimg=0.002, eval_images=2, devices=TrainingDevices("cpu"),
    )  # fmt: skip


def details_settings(world: Path, out: Path) -> TrainDetailsConfig:
    return TrainDetailsConfig(
        (world / "faces",), out, world / "generator.safetensors", upsampler=UpsamplerConfig(4, 1), upsampler_steps=1,
        block_steps=0, batch_size=2, eval_images=2, devices=Device("cpu"),
    )  # fmt: skip


def decomposer_settings(world: Path, out: Path) -> TrainDecomposerConfig:
    return TrainDecomposerConfig(
        out, world / "generator64.safetensors", (world / "faces",), network=tiny.DECOMPOSER, steps=1, batch_size=2,
        init=world / "decomposer.safetensors", features=world / "features.safetensors", devices=Devices("cpu"),
    )  # fmt: skip


def encoder_settings(world: Path, out: Path) -> TrainEncoderConfig:
    return TrainEncoderConfig(
        out, (world / "faces",), world / "generator.safetensors", network=EncoderConfig(channels=4, channel_max=6),
        steps=1, latent_steps=1, batch_size=2, devices=Devices("cpu"),
    )  # fmt: skip


def judge_settings(world: Path, out: Path) -> TrainJudgeConfig:
    network = JudgeConfig(resolution=16, channels=4, channel_max=8, hidden_dim=8)
    return TrainJudgeConfig(
        world / "truth", world / "test", out, network, steps=1, batch_size=2, devices=TrainingDevice("cpu")
    )


def change_image(path: Path) -> None:
    with Image.open(path) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def change_network(path: Path) -> None:
    kind = read_header(path).kind
    tensors, header = load_tensors(path, kind=kind, framework="pt")
    save_tensors(path, {name: tensor * 1.5 for name, tensor in tensors.items()}, kind, 1, header)


TRAININGS: dict[str, tuple[Any, Callable[[Path, Path], Any], dict[str, str]]] = {
    "generator": (
        generator,
        generator_settings,
        {
            "faces/003.png": "the images",
            "generator.safetensors": "the generator to start from",
            "discriminator.safetensors": "the discriminator to start from",
        },
    ),
    "details": (
        details,
        details_settings,
        {"faces/003.png": "the images", "generator.safetensors": "the generator"},
    ),
    "decomposer": (
        decomposer,
        decomposer_settings,
        {
            "faces/003.png": "the images",
            "generator64.safetensors": "the generator",
            "decomposer.safetensors": "the decomposer to start from",
            "features.safetensors": "the features",
        },
    ),
    "encoder": (
        encoder,
        encoder_settings,
        {"faces/003.png": "the images", "generator.safetensors": "the generator"},
    ),
    "judge": (
        judge,
        judge_settings,
        {
            "truth/images/000002.png": "the renders to train on",
            "test/images/000001.png": "the renders to test on",
        },
    ),
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    tiny.image_folder(folder / "faces", 6, 64)
    save_generator(folder / "generator.safetensors", 0)
    tiny.save_pair(folder / "pair")
    (folder / "pair" / "generator.safetensors").rename(folder / "generator64.safetensors")
    (folder / "pair" / "decomposer.safetensors").rename(folder / "decomposer.safetensors")
    for name, config in (("features", tiny.GENERATOR64), ("discriminator", tiny.GENERATOR)):
        network = Discriminator(DiscriminatorConfig.matching(config))
        save_network(folder / f"{name}.safetensors", "discriminator", network, network.config.to_dict(), {})
    for name, seed in (("truth", 0), ("test", 1)):
        write_rendered(folder / name, known_faces(4, 16, seed))
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_others_are_refused_and_the_same_elsewhere_are_taken(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(encoder, "HELD_OUT_SAMPLES", 8)
    monkeypatch.setattr(decomposer, "NUM_CHECKED", 16)
    recipe, settings, changes = TRAININGS[name]
    out = tmp_path / "out"
    recipe.run(settings(world, out))
    moved = world.rename(tmp_path / "moved")
    recipe.run(settings(moved, out))
    for file, said in changes.items():
        before = (moved / file).read_bytes()
        (change_image if file.endswith(".png") else change_network)(moved / file)
        with pytest.raises(
            ConfigError, match=rf"\({said}: [0-9a-f]{{8}} before, [0-9a-f]{{8}} now\); name those it began with"
        ):
            recipe.run(settings(moved, out))
        (moved / file).write_bytes(before)
    recipe.run(settings(moved, out))


def test_a_state_of_an_older_release_is_taken_once(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = judge_settings(world, tmp_path / "out")
    judge.run(config)
    path = config.out / "state.safetensors"
    tensors, header = load_tensors(path, kind="training-state", framework="pt")
    del header["origins"]
    save_tensors(path, tensors, "training-state", 1, header)
    with pytest.raises(ConfigError, match="truth was "):  # nothing tells whether the files elsewhere are the same
        judge.run(replace(config, truth=world / "test"))
    judge.run(config)
    assert "is taken as made of the renders" in " ".join(capsys.readouterr().err.split())
    judge.run(config)
    assert "is taken" not in capsys.readouterr().err


def test_fingerprints_of_files(world: Path) -> None:
    one = world / "generator.safetensors"
    before = fingerprint_of_file(one)
    assert fingerprint_of_start(one) == before
    change_network(one)
    assert fingerprint_of_file(one) != before
    assert fingerprint_of_file(None) == "none"
    assert fingerprint_of_start(world / "gone.safetensors") is None
