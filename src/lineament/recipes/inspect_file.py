"""Describe one of Lineament's files, a run folder, or a checkpoint of another program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lineament.checkpoints.foreign import discriminator_of, generator_of, what_it_holds
from lineament.checkpoints.ours import SCHEMA_VERSION as NETWORK_VERSION
from lineament.directions.calibrate import calibration_slope
from lineament.engine.console import facts_table, layers_text, number
from lineament.engine.run_folder import CONFIG_NAME, LOG_NAME, STATE_VERSION, log_rows
from lineament.errors import FileFormatError, InputError
from lineament.networks.stylegan.generator import Generator
from lineament.records.atlas import SCHEMA_VERSION as ATLAS_VERSION
from lineament.records.atlas import Atlas
from lineament.records.inversions import SCHEMA_VERSION as INVERSIONS_VERSION
from lineament.records.inversions import Inversions
from lineament.records.parts import Localization
from lineament.settings.inspect_file import InspectConfig
from lineament.store.atlas import load_atlas
from lineament.store.foreign.checkpoints import open_checkpoint
from lineament.store.inversions import load_inversions
from lineament.store.json_text import read_json
from lineament.store.tensors import (
    FileHeader,
    fingerprint,
    is_safetensors,
    load_tensors,
    read_header,
    short_fingerprint,
)

_MOST_NESTED = 16
_NEWEST = {"atlas": ATLAS_VERSION, "inversions": INVERSIONS_VERSION, "training-state": STATE_VERSION}
_FILES = {
    "nvidia-torch": "a pickle of NVIDIA's PyTorch programs",
    "nvidia-tensorflow": "a pickle of NVIDIA's TensorFlow programs",
    "torch": "tensors saved by PyTorch",
}
_WHAT = {
    "generator": "a face generator",
    "discriminator": "the discriminator of a face generator",
    "features": "features of a discriminator, for comparing images",
    "decomposer": "a network that takes faces apart",
    "encoder": "a network from an image to the latents of one generator",
    "judge": "a network that reads the named attributes of rendered faces",
    "upsampler": "a network that draws an image at twice the size",
    "inversions": "photographs as latents of one generator",
    "atlas": "the directions of one generator",
    "training-state": "where a training or a discovery can go on",
}


@dataclass(frozen=True)
class Inspection:
    """What is known about a file or a folder, as tables to print."""

    title: str
    facts: dict[str, str]
    tables: tuple[Table, ...] = ()

    def renderables(self) -> list[RenderableType]:
        """The tables, in reading order."""
        return [facts_table(self.title, self.facts), *self.tables]


def atlas_table(atlas: Atlas) -> Table:
    """One row per direction."""
    table = Table(title="Directions", title_justify="left")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for name in ("R²", "mean", "sd", "seen from", "to", "linear"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("a positive value")
    for d in atlas.directions:
        slope = calibration_slope(d)
        table.add_row(
            Text(d.name),
            Text(d.unit),
            f"{d.r2:.2f}",
            *(number(v) for v in (d.mean, d.std, d.range_seen.minimum, d.range_seen.maximum)),
            "–" if slope is None else f"{slope:.2f}",
            Text(d.sign),
        )
    table.caption = "linear: measured change of a step over the linear model's prediction, before calibration"
    table.caption_justify = "left"
    return table


def parts_table(local: Localization) -> Table:
    """One row per part of the face."""
    table = Table(title="Parts of the face", title_justify="left")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("where")
    for name in ("layers", "explains", "contrast", "comes back", "R²", "depth", "of the face"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in local.parts:
        table.add_row(
            Text(part.name),
            Text(part.place),
            layers_text(part.direction.layers),
            f"{part.explained:.1%}",
            f"{part.contrast:.1f}",
            f"{part.stability:.2f}" + ("" if part.stable else " no"),
            f"{part.direction.r2:.2f}",
            f"{part.shape.depth_share:.0%}",
            f"{part.shape.extent:.0%}",
        )
    table.caption = (
        "contrast: mean change of the pixels where the part acts over that of the other pixels, in the linear model; "
        "comes back: cosine with the same part found in half of the samples; R²: held out, of the part as measured in "
        "images; depth: share of the map that is shape, the rest is colour; of the face: area with 80 % of the map"
    )
    table.caption_justify = "left"
    return table


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested JSON as dotted names and short values."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix.count(".") < _MOST_NESTED:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _short(value)
    return flat


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} entries"
    try:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
    except RecursionError:
        return "nested too deeply to be shown"
    return text if len(text) <= 200 else text[:199] + "…"


def _facts(path: Path, header: FileHeader) -> dict[str, str]:
    dtypes = sorted({dtype for dtype, _ in header.tensors.values()})
    return {
        "kind": header.kind,
        "schema version": str(header.schema_version),
        "written by": f"Lineament {header.written_by}",
        "size": f"{header.num_bytes:,} bytes",
        "values": f"{header.num_parameters:,} in {len(header.tensors)} tensors ({', '.join(dtypes)})",
    }


def inspect_file(path: Path) -> Inspection:
    """Describe one file. Its tensors are read too, so that a damaged file is noticed."""
    header = read_header(path)
    title = f"{path}: {_WHAT.get(header.kind, 'a file of Lineament')}"
    facts = _facts(path, header)
    newest = _NEWEST.get(header.kind, NETWORK_VERSION)
    tensors, values = load_tensors(path, kind=header.kind, framework="pt", schema_version=newest)
    facts["fingerprint"] = fingerprint(tensors)
    if header.kind == "inversions":
        return Inspection(title, facts | _inversion_facts(load_inversions(path)))
    if header.kind != "atlas":
        return Inspection(title, facts | _flat(values))
    atlas = load_atlas(path)
    facts |= {
        "made by": f"Lineament {atlas.lineament_version} on {atlas.created}",
        "generator": f"{short_fingerprint(atlas.generator_fingerprint)} "
        + ", ".join(f"{k} {v}" for k, v in atlas.generator.items()),
        "decomposer": short_fingerprint(atlas.decomposer_fingerprint),
        "samples": f"{atlas.num_samples:,} for the fit, {atlas.num_held_out:,} held out, seed {atlas.seed}",
        "truncation": f"{atlas.truncation:g}",
        "spread of w": f"{np.sqrt(np.trace(atlas.w_cov)):.4g} in {atlas.w_dim} dimensions",
        **_flat(atlas.provenance, "provenance."),
    }
    parts = (parts_table(atlas.local),) if atlas.local else ()
    return Inspection(title, facts, (atlas_table(atlas), *parts))


def _inversion_facts(found: Inversions) -> dict[str, str]:
    """How many photographs there are, and how good their inversions are."""
    facts = {
        "made by": f"Lineament {found.lineament_version} on {found.created}",
        "generator": short_fingerprint(found.generator_fingerprint),
        "encoder": short_fingerprint(found.encoder_fingerprint) or "none",
        "photographs": f"{len(found):,}, {len(found.skipped):,} files skipped",
    }
    if len(found):
        medians = {"SSIM": found.ssim, "rmse": found.rmse, "distance": found.distance, "offset": found.offset}
        facts["good inversions"] = f"{int(found.good().sum()):,}"
        facts["medians"] = ", ".join(f"{name} {number(float(np.median(v)))}" for name, v in medians.items())
    return facts | _flat(found.provenance, "provenance.")


def _last_lines(log: Path) -> dict[str, Any]:
    """The newest value of everything logged."""
    newest: dict[str, Any] = {}
    for _, row in log_rows(log):
        newest |= {k: v for k, v in row.items() if k != "time"}
    return newest


def inspect_folder(path: Path) -> Inspection:
    """Describe a run folder.

    Raises:
        InputError: the folder is not a run folder.
        FileFormatError: its settings cannot be read.
    """
    config = path / CONFIG_NAME
    if not config.is_file():
        raise InputError(f"{path} is not a run folder (no {CONFIG_NAME}); name a file, or the --out of a training")
    settings = read_json(config, "delete it, or name another folder")
    if not isinstance(settings, dict):
        raise FileFormatError(f"{config} holds no settings; delete it, or name another folder")
    facts = _flat(settings)
    tables: list[Table] = []
    if (path / LOG_NAME).is_file():
        tables.append(facts_table("Newest logged values", _flat(_last_lines(path / LOG_NAME))))
    files = Table(title="Files", title_justify="left")
    for name in ("name", "kind", "bytes"):
        files.add_column(name, justify="right" if name == "bytes" else "left")
    for entry in sorted(p for p in path.iterdir() if p.is_file()):
        try:
            kind = read_header(entry).kind if entry.suffix == ".safetensors" else entry.suffix[1:] or "file"
        except FileFormatError:
            kind = "damaged or foreign"
        files.add_row(Text(entry.name), kind, f"{entry.stat().st_size:,}")
    return Inspection(f"{path}: a run folder", facts, (*tables, files))


def inspect_checkpoint(path: Path) -> Inspection:
    """Describe a checkpoint of another program, and the networks that can be made of it; no code in it is run."""
    checkpoint = open_checkpoint(path)
    facts = {
        "size": f"{checkpoint.num_bytes:,} bytes",
        "sha256": checkpoint.sha256,
        "file": _FILES[checkpoint.layout],
        "carries code": "yes; it was not run" if checkpoint.carries_code else "no",
        "foreign names": ", ".join(checkpoint.opaque_names) or "none but harmless ones",
    }
    facts |= {name: text for name, text in _flat(checkpoint.extras).items() if len(text) < 80}
    seen = False
    for kind, find in (("generator", generator_of), ("discriminator", discriminator_of)):
        try:
            found = find(checkpoint)
        except FileFormatError as error:
            facts[kind], seen = str(error).removeprefix(f"{path} "), True
            continue
        if found is None:
            continue
        seen = True
        config: Any = found.network.config
        if isinstance(found.network, Generator):
            facts["family"], facts["classes"] = found.network.family, str(config.c_dim or "none")
        facts[kind] = f"{found.layout}, called {found.role!r}" + "".join(f"; {note}" for note in found.notes)
        facts |= {f"{kind}.{k}": v for k, v in _flat(config.to_dict()).items()}
    if not seen:
        facts["as StyleGAN"] = f"holds {what_it_holds(checkpoint)}"
    networks = Table(title="Networks in the file", title_justify="left")
    for name in ("name", "class", "tensors", "values"):
        networks.add_column(name, justify="right" if name in ("tensors", "values") else "left")
    for role, network in checkpoint.networks.items():
        values = sum(tensor.numel() for tensor in network.tensors.values())
        networks.add_row(Text(role or "–"), Text(network.class_name), str(len(network.tensors)), f"{values:,}")
    return Inspection(f"{path}: a checkpoint of another program", facts, (networks,))


def run(config: InspectConfig) -> Inspection:
    """Inspect a file or a folder.

    Raises:
        InputError: there is no such file, or the folder is no run folder.
        FileFormatError: the file is damaged, too new, or not a checkpoint.
    """
    path = config.path
    if path.is_dir():
        return inspect_folder(path)
    return inspect_file(path) if is_safetensors(path) or not path.exists() else inspect_checkpoint(path)
