"""Open generators from any file: ours directly, foreign ones converted once and kept in the user's cache.

The converted copy is named by a hash of the foreign file's bytes, so another file is converted whatever its name, size
and time. The hash takes one read of the file.
"""

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lineament import __version__
from lineament.checkpoints.conversion_cache import cache_entry, check_private
from lineament.checkpoints.foreign import ForeignModel, discriminator_of, generator_of, what_it_holds
from lineament.checkpoints.ours import Device, load_generator, ready, save_network
from lineament.engine.console import console
from lineament.errors import ConfigError, FileFormatError, LineamentError, StorageError
from lineament.networks.stylegan.generator import Generator
from lineament.records.checkpoint import ForeignCheckpoint
from lineament.store.atomic import make_folder
from lineament.store.foreign.checkpoints import file_hash, open_checkpoint
from lineament.store.foreign.folders import checkpoint_in, mapped_folder, unpacked_archive
from lineament.store.foreign.safetensors_files import is_foreign_safetensors
from lineament.store.tensors import is_safetensors, read_header

PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def write_networks(folder: Path, path: Path, *, half: bool = False) -> dict[Path, dict[str, Any]]:
    """Write the networks of a foreign file as our files, in one folder, so that a training finds the discriminator.

    A discriminator that cannot be used is left out, with a note, if there is a generator.

    Args:
        folder: created if it does not exist.
        path: the foreign file.
        half: half precision.

    Returns:
        Provenance of each written file, by its path.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint, or one without a network of a known layout.
        StorageError: writing failed.
    """
    checkpoint = open_checkpoint(path)
    written: dict[Path, dict[str, Any]] = {}
    trouble: FileFormatError | None = None
    # One after the other, to keep one network in memory. The generator last: if its file exists, all files do.
    try:
        if (judge := discriminator_of(checkpoint)) is not None:
            _write(folder / "discriminator.safetensors", judge, checkpoint, written, half=half)
        del judge
    except FileFormatError as error:
        trouble = error
    if (generator := generator_of(checkpoint)) is not None:
        _write(folder / "generator.safetensors", generator, checkpoint, written, half=half)
        if trouble is not None:
            _note(path, f"its discriminator is left out: {str(trouble).removeprefix(f'{checkpoint.path}: ')}")
    elif trouble is not None:
        raise trouble
    if not written:
        raise FileFormatError(f"{path} holds {what_it_holds(checkpoint)}")
    return written


def _write(
    target: Path, found: ForeignModel, checkpoint: ForeignCheckpoint, written: dict[Path, dict], *, half: bool
) -> None:
    """Write one network, and add its provenance to ``written``."""
    provenance = {
        "lineament": __version__,
        "converted_from": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "layout": found.layout,
        "role": found.role,
        "carries_code": checkpoint.carries_code,
        "notes": list(found.notes),
    }
    make_folder(target.parent)
    config: Any = found.network.config
    save_network(target, target.stem, found.network, config.to_dict(), provenance, half=half)
    written[target] = provenance
    for note in found.notes:
        _note(checkpoint.path, note)


def _note(path: Path, text: str) -> None:
    console.print(f"{path}: {text}", markup=False, highlight=False, soft_wrap=True)


def converted(path: Path) -> Path:
    """Path of the converted generator of a foreign file in the cache; converts it if it is not there yet.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a checkpoint, or one without a generator.
        StorageError: the file cannot be read; or the cache cannot be written, or others can change it.
    """
    unpacked = unpacked_archive(path)
    sha256 = file_hash(path) if unpacked is None else mapped_folder(unpacked)[1]
    entry = cache_entry(sha256)
    check_private(entry.parent)
    check_private(entry)
    target = entry / "generator.safetensors"
    if (notes := _notes_of_copy(target, sha256)) is not None:
        for note in notes:
            _note(path, note)
    elif target not in write_networks(entry, path):
        raise FileFormatError(f"{path} holds a discriminator alone, expected a generator; choose another file")
    return target


def _notes_of_copy(target: Path, sha256: str) -> list[str] | None:
    """What was noted when a file in the cache was made from the file with this hash; None if it was not."""
    try:
        provenance = read_header(target).header["provenance"]
        return list(map(str, provenance["notes"])) if provenance["sha256"] == sha256 else None
    except (LineamentError, KeyError, TypeError):
        return None


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
        StorageError: reading failed.
        ConfigError: the function cannot be found, or does not return a generator.
    """
    if not Path(path).exists() and PYTHON_NAME.fullmatch(str(path)):
        generator = ready(named_in_python(str(path)), device)
    else:
        generator = _from_file(Path(path), device)
    wanted = torch.device(device).type != "cpu" if half is None else half
    generator.half_precision = wanted and generator.trained_in_half
    return generator


def _from_file(path: Path, device: Device) -> Generator:
    """The generator in a file; a foreign one is read without the cache if that cannot be used."""
    path = checkpoint_in(path) if path.is_dir() else path
    try:
        ours = our_file(path)
    except StorageError as error:
        if not is_foreign(path):
            raise
        _warn_once(str(error))
        return ready(_without_cache(path), device)
    return load_generator(ours, device, mapped=ours != path)  # nobody replaces a copy in the cache


def _without_cache(path: Path) -> Generator:
    """The generator in a foreign file."""
    checkpoint = open_checkpoint(path)
    found = generator_of(checkpoint)
    if found is None or not isinstance(found.network, Generator):
        raise FileFormatError(f"{path} holds {what_it_holds(checkpoint)}")
    for note in found.notes:
        _note(path, note)
    return found.network


@cache
def _warn_once(text: str) -> None:
    console.print(f"going on without the cache: {text}", markup=False, highlight=False, soft_wrap=True)


def is_foreign(path: Path) -> bool:
    """Whether a file, or the folder of an unpacked archive, is there and is not one of Lineament's."""
    if path.is_dir():
        return unpacked_archive(path) is not None
    return path.exists() and (not is_safetensors(path) or is_foreign_safetensors(path))


def file_beside(path: Path, name: str) -> Path | None:
    """The file of this name beside a file of ours, or beside the converted copy of a foreign one, if there is one.

    Raises:
        InputError, FileFormatError: as in `converted`.
    """
    try:
        found = our_file(path).with_name(name)
    except StorageError:  # without a cache, nothing lies beside
        return None
    return found if found.exists() else None


def our_file(path: Path) -> Path:
    """The file itself if it is ours or missing (reading it then raises), else its converted copy.

    A folder stands for the one checkpoint in it.

    Raises:
        InputError, FileFormatError, StorageError: as in `converted`.
    """
    path = checkpoint_in(path) if path.is_dir() else path
    return converted(path) if is_foreign(path) else path
