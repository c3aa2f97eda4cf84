"""Convert checkpoints of other programs to Lineament's files, and Lineament's to rosinality's layout."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import RenderableType

from lineament.checkpoints.opening import is_foreign, open_generator, write_networks
from lineament.engine.console import console, facts_table
from lineament.engine.devices import check_alone
from lineament.engine.locks import locked, locked_folder
from lineament.errors import ConfigError
from lineament.networks.layouts.stylegan2 import generator_to_rosinality
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.settings.convert import ConvertConfig
from lineament.store.atomic import make_folder, write_bytes_atomic


@dataclass(frozen=True)
class Conversion:
    """What was read and written."""

    facts: dict[str, str]
    written: tuple[Path, ...]

    def renderables(self) -> list[RenderableType]:
        """For the terminal."""
        return [facts_table("Converted", self.facts), *map(str, self.written)]


def run(config: ConvertConfig) -> Conversion:
    """Convert a checkpoint.

    Raises:
        InputError: there is no such file.
        FileFormatError: the file is not a checkpoint, or its layout is unknown.
        ConfigError: there is nothing to convert, or the layout cannot hold this generator.
        StorageError: the file cannot be written.
    """
    check_alone()
    if config.to == "rosinality":
        return _to_rosinality(config)
    if config.path.is_file() and not is_foreign(config.path):
        raise ConfigError(f"{config.path} is a file of Lineament already; nothing to convert")
    with locked_folder(config.out):
        written = write_networks(config.out, config.path, half=config.half)
    *_, provenance = written.values()
    return Conversion({k: str(v) for k, v in provenance.items() if v != []}, tuple(written))


def _to_rosinality(config: ConvertConfig) -> Conversion:
    generator = open_generator(config.path)
    if not isinstance(generator, StyleGAN2):
        raise ConfigError(f"{config.path} is a {generator.family}; rosinality's layout holds StyleGAN2 alone")
    if config.out.suffix not in (".pt", ".pth"):
        raise ConfigError(f"--out is {config.out}, expected the name of a .pt file")
    if clamp := getattr(generator.config, "conv_clamp", 0.0):
        console.print(
            f"that layout does not clamp, but this generator clamps its convolutions to {clamp:g}: images differ where "
            "values reach that far",
            soft_wrap=True,
        )
    buffer = io.BytesIO()
    torch.save(generator_to_rosinality(generator), buffer)
    make_folder(config.out.parent)
    with locked(config.out):
        write_bytes_atomic(config.out, buffer.getvalue())
    return Conversion({"layout": "StyleGAN2, rosinality", "channels": str(generator.config.channels(4))}, (config.out,))
