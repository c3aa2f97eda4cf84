"""Training a decomposer: repeatable, resumable, and never the worse for a failure."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.errors import ConfigError, FileFormatError, MismatchError, NonFiniteError, StorageError
from lineament.networks.decomposer import DecomposerConfig
from lineament.networks.discriminator import Discriminator
from lineament.networks.perceptual import VGG16Features
from lineament.ops.photometric import laplace_loss
from lineament.ops.render import render
from lineament.ops.seeding import step_generator
from lineament.recipes import run_folder, train_decomposer
from lineament.recipes.devices import Devices, make_fabric
from lineament.recipes.models import load_decomposer, load_features, save_network
from lineament.recipes.train_decomposer import (
    FaceStream,
    TrainDecomposerConfig,
    Trainer,
    decomposition_loss,
    features_path,
    health,
    run,
)
from lineament.store import atomic
from lineament.store.tensors import load_tensors, read_header
from tests import tiny

CPU = Devices(accelerator="cpu")
STATE = "state.safetensors"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator, a discriminator and images."""
    folder = tmp_path_factory.mktemp("sources")
    tiny.save_pair(folder)
    torch.manual_seed(0)
    config = tiny.GENERATOR64
    save_network(folder / "discriminator.safetensors", "discriminator", Discriminator(config), config.to_dict(), {})
    tiny.image_folder(folder / "in", resolution=64)
    return folder


def settings(sources: Path, out: Path, **changes: Any) -> TrainDecomposerConfig:
    config = TrainDecomposerConfig(
        out=out,
        generator=sources / "generator.safetensors",
        images=sources / "in",
        features=sources / "discriminator.safetensors",
        network=tiny.DECOMPOSER,
        steps=4,
        batch_size=4,
        translation_weight=0.1,
        smoothness_weight=0.01,
        ellipsoid_steps=2,
        snapshot_steps=2,
        devices=CPU,
    )
    return replace(config, **changes)


def state(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(out / STATE, "training-state", "pt")[0]


def saved_step(out: Path) -> int:
    return load_tensors(out / STATE, "training-state", "pt")[1]["step"]


def log(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in rows]


def assert_same(left: Path, right: Path) -> None:
    a, b = state(left), state(right)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    for kind in ("decomposer", "features"):
        a, b = (load_tensors(out / f"{kind}.safetensors", kind, "pt")[0] for out in (left, right))
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def uninterrupted(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("decomposer") / "run"
    assert run(settings(sources, out)) == out / "decomposer.safetensors"
    return out


def test_what_a_run_leaves(uninterrupted: Path) -> None:
    assert load_decomposer(uninterrupted / "decomposer.safetensors").config == tiny.DECOMPOSER
    provenance = read_header(uninterrupted / "decomposer.safetensors").header["provenance"]
    assert provenance["steps"] == 4
    assert len(provenance["generator"]) == 64
    assert "health/convex_share" in provenance["scores"]
    assert (uninterrupted / "samples" / "000004.png").exists()
    (row,) = log(uninterrupted)
    assert row["step"] == 1
    assert {"loss/total", "loss/features", "gradient_norm", "health/pixel_error"} <= row.keys()
    load_features(uninterrupted / "features.safetensors", torch.zeros(1, 3, 64, 64), "cpu")


def test_same_seed_same_bytes(sources: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run(settings(sources, tmp_path / "run"))
    assert_same(tmp_path / "run", uninterrupted)
    assert log(tmp_path / "run") == log(uninterrupted)
    name = "samples/000004.png"
    assert (tmp_path / "run" / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_stop_and_resume_gives_the_same_bits(
    sources: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(sources, tmp_path / "run")
    original = Trainer.train_step
    stops: list[run_folder.GentleStop] = []
    enter = run_folder.GentleStop.__enter__

    def step(self: Trainer, images: torch.Tensor) -> dict[str, float]:
        stops[-1].requested = self.step == 2
        return original(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.GentleStop, "__enter__", lambda self: stops.append(self) or enter(self))
        patch.setattr(Trainer, "train_step", step)
        run(config)
    assert saved_step(config.out) == 3
    run(config)
    assert_same(config.out, uninterrupted)
    assert log(config.out) == log(uninterrupted)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_stops_and_keeps_the_snapshot(
    sources: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = settings(sources, tmp_path / "run")
    run(replace(config, steps=2))
    before = (config.out / STATE).read_bytes()
    original = train_decomposer.decomposition_loss

    def broken(*args: Any) -> tuple[torch.Tensor, dict[str, float]]:
        loss, values = original(*args)
        return (loss * float("nan") if where == "loss" else loss + ((loss - loss) ** 2).sqrt()), values

    with monkeypatch.context() as patch:
        patch.setattr(train_decomposer, "decomposition_loss", broken)
        with pytest.raises(
            NonFiniteError, match=f"the {where} became nan at step 2; the snapshot of step 2 in .* intact"
        ):
            run(config)
    assert (config.out / STATE).read_bytes() == before
    run(config)
    assert_same(config.out, uninterrupted)


def test_full_disk_keeps_the_previous_state(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(sources, tmp_path / "run")
    run(replace(config, steps=2))
    before = (config.out / STATE).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_sync_folder", lambda folder: patch.setattr(atomic.os, "fsync", full))
        with pytest.raises(StorageError, match="the disk is full"):
            run(config)
    assert (config.out / STATE).read_bytes() == before
    assert not [path for path in config.out.rglob("*") if atomic.is_temporary(path)]


def test_other_settings_are_refused_by_name(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path / "run", steps=1)
    run(config)
    with pytest.raises(ConfigError, match=r"other settings \(flip_weight was 0.5, now 0.8\); choose another --out"):
        run(replace(config, flip_weight=0.8))


@pytest.mark.parametrize("source", ["generator", "images"])
def test_one_source_batch_of_one_and_no_features(sources: Path, tmp_path: Path, source: str) -> None:
    other = {"generator": "images", "images": "generator"}[source]
    run(settings(sources, tmp_path / "run", batch_size=1, steps=1, features=None, ellipsoid_steps=0, **{other: None}))


def test_goes_on_from_another_decomposer(sources: Path, tmp_path: Path) -> None:
    init = sources / "decomposer.safetensors"
    out = run(settings(sources, tmp_path / "run", steps=1, init=init, learning_rate=1e-12)).parent
    start = load_decomposer(init).state_dict()
    found = load_decomposer(out / "decomposer.safetensors").state_dict()
    assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in start.items() if name != "tilt")


def test_wrong_inputs(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to train on"):
        TrainDecomposerConfig(out=tmp_path)
    with pytest.raises(ConfigError, match="two perceptual features"):
        settings(sources, tmp_path, vgg16=Path("x"))
    for name in ("steps", "batch_size", "learning_rate", "snapshot_steps"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            settings(sources, tmp_path, **{name: 0 if name != "learning_rate" else 0.0})
    with pytest.raises(ConfigError, match=r"generated_fraction is 1\.5"):
        settings(sources, tmp_path, generated_fraction=1.5)
    large = DecomposerConfig(resolution=128, channels=4, channel_max=8, code_dim=8, pose_channels=4)
    with pytest.raises(MismatchError, match="makes 64 px images, the decomposer takes 128 px"):
        run(settings(sources, tmp_path / "run", network=large))
    with pytest.raises(FileFormatError, match="kind 'decomposer', expected 'generator'"):
        run(settings(sources, tmp_path / "other", generator=sources / "decomposer.safetensors"))


# --------------------------------------------------------------------------------------------------------------------
# Parts


def test_stream_mixes_the_sources_in_the_given_share(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path, generated_fraction=0.25)
    stream = FaceStream(config, make_fabric(CPU))
    batch = stream.batch(3, 8, step_generator(0, 2, 3))
    assert batch.shape == (8, 3, 64, 64)
    assert torch.equal(batch, stream.batch(3, 8, step_generator(0, 2, 3)))
    both_ways = torch.cat([batch, batch.flip(3)])
    photographs = torch.from_numpy(tiny.images(12, 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    known = [bool((photographs == image).flatten(1).all(dim=1).any()) for image in both_ways]
    assert [a or b for a, b in zip(known[:8], known[8:], strict=True)] == [False] * 2 + [True] * 6


def test_loss_is_what_it_says(sources: Path, tmp_path: Path) -> None:
    # Without features, flip and extras it is the Laplace likelihood of the reconstruction in the common mask.
    off = {f"{name}_weight": 0.0 for name in ("flip", "translation", "smoothness")}
    config = settings(sources, tmp_path, **off)
    decomposer, images = tiny.decomposer(), torch.from_numpy(tiny.images(2, 64)).permute(0, 3, 1, 2) / 127.5 - 1
    loss, values = decomposition_loss(decomposer, images, None, config)
    parts = decomposer(images)
    straight, mirrored = render(parts, decomposer.camera), render(parts.mirrored(), decomposer.camera)
    mask = torch.logical_and(straight.recon_mask, mirrored.recon_mask)
    expected = laplace_loss(images, straight.recon_image, decomposer.sigmas(images)[0][:, 0], mask)
    torch.testing.assert_close(loss, expected)
    assert values["loss/total"] == pytest.approx(float(loss))
    weighted, _ = decomposition_loss(decomposer, images, None, replace(config, translation_weight=2.0))
    shift = (parts.view[:, 3:5] / 0.1).square().mean()
    torch.testing.assert_close(weighted - loss, 2 * shift, atol=1e-5, rtol=1e-4)


def test_health_of_one_face_and_of_shapes() -> None:
    decomposer = tiny.decomposer()
    parts = decomposer(torch.zeros(1, 3, 64, 64))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    bowl = 0.9 + 0.1 * (x**2 + y**2)
    everywhere = torch.ones(1, 64, 64, dtype=torch.bool)
    for depth, convex in ((bowl, 1.0), (2 - bowl, 0.0)):
        values = health(replace(parts, canon_depth=depth[None]), torch.full((1, 64, 64), 0.25), everywhere)
        assert values["health/convex_share"] == convex
        assert values["health/pixel_error"] == 0.25
        assert values["health/seen"] == 1
        assert values["health/yaw_std_deg"] == 0


def test_ellipsoid_start_is_convex(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path, ellipsoid_steps=30, learning_rate=1e-3)
    fabric = make_fabric(CPU)
    trainer = Trainer(config, fabric)
    stream = FaceStream(config, fabric)
    images = stream.batch(0, 4, step_generator(0, 2, 0))
    target = train_decomposer.ellipsoid_depth(64, near=0.91, far=1.02)
    with torch.no_grad():
        before = (trainer.decomposer.depth(images) - target).abs().mean()
    trainer.fit_ellipsoid(stream)
    with torch.no_grad():
        after = (trainer.decomposer.depth(images) - target).abs().mean()
        assert after < 0.8 * before
        assert torch.equal(trainer.ema.depth(images), trainer.decomposer.depth(images))


def test_vgg16_as_the_feature(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    class Small(VGG16Features):
        """The layout of VGG16 with its real widths takes half a second a step; one layer is enough here."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(image, 4)

    save_file(VGG16Features().state_dict(), tmp_path / "vgg.safetensors")
    monkeypatch.setattr("lineament.recipes.models.VGG16Features", Small)
    out = run(settings(sources, tmp_path / "run", steps=1, features=None, vgg16=tmp_path / "vgg.safetensors")).parent
    assert "loss/features" in log(out)[0]
    assert not (out / "features.safetensors").exists()


def test_the_discriminator_beside_the_generator_is_the_default_feature(tmp_path: Path) -> None:
    generator, beside = tmp_path / "generator.safetensors", tmp_path / "discriminator.safetensors"
    config = TrainDecomposerConfig(out=tmp_path / "run", generator=generator)
    assert features_path(config) is None
    beside.touch()
    assert features_path(config) == beside
    assert features_path(replace(config, features=Path("other"))) == Path("other")
    assert features_path(replace(config, perceptual_weight=0.0)) is None
    assert features_path(replace(config, generator=None, images=tmp_path)) is None
