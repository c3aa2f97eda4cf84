"""Training a generator: repeatable, resumable, and never the worse for a failure."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import load_discriminator, load_generator
from lineament.engine import run_folder
from lineament.engine.devices import make_fabric
from lineament.errors import ConfigError, ImageError, NonFiniteError, StorageError
from lineament.recipes.train import generator as train_generator
from lineament.recipes.train.generator import AdaptiveAugmentation, GeneratorTrainer, lazy_adam, run
from lineament.recipes.train.sample_scores import evaluate_samples
from lineament.records.devices import TrainingDevices
from lineament.settings.train_generator import TrainGeneratorConfig
from lineament.store import atomic
from lineament.store.tensors import load_tensors, read_header
from tests import tiny

FILES = ("generator.safetensors", "discriminator.safetensors", "state.safetensors")
CPU = TrainingDevices(accelerator="cpu")


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.image_folder(tmp_path_factory.mktemp("faces") / "in")


def settings(faces: Path, out: Path, steps: int = 6, **changes: Any) -> TrainGeneratorConfig:
    config = TrainGeneratorConfig(
        images=(faces,),
        out=out,
        network=tiny.GENERATOR,
        kimg=steps * 4 / 1000,
        batch_size=4,
        r1_interval=3,
        path_length_interval=2,
        augment_kimg=0.1,
        snapshot_kimg=3 * 4 / 1000,
        eval_images=6,
        devices=CPU,
    )
    return replace(config, **changes)


def contents(out: Path) -> dict[str, torch.Tensor]:
    """All tensors of all files of a run."""
    found = {}
    for name in FILES:
        tensors, _ = load_tensors(out / name, kind=read_header(out / name).kind, framework="pt")
        found |= {f"{name}/{key}": value for key, value in tensors.items()}
    return found


def log(out: Path) -> list[dict[str, float]]:
    """The log without its clocks."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in rows]


def assert_same(left: Path, right: Path) -> None:
    a, b = contents(left), contents(right)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture(scope="session")
def uninterrupted(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert run(settings(faces, out)) == out / "generator.safetensors"
    return out


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As Ctrl-C during that step."""
    original = GeneratorTrainer.update_ema

    def update(self: GeneratorTrainer) -> None:
        original(self)
        if self.step + 1 == step:
            stops[-1].requested = True

    stops: list[run_folder.GentleStop] = []
    enter = run_folder.GentleStop.__enter__
    monkeypatch.setattr(run_folder.GentleStop, "__enter__", lambda self: stops.append(self) or enter(self))
    monkeypatch.setattr(GeneratorTrainer, "update_ema", update)


def test_half_precision_trains_and_derives_gradients_in_full(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: dict[str, set[torch.dtype]] = {}
    for name in ("r1_penalty", "path_lengths", "generator_loss", "discriminator_loss"):
        function = getattr(train_generator, name)

        def watched(*args: Any, function: Any = function, name: str = name) -> Any:
            kinds.setdefault(name, set()).add(args[0].dtype)
            return function(*args)

        monkeypatch.setattr(train_generator, name, watched)
    run(settings(faces, tmp_path, devices=TrainingDevices(accelerator="cpu", precision="bf16-mixed")))
    full, half = {torch.float32}, {torch.bfloat16}
    both = {"discriminator_loss": full | half}  # with a penalty, and without
    assert kinds == {"r1_penalty": full, "path_lengths": full, "generator_loss": half, **both}
    assert all(bool(torch.isfinite(value).all()) for value in contents(tmp_path).values())


def test_what_a_run_leaves(uninterrupted: Path) -> None:
    assert load_generator(uninterrupted / "generator.safetensors").config == tiny.GENERATOR
    assert load_discriminator(uninterrupted / "discriminator.safetensors").config == tiny.DISCRIMINATOR
    header = read_header(uninterrupted / "generator.safetensors").header
    assert header["provenance"]["num_images"] == 12
    assert set(header["provenance"]["scores"]) == {"swd_32", "swd_16", "swd_mean"}
    assert len(list((uninterrupted / "samples").glob("*.png"))) >= 1
    assert list((uninterrupted / "tensorboard").iterdir())
    rows = log(uninterrupted)
    assert [row["step"] for row in rows] == [1, 3, 6]
    assert {"loss/discriminator", "loss/generator", "loss/r1", "loss/path_length", "augment/p"} <= rows[0].keys()
    assert "quality/swd_mean" in rows[1]
    assert not [path for path in uninterrupted.iterdir() if atomic.is_temporary(path)]


def test_same_seed_same_bytes(faces: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run(settings(faces, tmp_path / "run"))
    for name in ("samples/000000-kimg.png",):
        assert (tmp_path / "run" / name).read_bytes() == (uninterrupted / name).read_bytes()
    assert_same(tmp_path / "run", uninterrupted)
    assert log(tmp_path / "run") == log(uninterrupted)
    run(settings(faces, tmp_path / "other", seed=1))
    assert not torch.equal(
        contents(tmp_path / "other")["generator.safetensors/blocks.0.const"],
        contents(uninterrupted)["generator.safetensors/blocks.0.const"],
    )


@pytest.mark.parametrize("step", [2, 5])
def test_stop_and_resume_gives_the_same_bits(
    faces: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    config = settings(faces, tmp_path / "run")
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(run_folder.Stopped, match=r"stopped at .* kimg; the same command goes on"):
            run(config)
    assert load_tensors(config.out / "state.safetensors", "training-state")[1]["step"] == step
    run(config)
    assert_same(config.out, uninterrupted)
    rows = log(config.out)
    assert [row["step"] for row in rows] == sorted({1, 3, 6, step})
    assert [row for row in rows if row["step"] in (1, 3, 6)] == log(uninterrupted)


def test_finished_run_is_left_alone_and_can_be_prolonged(faces: Path, uninterrupted: Path, tmp_path: Path) -> None:
    config = settings(faces, tmp_path / "run", steps=3)
    run(config)
    before = (config.out / "state.safetensors").read_bytes()
    run(config)
    assert (config.out / "state.safetensors").read_bytes() == before
    run(replace(config, kimg=6 * 4 / 1000))
    assert_same(config.out, uninterrupted)


def test_other_settings_are_refused_by_name(faces: Path, tmp_path: Path) -> None:
    config = settings(faces, tmp_path / "run", steps=1)
    run(config)
    for name, value in (("style_mixing", 0.1), ("seed", 3), ("network", replace(tiny.GENERATOR, w_dim=9))):
        shown = "network.w_dim" if name == "network" else name
        with pytest.raises(ConfigError, match=rf"other settings \({shown} was .*choose another --out"):
            run(replace(config, **{name: value}))
    run(replace(config, snapshot_kimg=5.0, learning_rate=1e-3))  # may change


def test_new_learning_rate_acts_when_resumed(faces: Path, tmp_path: Path) -> None:
    first, second = (
        GeneratorTrainer(settings(faces, tmp_path, learning_rate=rate), make_fabric(CPU)) for rate in (2e-3, 1e-3)
    )
    second.restore(*first.state())
    assert second.g_optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 2 / 3)


def break_loss(monkeypatch: pytest.MonkeyPatch, name: str, step: int) -> None:
    """Make one of the losses NaN from this step on."""
    original = getattr(train_generator, name)
    trainers: list[GeneratorTrainer] = []
    init = GeneratorTrainer.__init__
    monkeypatch.setattr(GeneratorTrainer, "__init__", lambda self, *args: trainers.append(self) or init(self, *args))

    def broken(*args: Any) -> torch.Tensor:
        return original(*args) * (float("nan") if trainers[-1].step >= step else 1.0)

    monkeypatch.setattr(train_generator, name, broken)


@pytest.mark.parametrize("loss", ["discriminator_loss", "path_lengths"])
def test_nan_stops_and_keeps_the_snapshot(
    faces: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    config = settings(faces, tmp_path / "run", r1_interval=1, path_length_interval=1)
    run(replace(config, kimg=0.012))
    before = contents(config.out)
    with monkeypatch.context() as patch:
        break_loss(patch, loss, 4)
        with pytest.raises(NonFiniteError) as caught:
            run(config)
    message = str(caught.value)
    assert "became nan at step 4" in message
    assert f"the snapshot of step 3 in {config.out} is intact" in message
    assert "\n" not in message
    after = contents(config.out)
    assert all(torch.equal(after[name], before[name]) for name in before)
    run(config)  # the folder is not locked by the failure, and the training goes on
    assert load_tensors(config.out / "state.safetensors", "training-state")[1]["step"] == 6


def test_gradient_without_value_is_seen_before_the_parameters_are_spoilt(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rooted(fake_logits: torch.Tensor) -> torch.Tensor:
        return (fake_logits - fake_logits).abs().sum().sqrt()  # 0, with an infinite slope times 0

    monkeypatch.setattr(train_generator, "generator_loss", rooted)
    with pytest.raises(NonFiniteError, match="the gradient became nan at step 0"):
        run(settings(faces, tmp_path / "run"))


def test_full_disk_during_a_snapshot_keeps_the_previous_one(
    faces: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(faces, tmp_path / "run")
    run(replace(config, kimg=0.012))
    before = {name: (config.out / name).read_bytes() for name in FILES}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_sync_folder", lambda folder: patch.setattr(atomic.os, "fsync", full))
        with pytest.raises(StorageError, match="the disk is full"):
            run(config)
    # The new generator may be there, whole; the state to resume from is that of step 3.
    assert (config.out / "state.safetensors").read_bytes() == before["state.safetensors"]
    assert not [path for path in config.out.iterdir() if atomic.is_temporary(path)]
    run(config)
    assert_same(config.out, uninterrupted)
    assert log(config.out) == log(uninterrupted)


def test_full_disk_for_the_log(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", **options: Any) -> Any:
        if path.name == "log.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"log\.jsonl: the disk is full"):
        run(settings(faces, tmp_path / "run"))


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ImageError, match="holds no images"):
        run(settings(tmp_path / "in", tmp_path / "run"))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_odd_batches(faces: Path, tmp_path: Path, batch_size: int) -> None:
    run(settings(faces, tmp_path / "run", batch_size=batch_size, kimg=2 * batch_size / 1000))


@pytest.mark.parametrize(
    ("name", "value"),
    [("kimg", 0.0), ("batch_size", 0), ("learning_rate", -1.0), ("r1_interval", 0), ("style_mixing", 2.0)],
)
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        TrainGeneratorConfig(images=(Path("in"),), out=Path("out"), **{name: value})


# --------------------------------------------------------------------------------------------------------------------
# Parts


def test_augmentation_is_steered_towards_its_target() -> None:
    ada = AdaptiveAugmentation(target=0.5, kimg=1.0)
    for step in range(8):
        ada.update(torch.ones(10), step, batch_size=10)
    assert ada.p == pytest.approx(2 * 4 * 10 / 1000)
    for step in range(8, 20):
        ada.update(-torch.ones(10), step, batch_size=10)
    assert ada.p == 0  # never below
    for step in range(4000):
        ada.update(torch.ones(10), step, batch_size=10)
    assert ada.p == 1  # never above
    off = AdaptiveAugmentation(target=0.0, kimg=1.0)
    off.update(torch.ones(10), 3, batch_size=10)
    assert off.p == 0


def test_lazy_adam() -> None:
    group = lazy_adam([torch.nn.Parameter(torch.zeros(1))], 1e-3, 15).param_groups[0]
    assert group["lr"] == pytest.approx(1e-3 * 15 / 16)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (15 / 16)))


def test_ema_half_life(faces: Path, tmp_path: Path) -> None:
    config = settings(faces, tmp_path / "run", ema_kimg=0.008, ema_rampup=100.0)
    trainer = GeneratorTrainer(config, make_fabric(CPU))
    with torch.no_grad():
        for parameter in trainer.generator.parameters():
            parameter.add_(1.0)
    before = trainer.ema.blocks[0].const.clone()
    trainer.update_ema()  # 4 of a half-life of 8 images
    torch.testing.assert_close(trainer.ema.blocks[0].const - before, torch.full_like(before, 1 - 0.5**0.5))


def test_mixing_and_mean_of_w(faces: Path, tmp_path: Path) -> None:
    trainer = GeneratorTrainer(settings(faces, tmp_path / "run", style_mixing=1.0), make_fabric(CPU))
    ws = trainer.draw_ws(16, torch.Generator().manual_seed(0)).detach()
    changes = (ws[:, 1:] != ws[:, :-1]).any(dim=2).sum(dim=1)
    assert (changes == 1).all()
    assert trainer.generator.mapping.w_avg.abs().max() > 0
    trainer = GeneratorTrainer(settings(faces, tmp_path / "run", style_mixing=0.0), make_fabric(CPU))
    ws = trainer.draw_ws(16, torch.Generator().manual_seed(0)).detach()
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


def test_state_round_trip(faces: Path, tmp_path: Path) -> None:
    config = settings(faces, tmp_path / "run")
    first, second = (
        GeneratorTrainer(config, make_fabric(CPU)),
        GeneratorTrainer(replace(config, seed=5), make_fabric(CPU)),
    )
    real = torch.from_numpy(tiny.images(4)).permute(0, 3, 1, 2).float() / 127.5 - 1
    rng = torch.Generator().manual_seed(0)
    first.discriminator_step(real, rng)
    first.generator_step(4, rng)
    first.path_length_step(4, rng)
    first.ada.p, first.step = 0.25, 7
    tensors, counters = first.state()
    second.restore({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(counters)))
    again, counters_again = second.state()
    assert counters_again == counters
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[k], v) for k, v in tensors.items())


def test_evaluation_does_not_depend_on_the_order_of_memory(uninterrupted: Path) -> None:
    generator = load_generator(uninterrupted / "generator.safetensors")
    images = tiny.images(12)
    scores = evaluate_samples(generator, images, 8, 0)
    assert scores == evaluate_samples(generator, np.asfortranarray(images), 8, 0)
