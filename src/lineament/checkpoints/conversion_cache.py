"""The user's folder of converted checkpoints. Nobody else may write to it, since what lies in it is trusted."""

import hashlib
import os
import stat
from pathlib import Path

from platformdirs import user_cache_path

from lineament.errors import StorageError
from lineament.store.atomic import storage_error

CACHE_VARIABLE = "LINEAMENT_CACHE"
CACHE_VERSION = 2
"""Increase it when a conversion changes, so that older copies are not used."""


def cache_folder() -> Path:
    """Where converted files are kept: $LINEAMENT_CACHE, or the user's own cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("lineament")


def cache_entry(sha256: str) -> Path:
    """Folder of the converted copy of the foreign file with this hash; it need not exist."""
    return cache_folder() / hashlib.sha256(f"{CACHE_VERSION} {sha256}".encode()).hexdigest()[:32]


def check_private(folder: Path) -> None:
    """Make a folder that only the user can change, or check that it is one.

    Raises:
        StorageError: it cannot be made, belongs to somebody else, or others can write to it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise storage_error(folder, error, verb="use the cache") from error
    if os.name != "posix":
        return
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"others can change the cache {folder} (it belongs to user {status.st_uid}, mode "
            f"{stat.S_IMODE(status.st_mode):o}); make it private with chmod 700, or set ${CACHE_VARIABLE} to another "
            "folder"
        )
