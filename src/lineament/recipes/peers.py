"""Find a generator's directions by the methods of others: an atlas for `lineament edit`, and the common form.

A new method is an estimator, a function that hands it what it asks of the generator, and one entry of `PEERS`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import RenderableType

from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_judge
from lineament.checkpoints.shipped import PAIR, Pair, shipped_path
from lineament.directions.exchange import atlas_of_found
from lineament.directions.peers import PEERS, Method, PeerSettings, find_directions
from lineament.engine.console import facts_table
from lineament.engine.devices import Devices, make_fabric
from lineament.errors import ConfigError, InputError
from lineament.faces.labelled import (
    LabelledSamples,
    chosen_columns,
    judge_labeller,
    label_samples,
    labels_from_table,
    only,
)
from lineament.networks.stylegan.generator import Generator
from lineament.records.found_directions import FoundDirections
from lineament.store.atlas import save_atlas


@dataclass(frozen=True)
class PeersConfig:
    """Find a generator's directions by the methods of others, for comparison.

    The atlas holds the methods' own steps, which ``lineament edit`` takes as they are, holding nothing: "component
    0=+3" moves w by three of them.

    Example: ``lineament peers --method sefa --generator faces.safetensors --out sefa.safetensors``
    """

    method: Method
    """Whose: GANSpace's components of w or of the first layer's activations, SeFa, InterFaceGAN, least squares of true
    labels, or random ones."""
    out: Path
    """Atlas to write."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for a generator not given."""
    labels: Path | None = None
    """CSV of labels: each row the number of an image of the seed, then a number for each attribute."""
    judge: Path | None = None
    """Judge that labels --samples images, instead of a table of labels."""
    attributes: tuple[str, ...] = ()
    """Labels to learn from, such as yaw smile; all of the table, or all that the judge reads well, if not given."""
    settings: Annotated[PeerSettings, tyro.conf.arg(name="")] = field(default_factory=PeerSettings)
    """Of the method."""
    class_number: int | None = None
    """Class whose faces are sampled, of a generator with classes."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out is {self.out}, expected a name in .safetensors")
        if self.labels is not None and self.judge is not None:
            raise ConfigError("--labels and --judge both say what is in the images; give one of them")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")


@dataclass(frozen=True, eq=False)
class PeersResult:
    """What was found, and where it lies."""

    found: FoundDirections
    path: Path

    def renderables(self) -> list[RenderableType]:
        """For standard output."""
        names = self.found.names
        shown = ", ".join(names[:8]) + (f" ... {names[-1]}" if len(names) > 8 else "")
        facts = {
            "directions": f"{len(names)}: {shown}",
            "samples": f"{self.found.samples_used:,}",
            "labels": f"{self.found.labels_used:,}",
            "seconds": f"{self.found.seconds:.1f}",
        }
        return [facts_table(self.found.method, facts), str(self.path)]


def labels_of(config: PeersConfig, generator: Generator) -> LabelledSamples | None:
    """Labelled samples from the table or from the judge; None without either.

    Raises:
        InputError, FileFormatError, DataError: the file cannot be read.
        ConfigError: an attribute that is named is not among the labels.
    """
    settings = config.settings
    if config.labels is not None:
        labelled = labels_from_table(generator, config.labels, settings.seed, settings.truncation)
    elif config.judge is not None:
        judge = load_judge(config.judge, generator.mapping.w_avg.device)
        labeller = judge_labeller(judge, range(len(judge.names)))
        sampled = (settings.seed, settings.samples, settings.truncation)
        labelled = label_samples(generator, labeller, *sampled, origin=config.judge.name)
        if not config.attributes:
            spread = labelled.labels.std(axis=0) / judge.std.double().cpu().numpy()
            return only(labelled, [judge.names[i] for i in chosen_columns(judge, spread)])
    else:
        return None
    return only(labelled, config.attributes) if config.attributes else labelled


def run(config: PeersConfig) -> PeersResult:
    """Find directions and write them as an atlas.

    Raises:
        ConfigError: as `find_directions`.
        InputError, FileFormatError, DataError: the generator or the labels cannot be read.
        StorageError: the disk refused.
    """
    settings = config.settings
    device = make_fabric(config.devices).device
    generator = open_generator(config.generator or shipped_path("generator.safetensors", config.pair), device)
    generator.choose_class(config.class_number)
    labelled = labels_of(config, generator) if PEERS[config.method].needs_labels else None
    found = find_directions(config.method, generator, settings, labelled)
    atlas = atlas_of_found(
        found, generator, seed=settings.seed, samples=settings.samples, truncation=settings.truncation
    )
    save_atlas(config.out, atlas)
    return PeersResult(found, config.out)
