"""The pictures of the benchmark of carried edits."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.carried import CarriedConfig, run


def test_the_same_faces_are_written_before_and_after_both_ways(tmp_path: Path) -> None:
    run(CarriedConfig(tmp_path, faces=2, change=10.0))
    names = ("before", "carried", "linear")
    assert sorted(path.name for path in tmp_path.iterdir()) == list(names)
    faces = [[np.asarray(Image.open(tmp_path / name / f"000{i}.png")).astype(float) for i in (0, 1)] for name in names]
    before, carried, linear = np.array(faces)
    assert min(np.abs(one - before).mean() for one in (carried, linear)) > 1
    assert np.abs(carried - linear).mean() > 1
