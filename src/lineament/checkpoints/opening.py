"""Open generators from any file: ours directly, foreign ones converted once and kept in the user's cache.

The converted copy is named by a hash of the foreign file's path, size and time, so a changed file is converted again.
"""

import hashlib
import importlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path

from lineament import __version__
from lineament.checkpoints.foreign import discriminator_of, generator_of, what_it_holds
from lineament.checkpoints.ours import Device, load_generator, ready, save_network
from lineament.engine.console import console
from lineament.errors import ConfigError, FileFormatError, InputError
from lineament.networks.stylegan.generator import Generator
from lineament.store.foreign.checkpoints import open_checkpoint
from lineament.store.tensors import is_safetensors

CACHE_VARIABLE = "LINEAMENT_CACHE"
CACHE_VERSION = 1
"""Increase it when a conversion changes, so that older copies are not used."""

PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def cache_folder() -> Path:
    """Where converted files are kept: $LINEAMENT_CACHE, or the user's own cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("lineament")


def cache_entry(path: Path) -> Path:
    """Folder of the converted copy of a foreign file; it need not exist.

    Raises:
        InputError: there is no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    text = f"{CACHE_VERSION} {path.resolve()} {state.st_size} {state.st_mtime_ns}"
    return cache_folder() / hashlib.sha256(text.encode()).hexdigest()[:32]


def write_networks(
    folder: Path, path: Path, *, half: bool = False, judge_alone: bool = True
) -> dict[Path, dict[str, Any]]:
    """Write the networks of a foreign file as our files, in one folder, so that a training finds the discriminator.

    Args:
        folder: created if it does not exist.
        path: the foreign file.
        half: half precision.
        judge_alone: accept files with a discriminator but no generator.

    Returns:
        Provenance of each written file, by its path.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint, or one without a network of a known layout.
        StorageError: writing failed.
    """
    checkpoint = open_checkpoint(path)
    written: dict[Path, dict[str, Any]] = {}
    # One after the other, to keep one network in memory. The generator last: if its file exists, all files do.
    for kind, find in (("discriminator", discriminator_of), ("generator", generator_of)):
        found = find(checkpoint)
        if found is None:
            continue
        provenance = {
            "lineament": __version__,
            "converted_from": path.name,
            "sha256": checkpoint.sha256,
            "layout": found.layout,
            "role": found.role,
            "carries_code": checkpoint.carries_code,
            "notes": list(found.notes),
        }
        for note in found.notes:
            console.print(f"{path}: {note}", markup=False, highlight=False)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{kind}.safetensors"
        config: Any = found.network.config
        save_network(target, kind, found.network, config.to_dict(), provenance, half=half)
        written[target] = provenance
    if not written:
        raise FileFormatError(f"{path} holds {what_it_holds(checkpoint)}, but no StyleGAN of a known layout")
    if not judge_alone and folder / "generator.safetensors" not in written:
        raise FileFormatError(f"{path} holds a discriminator alone, expected a generator; choose another file")
    return written


def converted(path: Path) -> Path:
    """Path of the converted generator of a foreign file in the cache; converts it if it is not there yet.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint, or one without a generator.
        StorageError: writing failed.
    """
    entry = cache_entry(path)
    target = entry / "generator.safetensors"
    if not target.exists():
        write_networks(entry, path, judge_alone=False)
    return target


def named_in_python(name: str) -> Generator:
    """The generator that the user's function "package.module:function" returns.

    Raises:
        ConfigError: there is no such function, or it returns something else.
    """
    module, _, attribute = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot find {name} ({error}); expected package.module:function") from error
    generator = make()
    if not isinstance(generator, Generator):
        raise ConfigError(
            f"{name} gave a {type(generator).__name__}, expected a lineament.networks.stylegan.generator.Generator"
        )
    return generator


def open_generator(path: str | Path, device: Device = "cpu", *, half: bool | None = None) -> Generator:
    """A generator from a file of ours, a checkpoint of another program, or a function of the user's own.

    Args:
        path: the file; or "package.module:function", which is imported and called.
        device: where to put it.
        half: draw the finest resolutions in half precision, if the generator was trained so; by default on
            accelerators.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a generator.
        ConfigError: the function cannot be found, or does not return a generator.
    """
    if not Path(path).exists() and PYTHON_NAME.fullmatch(str(path)):
        generator = ready(named_in_python(str(path)), device)
    else:
        ours = our_file(Path(path))
        generator = load_generator(ours, device, mapped=ours != Path(path))  # nobody replaces a copy in the cache
    wanted = torch.device(device).type != "cpu" if half is None else half
    generator.half_precision = wanted and generator.trained_in_half
    return generator


def our_file(path: Path) -> Path:
    """The file itself if it is ours or missing (reading it then raises), else its converted copy."""
    return path if is_safetensors(path) or not path.is_file() else converted(path)
