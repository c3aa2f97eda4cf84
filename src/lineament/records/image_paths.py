"""Folders and zips of images that a training reads as one set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from lineament.errors import ConfigError

ImagePaths: TypeAlias = tuple[Path, ...]
"""Folders, zips or images, in this order."""


def check_image_paths(paths: ImagePaths) -> None:
    """Raise ConfigError if a path is named twice: its images would count twice."""
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise ConfigError(f"--images names {path} twice; name every folder and zip once")


def names_of(paths: Sequence[Path]) -> str | None:
    """The last parts of the paths, as text for provenance; None if there are none."""
    return ", ".join(path.name for path in paths) or None
