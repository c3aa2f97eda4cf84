"""The command `invert`: every kind of file, kills, mismatches, pictures."""

import json
import shutil
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from lineament.checkpoints.ours import load_generator, network_fingerprint, save_network
from lineament.engine.work import Work
from lineament.errors import BusyError, ConfigError, ImageError, InputError, MismatchError
from lineament.faces import cropping
from lineament.faces.latent_spread import latent_spread
from lineament.ops.alignment import FoundFace
from lineament.recipes import invert as recipe
from lineament.recipes.inspect_file import run as inspect
from lineament.recipes.invert import NO_ENCODER, invert, run
from lineament.recipes.train.encoder import new_encoder
from lineament.records.devices import Devices
from lineament.records.inversion_settings import InversionSettings
from lineament.records.shapes import EncoderConfig
from lineament.settings.inspect_file import InspectConfig
from lineament.settings.invert import InvertConfig
from lineament.store.inversions import load_inversions
from tests import tiny

USUAL = FoundFace((0.5, 0.4), 1.0, ((0.3, 0.3), (0.7, 0.3)))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator and its encoder beside it."""
    folder = tmp_path_factory.mktemp("networks")
    network = tiny.generator()
    save_network(folder / "generator.safetensors", "generator", network, network.config.to_dict(), {})
    network = load_generator(folder / "generator.safetensors")
    torch.manual_seed(0)
    encoder = new_encoder(network, latent_spread(network, 500), EncoderConfig(channels=4, channel_max=6, offset_dim=4))
    torch.nn.init.normal_(encoder.common.weight)
    save_network(folder / "encoder.safetensors", "encoder", encoder, encoder.config.to_dict(), {})
    return folder


def settings(networks: Path, images: Path, out: Path, **changes: Any) -> InvertConfig:
    config = InvertConfig(
        images=images,
        out=out,
        generator=networks / "generator.safetensors",
        fit=InversionSettings(steps=2),
        batch_size=4,
        devices=Devices(accelerator="cpu"),
    )
    return replace(config, **changes)


def encoded(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def photographs(folder: Path, num: int = 6) -> Path:
    return tiny.image_folder(folder, num)


def test_killed_and_run_again_gives_the_same_bytes(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photographs(tmp_path / "in", 10)
    (images / "004.png").write_bytes(b"no image")
    whole = run(settings(networks, images, tmp_path / "a.safetensors", picture=tmp_path / "a.png"))
    assert not (tmp_path / "a.safetensors.parts").exists()
    original, calls = recipe.invert_images, []

    def killed(*arguments: Any, **named: Any) -> Any:
        calls.append(len(arguments[2]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(recipe, "invert_images", killed)
    config = settings(networks, images, tmp_path / "b.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert not config.out.exists()
    assert run(config).path == config.out
    assert calls == [4, 3, 3, 2]
    assert config.out.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    found = load_inversions(config.out)
    assert found.names == tuple(f"{i:03d}.png" for i in range(10) if i != 4)
    assert found.skipped == {"004.png": "not a readable image: unknown format"}
    np.testing.assert_array_equal(found.photographs[0], tiny.images(10)[0])
    generator = load_generator(networks / "generator.safetensors")
    assert found.generator_fingerprint == network_fingerprint(generator)
    assert found.encoder_fingerprint
    residual = (
        found.photographs[0] / 127.5
        - 1
        - generator.synthesize(torch.from_numpy(found.ws[:1]))[0].permute(1, 2, 0).clamp(-1, 1).numpy()
    )
    assert np.sqrt(np.square(residual).mean()) / 2 == pytest.approx(found.rmse[0], abs=1e-5)
    assert whole.picture is not None
    with Image.open(whole.picture) as picture:
        assert picture.width > 9 * 32


def test_other_settings_do_not_mix(networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs(tmp_path / "in")

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "invert_images", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(settings(networks, images, tmp_path / "a.safetensors"))
    with pytest.raises(ConfigError, match="the settings changed since this run began; name the same ones, or delete"):
        run(settings(networks, images, tmp_path / "a.safetensors", batch_size=3))
    with pytest.raises(ConfigError, match="the encoder changed"):
        run(settings(networks, images, tmp_path / "a.safetensors", encoder=NO_ENCODER))


def test_the_same_command_on_its_own_result_is_done_and_others_are_refused(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed after its last step must not end in an error when it is started again."""
    config = settings(networks, photographs(tmp_path / "in", 3), tmp_path / "a.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(Work, "remove", lambda self: None)  # killed before it tidied up
        first = run(config)
    before = config.out.read_bytes()
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    again = run(replace(config, images=tmp_path / "copy", picture=tmp_path / "a.png"))
    assert again.inversions.names == first.inversions.names
    assert config.out.read_bytes() == before
    assert (tmp_path / "a.png").exists()
    assert not (tmp_path / "a.safetensors.parts").exists()
    (tmp_path / "copy" / "001.png").write_bytes((tmp_path / "copy" / "000.png").read_bytes())
    for other in (replace(config, images=tmp_path / "copy"), replace(config, encoder=NO_ENCODER)):
        with pytest.raises(ConfigError, match="exists already, and holds something else"):
            run(other)


def test_images_are_known_by_content_and_the_folder_of_an_older_release_is_taken_once(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(networks, photographs(tmp_path / "in", 6), tmp_path / "a.safetensors")

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def resume(images: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(recipe, "invert_images", stopped)
            with pytest.raises(KeyboardInterrupt):
                run(replace(config, images=images))

    resume(config.images)
    resume(shutil.copytree(config.images, tmp_path / "copy"))
    assert "is older" not in capsys.readouterr().err
    known = tmp_path / "a.safetensors.parts" / "inputs.json"
    facts = json.loads(known.read_text())
    old = {name: value for name, value in facts.items() if name not in ("the contents of the images", "the features")}
    known.write_text(json.dumps(old | {"the images": "0123456789abcdef"}))
    resume(tmp_path / "copy")
    assert "is older than the check of the contents of the images and the features" in capsys.readouterr().err
    (tmp_path / "copy" / "001.png").write_bytes((tmp_path / "copy" / "000.png").read_bytes())
    with pytest.raises(
        ConfigError, match=r"the contents of the images changed since.* \(the .*: ........ before, ........ now"
    ):
        run(replace(config, images=tmp_path / "copy"))


def test_of_two_on_one_output_the_second_is_told_the_truth(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(networks, photographs(tmp_path / "in", 2), tmp_path / "a.safetensors")
    original = recipe.invert_images

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        with pytest.raises(BusyError, match=r"another lineament command is writing .*a\.safetensors; wait for it"):
            run(config)
        return original(*arguments, **named)

    monkeypatch.setattr(recipe, "invert_images", meanwhile)
    run(config)
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "in"}


def test_every_kind_of_file_is_taken_or_listed(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    upright = tiny.images(1, 48)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    cmyk = BytesIO()
    Image.fromarray(upright).convert("CMYK").save(cmyk, "JPEG")
    animated = BytesIO()
    frames = [Image.fromarray(frame) for frame in tiny.images(3, 40)]
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    whole = encoded(upright, "JPEG")
    files = {
        "a/turned.png": encoded(np.rot90(upright).copy(), exif=exif),
        "cmyk.jpg": cmyk.getvalue(),
        "animated.webp": animated.getvalue(),
        "grey.png": encoded(upright[..., 0]),
        "wide.png": encoded(np.tile(upright, (1, 2, 1))),
        "tiny.png": encoded(upright[:12, :12]),
        "huge.png": encoded(np.zeros((1, 1, 3), np.uint8)).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\xff\xff\0\0\xff\xff"),
        "truncated.jpg": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"a text",
        "notes.txt": b"a text",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    found = run(settings(networks, folder, tmp_path / "a.safetensors")).inversions
    assert found.names == ("a/turned.png", "animated.webp", "cmyk.jpg", "grey.png", "wide.png")
    reasons = {
        "empty.png": "not a readable image: the file is empty",
        "huge.png": "",
        "notes.txt": "not an image",
        "text.png": "not a readable",
        "tiny.png": "12 x 12 pixels are too few for 32 x 32",
        "truncated.jpg": "not a readable",
    }
    assert found.skipped.keys() == reasons.keys()
    assert all(found.skipped[name].startswith(reason) for name, reason in reasons.items())
    straight = np.asarray(Image.fromarray(upright).resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(found.photographs[0], straight)
    first = np.asarray(frames[0].resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(found.photographs[1], first)


def test_nothing_usable_is_one_error(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i}.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"no usable image among 9; the first: 0\.png \(not a readable"):
        run(settings(networks, folder, tmp_path / "a.safetensors"))
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_twice_in_a_zip_is_taken_once(networks: Path, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "in.zip", "w") as archive:
        for array in tiny.images(2):
            archive.writestr("a.png", encoded(array))
    assert run(settings(networks, tmp_path / "in.zip", tmp_path / "a.safetensors")).inversions.names == ("a.png",)


def test_nothing_is_overwritten(networks: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists already, and holds something else; delete it"):
        run(settings(networks, photographs(tmp_path / "in", 2), tmp_path / "a.safetensors"))
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "in"}
    with pytest.raises(ConfigError, match=r"expected a name in \.safetensors"):
        settings(networks, tmp_path, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        settings(networks, tmp_path, tmp_path / "b" / "a.safetensors")
    with pytest.raises(ConfigError, match="batch_size"):
        settings(networks, tmp_path, tmp_path / "c.safetensors", batch_size=0)


def test_encoders_that_do_not_fit(networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = photographs(tmp_path / "in", 2)
    other = tiny.generator(seed=1)
    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / "generator.safetensors"
    save_network(path, "generator", other, other.config.to_dict(), {})
    (tmp_path / "other" / "encoder.safetensors").write_bytes((networks / "encoder.safetensors").read_bytes())
    config = settings(networks, images, tmp_path / "a.safetensors", generator=path)
    with pytest.raises(MismatchError, match="the encoder was trained for generator"):
        run(replace(config, encoder=networks / "encoder.safetensors"))
    found = run(config).inversions
    assert "no --encoder of this generator" in capsys.readouterr().err
    assert found.encoder_fingerprint == ""


class StubFinder:
    """Takes the middle of every image that is brighter than black for a face, and twice that of the brightest."""

    def find(self, photograph: np.ndarray) -> list[FoundFace]:
        height, width, _ = photograph.shape
        side = min(height, width) / 2
        eyes = tuple((width / 2 + s * 0.2 * side, height / 2 - 0.1 * side) for s in (-1, 1))
        face = FoundFace((width / 2, height / 2), side, eyes)  # pyright: ignore[reportArgumentType]
        return [face] * min(int(photograph.max() > 0) + int(photograph.min() > 250), 2)


def finder() -> Any:
    return StubFinder()


def test_faces_are_aligned_or_listed(networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cropping, "usual_face_of", lambda *_: USUAL)
    folder = tmp_path / "in"
    folder.mkdir()
    textured = np.tile(tiny.images(1, 80)[0], (1, 2, 1))
    files = {
        "black.png": np.zeros((80, 160, 3), np.uint8),
        "square.png": textured[:, :80],
        "two.png": np.full((80, 160, 3), 255, np.uint8),
        "wide.png": textured,
    }
    for name, array in files.items():
        (folder / name).write_bytes(encoded(array))

    def inverted(name: str, **changes: Any) -> Any:
        return invert(settings(networks, folder, tmp_path / name, **changes), finder()).inversions

    detected = inverted("a.safetensors", align="detect")
    assert detected.names == ("square.png", "two.png", "wide.png")
    assert detected.skipped == {"black.png": "no face was found"}
    assert (
        inverted("b.safetensors", align="detect", alone=True).skipped["two.png"] == "2 faces were found, expected one"
    )
    auto = inverted("c.safetensors", align="auto")
    np.testing.assert_array_equal(auto.photographs[2], detected.photographs[2])
    whole = np.asarray(Image.fromarray(textured[:, :80]).resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(auto.photographs[0], whole)
    assert inverted("d.safetensors").names == tuple(files)


def test_a_missing_extra_is_said_before_the_work(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise InputError("pip install 'lineament[align]'")

    monkeypatch.setattr(cropping, "CascadeFinder", missing)
    with pytest.raises(InputError, match="align"):
        run(settings(networks, photographs(tmp_path / "in", 2), tmp_path / "a.safetensors", align="detect"))


def rendered(result: Any) -> str:
    console = Console(width=200, file=StringIO())
    for part in result.renderables():
        console.print(part)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_said(networks: Path, tmp_path: Path) -> None:
    images = photographs(tmp_path / "in", 5)
    (images / "002.png").write_bytes(b"x")
    result = run(settings(networks, images, tmp_path / "a.safetensors"))
    text = rendered(result)
    assert "4 photographs inverted, 1 files skipped" in text
    assert "SSIM" in text
    assert "of them are poor" in text
    assert "002.png" in text
    assert str(tmp_path / "a.safetensors") in text
    shown, of_encoder = (
        " ".join(rendered(inspect(InspectConfig(path))).split())  # a long path wraps the title
        for path in (result.path, networks / "encoder.safetensors")
    )
    assert "photographs as latents of one generator" in shown
    assert "4, 1 files skipped" in shown
    assert "a network from an image to" in of_encoder
