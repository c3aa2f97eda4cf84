"""Training a decomposer: repeatable, resumable, and never the worse for a failure."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lineament.checkpoints.mean_head import load_mean_head
from lineament.checkpoints.ours import load_decomposer, load_features, save_network
from lineament.engine import run_folder
from lineament.engine.devices import make_fabric
from lineament.errors import CollapseError, ConfigError, DataError, FileFormatError, MismatchError, StorageError
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.ops.mean_head import find_head, head_at
from lineament.ops.shape_metrics import is_convex
from lineament.ops.shapes import MEAN_LEAN_DEG, ellipsoid_depth
from lineament.recipes.train import decomposer as train_decomposer
from lineament.recipes.train import decomposer_trainer as decomposer_training
from lineament.recipes.train.decomposer import run
from lineament.recipes.train.decomposer_health import Collapse, HealthMonitor
from lineament.recipes.train.decomposer_trainer import ELLIPSOID, DecomposerTrainer, features_path, make_stream
from lineament.recipes.train.face_stream import Batch
from lineament.records.atlas import Atlas
from lineament.records.devices import Devices
from lineament.records.shapes import DecomposerConfig
from lineament.settings.train_decomposer import LossConfig, TrainDecomposerConfig
from lineament.store import atomic
from lineament.store.atlas import save_atlas
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
    save_network(
        folder / "discriminator.safetensors",
        "discriminator",
        Discriminator(DiscriminatorConfig.matching(config)),
        config.to_dict(),
        {},
    )
    tiny.image_folder(folder / "in", resolution=64)
    return folder


def settings(sources: Path, out: Path, **changes: Any) -> TrainDecomposerConfig:
    config = TrainDecomposerConfig(
        out=out,
        generator=sources / "generator.safetensors",
        images=(sources / "in",),
        features=sources / "discriminator.safetensors",
        network=tiny.DECOMPOSER,
        steps=4,
        batch_size=4,
        decay=0.0,
        hold_depth_steps=1,
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
    config = load_decomposer(uninterrupted / "decomposer.safetensors").config
    assert config == replace(tiny.DECOMPOSER, confidence=False)
    provenance = read_header(uninterrupted / "decomposer.safetensors").header["provenance"]
    assert provenance["steps"] == 4
    assert len(provenance["generator"]) == 64
    assert "health/convex_share" in provenance["scores"]
    assert (uninterrupted / "samples" / "000004.png").exists()
    rows = log(uninterrupted)
    assert [row["step"] for row in rows] == [1, 2, 4]  # the first, and at every snapshot
    row = rows[0]
    assert {"loss/total", "loss/features", "gradient_norm", "health/pixel_error"} <= row.keys()
    load_features(uninterrupted / "features.safetensors", torch.zeros(1, 3, 64, 64), "cpu")


def test_what_only_training_needs_is_in_the_state_alone(uninterrupted: Path) -> None:
    written, _ = load_tensors(uninterrupted / "decomposer.safetensors", kind="decomposer", framework="pt")
    state, _ = load_tensors(uninterrupted / STATE, kind="training-state", framework="pt")
    assert not any("confidence" in name for name in written)
    assert any("confidence" in name for name in state)
    assert not load_decomposer(uninterrupted / "decomposer.safetensors").config.confidence


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
    original = DecomposerTrainer.train_step
    stops: list[run_folder.GentleStop] = []
    enter = run_folder.GentleStop.__enter__

    def step(self: DecomposerTrainer, batch: Batch) -> dict[str, float]:
        stops[-1].requested = self.step == 2
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.GentleStop, "__enter__", lambda self: stops.append(self) or enter(self))
        patch.setattr(DecomposerTrainer, "train_step", step)
        with pytest.raises(run_folder.Stopped, match="stopped at step 3; the same command goes on"):
            run(config)
    assert saved_step(config.out) == 3
    run(config)
    assert_same(config.out, uninterrupted)
    assert log(config.out) == log(uninterrupted)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_that_stays_ends_the_training_and_keeps_the_snapshot(
    sources: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = settings(sources, tmp_path / "run")
    run(replace(config, steps=2))
    before = (config.out / STATE).read_bytes()
    original = decomposer_training.decomposition_loss
    tries: list[int] = []

    def broken(*args: Any) -> tuple[torch.Tensor, dict[str, float]]:
        loss, values = original(*args)
        tries.append(1)
        if where == "loss":
            return loss * math.nan, values
        return loss + ((loss - loss) ** 2).sqrt(), values

    with monkeypatch.context() as patch:
        patch.setattr(decomposer_training, "decomposition_loss", broken)
        with pytest.raises(
            CollapseError, match=rf"the {where} became nan at step \d after 3 restarts; the last healthy"
        ):
            run(config)
    assert len(tries) == 1 + train_decomposer.MAX_RECOVERIES
    assert (config.out / STATE).read_bytes() == before
    run(config)
    assert_same(config.out, uninterrupted)


def plant(patch: pytest.MonkeyPatch, at: int, kind: str = "explosion", times: int = 1) -> None:
    """Make the monitor see a collapse at a step, the first ``times`` that it comes there."""
    original = HealthMonitor.update
    left = [times]

    def update(self: HealthMonitor, step: int, values: Any) -> Collapse | None:
        original(self, step, values)
        if step == at and left[0]:
            left[0] -= 1
            return Collapse(kind, "planted", curable=kind == "explosion")
        return None

    patch.setattr(HealthMonitor, "update", update)


def rates(patch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Step and learning rate of every step taken from now on."""
    seen: list[tuple[int, float]] = []
    original = DecomposerTrainer.train_step

    def step(self: DecomposerTrainer, batch: Batch) -> dict[str, float]:
        values = original(self, batch)
        seen.append((self.step, self.optimizer.param_groups[0]["lr"]))
        return values

    patch.setattr(DecomposerTrainer, "train_step", step)
    return seen


def test_a_collapse_is_said_and_mended(
    sources: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    config = settings(sources, tmp_path / "run", warmup_steps=0)
    with monkeypatch.context() as patch:
        patch.setattr(HealthMonitor, "suspicious", False)
        plant(patch, at=3)
        seen = rates(patch)
        run(config)
    # Steps 2 and 3 are done again from the healthy snapshot of step 2, with half the learning rate.
    assert [step for step, _ in seen] == [0, 1, 2, 3, 2, 3]
    assert [rate for _, rate in seen] == [config.learning_rate] * 4 + [config.learning_rate / 2] * 2
    said = " ".join(capsys.readouterr().err.split())
    assert "collapsed at step 3 (explosion): planted; went back to step 2, with half the learning rate" in said
    provenance = read_header(config.out / "decomposer.safetensors").header["provenance"]
    assert provenance["recoveries"] == ["collapsed at step 3 (explosion): planted; went back to step 2"]
    changed = state(config.out)
    assert any(not torch.equal(changed[name], value) for name, value in state(uninterrupted).items())


def test_stop_and_resume_after_a_collapse_gives_the_same_bits(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(sources, tmp_path / "a", steps=6)
    with monkeypatch.context() as patch:
        plant(patch, at=3)
        run(config)
    with monkeypatch.context() as patch:
        plant(patch, at=3)
        run(replace(config, out=tmp_path / "b", steps=5))
        run(replace(config, out=tmp_path / "b"))
    a, b = state(tmp_path / "a"), state(tmp_path / "b")
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_a_second_collapse_goes_back_further(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(sources, tmp_path / "run", steps=6)
    with monkeypatch.context() as patch:
        plant(patch, at=4, times=2)
        seen = rates(patch)
        run(config)
    # From 4, healthy a moment ago, straight into it again: the second time from the snapshot before, of step 2.
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4, 4, 2, 3, 4, 5]


def test_what_is_not_mended(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with monkeypatch.context() as patch:
        plant(patch, at=2, kind="no learning")
        with pytest.raises(CollapseError, match=r"collapsed at step 2 \(no learning\): planted; the last healthy"):
            run(settings(sources, tmp_path / "hopeless"))
    for name, kind, recover in (("warned", "frozen views", True), ("left", "explosion", False)):
        with monkeypatch.context() as patch:
            plant(patch, at=2, kind=kind)
            out = run(settings(sources, tmp_path / name, recover=recover)).parent
        assert "warning: at step 2: planted" in capsys.readouterr().err
        assert saved_step(out) == 4
        assert read_header(out / "decomposer.safetensors").header["provenance"]["recoveries"] == []


def test_a_suspicious_state_is_not_one_to_go_back_to(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(HealthMonitor, "suspicious", True)
    out = tmp_path / "run"
    run(settings(sources, out))
    assert "the end looks unhealthy" in capsys.readouterr().err
    assert saved_step(out) == 4
    assert load_tensors(out / "healthy.safetensors", "training-state", "pt")[1]["step"] == 0


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
    with pytest.raises(ConfigError, match=r"other settings \(loss.flip_weight was 0.5, now 0.8\); choose"):
        run(replace(config, loss=replace(config.loss, flip_weight=0.8)))


@pytest.mark.parametrize("source", ["generator", "images"])
def test_one_source_batch_of_one_and_no_features(sources: Path, tmp_path: Path, source: str) -> None:
    other = {"generator": {"images": ()}, "images": {"generator": None}}[source]
    run(settings(sources, tmp_path / "run", batch_size=1, steps=1, features=None, ellipsoid=False, **other))


def test_goes_on_from_another_decomposer(sources: Path, tmp_path: Path) -> None:
    init = sources / "decomposer.safetensors"
    out = run(settings(sources, tmp_path / "run", steps=1, init=init, learning_rate=1e-12)).parent
    start = load_decomposer(init).for_use().state_dict()
    found = load_decomposer(out / "decomposer.safetensors").state_dict()
    assert found.keys() == start.keys()
    assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in start.items() if name != "tilt")


def test_training_without_confidence_is_refused(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the network's confidence"):
        settings(sources, tmp_path / "run", network=replace(tiny.DECOMPOSER, confidence=False))


def test_wrong_inputs(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to train on"):
        TrainDecomposerConfig(out=tmp_path)
    with pytest.raises(ConfigError, match="--supervise trains with the truth alone"):
        settings(sources, tmp_path, supervise=Path("x"))
    with pytest.raises(ConfigError, match="adam_beta2 is 1"):
        settings(sources, tmp_path, adam_beta2=1.0)
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


def odd_images(kind: str) -> np.ndarray:
    """Image sets that nobody should train on, uint8 (n, h, w, 3)."""
    blobs = tiny.images(12, 64)
    noise = np.random.default_rng(0).integers(0, 256, blobs.shape, dtype=np.uint8)
    return {
        "constant": np.full_like(blobs, 90),
        "one": np.repeat(blobs[:1], 12, axis=0),
        "three": blobs[:3],
        "grey": np.repeat(blobs.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3),
        "noise": noise,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("constant", "are blank"),
        ("one", "are the same"),
        ("three", "only 3 distinct images"),
        ("grey", "are grey"),
        ("noise", "does not look like photographs"),
    ],
)
def test_images_that_teach_nothing_are_told(sources: Path, tmp_path: Path, capsys: Any, kind: str, said: str) -> None:
    (tmp_path / "in").mkdir()
    for i, array in enumerate(odd_images(kind)):
        Image.fromarray(array).save(tmp_path / "in" / f"{i}.png")
    config = settings(sources, tmp_path / "run", generator=None, features=None, images=(tmp_path / "in",))
    if kind in ("constant", "one"):
        with pytest.raises(DataError, match=said):
            run(config)
        return
    network = load_decomposer(run(config))
    assert said in " ".join(capsys.readouterr().err.split())
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


# --------------------------------------------------------------------------------------------------------------------
# Parts


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("ellipsoid", [True, False])
def test_start_is_the_ellipsoid_or_flat(sources: Path, tmp_path: Path, ellipsoid: bool, tied: bool) -> None:
    config = settings(sources, tmp_path, ellipsoid=ellipsoid, network=replace(tiny.DECOMPOSER, tied_shape=tied))
    trainer = DecomposerTrainer(config, make_fabric(CPU))
    trainer.start(torch.zeros(1, 3, 64, 64))
    images = torch.from_numpy(tiny.images(3, 64)).permute(0, 3, 1, 2) / 127.5 - 1
    expected = torch.zeros(64, 60)
    if ellipsoid:
        expected = torch.atanh((ellipsoid_depth(64, **ELLIPSOID)[:, 2:-2] - 1) / 0.1)
    for network in (trainer.decomposer, trainer.ema):
        depth = network.depth(images).detach()
        raw = torch.atanh((depth[:, :, 2:-2] - 1) / 0.1)
        if tied:  # the lean of the mean head is added, and the ellipsoid is scaled to its relief
            raw = raw - torch.linspace(-1, 1, 64)[:, None] * math.tan(math.radians(MEAN_LEAN_DEG)) * 0.0875 / 0.1
            if ellipsoid:
                wanted, found = (x - x.mean() for x in (expected, raw[0]))
                raw = raw * float((wanted * wanted).sum() / (wanted * found).sum())
        if ellipsoid:
            assert bool(is_convex(depth).all())
        # The same for every image, but for a common shift; the points of the mean shape round off the rim.
        shift = raw - expected
        assert float((shift - shift.mean()).abs().mean()) < (0.03 if ellipsoid else 2e-5 if tied else 1e-6)
        assert float(shift.std(dim=0).max()) < 1e-6


def test_a_mean_head_is_laid_over_the_mean_of_the_images_and_kept(sources: Path, tmp_path: Path) -> None:
    network, size = replace(tiny.DECOMPOSER, mean_head=True), 64
    config = settings(sources, tmp_path, network=network, hold_depth_steps=0)
    trainer, stream = DecomposerTrainer(config, make_fabric(CPU)), make_stream(config, make_fabric(CPU))
    head = load_mean_head()
    faces = F.interpolate(head.image[None, None], (size, size), mode="bilinear").expand(2, 3, -1, -1)
    trainer.start(faces)
    place = find_head(head, faces[0])
    assert place.zoom == pytest.approx(1, abs=0.02)
    expected = head_at(head, place, size, trainer.ema.camera)
    images = torch.from_numpy(tiny.images(3, size)).permute(0, 3, 1, 2) / 127.5 - 1
    inner = (slice(None), slice(None), slice(2, -2))
    for network in (trainer.decomposer, trainer.ema):
        torch.testing.assert_close(network.depth(images)[inner], expected.expand(3, -1, -1)[inner], atol=1e-4, rtol=0)
    shape = trainer.decomposer.mean_shape
    assert shape is not None
    before = shape.clone()
    for step in range(2):
        trainer.train_step(stream.batch(step, 4, trainer.rng()))
    assert torch.equal(shape, before)
    single = trainer.decomposer.depth(images).detach()
    assert float((single - expected)[inner].abs().max()) > 1e-5
    with pytest.raises(ConfigError, match=r"does not look like a face from the front .*--network\.no-mean-head"):
        DecomposerTrainer(config, make_fabric(CPU)).start(torch.zeros(1, 3, size, size))


@pytest.mark.parametrize("tied", [True, False])
def test_only_an_untied_shape_may_be_tilted(sources: Path, tmp_path: Path, tied: bool) -> None:
    config = settings(sources, tmp_path, network=replace(tiny.DECOMPOSER, tied_shape=tied))
    trainer, stream = DecomposerTrainer(config, make_fabric(CPU)), make_stream(config, make_fabric(CPU))
    trainer.start(torch.zeros(1, 3, 64, 64))
    trainer.train_step(stream.batch(0, 4, trainer.rng()))
    assert stream.jitter == config.jitter == 1.0
    for network in (trainer.decomposer, trainer.ema):
        assert (float(network.tilt) == 0) is tied


def test_the_depth_is_held_at_first(sources: Path, tmp_path: Path) -> None:
    config = settings(sources, tmp_path, hold_depth_steps=2)
    trainer, stream = DecomposerTrainer(config, make_fabric(CPU)), make_stream(config, make_fabric(CPU))
    trainer.start(torch.zeros(1, 3, 64, 64))
    before = [p.detach().clone() for p in trainer.decomposer.parts()[0]]
    others = [p.detach().clone() for p in trainer.decomposer.view_net.parameters()]
    for step in range(3):
        trainer.step = step
        trainer.train_step(stream.batch(step, 4, trainer.rng()))
        same = all(torch.equal(a, b) for a, b in zip(before, trainer.decomposer.parts()[0], strict=True))
        assert same is (step < 2)
        assert not all(torch.equal(a, b) for a, b in zip(others, trainer.decomposer.view_net.parameters(), strict=True))


def test_latent_pairs_resume_with_the_same_bits(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two refreshes, the directions come from the state."""
    options = {"loss": LossConfig(latent_weight=1.0), "latent_refresh_steps": 2, "steps": 5, "snapshot_steps": 5}
    run(settings(sources, tmp_path / "whole", **options))
    assert state(tmp_path / "whole")["pairs.steps"].shape == (4, 1, 8)
    stops: list[run_folder.GentleStop] = []
    enter, original = run_folder.GentleStop.__enter__, DecomposerTrainer.train_step
    seen = []

    def step(self: DecomposerTrainer, batch: Batch) -> dict[str, float]:
        seen.append(batch.moved is not None)
        stops[-1].requested = self.step == 2
        values = original(self, batch)
        assert ("loss/latent" in values) is (batch.moved is not None)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.GentleStop, "__enter__", lambda self: stops.append(self) or enter(self))
        patch.setattr(DecomposerTrainer, "train_step", step)
        with pytest.raises(run_folder.Stopped):
            run(settings(sources, tmp_path / "stopped", **options))
    assert seen == [False, False, True]
    run(settings(sources, tmp_path / "stopped", **options))
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_the_discriminator_beside_the_generator_is_the_default_feature(tmp_path: Path) -> None:
    generator, beside = tmp_path / "generator.safetensors", tmp_path / "discriminator.safetensors"
    config = TrainDecomposerConfig(out=tmp_path / "run", generator=generator)
    assert features_path(config) is None
    beside.touch()
    assert features_path(config) == beside
    assert features_path(replace(config, features=Path("other"))) == Path("other")
    assert features_path(replace(config, loss=LossConfig(perceptual_weight=0.0))) is None
    assert features_path(replace(config, generator=None, images=(tmp_path,))) is None


def test_an_atlas_makes_the_pairs_from_the_first_step_on(
    sources: Path, tmp_path: Path, tiny_networks: tuple[Any, Any], tiny_atlas: Atlas
) -> None:
    generator = tiny_networks[0]
    save_network(sources / "paired.safetensors", "generator", generator, generator.config.to_dict(), {})
    rng = np.random.default_rng(0)
    shape = (tiny_atlas.num_layers, len(tiny_atlas.w_mean))
    steady = tuple(replace(one, layer_steps=0.1 * rng.normal(size=shape)) for one in tiny_atlas.directions)
    save_atlas(sources / "atlas.safetensors", replace(tiny_atlas, directions=steady))
    weighted = LossConfig(latent_weight=3.0)
    options = {"generator": sources / "paired.safetensors", "latent_atlas": sources / "atlas.safetensors"}
    out = run(settings(sources, tmp_path / "run", steps=1, loss=weighted, **options)).parent
    assert state(out)["pairs.steps"].shape == (4, *shape)
    assert log(out)[0]["loss/latent"] > 0
    assert read_header(out / "decomposer.safetensors").header["provenance"]["latent_atlas"] == "atlas.safetensors"
    config = settings(sources, tmp_path / "other", steps=1, loss=weighted, latent_atlas=sources / "atlas.safetensors")
    with pytest.raises(MismatchError, match="atlas was made for generator"):
        run(config)
    with pytest.raises(ConfigError, match="has no effect without"):
        settings(sources, tmp_path / "wrong", loss=LossConfig(), **options)
    with pytest.raises(ConfigError, match="give its --generator"):
        settings(sources, tmp_path / "wrong", loss=weighted, **{**options, "generator": None})


@pytest.mark.parametrize("changed", [{"mean_albedo": False}, {"channels": 5}, {"face_box": (0.0, 0.0, 1.0, 0.9)}])
def test_a_decomposer_of_other_settings_is_not_gone_on_from(
    sources: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    other = Decomposer(replace(tiny.DECOMPOSER, **changed))
    path = tmp_path / "other.safetensors"
    save_network(path, "decomposer", other, other.config.to_dict(), {})
    (name,) = changed
    config = settings(sources, tmp_path / "run", init=path)
    with pytest.raises(MismatchError, match=rf"has {name} .*--network.{name.replace('_', '-')}"):
        run(config)
