"""Generators from any file: opened, converted once, kept, inspected."""

import io
import os
import pickle
import shutil
import sys
import types
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lineament.checkpoints import opening as open_checkpoint
from lineament.checkpoints.conversion_cache import CACHE_VARIABLE, cache_entry
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_discriminator, load_generator, save_network
from lineament.checkpoints.pairs import find_encoder, find_features
from lineament.errors import ConfigError, FileFormatError, InputError
from lineament.networks.layouts.stylegan2 import generator_to_rosinality
from lineament.networks.perceptual import DiscriminatorFeatures
from lineament.networks.stylegan.generator import Generator
from lineament.recipes import convert
from lineament.recipes.inspect_file import run as inspect
from lineament.recipes.train.decomposer_trainer import features_path
from lineament.settings.convert import ConvertConfig
from lineament.settings.inspect_file import InspectConfig
from lineament.settings.train_decomposer import TrainDecomposerConfig
from lineament.store.foreign.checkpoints import file_hash
from lineament.store.tensors import read_header
from tests import foreign_checkpoints as checkpoints
from tests import tiny
from tests.foreign_names import judge, made, to_genforce, to_nvidia, to_tensorflow
from tests.networks.layouts import test_stylegan1 as stylegan1
from tests.networks.layouts import test_stylegan3 as stylegan3
from tests.networks.layouts.test_stylegan2 import to_nvidia_judge

Z = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def official(path: Path) -> Path:
    """A state as the official PyTorch code has it, with its discriminator."""
    torch.save({"G_ema": to_nvidia(made()), "D": to_nvidia_judge(judge(architecture="resnet"))}, path)
    return path


def tensorflow(path: Path) -> Path:
    def network(name: str, prefix: str, parts: dict[str, checkpoints.Network]) -> checkpoints.Network:
        variables = [
            (key.removeprefix(prefix), value.numpy())
            for key, value in to_tensorflow(made()).items()
            if key.startswith(prefix) and (prefix or "/" not in key)
        ]
        return checkpoints.Network(
            version=4,
            name=name,
            static_kwargs={},
            components=parts,
            build_module_src=checkpoints.SOURCE,
            build_func_name="G_main",
            variables=variables,
        )

    def whole() -> checkpoints.Network:
        parts = {"synthesis": network("G_synthesis", "synthesis/", {}), "mapping": network("G_mapping", "mapping/", {})}
        return network("G", "", parts)

    with checkpoints.foreign_modules():
        path.write_bytes(pickle.dumps((whole(), network("D", "none/", {}), whole()), 4))
    return path


def rosinality(path: Path) -> Path:
    torch.save(generator_to_rosinality(made(w_dim=6)), path)
    return path


@pytest.mark.parametrize("write", [official, tensorflow, rosinality])
def test_a_foreign_file_draws_what_its_weights_say(tmp_path: Path, write) -> None:
    path = write(tmp_path / "g.pkl")
    network = made(w_dim=6) if write is rosinality else made()
    found = open_generator(path)
    torch.testing.assert_close(found(Z, 0.7), network(Z, 0.7), atol=1e-5, rtol=1e-5)
    assert not found.training
    provenance = read_header(cache_entry(file_hash(path)) / "generator.safetensors").header["provenance"]
    assert provenance["converted_from"] == "g.pkl"
    assert len(provenance["sha256"]) == 64
    assert provenance["carries_code"] is (write is tensorflow)


def test_the_second_opening_reads_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = official(tmp_path / "g.pt")
    first = open_generator(path)(Z)

    def never(path: Path) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr(open_checkpoint, "open_checkpoint", never)
    torch.testing.assert_close(open_generator(path)(Z), first)
    # The bytes count: the same ones elsewhere are the same entry, others of equal size and time are another.
    shutil.copy(path, tmp_path / "copy.pt")
    torch.testing.assert_close(open_generator(tmp_path / "copy.pt")(Z), first)
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AssertionError, match="opened again"):
        open_generator(path)


def test_a_copy_that_was_made_from_another_file_is_made_again(tmp_path: Path) -> None:
    path, other = official(tmp_path / "g.pt"), rosinality(tmp_path / "r.pt")
    first, second = open_generator(path)(Z), open_generator(other)(Z)
    copies = [cache_entry(file_hash(file)) / "generator.safetensors" for file in (path, other)]
    shutil.copy(copies[1], copies[0])
    assert not torch.equal(first, second)
    torch.testing.assert_close(open_generator(path)(Z), first)
    copies[0].write_bytes(copies[0].read_bytes()[:-1])
    torch.testing.assert_close(open_generator(path)(Z), first)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
def test_a_cache_that_cannot_be_trusted_or_written_is_left_out(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = official(tmp_path / "g.pt")
    expected = open_generator(path)(Z)
    assert cache.stat().st_mode & 0o077 == 0
    for folder in (cache, cache_entry(file_hash(path))):
        folder.chmod(0o777)
        torch.testing.assert_close(open_generator(path)(Z), expected)
        assert f"others can change the cache {folder}" in capsys.readouterr().err.replace("\n", "")
        folder.chmod(0o700)
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    torch.testing.assert_close(open_generator(path)(Z), expected)
    torch.testing.assert_close(open_generator(path)(Z), expected)
    assert capsys.readouterr().err.count("going on without the cache") == 1
    torch.save({"fc.weight": torch.ones(3), "fc.bias": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(FileFormatError, match="holds 2 tensors"):
        open_generator(tmp_path / "other.pt")


def test_files_of_ours_pass_as_they_are(tmp_path: Path, cache: Path) -> None:
    path, _ = tiny.save_pair(tmp_path)
    assert open_generator(path).config == tiny.GENERATOR64
    assert not cache.exists()


def test_a_training_finds_the_discriminator_of_the_file(tmp_path: Path) -> None:
    path = official(tmp_path / "g.pt")
    features = features_path(TrainDecomposerConfig(out=tmp_path / "run", generator=path))
    assert features is not None
    assert load_discriminator(features).config.architecture == "resnet"
    assert features_path(TrainDecomposerConfig(out=tmp_path / "run", generator=rosinality(tmp_path / "r.pt"))) is None


def test_what_lies_beside_a_foreign_file_is_found_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = official(tmp_path / "g.pt")
    generator = open_generator(path)

    def never(path: Path) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(open_checkpoint, "file_hash", never)
    assert find_encoder(None, generator, path, "faces64") is None
    assert isinstance(find_features(None, generator, path, "faces64"), DiscriminatorFeatures)


def test_without_a_mean_w_one_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = made(w_dim=6)
    torch.save({"g_ema": generator_to_rosinality(network)["g_ema"]}, tmp_path / "g.pt")
    found = open_generator(tmp_path / "g.pt")
    assert "no mean w" in capsys.readouterr().err
    z = torch.randn(20000, 6, generator=torch.Generator().manual_seed(1))
    w = network.mapping(z)
    torch.testing.assert_close(found.mapping.w_avg, w.mean(dim=0), atol=5 * float(w.std()) / 4096**0.5, rtol=0)


def test_a_generator_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_generators")
    module.faces = made  # pyright: ignore[reportAttributeAccessIssue]
    module.wrong = lambda: 3  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "my_generators", module)
    assert isinstance(open_generator("my_generators:faces"), Generator)
    with pytest.raises(ConfigError, match="gave a int, expected a lineament"):
        open_generator("my_generators:wrong")
    with pytest.raises(ConfigError, match="cannot find my_generators:none"):
        open_generator("my_generators:none")
    with pytest.raises(ConfigError, match="cannot find no_such_module:faces"):
        open_generator("no_such_module:faces")


def test_what_is_no_generator_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_generator(tmp_path / "missing.pkl")
    torch.save({"D": to_nvidia_judge(judge())}, tmp_path / "d.pt")
    with pytest.raises(FileFormatError, match="holds a discriminator alone"):
        open_generator(tmp_path / "d.pt")
    torch.save({"state_dict": {"model.diffusion_model.out.0.weight": torch.ones(3)}}, tmp_path / "sd.ckpt")
    with pytest.raises(FileFormatError, match="holds a diffusion model, which is not read"):
        open_generator(tmp_path / "sd.ckpt")
    torch.save({"fc.weight": torch.ones(3), "fc.bias": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(FileFormatError, match="2 tensors of another network"):
        open_generator(tmp_path / "other.pt")
    (tmp_path / "page.pkl").write_text("<!DOCTYPE html><html><body>404</body></html>")
    with pytest.raises(FileFormatError, match=r"page\.pkl.*HTML|page\.pkl.*web page"):
        open_generator(tmp_path / "page.pkl")
    assert not list((tmp_path / "cache").rglob("generator.safetensors"))


def test_convert_writes_files_of_ours(tmp_path: Path) -> None:
    result = convert.run(ConvertConfig(official(tmp_path / "g.pt"), tmp_path / "ours"))
    assert [path.name for path in result.written] == ["discriminator.safetensors", "generator.safetensors"]
    assert result.facts["role"] == "G_ema"
    torch.testing.assert_close(
        load_generator(tmp_path / "ours" / "generator.safetensors")(Z), made()(Z), atol=1e-5, rtol=0
    )
    half = convert.run(ConvertConfig(tmp_path / "g.pt", tmp_path / "half", half=True)).written[1]
    assert half.stat().st_size < 0.6 * result.written[1].stat().st_size
    with pytest.raises(ConfigError, match="is a file of Lineament already"):
        convert.run(ConvertConfig(half, tmp_path / "again"))


def test_convert_there_and_back(tmp_path: Path) -> None:
    path = rosinality(tmp_path / "g.pt")
    convert.run(ConvertConfig(path, tmp_path / "ours"))
    ours = tmp_path / "ours" / "generator.safetensors"
    (back,) = convert.run(ConvertConfig(ours, tmp_path / "back.pt", to="rosinality")).written
    first, second = (torch.load(p, weights_only=True) for p in (path, back))
    assert first["g_ema"].keys() == second["g_ema"].keys()
    assert all(torch.equal(first["g_ema"][k], second["g_ema"][k]) for k in first["g_ema"])
    assert torch.equal(first["latent_avg"], second["latent_avg"])
    with pytest.raises(ConfigError, match=r"expected the name of a \.pt file"):
        convert.run(ConvertConfig(ours, tmp_path / "back", to="rosinality"))


def test_clamping_is_lost_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = made(w_dim=6, conv_clamp=256.0)
    save_network(tmp_path / "g.safetensors", "generator", network, network.config.to_dict(), {}, half=False)
    convert.run(ConvertConfig(tmp_path / "g.safetensors", tmp_path / "g.pt", to="rosinality"))
    assert "clamps its convolutions to 256" in capsys.readouterr().err
    # Nothing of this size reaches the limit.
    torch.testing.assert_close(open_generator(tmp_path / "g.pt")(Z), network(Z), atol=1e-3, rtol=1e-3)


def test_inspect_tells_family_networks_and_code(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=200)
    found = inspect(InspectConfig(tensorflow(tmp_path / "g.pkl")))
    for part in found.renderables():
        console.print(part)
    assert found.facts["family"] == "stylegan2"
    assert found.facts["generator"] == "StyleGAN2, official TensorFlow, called 'Gs'"
    assert found.facts["carries code"] == "yes; it was not run"
    assert found.facts["generator.resolution"] == "32"
    assert "G_main" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    torch.save({"fc.weight": torch.ones(3)}, tmp_path / "other.pt")
    assert (
        "not those of a StyleGAN of a known layout"
        in inspect(InspectConfig(tmp_path / "other.pt")).facts["as StyleGAN"]
    )


def test_a_stream_of_bytes_is_a_file_too(tmp_path: Path) -> None:
    # The legacy format of torch.save, which older files have.
    stream = io.BytesIO()
    torch.save(generator_to_rosinality(made(w_dim=6)), stream, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pt").write_bytes(stream.getvalue())
    torch.testing.assert_close(open_generator(tmp_path / "old.pt")(Z), made(w_dim=6)(Z), atol=1e-5, rtol=0)


def test_every_family_is_recognised(tmp_path: Path) -> None:
    genforce = {name: value.float() for name, value in stylegan1.ramped(stylegan1.generator_shapes(16)).items()}
    judge_of_genforce = stylegan1.ramped(stylegan1.discriminator_shapes(16))
    files = {
        "stylegan1": ({"generator_smooth": genforce, "discriminator": judge_of_genforce}, "StyleGAN, genforce"),
        "stylegan2": ({"generator_smooth": to_genforce(made(w_dim=6))}, "StyleGAN2, genforce"),
        "stylegan3": ({"G_ema": stylegan3.theirs(stylegan3.made())}, "StyleGAN3, official"),
    }
    for family, (value, layout) in files.items():
        path = tmp_path / f"{family}.pth"
        torch.save(value, path)
        found = inspect(InspectConfig(path)).facts
        assert found["family"] == family
        assert found["generator"].startswith(f"{layout}, called")
        generator = open_generator(path)
        assert generator.family == family
        generator.choose_class(0 if generator.config.c_dim else None)
        images = generator(torch.randn(2, generator.config.z_dim), 0.7)
        assert images.shape == (2, 3, generator.config.resolution, generator.config.resolution)
    assert inspect(InspectConfig(tmp_path / "stylegan1.pth")).facts["discriminator"].startswith("StyleGAN, genforce")
    torch.save({"Gs": stylegan1.tensorflow_generator(16)}, tmp_path / "tf.pth")
    assert inspect(InspectConfig(tmp_path / "tf.pth")).facts["generator"].startswith("StyleGAN, official TensorFlow")


def test_half_precision_only_where_it_was_trained_for(tmp_path: Path) -> None:
    ours, _ = tiny.save_pair(tmp_path)
    assert not open_generator(ours, half=True).half_precision
    path, clamped = tmp_path / "clamped.safetensors", made(conv_clamp=256.0)
    save_network(path, "generator", clamped, clamped.config.to_dict(), {})
    assert open_generator(path, half=True).half_precision
    assert not open_generator(path).half_precision  # on a CPU
