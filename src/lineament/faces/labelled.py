"""Labelled samples of a generator, for methods that need labels. A judge or a table of the user gives the labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.engine.console import console, progress_bar
from lineament.errors import ConfigError, DataError
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.measure import read, synthesize_edited
from lineament.faces.samples import FIT, batches
from lineament.networks.judge import Judge
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.records.attributes import SUMS
from lineament.records.semantics import SCALAR_SEMANTICS
from lineament.store.labels import read_labels

MAPPED_AT_A_TIME = 1024

MIN_R2 = 0.5
"""Minimum R^2 of the judge for an attribute, on held-out renders and on generated faces (assuming the same error on
both). Below it one standard deviation is mostly noise of the judge."""


@dataclass(frozen=True)
class Labeller:
    """Reads attributes off images.

    Attributes:
        names: of the attributes.
        units: of the attributes.
        read: function from images in [-1, 1] to one row of values for each image.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    read: Callable[[Float[Tensor, "n 3 h w"]], Float[np.ndarray, "n m"]]


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Latents, and labels of their images.

    Attributes:
        w: latents.
        labels: one column for each attribute.
        names: of the attributes.
        units: of the attributes; "" where unknown.
        seconds: time of sampling and labelling; for a table of labels, of sampling alone.
        origin: source of the labels, for the provenance.
    """

    w: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, "n m"]
    names: tuple[str, ...]
    units: tuple[str, ...]
    seconds: float
    origin: str


@torch.inference_mode()
def sample_w(generator: Generator, seed: int, count: int, truncation: float) -> Float[np.ndarray, "n d"]:
    """Latents w of the first ``count`` images of a seed. `discover` fits to the same images."""
    return w_of(generator, seed, range(FIT, FIT + count), truncation)


def w_of(generator: Generator, seed: int, numbers: range | list[int], truncation: float) -> Float[np.ndarray, "n d"]:
    """Latents w of the images ``numbers`` of a seed."""
    device, z_dim = generator.mapping.w_avg.device, generator.config.z_dim
    parts = [numbers[i : i + MAPPED_AT_A_TIME] for i in range(0, len(numbers), MAPPED_AT_A_TIME)]
    rows = [generator.map(latents(seed, part, z_dim).to(device), truncation).double().cpu().numpy() for part in parts]
    return np.concatenate(rows)


@torch.inference_mode()
def label_samples(
    generator: Generator, labeller: Labeller, seed: int, count: int, truncation: float, origin: str
) -> LabelledSamples:
    """Draw the first ``count`` images of a seed and label them."""
    began = time.monotonic()
    device, z_dim = generator.mapping.w_avg.device, generator.config.z_dim
    ws, labels = [], []
    with progress_bar() as bar:
        task = bar.add_task("labelling faces", total=count, note="")
        for numbers in batches(FIT, 0, count, images_at_a_time(generator)):
            w = generator.map(latents(seed, numbers, z_dim).to(device), truncation)
            labels.append(labeller.read(synthesize_edited(generator, w)))
            ws.append(w.double().cpu().numpy())
            bar.advance(task, len(numbers))
    return LabelledSamples(
        w=np.concatenate(ws),
        labels=np.concatenate(labels).astype(np.float64),
        names=labeller.names,
        units=labeller.units,
        seconds=time.monotonic() - began,
        origin=origin,
    )


def judge_labeller(judge: Judge, columns: Sequence[int]) -> Labeller:
    """A labeller that reads some attributes with a judge, in the units of the judge's training data."""
    names, chosen = tuple(judge.names[i] for i in columns), list(columns)
    mean, std = (buffer.double().cpu().numpy()[chosen] for buffer in (judge.mean, judge.std))
    units = {semantic.name: semantic.unit for semantic in SCALAR_SEMANTICS}

    def labels(images: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, "n m"]:
        return read(judge, images)[:, chosen] * std + mean

    return Labeller(names, tuple(units.get(name, "") for name in names), labels)


def only(samples: LabelledSamples, names: Sequence[str]) -> LabelledSamples:
    """The same samples with the named labels only.

    Raises:
        ConfigError: there is no such label.
    """
    unknown = [name for name in names if name not in samples.names]
    if unknown:
        raise ConfigError(f"no label {unknown[0]!r}, expected some of {', '.join(samples.names)}")
    columns = [samples.names.index(name) for name in names]
    units = tuple(samples.units[i] for i in columns)
    return replace(samples, labels=samples.labels[:, columns], names=tuple(names), units=units)


@torch.inference_mode()
def labels_from_table(generator: Generator, path: Path, seed: int, truncation: float) -> LabelledSamples:
    """Labels from a CSV. Each row starts with the number of an image of the seed, such as 17 or 17.png.

    Raises:
        InputError: there is no such file.
        FileFormatError: the file is not a valid table of labels.
        DataError: a row's name or a label is not a number.
    """
    began = time.monotonic()
    table = read_labels(path)
    numbers, labels = [], []
    whole = {name: values for name, values in table.rows.items() if all(values)}
    if not whole:
        raise DataError(f"{path} has no row without blank labels; expected a number in every column")
    if len(whole) < len(table.rows):
        text = f"{path}: {len(table.rows) - len(whole)} of {len(table.rows)} rows have blank labels and are left out"
        console.print(text, soft_wrap=True, markup=False)
    for name, values in whole.items():
        if not Path(name).stem.isdecimal():
            raise DataError(
                f"{path}: the row {name!r:.40} names no image of a seed, expected a number such as 17 or 17.png"
            )
        numbers.append(int(Path(name).stem))
        try:
            labels.append([float(value) for value in values])
        except ValueError as error:
            raise DataError(f"{path}: the row {name!r:.40}: {error}; expected numbers, such as 0 and 1") from error
    return LabelledSamples(
        w=w_of(generator, seed, numbers, truncation),
        labels=np.array(labels),
        names=table.columns[1:],
        units=("",) * len(table.columns[1:]),
        seconds=time.monotonic() - began,
        origin=path.name,
    )


def chosen_columns(judge: Judge, spread: Float[np.ndarray, " m"]) -> list[int]:
    """Indices of the attributes that the judge reads well (`MIN_R2`).

    If it reads a sum of columns well (`SUMS`), the single columns are left out.

    Args:
        judge: holds its R^2 on renders.
        spread: standard deviation of its readings on generated faces, in standard deviations of the renders. A reading
            is an expected value, so the error variance adds to it: R^2 there is spread^2 / (spread^2 + 1 - R^2).
    """
    good = {
        name
        for name, r2, std in zip(judge.names, judge.r2.tolist(), spread.tolist(), strict=True)
        if min(r2, std**2 / max(std**2 + 1 - r2, 1e-12)) >= MIN_R2
    }
    parts = {part for name in good for part in SUMS.get(name, ())}
    return [i for i, name in enumerate(judge.names) if name in good and name not in parts]
