"""Take directions from the files of other tools into an atlas."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.shipped import shipped_path
from lineament.directions.exchange import atlas_of_found
from lineament.engine.console import facts_table
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError
from lineament.networks.stylegan.generator import Generator
from lineament.records.found_directions import FoundDirections
from lineament.settings.import_directions import ImportDirectionsConfig
from lineament.store.atlas import save_atlas
from lineament.store.directions import read_directions


@dataclass(frozen=True, eq=False)
class Imported:
    """The directions that were read, and the atlas they were written to."""

    found: FoundDirections
    path: Path

    def renderables(self) -> list[RenderableType]:
        """For standard output."""
        lengths = np.linalg.norm(self.found.steps, axis=2).max(axis=1)
        facts = {
            name: f"a step of length {length:.4g} in w" for name, length in zip(self.found.names, lengths, strict=True)
        }
        return [facts_table(f"Directions for {self.found.num_layers} layers", facts), str(self.path)]


def import_directions(paths: tuple[Path, ...], generator: Generator) -> FoundDirections:
    """The directions of all files, for one generator.

    Raises:
        InputError, FileFormatError, StorageError: a file cannot be read.
        ShapeError: directions of another width or another number of layers.
        ConfigError: two directions have the same name.
    """
    parts = [read_directions(path, generator.num_ws, generator.config.w_dim) for path in paths]
    names = tuple(name for part in parts for name in part.names)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ConfigError(f"two files give the direction {repeated[0]!r}; rename one of them")
    return replace(
        parts[0],
        method=", ".join(dict.fromkeys(part.method for part in parts)),
        names=names,
        steps=np.concatenate([part.steps for part in parts]),
        units=("",) * len(names),
        provenance={"files": [path.name for path in paths]},
    )


@writes("out")
def run(config: ImportDirectionsConfig) -> Imported:
    """Read files of directions and write them as an atlas.

    Raises:
        ConfigError: as `import_directions`, or a direction that an atlas cannot hold.
        InputError, FileFormatError, ShapeError: a file cannot be used.
        StorageError: the file cannot be written.
    """
    device = make_fabric(config.devices).device
    generator = open_generator(config.generator or shipped_path("generator.safetensors", config.pair), device)
    found = import_directions(config.paths, generator)
    save_atlas(
        config.out,
        atlas_of_found(found, generator, seed=config.seed, samples=config.samples, truncation=config.truncation),
    )
    return Imported(found, config.out)
