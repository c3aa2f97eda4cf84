"""Find a generator's directions by published methods other than ours, and write them as an atlas for `lineament edit`.

To add a method, write an estimator and a function that gives it the generator's data, and add one entry to `PEERS`.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_judge
from lineament.checkpoints.shipped import shipped_path
from lineament.directions.exchange import atlas_of_found
from lineament.directions.peers import PEERS, find_directions
from lineament.engine.console import facts_table
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
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
from lineament.settings.peers import PeersConfig
from lineament.store.atlas import save_atlas


@dataclass(frozen=True, eq=False)
class PeersResult:
    """The directions that were found, and the path of their atlas."""

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
        ConfigError: a named attribute is not among the labels.
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


@writes("out")
def run(config: PeersConfig) -> PeersResult:
    """Find directions and write them as an atlas.

    Raises:
        ConfigError: as `find_directions`.
        InputError, FileFormatError, DataError: the generator or the labels cannot be read.
        StorageError: the file cannot be written.
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
