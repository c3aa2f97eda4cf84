"""Load files that belong together: those given, or the shipped ones."""

from pathlib import Path

import torch

from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer
from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.errors import ConfigError
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas
from lineament.records.shapes import check_face_box
from lineament.store.atlas import load_atlas


def load_pair(
    generator: Path | None, decomposer: Path | None, pair: Pair, device: torch.device, *, half: bool | None = None
) -> tuple[Generator, Decomposer]:
    """The given networks; those not given come from the shipped pair. ``half`` as in `open_generator`.

    Raises:
        InputError, FileFormatError: a network cannot be read.
    """
    return (
        open_generator(generator or shipped_path("generator.safetensors", pair), device, half=half),
        load_decomposer(decomposer or shipped_path("decomposer.safetensors", pair), device),
    )


def load_for_judging(
    atlas_path: Path,
    seed: int,
    generator_path: Path | None,
    decomposer_path: Path | None,
    pair: Pair,
    device: torch.device,
) -> tuple[Atlas, Generator, Decomposer]:
    """Load an atlas and its networks, to evaluate them on the faces of a seed.

    Raises:
        InputError, FileFormatError: a file cannot be read.
        MismatchError: the atlas belongs to another generator.
        ConfigError: the seed is the atlas's own, so the faces would not be unseen.
    """
    atlas = load_atlas(atlas_path)
    if seed == atlas.seed:
        raise ConfigError(f"seed {seed} made the atlas; choose another, so that the faces are unseen")
    generator, decomposer = load_pair(generator_path, decomposer_path, pair, device)
    name = generator_path or shipped_path("generator.safetensors", pair)
    atlas = atlas_for(atlas, generator, name)
    look_as_in(atlas, generator, decomposer)
    return atlas, generator, decomposer


def look_as_in(atlas: Atlas, generator: Generator, decomposer: Decomposer | None) -> None:
    """Set the generator's class and the decomposer's face box to those with which an atlas was made.

    Raises:
        ConfigError: the atlas's class or face box is impossible.
    """
    number, box = atlas.generator.get("class_number"), atlas.generator.get("face_box")
    generator.choose_class(number if isinstance(number, int) else None)
    if decomposer is not None and isinstance(box, list) and all(isinstance(share, int | float) for share in box):
        check_face_box(tuple(box))
        decomposer.face_box = tuple(box)
