"""Training an encoder: it learns, is repeatable and resumable, and never sees what is held out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import load_encoder, network_fingerprint, save_network
from lineament.engine.training_data import split_held_out
from lineament.errors import ConfigError, DataError, NonFiniteError
from lineament.recipes.train import encoder as train_encoder
from lineament.recipes.train.encoder import run
from lineament.records.devices import Devices
from lineament.records.inversion_settings import LikenessConfig
from lineament.records.shapes import EncoderConfig
from lineament.settings.train_encoder import TrainEncoderConfig
from lineament.store.tensors import load_tensors, read_header
from tests import tiny
from tests.recipes.train.stopping import check_stops_after_its_step

CPU = Devices(accelerator="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("encoder")
    network = tiny.generator()
    save_network(folder / "g.safetensors", "generator", network, network.config.to_dict(), {})
    return folder / "g.safetensors", tiny.image_folder(folder / "faces", 30)


def settings(files: tuple[Path, Path], out: Path, **changes: Any) -> TrainEncoderConfig:
    config = TrainEncoderConfig(
        out=out,
        generator=files[0],
        images=(files[1],),
        network=EncoderConfig(channels=4, channel_max=6, offset_dim=4),
        steps=6,
        latent_steps=3,
        batch_size=4,
        snapshot_steps=3,
        devices=CPU,
    )
    return replace(config, **changes)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encoder, "HELD_OUT_SAMPLES", 8)


def contents(out: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("encoder.safetensors", "state.safetensors"):
        tensors, _ = load_tensors(out / name, kind=read_header(out / name).kind, framework="pt")
        found |= {f"{name}/{key}": value for key, value in tensors.items()}
    return found


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_stopped_and_resumed_is_as_uninterrupted(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(files, tmp_path / "a"))
    original = train_encoder.EncoderTrainer.train_step

    def interrupted(self: Any, *arguments: Any) -> dict[str, float]:
        if self.step == 4:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(train_encoder.EncoderTrainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(files, tmp_path / "b"))
    monkeypatch.setattr(train_encoder.EncoderTrainer, "train_step", original)
    path = run(settings(files, tmp_path / "b"))
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    encoder = load_encoder(path)
    assert encoder.config.generator == network_fingerprint(tiny.generator().half().float())
    header = read_header(path).header
    assert header["provenance"]["num_images"] == 30
    assert header["provenance"]["held_out"] == 3
    assert {"photographs/ssim", "samples/r2"} <= header["provenance"]["scores"].keys()
    assert (tmp_path / "b" / "samples" / "000006.png").exists()
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        run(settings(files, tmp_path / "b", seed=1))


def test_it_learns_the_latents(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = settings(
        files, tmp_path / "run", images=(), steps=80, latent_steps=80, snapshot_steps=80, batch_size=16,
        network=EncoderConfig(channels=12, channel_max=24), least_truncation=1.0, ema_steps=10.0,
    )  # fmt: skip
    run(config)
    assert log(tmp_path / "run")[-1]["samples/r2"] > 0.2


def test_held_out_photographs_are_never_shown(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original = train_encoder.to_tensor

    def watched(images: np.ndarray) -> torch.Tensor:
        seen.append(images)
        return original(images)

    monkeypatch.setattr(train_encoder, "to_tensor", watched)
    run(settings(files, tmp_path / "run", latent_steps=0, generated_fraction=0.0, steps=20, snapshot_steps=20))
    trained, held_out = [x for x in seen if len(x) == 4], [x for x in seen if len(x) == 3]
    assert len(trained) == 20
    assert len(held_out) == 1
    hidden = {image.tobytes() for image in held_out[0]}
    shown = {image.tobytes() for batch in trained for image in batch}
    assert len(shown) == 27
    assert not hidden & shown


def test_the_split() -> None:
    seen, unseen = split_held_out(1000, 50, 3)
    assert sorted([*seen, *unseen]) == list(range(1000))
    assert len(unseen) == 50
    assert len(split_held_out(100, 50, 3)[1]) == 10
    assert not np.array_equal(unseen, split_held_out(1000, 50, 4)[1])
    assert list(unseen) == sorted(unseen)


def test_a_loss_that_is_not_finite_changes_nothing(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = settings(files, tmp_path / "run", learning_rate=1e9, warmup_steps=0, latent_steps=0)
    with pytest.raises(NonFiniteError, match="lower --learning-rate"):
        run(config)


def test_settings_that_cannot_be(files: tuple[Path, Path], tmp_path: Path) -> None:
    for changes in ({"steps": 0}, {"held_out": -1}, {"generated_fraction": 1.5}, {"ema_steps": 0.0}):
        with pytest.raises(ConfigError):
            settings(files, tmp_path, **changes)


def test_shipped_features_are_for_the_shipped_generator_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = settings(files, tmp_path, likeness=LikenessConfig(perceptual=1.0))
    assert train_encoder.features_path(config) is None
    own = replace(config, generator=None)
    assert train_encoder.features_path(own) is not None
    assert train_encoder.features_path(replace(own, features=Path("f"))) == Path("f")


def test_no_images_at_all_is_said(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encoder, "load_images", lambda *_: np.empty((0, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="no images to learn from"):
        run(settings(files, tmp_path / "run"))


def test_a_signal_stops_the_training_after_its_step_and_the_state_is_kept(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    check_stops_after_its_step(lambda: run(settings(files, tmp_path)), train_encoder.EncoderTrainer, tmp_path)
