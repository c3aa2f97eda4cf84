"""Trainings that begin with trained networks: what they keep and what they forget; what does not fit is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from lineament.checkpoints.ours import load_discriminator, load_generator, save_network
from lineament.errors import FileFormatError, InputError, MismatchError
from lineament.networks.stylegan.discriminator import Discriminator, DiscriminatorConfig
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.recipes.train.generator import WARMUP_RATE, WARMUP_RISE, GeneratorTrainer, run
from lineament.recipes.train.start_from import start_discriminator, start_generator
from lineament.records.shapes import GeneratorConfig
from lineament.settings.train_generator import TrainGeneratorConfig
from tests import tiny
from tests.recipes.train import test_generator
from tests.recipes.train.test_generator import contents, settings

faces = test_generator.faces  # the fixture

LARGER = replace(tiny.GENERATOR, resolution=64, channel_min=2)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    path = tmp_path / "trained" / "generator.safetensors"
    path.parent.mkdir()
    network = tiny.generator()
    save_network(path, "generator", network, network.config.to_dict(), {}, half=False)
    torch.manual_seed(5)
    judge = Discriminator(DiscriminatorConfig.matching(tiny.GENERATOR))
    save_network(path.with_name("discriminator.safetensors"), "discriminator", judge, judge.config.to_dict(), {})
    return path


def test_channels_have_a_least_number() -> None:
    assert [LARGER.channels(r) for r in (4, 16, 32, 64)] == [6, 4, 2, 2]
    assert replace(LARGER, channel_min=1).channels(64) == 1
    assert DiscriminatorConfig.matching(LARGER).channels(64) == LARGER.channels(64)


def test_a_larger_one_keeps_all_features_but_forgets_their_colours(trained: Path) -> None:
    small = load_generator(trained)
    torch.manual_seed(1)
    large, before = StyleGAN2(LARGER), StyleGAN2(LARGER)
    before.load_state_dict(large.state_dict())
    start_generator(large, trained)
    taken, fresh, found = small.state_dict(), before.state_dict(), large.state_dict()
    for name, tensor in found.items():
        assert torch.equal(tensor, fresh[name] if "to_rgb" in name or name not in taken else taken[name]), name
    assert any("to_rgb" in name and not torch.equal(taken[name], found[name]) for name in taken)
    z = torch.randn(2, LARGER.z_dim)
    with torch.no_grad():
        torch.testing.assert_close(large.map(z, 0.5), small.map(z, 0.5))


def test_a_wider_one_computes_the_same_features_in_its_first_channels(trained: Path) -> None:
    small = load_generator(trained)
    torch.manual_seed(1)
    wide = StyleGAN2(replace(tiny.GENERATOR, channel_base=4 * tiny.GENERATOR.channel_base, channel_max=16))
    colours = [block.to_rgb.weight.clone() for block in wide.synthesis_blocks() if block.to_rgb is not None]
    start_generator(wide, trained)
    ws = small.broadcast(small.map(torch.randn(2, tiny.GENERATOR.z_dim)))
    assert isinstance(small, StyleGAN2)

    def features(network: StyleGAN2) -> list[torch.Tensor]:
        found, x = [], None
        for block in network.synthesis_blocks():
            noises = [layer.noise(2, "const", None) for layer in block.layers()]
            x, _ = block(x, None, ws[:, :3], noises)
            found.append(x)
        return found

    with torch.no_grad():
        for before, after in zip(features(small), features(wide), strict=True):
            assert after.shape[1] > before.shape[1]
            torch.testing.assert_close(after[:, : before.shape[1]], before)
            assert float(after[:, before.shape[1] :].std()) > 0.1  # the new ones are not idle
    for block, colour in zip(wide.synthesis_blocks(), colours, strict=True):
        assert block.to_rgb is not None
        assert torch.equal(block.to_rgb.weight, colour)
    with pytest.raises(MismatchError, match="choose the same widths"):
        start_generator(StyleGAN2(replace(tiny.GENERATOR, channel_max=2)), trained)


def test_one_of_the_same_size_begins_with_the_same_images(trained: Path) -> None:
    same, z = StyleGAN2(tiny.GENERATOR), torch.randn(2, tiny.GENERATOR.z_dim)
    start_generator(same, trained)
    with torch.no_grad():
        torch.testing.assert_close(same(z), load_generator(trained)(z))


def test_the_larger_judge_keeps_all_but_its_first_look(trained: Path) -> None:
    torch.manual_seed(2)
    config = DiscriminatorConfig.matching(LARGER)
    judge, before = Discriminator(config), Discriminator(config)
    before.load_state_dict(judge.state_dict())
    path = trained.with_name("discriminator.safetensors")
    start_discriminator(judge, path)
    changed = {n for n, t in judge.state_dict().items() if not torch.equal(t, before.state_dict()[n])}
    weights = {n for n in judge.state_dict() if n.endswith("weight")}
    assert changed & weights == {n for n in weights if not n.startswith(("from_rgb", "blocks.0."))}
    same = Discriminator(DiscriminatorConfig.matching(tiny.GENERATOR))
    start_discriminator(same, path)
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(same(image), load_discriminator(path)(image))


def test_what_does_not_fit(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"its .* has shape .*choose the same widths"):
        start_generator(StyleGAN2(replace(tiny.GENERATOR, w_dim=tiny.GENERATOR.w_dim + 1)), trained)
    with pytest.raises(MismatchError, match="a larger one"):
        start_discriminator(
            Discriminator(DiscriminatorConfig(32, 64, 4)),
            _judge(tmp_path, DiscriminatorConfig(64, 64, 4)),
        )
    with pytest.raises(InputError):
        start_generator(StyleGAN2(GeneratorConfig(32)), tmp_path / "missing.safetensors")
    with pytest.raises(FileFormatError):
        start_generator(StyleGAN2(GeneratorConfig(32)), trained.with_name("discriminator.safetensors"))


def _judge(folder: Path, config: DiscriminatorConfig) -> Path:
    path = folder / "judge.safetensors"
    save_network(path, "discriminator", Discriminator(config), config.to_dict(), {})
    return path


def test_training_goes_on_from_there(faces: Path, trained: Path, tmp_path: Path) -> None:
    config = settings(faces, tmp_path / "out", 2, start_from=trained, warmup_kimg=4 / 1000, network=LARGER)
    run(config)
    once = contents(tmp_path / "out")
    network = load_generator(tmp_path / "out" / "generator.safetensors")
    assert network.config.resolution == 64
    # Resumed, it does not begin anew.
    run(replace(config, kimg=config.kimg * 2))
    assert any(not torch.equal(t, once[n]) for n, t in contents(tmp_path / "out").items() if n in once)


def test_the_discriminator_warms_up_with_momentum_and_contests_without(tmp_path: Path) -> None:
    config = TrainGeneratorConfig(
        (tmp_path,),
        tmp_path / "out",
        replace(tiny.GENERATOR, resolution=32),
        warmup_kimg=0.032,
        batch_size=4,
        discriminator_rate=3.0,
    )
    trainer = GeneratorTrainer(config, Fabric(accelerator="cpu", devices=1))
    rng, real = torch.Generator().manual_seed(0), torch.rand(4, 3, 32, 32) * 2 - 1
    group = trainer.d_optimizer.param_groups[0]
    for step in range(10):
        trainer.step = step
        values = trainer.discriminator_step(real, rng)
        assert trainer.warming == (step < 8)
        assert ("loss/r1" in values) == (not trainer.warming and step % config.r1_interval == 0)
        if trainer.warming:
            assert (group["lr"], group["betas"]) == (WARMUP_RATE * (step + 1) / WARMUP_RISE, (0.9, 0.99))
            assert trainer.ada.count == 0
        else:
            assert (group["lr"], group["betas"][0]) == (config.learning_rate * 3 * 16 / 17, 0.0)


def test_a_warm_up_leaves_the_generator_alone(faces: Path, trained: Path, tmp_path: Path) -> None:
    run(settings(faces, tmp_path / "out", 2, start_from=trained, warmup_kimg=1.0))
    kept, start = load_generator(tmp_path / "out" / "generator.safetensors"), load_generator(trained)
    for name, tensor in kept.state_dict().items():
        if name != "mapping.w_avg":  # which is tracked
            torch.testing.assert_close(tensor, start.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_the_discriminator_may_learn_faster(tmp_path: Path) -> None:
    config = TrainGeneratorConfig((tmp_path,), tmp_path / "out", tiny.GENERATOR, discriminator_rate=2.5)
    trainer = GeneratorTrainer(config, Fabric(accelerator="cpu", devices=1))
    ours, theirs = (o.param_groups[0]["lr"] for o in (trainer.g_optimizer, trainer.d_optimizer))
    assert ours == pytest.approx(config.learning_rate * 8 / 9)
    assert theirs == pytest.approx(config.learning_rate * 2.5 * 16 / 17)
