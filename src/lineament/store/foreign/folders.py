"""Folders in place of a checkpoint: of hubs, and archives of ``torch.save`` that somebody unpacked."""

import hashlib
import mmap
from pathlib import Path

from lineament.errors import FileFormatError, InputError
from lineament.store.atomic import is_temporary, storage_error

SUFFIXES = (".pkl", ".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""Of files that a folder is searched for; a file that is named itself may have any suffix."""

_OURS = "generator.safetensors"
_PICKLE, _STORAGES = "data.pkl", "data"


def checkpoint_in(folder: Path, *, is_snapshot: bool = False) -> Path:
    """The one checkpoint in a folder, or in the newest snapshot of a hub's cache; the folder of an unpacked archive.

    Raises:
        InputError: there is none, or there are several.
        FileFormatError: the folder of a program whose networks are not read.
    """
    if (folder / "model_index.json").is_file():
        raise FileFormatError(f"{folder} is a folder of diffusers, a diffusion model; expected a StyleGAN")
    if (unpacked := unpacked_archive(folder)) is not None:
        return unpacked
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        held = () if is_snapshot or not (folder / "snapshots").is_dir() else (folder / "snapshots").iterdir()
        snapshots = sorted((path for path in held if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
    except OSError as error:
        raise storage_error(folder, error, verb="read") from error
    if snapshots:
        return checkpoint_in(snapshots[-1], is_snapshot=True)
    found = [p for p in entries if p.suffix.lower() in SUFFIXES and p.is_file() and not is_temporary(p)]
    ours = [path for path in found if path.name == _OURS]
    if len(ours or found) == 1:
        return (ours or found)[0]
    if not found:
        raise InputError(f"{folder} holds no checkpoint (no {', '.join(SUFFIXES)}); name a file")
    names = ", ".join(path.name for path in found[:4]) + (", ..." if found[4:] else "")
    raise InputError(f"{folder} holds {len(found)} checkpoints ({names}); name one of them")


def unpacked_archive(path: Path) -> Path | None:
    """The folder of an unpacked archive of ``torch.save`` that is meant by itself, its parent or its ``data.pkl``.

    Raises:
        StorageError: the folder cannot be read.
    """
    candidates = [path.parent] if path.name == _PICKLE and path.is_file() else [path]
    try:
        candidates += [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    found = [folder for folder in candidates if (folder / _PICKLE).is_file() and (folder / _STORAGES).is_dir()]
    return found[0] if len(found) == 1 else None


def mapped_folder(folder: Path) -> tuple[dict[str, memoryview], str]:
    """The bytes of every file in a folder by its path within, mapped, and the hash of all paths and bytes together."""
    contents: dict[str, memoryview] = {}
    digest = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as handle:
                size = handle.seek(0, 2)
                # A private map is writable; torch warns of read-only memory.
                data = mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_COPY) if size else b""
                handle.seek(0)
                digest.update(f"{len(name)} {name} {size} ".encode("utf-8", "surrogateescape"))
                digest.update(hashlib.file_digest(handle, "sha256").digest())
            contents[name] = memoryview(data)
    except OSError as error:
        raise storage_error(folder, error, verb="read") from error
    return contents, digest.hexdigest()
