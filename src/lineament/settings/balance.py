"""Settings of a balance."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds
from lineament.records.devices import Devices
from lineament.records.inversion_settings import InversionSettings


@dataclass(frozen=True)
class BalanceConfig:
    """Balance a folder of images: measure it, and fill where it is poor with images changed by as little as possible.

    Every original is kept. Images are added where the target wants more than there are: photographs, inverted and
    changed (as `edit` does it), or samples of the generator. Each one made is measured, and rejected if it misses its
    value, is no longer the same person, or lies far from what the generator knows. The folder gets the images, a
    Parquet manifest (source, edit, requested and measured values, weights, the reason of every rejection) and a report.
    A run that was stopped or killed goes on when the same command is given again, and ends with the same bytes.

    Example: ``lineament balance --images photos --semantics yaw --range -20:20 --out balanced``
    """

    images: Path
    """Folder or zip of aligned images."""
    out: Path
    """The balanced folder; a new one, or one in which the same run was begun."""
    semantics: str = "yaw"
    """What to balance, such as yaw or yaw,light_x; `lineament inspect` lists an atlas's names."""
    target: str = "uniform"
    """uniform; a folder or zip of images, to be like it; or a JSON file such as
    {"edges": {"yaw": [-40, -20, 0, 20, 40]}, "shares": [1, 2, 2, 1]}."""
    range: str | None = None
    """Values between which the histogram lies, such as -45:45, or one such pair for each of the semantics, separated
    by commas; nearly all of the images if not given."""
    bins: str = "10"
    """Bins of each of the semantics."""
    count: int | None = None
    """Images in the end; the fewest that meet the target if not given."""
    max_variation: Advanced[float] = 0.05
    """Total variation within which the target is to be met."""
    labels: Path | None = None
    """CSV with headings, the first column naming the image; its other columns are carried over to generated images."""
    source: Annotated[Literal["photographs", "samples"], tyro.conf.arg(name="from")] = "photographs"
    """What to change: the images at hand, inverted; or samples of the generator, of which none is anyone."""
    inversions: Path | None = None
    """The images' inversions by `lineament invert`; made on the way if not given."""
    max_uses: Advanced[int | None] = None
    """How often a source may be used; four times as often as the average one would be, if not given."""
    tolerance: Advanced[float] = 0.5
    """Largest difference of measured and requested values, in widths of a bin."""
    max_identity_drift: Advanced[float] = 1.0
    """Largest change of the person, in distances of two different people."""
    max_distance: Advanced[float] = 1.6
    """Largest distance of latents from the generator's mean; about 1 for its own samples."""
    min_face: Advanced[float] = 0.17
    """Least SSIM of an image and what encoder and generator make of it; with less it shows no face, or several, and is
    skipped. 0 takes everything for a face, as happens where there is no encoder."""
    atlas: Path | None = None
    """Atlas; the shipped one if not given."""
    generator: Path | None = None
    """The atlas's generator; the shipped one if not given."""
    decomposer: Advanced[Path | None] = None
    """The atlas's decomposer, which measures; the shipped one if not given."""
    encoder: Advanced[Path | None] = None
    """The generator's encoder; the shipped one if not given, or none where there is none."""
    pair: Pair = PAIR
    """Shipped networks that stand in for files not given; faces64 and faces128, the same drawn finer, learned from
    photographs, renders64 from renders."""
    truncation: Advanced[float] = 0.7
    """Truncation of samples: of those that are changed, and of those on which the plan is tried."""
    seed: int = 0
    """Of samples, and of the choice among equals."""
    shards: int = 0
    """Images per WebDataset shard; 0 writes loose files."""
    batch_size: Advanced[int] = 64
    """Images that are made together; fixed once a run has begun."""
    dry_run: bool = False
    """Show the histogram, the plan and what it would cost, and write nothing."""
    inversion: Advanced[InversionSettings] = field(default_factory=InversionSettings)
    """How images are inverted on the way."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute; on a CPU every process has one thread, so --on.count is the number of cores to use."""

    def __post_init__(self) -> None:
        names = read_names(self.semantics)
        read_bins(self.bins, names)
        if self.range is not None:
            read_spans(self.range, names)
        check_bounds(self, "count", "max_uses", "batch_size", least=1)
        check_bounds(self, "shards", least=0)
        check_bounds(self, "tolerance", "max_identity_drift", "max_distance", above=0)
        check_bounds(self, "truncation", "max_variation", above=0, most=1)
        if self.source == "samples" and (self.labels or self.inversions):
            what = "labels" if self.labels else "inversions"
            raise ConfigError(
                f"--{what} are of the images at hand, but --from samples changes samples; drop one of them"
            )


def read_names(text: str) -> tuple[str, ...]:
    """Names of semantics, separated by commas."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"semantics are {text!r}, expected different names such as yaw or yaw,light_x")
    return names


def read_spans(text: str, names: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """Ranges such as ``-45:45``, one for each name, separated by commas."""
    try:
        spans = tuple((float(low), float(high)) for low, high in (part.split(":") for part in text.split(",")))
    except ValueError:
        spans = ()
    if len(spans) != len(names) or not all(math.isfinite(high - low) and low < high for low, high in spans):
        raise ConfigError(f"range is {text!r}, expected low:high for each of {', '.join(names)}, such as -45:45")
    return spans


def read_bins(text: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of bins, one for all names or one each."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts) or len(parts) not in (1, len(names)):
        raise ConfigError(f"bins are {text!r}, expected a number, or one for each of {', '.join(names)}, such as 10")
    counts = tuple(map(int, parts))
    return counts * len(names) if len(counts) == 1 else counts
