"""Settings of `lineament evaluate decomposer`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair, shipped_path
from lineament.errors import ConfigError
from lineament.records.bounds import check_bounds, check_numbers
from lineament.records.devices import Device
from lineament.records.truth import MEAN_ROW, NULL_ROW, TRUTH_ROW


@dataclass(frozen=True)
class EvaluateDecomposerConfig:
    """Measure decomposers on faces whose shape is known.

    Example: ``lineament evaluate decomposer --truth renders/test --train-truth renders/train --faces 200``
    """

    truth: Path
    """Folder of faces with known depth. It holds rendered faces (images/, truth/, truth.npz) or pairs (image/,
    depth/)."""
    decomposer: Path | None = None
    """Decomposer file; the shipped one if not given. It is the one that is measured."""
    also: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=PATH")]] = ()
    """Further decomposer with its name in the table; may be repeated."""
    train_truth: Path | None = None
    """Folder of other faces for the mean depth; the measured faces if not given."""
    faces: int | None = None
    """Number of faces to measure, from the first on; all if not given."""
    out: Path | None = None
    """JSON file for the numbers; not written if not given."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_bounds(self, "faces", least=2)
        self.paths()

    def paths(self) -> dict[str, Path]:
        """The file of each decomposer by the name of its row."""
        first = "shipped decomposer" if self.decomposer is None else "decomposer"
        paths = {first: self.decomposer or shipped_path("decomposer.safetensors", self.pair)}
        for text in self.also:
            name, equals, path = text.partition("=")
            if not (name and equals and path):
                raise ConfigError(f"--also {text!r}, expected NAME=PATH, such as --also longer=runs/b.safetensors")
            if name in (*paths, NULL_ROW, MEAN_ROW, TRUTH_ROW):
                raise ConfigError(f"two rows would be called {name!r}; give --also {text!r} another name")
            paths[name] = Path(path)
        return paths
