"""Find the directions of a generator: sample w, take the images apart, regress, calibrate; an atlas and a report.

Pose and light become directions by regression; where asked for, the regression of every pixel of canonical depth and
albedo, on samples whose layers vary apart, is factorised into parts of the face (`lineament.directions.parts`).

Source:
    Zheng et al., "Unsupervised Disentanglement of Linear-Encoded Facial Semantics", CVPR 2021: scalar semantics by
    least squares of decomposed samples on w. The Mahalanobis step, its calibration and all units are ours.
"""

import time
from dataclasses import fields
from pathlib import Path

from lineament.checkpoints.ours import network_fingerprint
from lineament.checkpoints.pairs import load_pair
from lineament.directions.solve import solve
from lineament.engine.devices import make_fabric
from lineament.engine.origins import changes
from lineament.engine.run_folder import GentleStop, RunFolder, end_stopped
from lineament.errors import ConfigError, MismatchError
from lineament.faces.samples import Discovery, gather
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.records.part_settings import PartsConfig
from lineament.settings.discover import DiscoverConfig
from lineament.store.atlas import save_atlas

SAMPLED_SETTINGS = ("find", "samples", "layer_groups")

FREE_SETTINGS = (
    *("devices", "report", "calibration_faces", "steady"),
    *(f"parts.{setting.name}" for setting in fields(PartsConfig) if setting.name not in SAMPLED_SETTINGS),
)
"""What may change when a discovery goes on: nothing that was sampled depends on it."""
SAVE_SECONDS = 30.0
"""Between two saved states; those of large generators are large."""


def sample_all(
    config: DiscoverConfig, generator: Generator, decomposer: Decomposer, folder: RunFolder, stop: GentleStop
) -> Discovery | None:
    """Sample and measure, from where an earlier run stopped; None if asked to stop before the end.

    Raises:
        MismatchError: the folder holds measurements of other networks.
    """
    saved = folder.load_state()
    found = (
        Discovery.from_tensors(saved[0], folder.path)
        if saved
        else Discovery.empty(folder.path, parts=config.parts.find)
    )
    networks = {"generator": network_fingerprint(generator), "decomposer": network_fingerprint(decomposer)}
    if saved and saved[1] != networks:
        changed = [name for name, value in networks.items() if saved[1].get(name) != value]
        raise MismatchError(
            f"{folder.path} holds a discovery made with another {' and '.join(changed)} than the file has now; "
            f"choose another --out ({changes(saved[1], networks)})"
        )
    last_saved = time.monotonic()
    for last in gather(
        found,
        generator,
        decomposer,
        seed=config.seed,
        truncation=config.truncation,
        samples=config.samples,
        held_out=config.held_out,
        mixed=config.parts.num_samples(generator.num_ws, generator.config.w_dim),
        layer_groups=config.parts.groups(generator.num_ws),
        batch_size=config.batch_size,
    ):
        if stop.requested or last or time.monotonic() - last_saved > SAVE_SECONDS:
            folder.save_state(found.tensors(), networks)
            last_saved = time.monotonic()
        if stop.requested:
            return None
    return found


def run(config: DiscoverConfig) -> Path:
    """Discover, or go on discovering.

    Returns:
        The path of the atlas.

    Raises:
        FileFormatError: a network cannot be read.
        ConfigError: the folder holds a discovery with other settings, or the samples are too few.
        Stopped: the user stopped the sampling; what was sampled is saved.
    """
    fabric = make_fabric(config.devices)
    generator, decomposer = load_pair(
        config.generator, config.decomposer, config.pair, fabric.device, half=config.half_precision
    )
    generator.choose_class(config.class_number)
    decomposer.face_box = config.face_box or decomposer.face_box
    w_dim = generator.config.w_dim
    if config.ridge == 0 and config.samples <= w_dim + 1:
        raise ConfigError(
            f"{config.samples} samples do not determine {w_dim} coefficients; take more than {w_dim + 1}, or a --ridge"
        )
    config.parts.num_samples(generator.num_ws, w_dim)  # refuses too few before there is a folder
    with RunFolder(config.out, config, free=FREE_SETTINGS, fabric=fabric) as folder:
        with GentleStop() as stop:
            found = sample_all(config, generator, decomposer, folder, stop)
        if found is None:
            end_stopped(fabric, "stopped; the same command goes on")
        atlas, calibrations, J = solve(
            found,
            generator,
            decomposer,
            seed=config.seed,
            truncation=config.truncation,
            ridge=config.ridge,
            parts=config.parts,
            held_out=config.held_out,
            steady=config.steady,
            calibration_faces=config.calibration_faces,
            batch_size=config.batch_size,
        )
        path = config.out / "atlas.safetensors"
        save_atlas(path, atlas)
        if config.report:
            from lineament.reports.discovery import write_report

            write_report(
                config.out / "report.html",
                atlas,
                generator,
                decomposer,
                calibrations,
                J=J,
                generator_path=config.generator,
                decomposer_path=config.decomposer,
            )
        return path
