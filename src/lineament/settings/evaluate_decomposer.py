"""Settings of `lineament evaluate decomposer`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lineament.checkpoints.shipped import PAIR, Pair, shipped_path
from lineament.errors import ConfigError
from lineament.records.bounds import check_bounds
from lineament.records.devices import Device
from lineament.records.truth import MEAN_ROW, NULL_ROW, TRUTH_ROW


@dataclass(frozen=True)
class EvaluateDecomposerConfig:
    """Settings of the measurement of decomposers against known shapes.

    Example: ``lineament evaluate decomposer --truth renders/test --train-truth renders/train --faces 200``
    """

    truth: Path
    """Folder of faces with known depth: rendered faces (images/, truth/, truth.npz) or pairs (image/, depth/)."""
    decomposer: Path | None = None
    """The decomposer that is measured; the shipped one if not given."""
    also: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=PATH")]] = ()
    """A further decomposer and what to call it; may be repeated."""
    train_truth: Path | None = None
    """Folder of other faces from which the mean depth is taken; if not given, the measured faces themselves."""
    faces: int | None = None
    """Measure only the first faces."""
    out: Path | None = None
    """JSON file for the numbers."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    devices: Annotated[Device, tyro.conf.arg(name="on")] = field(default_factory=Device)
    """Where to compute."""

    def __post_init__(self) -> None:
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
