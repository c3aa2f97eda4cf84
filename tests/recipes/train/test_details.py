"""Giving a generator twice the resolution: what it was stays, what is new is learned, and a stop loses nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import load_generator, network_fingerprint, save_network
from lineament.errors import ConfigError, DataError, MismatchError, NonFiniteError
from lineament.networks.stylegan.stylegan1 import StyleGAN1, StyleGAN1Config
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.recipes.train import details as train_details
from lineament.recipes.train.details import run
from lineament.records.devices import Device
from lineament.records.shapes import UpsamplerConfig
from lineament.settings.train_details import TrainDetailsConfig
from lineament.store.tensors import load_tensors, read_header
from tests import tiny
from tests.recipes.train.stopping import check_stops_after_its_step

CPU = Device(accelerator="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("details")
    network = tiny.generator()
    save_network(folder / "g.safetensors", "generator", network, network.config.to_dict(), {})
    return folder / "g.safetensors", tiny.image_folder(folder / "faces", 30, 64)


def settings(files: tuple[Path, Path], out: Path, **changes: Any) -> TrainDetailsConfig:
    config = TrainDetailsConfig(
        out=out,
        generator=files[0],
        images=(files[1],),
        upsampler=UpsamplerConfig(channels=4, num_blocks=1),
        upsampler_steps=5,
        pixel_steps=2,
        block_steps=4,
        batch_size=3,
        r1_interval=2,
        snapshot_steps=3,
        eval_images=6,
        devices=CPU,
    )
    return replace(config, **changes)


def contents(out: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("generator.safetensors", "upsampler.safetensors", "state.safetensors"):
        tensors, _ = load_tensors(out / name, kind=read_header(out / name).kind, framework="pt")
        found |= {f"{name}/{key}": value for key, value in tensors.items()}
    return found


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stopped_at", [4, 7])
def test_stopped_and_resumed_is_as_uninterrupted(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    run(settings(files, tmp_path / "a"))
    original = train_details.train_step

    def interrupted(trainer: Any, *arguments: Any) -> dict[str, float]:
        if trainer.step == stopped_at:
            raise KeyboardInterrupt
        return original(trainer, *arguments)

    monkeypatch.setattr(train_details, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings(files, tmp_path / "b"))
    monkeypatch.setattr(train_details, "train_step", original)
    path = run(settings(files, tmp_path / "b"))
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    provenance = read_header(path).header["provenance"]
    assert provenance["num_images"] == 30
    assert provenance["held_out"] == 3
    assert {"photographs/upsampled", "coarse/changed", "swd_mean"} <= provenance["scores"].keys()
    assert (tmp_path / "b" / "samples" / "000009.png").exists()
    assert (tmp_path / "b" / "samples" / "000009-photographs.png").exists()
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        run(settings(files, tmp_path / "b", seed=1))


def test_what_was_there_stays(files: tuple[Path, Path], tmp_path: Path) -> None:
    large = load_generator(run(settings(files, tmp_path / "run", block_learning_rate=0.1)))
    small = load_generator(files[0])
    assert isinstance(large, StyleGAN2)
    assert large.config.resolution == 2 * small.config.resolution
    assert network_fingerprint(large, without=("blocks.4.",)) == network_fingerprint(small)
    rgb = large.synthesis_blocks()[-1].to_rgb
    assert rgb is not None
    assert float(rgb.weight.abs().max()) > 0.05


def test_it_learns_what_photographs_have_more_than_interpolation(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Stripes of one pixel wherever it is bright: the coarse image tells where, not that."""
    stripes = np.arange(64)[:, None, None] % 2 * 60
    images = tiny.images(30, 64).astype(int)
    bright = images.mean(axis=3, keepdims=True) > 128
    striped = np.clip(images + np.where(bright, stripes - 30, 0), 0, 255).astype(np.uint8)
    folder = tmp_path / "striped"
    folder.mkdir()
    for i, image in enumerate(striped):
        train_details.save_png(folder / f"{i:03d}.png", image)
    run(
        settings(
            (files[0], folder), tmp_path / "run", upsampler_steps=100, pixel_steps=100, block_steps=100,
            snapshot_steps=100, ema_steps=10.0, learning_rate=1e-2, block_learning_rate=5e-2, critic_weight=0.0,
        )
    )  # fmt: skip
    middle, _ = (row for row in log(tmp_path / "run") if row["step"] % 100 == 0)
    assert middle["photographs/upsampled"] < 0.7 * middle["photographs/interpolated"]
    pixels = [row["loss/pixels"] for row in log(tmp_path / "run") if row["step"] > 100]
    assert pixels[-1] < 0.8 * pixels[0]


def test_held_out_photographs_are_never_shown(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original = train_details.to_tensor

    def watched(images: np.ndarray) -> torch.Tensor:
        seen.append(images)
        return original(images)

    monkeypatch.setattr(train_details, "to_tensor", watched)
    run(settings(files, tmp_path / "run", upsampler_steps=27, snapshot_steps=99, block_steps=0, batch_size=2))
    shown = {image.tobytes() for batch in seen if len(batch) == 2 and batch.shape[1] == 64 for image in batch}
    hidden = {image.tobytes() for batch in seen if len(batch) == 3 and batch.shape[1] == 64 for image in batch}
    assert len(shown) == 27
    assert len(hidden) == 3
    assert not hidden & shown


def test_a_loss_that_is_not_finite_changes_nothing(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(files, tmp_path / "a", block_steps=0, upsampler_steps=3))
    before = contents_of_state(tmp_path / "a")
    original = train_details.mix_styles
    monkeypatch.setattr(train_details, "mix_styles", lambda *ws: original(*ws) * float("nan"))
    with pytest.raises(NonFiniteError, match=r"the loss became nan at step 3; the snapshot of step 3 in .* is intact"):
        run(settings(files, tmp_path / "a", upsampler_steps=3))
    after = contents_of_state(tmp_path / "a")
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def contents_of_state(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(out / "state.safetensors", kind="training-state", framework="pt")[0]


def test_what_cannot_be_used_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds images of 32 px, expected at least 64: enlarged ones hold no detail"):
        run(settings((files[0], tiny.image_folder(tmp_path / "small", 4, 32)), tmp_path / "a"))
    other = StyleGAN1(StyleGAN1Config(resolution=32))
    save_network(tmp_path / "one.safetensors", "generator", other, other.config.to_dict(), {})
    with pytest.raises(MismatchError, match="is no StyleGAN2; only those can be grown"):
        run(settings((tmp_path / "one.safetensors", files[1]), tmp_path / "c"))
    grey = StyleGAN2(StyleGAN2Config(32, 8, 8, 2, 64, 6, image_channels=1))
    save_network(tmp_path / "grey.safetensors", "generator", grey, grey.config.to_dict(), {})
    with pytest.raises(MismatchError, match="draws grey images or classes"):
        run(settings((tmp_path / "grey.safetensors", files[1]), tmp_path / "d"))
    with pytest.raises(ConfigError, match="batch_size"):
        settings(files, tmp_path, batch_size=0)


def test_a_signal_stops_the_training_after_its_step_and_the_state_is_kept(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    check_stops_after_its_step(lambda: run(settings(files, tmp_path)), train_details, tmp_path)
