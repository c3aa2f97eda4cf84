"""Settings of `lineament balance`."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lineament.checkpoints.shipped import PAIR, Pair
from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import MAX_BATCH, check_bounds, check_numbers
from lineament.records.devices import Devices
from lineament.records.inversion_settings import InversionSettings

MAX_BINS = 1000
"""Largest number of bins of a semantic."""

MAX_CELLS = 10**6
"""Largest number of bins of all semantics together: the product of their bins."""


@dataclass(frozen=True)
class BalanceConfig:
    """Balance a folder of images: fill gaps of its histogram with images that are changed as little as possible.

    Every original is kept. Images are added where the target distribution needs more than there are: photographs that
    are inverted and edited (as by `edit`), or samples of the generator. Every new image is measured. It is rejected if
    it misses its requested value, is no longer the same person, or lies far from what the generator knows. The output
    folder holds the images, a report and a Parquet manifest (source, edit, requested and measured values, weights, the
    reason of every rejection). If a run is stopped or killed, the same command continues it and ends with the same
    bytes.

    Example: ``lineament balance --images photos --semantics yaw --range -20:20 --out balanced``
    """

    images: Path
    """Folder or zip of aligned images."""
    out: Path | None = None
    """Folder for the balanced images; a new one, or that of an unfinished run to continue. Needed but for --dry-run."""
    semantics: str = "yaw"
    """Semantics to balance, such as yaw or yaw,light_x; `lineament inspect` lists an atlas's names."""
    target: str = "uniform"
    """Target distribution: uniform, a folder or zip of images to match, or a JSON file. The JSON file holds edges and
    shares of the bins, such as {"edges": {"yaw": [-40, -20, 0, 20, 40]}, "shares": [1, 2, 2, 1]}."""
    range: str | None = None
    """Range of the histogram, such as -45:45, or one per semantic, separated by commas; nearly all values if not
    given."""
    bins: str = "10"
    """Number of bins, or one number per semantic, separated by commas."""
    count: int | None = None
    """Final number of images; the fewest that meet the target if not given."""
    max_variation: Advanced[float] = 0.05
    """Maximum total variation between the balanced distribution and the target."""
    labels: Path | None = None
    """CSV of labels to carry over to generated images; none if not given. It has headings, and its first column names
    the image. Labels may be blank."""
    source: Annotated[Literal["photographs", "samples"], tyro.conf.arg(name="from")] = "photographs"
    """Images to change: the given photographs, inverted, or samples of the generator. Samples show no real person."""
    inversions: Path | None = None
    """Inversions of the images by `lineament invert`; computed during the run if not given."""
    max_uses: Advanced[int | None] = None
    """Maximum number of edits of one source; if not given, four times the mean for photographs, 1 for samples."""
    tolerance: Advanced[float] = 0.5
    """Maximum difference between measured and requested value, in bin widths."""
    max_identity_drift: Advanced[float] = 1.0
    """Maximum change of identity, as a multiple of the distance between two different people."""
    max_distance: Advanced[float] = 1.6
    """Maximum distance of latents from the generator's mean. The generator's own samples are at about 1."""
    min_face: Advanced[float] = 0.17
    """Minimum SSIM between an image and its reconstruction by encoder and generator. Images below it show no face, or
    several, and are skipped. 0 accepts every image, and so does a run without an encoder."""
    atlas: Path | None = None
    """Atlas file; the shipped one if not given."""
    generator: Path | None = None
    """Generator file; the shipped one if not given. It must be the generator of the atlas."""
    decomposer: Advanced[Path | None] = None
    """Decomposer file; the shipped one if not given. It measures the images, and must be the decomposer of the
    atlas."""
    encoder: Advanced[Path | None] = None
    """Encoder file; if not given, the shipped one, or none if there is none for the generator."""
    pair: Pair = PAIR
    """Shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders). In brackets
    is what they were trained on. faces128 draws the faces of faces64 with finer details. Those of photographs come with
    the package lineament-faces; without it, renders64 is used."""
    truncation: Advanced[float] = 0.7
    """Truncation of samples. It applies to samples that are changed and to those on which the plan is tried."""
    seed: int = 0
    """Seed of everything random. That is the samples, and the choice among equal candidates."""
    shards: int = 0
    """Number of images per WebDataset shard, or 0 for loose files."""
    batch_size: Advanced[int] = 64
    """Number of images generated together. It cannot be changed once a run has begun."""
    dry_run: bool = False
    """Show the histogram, the plan and its cost, and write nothing."""
    inversion: Advanced[InversionSettings] = field(default_factory=InversionSettings)
    """How the images are inverted if no inversions are given."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute. On a CPU every process has one thread, so --on.count is the number of cores to use."""

    @property
    def folder(self) -> Path:
        """The folder for the balanced images.

        Raises:
            ConfigError: none was named.
        """
        if self.out is None:
            raise ConfigError("no folder to write to; give --out, or --dry-run to see the plan")
        return self.out

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.dry_run:
            _ = self.folder
        names = read_names(self.semantics)
        read_bins(self.bins, names)
        if self.range is not None:
            read_spans(self.range, names)
        check_bounds(self, "count", "max_uses", least=1)
        check_bounds(self, "batch_size", least=1, most=MAX_BATCH)
        check_bounds(self, "shards", least=0)
        check_bounds(self, "tolerance", "max_identity_drift", "max_distance", above=0)
        check_bounds(self, "truncation", "max_variation", above=0, most=1)
        check_bounds(self, "min_face", least=0, most=1)
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
    """Numbers of bins: one for all names, or one for each."""
    parts = text.split(",")
    counts = tuple(int(part) if part.strip().isdecimal() and len(part) < 9 else 0 for part in parts)
    if not all(0 < count <= MAX_BINS for count in counts) or len(parts) not in (1, len(names)):
        raise ConfigError(
            f"bins are {text!r:.80}, expected a number from 1 to {MAX_BINS}, or one for each of {', '.join(names)}, "
            "such as 10"
        )
    counts = counts * len(names) if len(counts) == 1 else counts
    if math.prod(counts) > MAX_CELLS:
        raise ConfigError(
            f"bins are {text!r:.80}, {math.prod(counts):,} for the {len(names)} semantics together, expected at most "
            f"{MAX_CELLS:,}; ask for fewer"
        )
    return counts
