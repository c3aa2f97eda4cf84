"""Load files that belong together: those given, or the shipped ones."""

from pathlib import Path

import torch

from lineament.checkpoints.growth import atlas_for, check_encoder_matches, layers_then
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer, load_encoder, load_features
from lineament.checkpoints.shipped import Pair, shipped_path
from lineament.engine.console import console
from lineament.errors import ConfigError, InputError
from lineament.networks.decomposer import Decomposer
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
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


def find_encoder(path: Path | None, generator: Generator, generator_path: Path | None, pair: Pair) -> Encoder | None:
    """The named encoder; else an encoder of this generator that lies beside it or is shipped; else None, with a note.

    Raises:
        MismatchError: the named encoder belongs to another generator.
    """
    device = generator.mapping.w_avg.device
    if path is not None:
        encoder = load_encoder(path, device)
        check_encoder_matches(encoder, generator, generator_path or "the shipped generator")
        return encoder
    for candidate in _beside(generator, generator_path, pair, ("encoder.safetensors",)):
        encoder = load_encoder(candidate, device)
        if layers_then(generator, encoder.config.generator):
            return encoder
    console.print("no --encoder of this generator: starting at its mean w, which takes longer", soft_wrap=True)
    return None


def find_features(
    path: Path | None, generator: Generator, generator_path: Path | None, pair: Pair
) -> torch.nn.Module | None:
    """The named perceptual features, or else those beside the generator or shipped, if there are any."""
    device, names = generator.mapping.w_avg.device, ("features.safetensors", "discriminator.safetensors")
    for candidate in [path] if path is not None else _beside(generator, generator_path, pair, names):
        z = latents(0, range(32), generator.config.z_dim).to(device)
        return load_features(candidate, generator(z, 0.8).clamp(-1, 1), device)
    return None


def _beside(generator: Generator, generator_path: Path | None, pair: Pair, names: tuple[str, ...]) -> list[Path]:
    """Files of these names beside the named generator, or else those shipped with the package."""
    if generator_path is not None:
        paths = [] if generator.file is None else [generator.file.with_name(name) for name in names]
        return [path for path in paths if path.exists()]
    for name in names:
        try:
            return [shipped_path(name, pair)]
        except InputError:
            continue
    return []
