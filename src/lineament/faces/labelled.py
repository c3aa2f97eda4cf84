"""Samples of a generator with labels, for the methods that need them: from a judge, or from a table of the user's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.engine.console import progress_bar
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
"""The judge must explain so much of an attribute on renders it never saw; and among the generator's faces, too, if its
error is the same there: an attribute that these hardly show would be a standard deviation of the judge's noise."""


@dataclass(frozen=True)
class Labeller:
    """Whatever reads attributes off images.

    Attributes:
        names: of the attributes.
        units: of each.
        read: images in [-1, 1] to one row of numbers each.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    read: Callable[[Float[Tensor, "n 3 h w"]], Float[np.ndarray, "n m"]]


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Latents and what is said of their images.

    Attributes:
        w: latents.
        labels: one column for each attribute.
        names: of the attributes.
        units: of each, "" where unknown.
        seconds: that the sampling and labelling took; for a table of labels those of the sampling alone.
        origin: who labelled, for the provenance.
    """

    w: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, "n m"]
    names: tuple[str, ...]
    units: tuple[str, ...]
    seconds: float
    origin: str


@torch.inference_mode()
def sample_w(generator: Generator, seed: int, count: int, truncation: float) -> Float[np.ndarray, "n d"]:
    """Latents w of the first ``count`` images of a seed: those to which `discover` fits, too."""
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
    """Draw the first ``count`` images of a seed and have them labelled."""
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
    """A judge as a labeller: some of its attributes, in the units of the truth that it learned from."""
    names, chosen = tuple(judge.names[i] for i in columns), list(columns)
    mean, std = (buffer.double().cpu().numpy()[chosen] for buffer in (judge.mean, judge.std))
    units = {semantic.name: semantic.unit for semantic in SCALAR_SEMANTICS}

    def labels(images: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, "n m"]:
        return read(judge, images)[:, chosen] * std + mean

    return Labeller(names, tuple(units.get(name, "") for name in names), labels)


def only(samples: LabelledSamples, names: Sequence[str]) -> LabelledSamples:
    """The same samples with some of their labels.

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
    """What a CSV says of images of a seed: each row begins with an image's number, alone or as a file's name.

    Raises:
        InputError: there is no such file.
        FileFormatError: not such a CSV.
        DataError: a row that is named by no number, or a label that is no number.
    """
    began = time.monotonic()
    table = read_labels(path)
    numbers, labels = [], []
    for name, values in table.rows.items():
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
    """Attributes that the judge reads well; of a sum that it reads well the columns are left out.

    Args:
        judge: says its R^2 on renders.
        spread: standard deviation of its readings among the generator's faces, in that of the renders. A reading is a
            mean, so what it misses comes on top of it: R^2 there is spread^2 / (spread^2 + 1 - R^2).
    """
    good = {
        name
        for name, r2, std in zip(judge.names, judge.r2.tolist(), spread.tolist(), strict=True)
        if min(r2, std**2 / max(std**2 + 1 - r2, 1e-12)) >= MIN_R2
    }
    parts = {part for name in good for part in SUMS.get(name, ())}
    return [i for i, name in enumerate(judge.names) if name in good and name not in parts]
