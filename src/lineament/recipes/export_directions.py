"""Write an atlas's directions in the formats of other tools."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from lineament.checkpoints.shipped import shipped_path
from lineament.directions.exchange import found_of_atlas
from lineament.engine.console import console, facts_table
from lineament.engine.devices import check_alone
from lineament.engine.locks import locked_folder
from lineament.errors import ConfigError
from lineament.records.found_directions import FoundDirections
from lineament.settings.export_directions import ExportDirectionsConfig
from lineament.store.atlas import load_atlas
from lineament.store.directions_export import same_in_all_layers, write_ganspace, write_interfacegan, write_tensor


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written.

    Attributes:
        found: the directions, with the steps of the files. A .npy file holds a step scaled to length 1.
        amount: length of a step, in the unit of its direction.
        paths: the files.
    """

    found: FoundDirections
    amount: float
    paths: tuple[Path, ...]

    def renderables(self) -> list[RenderableType]:
        """For standard output: how long a step is, and the files."""
        lengths = np.linalg.norm(self.found.steps, axis=2).max(axis=1)
        facts = {
            name: f"{self.amount:g} {unit} is {length:.4g} of w"
            for name, unit, length in zip(self.found.names, self.found.units, lengths, strict=True)
        }
        return [facts_table("Lengths of the steps", facts), *map(str, self.paths)]


def run(config: ExportDirectionsConfig) -> Exported:
    """Write the directions.

    Raises:
        InputError, FileFormatError: the atlas cannot be read.
        ConfigError: there is no such direction, or the tool can hold none of them.
        ShapeError: a named direction moves layers differently, which the tool cannot hold.
        StorageError: the file cannot be written.
    """
    check_alone()
    atlas = load_atlas(config.atlas or shipped_path("atlas.safetensors", config.pair))
    if config.to != "e4e":
        atlas = atlas.layers_alike()
    found = found_of_atlas(atlas, config.names or None)
    kept = list(range(len(found.names)))
    if not config.names and config.to != "e4e":
        kept = [i for i in kept if same_in_all_layers(found.steps[i])]
        if not kept:
            raise ConfigError(f"all directions move some layers only, which {config.to} cannot hold; take --to e4e")
        if len(kept) < len(found.names):
            console.print(
                f"{len(found.names) - len(kept)} directions move some layers only, which {config.to} cannot hold, and "
                "are left out; --to e4e holds them",
                soft_wrap=True,
            )
    names, steps = tuple(found.names[i] for i in kept), found.steps[kept] * config.amount
    files = [re.sub(r"[^\w.-]+", "_", name) for name in names]
    with locked_folder(config.out):
        if config.to == "ganspace":
            paths = [config.out / "components.npz"]
            write_ganspace(paths[0], names, steps, atlas.w_mean, atlas.w_cov)
        elif config.to == "interfacegan":
            paths = [config.out / f"{name}_w_boundary.npy" for name in files]
            for path, name, step in zip(paths, names, steps, strict=True):
                write_interfacegan(path, name, step)
        else:
            paths = [config.out / f"{name}.pt" for name in files]
            for path, step in zip(paths, steps, strict=True):
                write_tensor(path, step)
    written = replace(found, names=names, steps=steps, units=tuple(found.units[i] for i in kept))
    return Exported(written, config.amount, tuple(paths))
