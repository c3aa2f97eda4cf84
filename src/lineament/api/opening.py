"""Open a generator, or find its directions."""

from pathlib import Path

from lineament.api.editor import Editor
from lineament.api.tables import Accelerator, Atlas, as_path
from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer
from lineament.checkpoints.pairs import look_as_in
from lineament.checkpoints.shipped import PAIR, Pair, shipped_path
from lineament.directions.editor import find_decomposer
from lineament.directions.solve import solve
from lineament.engine.console import OnProgress, quietly
from lineament.engine.devices import place_of
from lineament.errors import ConfigError
from lineament.faces.samples import Discovery, gather
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import Atlas as AtlasRecord
from lineament.records.devices import Device
from lineament.records.part_settings import PartsConfig
from lineament.store import atlas as atlas_files


def open(
    generator: str | Path | Generator | None = None,
    *,
    atlas: str | Path | AtlasRecord | None = None,
    decomposer: str | Path | None = None,
    encoder: str | Path | None = None,
    pair: Pair = PAIR,
    device: Accelerator = "auto",
) -> Editor:
    """Open a generator with its atlas, decomposer and encoder; the shipped ones without any argument.

    Args:
        generator: a file of Lineament, a checkpoint of another program (no code in it is run),
            "package.module:function", or a `Generator`.
        atlas: a file, or the result of `discover`; if None, the shipped one, or none if a generator is given.
        decomposer: measures faces; if None, the shipped one if the atlas was made with it.
        encoder: predicts latents of photographs; if None, the one beside the generator's file, or the shipped one.
        pair: shipped networks to use for files not given: faces64, faces128 (photographs) or renders64 (renders).
        device: where to compute.

    Raises:
        InputError, FileFormatError: a file is missing or cannot be read.
        MismatchError: the files do not belong together.
    """
    place = place_of(Device(device))
    with quietly():
        if isinstance(generator, Generator):
            path, network = None, generator.to(place)
        else:
            path = None if generator is None else Path(generator)
            network = open_generator(path or shipped_path("generator.safetensors", pair), place)
        if atlas is None and generator is not None:
            own = load_decomposer(Path(decomposer), place) if decomposer is not None else None
            return Editor(network, None, own, path=path, encoder=as_path(encoder), pair=pair)
        record = atlas if isinstance(atlas, AtlasRecord) else None
        if record is None:
            named = shipped_path("atlas.safetensors", pair) if atlas is None else Path(str(atlas))
            record = atlas_files.load_atlas(named)
        record = atlas_for(record, network, path or "the shipped generator")
        own = find_decomposer(as_path(decomposer), pair, record, place)
        look_as_in(record, network, own)
        return Editor(network, Atlas.of(record), own, path=path, encoder=as_path(encoder), pair=pair)


def discover(
    generator: str | Path | Generator | None = None,
    decomposer: str | Path | Decomposer | None = None,
    *,
    samples: int = 10_000,
    held_out: int = 2_000,
    truncation: float = 0.5,
    parts: bool | PartsConfig = True,
    steady: float = 1000.0,
    calibration_faces: int = 96,
    seed: int = 0,
    batch_size: int | None = None,
    pair: Pair = PAIR,
    device: Accelerator = "auto",
    on_progress: OnProgress | None = None,
) -> Atlas:
    """Find a generator's directions, in memory; ``lineament discover`` does the same, can be stopped, and reports.

    Args:
        generator: as in `open`.
        decomposer: trained for it by ``lineament train decomposer``.
        samples: images for the regression.
        held_out: further images, for the score of the regression.
        truncation: psi at which w is sampled; 1 is none.
        parts: whether to find parts of the face, or the settings for finding them.
        steady: penalty on changes of depth and albedo when editing pose or light; 0 takes one step for all layers.
        calibration_faces: faces on which the steps are calibrated.
        seed: of the samples.
        batch_size: images at a time; if None, as many as the free memory allows.
        pair: shipped networks to use if neither network is given.
        device: where to compute.
        on_progress: is called with a `ProgressReport` after each batch.

    Raises:
        InputError, FileFormatError: a file is missing or cannot be read.
        ConfigError: only one of the two networks is given, or too few samples.
    """
    if (generator is None) != (decomposer is None):
        raise ConfigError("generator and decomposer belong together: give both, or none for the shipped pair")
    place = place_of(Device(device))
    settings = parts if isinstance(parts, PartsConfig) else PartsConfig(find=parts)
    with quietly(on_progress):
        source, reader = generator, decomposer
        if not isinstance(source, Generator):
            source = open_generator(source or shipped_path("generator.safetensors", pair), place)
        if not isinstance(reader, Decomposer):
            reader = load_decomposer(reader or shipped_path("decomposer.safetensors", pair), place)
        if samples <= source.config.w_dim + 1:
            raise ConfigError(f"samples is {samples}, expected more than {source.config.w_dim + 1}, the width of w")
        mixed = settings.num_samples(source.num_ws, source.config.w_dim)
        found, groups = Discovery.empty(parts=settings.find), settings.groups(source.num_ws)
        sampling = {"seed": seed, "truncation": truncation, "batch_size": batch_size}
        for _ in gather(
            found, source, reader, samples=samples, held_out=held_out, mixed=mixed, layer_groups=groups, **sampling
        ):
            pass
        record, _, _ = solve(
            found,
            source,
            reader,
            parts=settings,
            held_out=held_out,
            steady=steady,
            calibration_faces=calibration_faces,
            **sampling,
        )
    return Atlas.of(record)
