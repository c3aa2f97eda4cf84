import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.checkpoints.ours import network_fingerprint, save_network
from lineament.cli.main import main
from lineament.errors import ConfigError, ImageError, InputError, MismatchError
from lineament.ops.seeding import latents
from lineament.ops.shapes import ellipsoid_depth
from lineament.recipes import decompose
from lineament.recipes.decompose import ROWS, DecomposeResult, generated, photographs, pictures_of, run
from lineament.records.decomposition import Decomposition
from lineament.records.semantics import SCALAR_SEMANTICS, SEMANTIC_NAMES
from lineament.settings.decompose import DecomposeConfig
from lineament.store.pictures import read_png_text
from tests import tiny


@pytest.fixture
def config(tiny_files, tmp_path):
    """Makes a config of the tiny world."""

    def make(out="parts.png", maps=None, **changes):
        files = {"decomposer": tiny_files / "decomposer.safetensors", "out": tmp_path / out}
        if changes.get("images") is None:
            files |= {"generator": tiny_files / "generator.safetensors", "seeds": "3,5"}
        return DecomposeConfig(**(files | {"maps": maps and tmp_path / maps} | changes))

    return make


def test_picture_table_and_numbers_of_generated_faces(config, tiny_networks):
    generator, decomposer = tiny_networks
    result = run(config(maps="maps.npz"))
    with Image.open(result.path) as picture:
        # Faces of 64 px are doubled; around them there are gaps of 6 px and the names.
        assert picture.height == 32 + len(ROWS) * 134 - 6 + 12
        assert 2 * 134 + 100 < picture.width < 2 * 134 + 200
    words = read_png_text(result.path)
    assert words["lineament:faces"] == "seeds 3,5 at truncation 0.7"
    assert words["lineament:decomposer"] == network_fingerprint(decomposer)
    assert words["lineament:generator"] == network_fingerprint(generator)
    assert result.names == ("seed 3", "seed 5")

    images = generator(latents(0, [3, 5], 16), 0.7).clamp(-1, 1)
    parts = decomposer(images)
    assert np.allclose(result.semantics, decomposer.measure(images), atol=1e-4)
    with np.load(result.maps, allow_pickle=False) as stored:
        maps = dict(stored)
    assert maps["seeds"].tolist() == [3, 5]
    assert np.allclose(maps["canon_depth"], parts.canon_depth, atol=1e-6)
    assert np.allclose(maps["canon_albedo"] * 2 - 1, parts.canon_albedo.permute(0, 2, 3, 1), atol=1e-5)
    assert maps["normals"].shape == (2, 64, 64, 3)
    assert np.allclose(np.linalg.norm(maps["normals"], axis=-1), 1, atol=1e-5)
    assert (maps["normals"][..., 2] > 0).mean() > 0.9
    assert np.allclose(maps["view"], parts.view, atol=1e-6)
    assert np.allclose(maps["light"], parts.light, atol=1e-6)
    assert maps["tilt"] == decomposer.tilt
    assert np.array_equal(maps["semantics"], result.semantics)
    assert tuple(maps["names"]) == SEMANTIC_NAMES
    assert tuple(maps["units"]) == tuple(s.unit for s in SCALAR_SEMANTICS)


def test_same_seeds_same_bytes_and_batches_do_not_matter(config, monkeypatch):
    first = run(config(out="a.png", maps="a.npz"))
    monkeypatch.setattr(decompose, "_BATCH", 1)
    again = run(config(out="b.png", maps="b.npz"))
    assert np.allclose(first.semantics, again.semantics, atol=1e-4)
    pictures = [np.asarray(Image.open(r.path)).astype(int) for r in (first, again)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.1
    third = run(config(out="c.png", maps="c.npz"))
    assert again.path.read_bytes() == third.path.read_bytes()
    assert again.maps.read_bytes() == third.maps.read_bytes()


def test_every_row_shows_what_its_name_says():
    # A ball, red on the image's right half and blue on its left.
    albedo = torch.full((1, 3, 64, 64), -1.0)
    albedo[:, 0, :, 32:] = albedo[:, 2, :, :32] = 0.5
    depth = ellipsoid_depth(64, near=0.93, far=1.0)[None]
    parts = Decomposition(depth, albedo, torch.zeros(1, 6), torch.tensor([[0.5, 0.3, 0.0, 0.0]]))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = pictures_of(tiny.decomposer(), images, parts)
    pictures = dict(zip(ROWS, rows, strict=True))
    assert all(row.shape == (1, 3, 128, 128) for row in rows)
    assert all(row.abs().max() <= 1 + 1e-5 for row in rows[1:])
    assert all((row[:, :, 0, 0] == 1).all() for row in rows[1:])

    def redness(name):  # of what is coloured, how much more of it is red than blue
        red, blue = pictures[name][0, 0], pictures[name][0, 2]
        return float((red - blue).sum() / (red - blue).abs().sum())

    assert abs(redness("reconstruction")) < 0.01
    assert redness("turned +30°") > 0.1 > -0.1 > redness("turned -30°")  # the nose goes left, the right side is seen
    assert redness("lit from left") < -0.1 < 0.1 < redness("lit from right")


def test_images_are_the_first_usable_ones_in_the_order_of_their_names(config, tmp_path, capsys):
    folder = tiny.image_folder(tmp_path / "faces", num=4, resolution=64)
    (folder / "000.png").write_bytes(b"broken")
    result = run(config(images=folder, faces=2, maps="maps.npz"))
    assert result.names == ("001.png", "002.png")
    assert "skipped 1 unusable image(s), the first: 000.png" in capsys.readouterr().err
    with np.load(result.maps, allow_pickle=False) as maps:
        assert maps["images"].tolist() == ["001.png", "002.png"]
        assert "seeds" not in maps
    assert read_png_text(result.path)["lineament:faces"] == "2 of faces"
    assert not list(folder.glob("*.npy"))


def test_pixels_and_names_of_a_zip(tmp_path):
    folder = tiny.image_folder(tmp_path / "faces", num=1, resolution=64)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.write(folder / "000.png", "a\nb/[red]ü.png")
    faces = photographs(tmp_path / "faces.zip", 8, 64)
    assert faces.names == ["a%0Ab/[red]ü.png"]
    shown = ((faces.images + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shown, tiny.images(1, 64))


def test_nothing_usable_is_one_error(config, tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match="no usable image among 1"):
        run(config(images=tmp_path / "faces"))
    with pytest.raises(ImageError, match="does not exist"):
        run(config(images=tmp_path / "nowhere"))
    assert not (tmp_path / "parts.png").exists()


def test_a_generator_of_smaller_images_is_refused(tmp_path):
    network = tiny.generator()
    save_network(tmp_path / "small.safetensors", "generator", network, network.config.to_dict(), {})
    with pytest.raises(MismatchError, match=r"small\.safetensors makes 32 px images"):
        generated(tmp_path / "small.safetensors", [0], 0.7, tiny.decomposer(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": Path("faces"), "seeds": "0"}, ConfigError, "--images and --seeds"),
        ({"images": Path("faces"), "generator": Path("g")}, ConfigError, "--images and --generator"),
        ({"faces": 0}, ConfigError, "faces is 0, expected 1 to 100"),
        ({"faces": 101}, ConfigError, "in parts"),
        ({"truncation": 0.0}, ConfigError, "truncation is 0"),
        ({"out": "parts.jpg"}, ConfigError, r"--out is .*\.png"),
        ({"out": "missing/parts.png"}, InputError, "does not exist"),
        ({"maps": "maps.npy"}, ConfigError, r"--maps is .*\.npz"),
        ({"maps": "missing/maps.npz"}, InputError, "another --maps"),
    ],
)
def test_settings_that_cannot_be_are_refused(config, changes, error, message):
    with pytest.raises(error, match=message):
        config(**changes)


@pytest.mark.parametrize("seeds", ["0-100", "x", ""])
def test_seeds_that_cannot_be_are_refused_before_anything_is_read(config, tmp_path, seeds):
    with pytest.raises(ConfigError, match="seeds"):
        run(config(seeds=seeds, decomposer=tmp_path / "nothing"))


def test_from_end_to_end(tiny_files, tmp_path, capsys):
    files = [f"--{name}={tiny_files / name}.safetensors" for name in ("generator", "decomposer")]
    out, maps = tmp_path / "parts.png", tmp_path / "maps.npz"
    assert main(["decompose", *files, "--seeds", "7", "--out", str(out), "--maps", str(maps)]) == 0
    text = capsys.readouterr().out
    assert "seed 7" in text
    assert "light_x" in text
    assert text.endswith(f"{out}\n{maps}\n")
    assert out.exists()
    assert maps.exists()
    assert main(["decompose", "--decomposer", str(out), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("lineament: error: ")


def test_images_without_a_face_are_named_with_a_warning(tmp_path: Path) -> None:
    known = DecomposeResult(tmp_path / "a.png", None, ("seed 0", "seed 1"), np.zeros((2, 9)), np.array([0.9, 0.2]))
    said = known.warning()
    assert said is not None
    assert said.startswith("1 of 2 images have an agreement below 0.5, the first: seed 1; ")
    assert said in known.renderables()
    assert DecomposeResult(tmp_path / "a.png", None, ("seed 0",), np.zeros((1, 9)), np.array([0.5])).warning() is None
