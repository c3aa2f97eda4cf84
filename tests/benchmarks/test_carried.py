"""The pictures of the benchmark of carried edits."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.carried import CarriedConfig, run
from lineament.checkpoints.ours import load_generator
from lineament.checkpoints.shipped import shipped_path
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import latents
from lineament.recipes.invert import run as invert
from lineament.records.devices import Devices
from lineament.records.inversion_settings import InversionSettings
from lineament.settings.invert import InvertConfig


def test_the_same_faces_are_written_before_and_after_both_ways(tmp_path: Path) -> None:
    run(CarriedConfig(tmp_path, faces=2, change=10.0))
    names = ("before", "carried", "linear")
    assert sorted(path.name for path in tmp_path.iterdir()) == list(names)
    faces = [[np.asarray(Image.open(tmp_path / name / f"000{i}.png")).astype(float) for i in (0, 1)] for name in names]
    before, carried, linear = np.array(faces)
    assert min(np.abs(one - before).mean() for one in (carried, linear)) > 1
    assert np.abs(carried - linear).mean() > 1


def test_photographs_are_edited_from_their_inversions(tmp_path: Path) -> None:
    generator = load_generator(shipped_path("generator.safetensors", "renders64"))
    drawn = generator(latents(3, range(2), generator.config.z_dim), 0.5).clamp(-1, 1)
    (tmp_path / "in").mkdir()
    for i, image in enumerate(to_uint8(drawn)):
        Image.fromarray(image).save(tmp_path / "in" / f"{i}.png")
    found, fit = tmp_path / "inv.safetensors", InversionSettings(steps=2)
    invert(InvertConfig(tmp_path / "in", found, pair="renders64", fit=fit, devices=Devices("cpu")))
    run(CarriedConfig(tmp_path / "out", faces=2, pair="renders64", latents=found))
    before, carried = (np.asarray(Image.open(tmp_path / "out" / name / "0001.png")) for name in ("before", "carried"))
    np.testing.assert_array_equal(before, np.asarray(Image.open(tmp_path / "in" / "1.png")))
    assert np.abs(carried.astype(float) - before).mean() > 1
