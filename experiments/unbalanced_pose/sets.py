"""The rendered pictures as arrays."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from lineament.errors import InputError

from .renders import LABELS


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with their labels.

    Attributes:
        names: names of the pictures.
        images: the pictures.
        labels: values by the name of the label.
        people: the person in each picture, numbered from zero.
        sources: the picture of the training set that each was made from; the picture itself if it was not generated.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "n h w 3"]
    labels: dict[str, Float[np.ndarray, " n"]]
    people: Int[np.ndarray, " n"]
    sources: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.names)


def together(one: Labelled, other: Labelled) -> Labelled:
    """The pictures of two sets of the same people, with their common labels."""
    return Labelled(
        one.names + other.names,
        np.concatenate([one.images, other.images]),
        {name: np.concatenate([one.labels[name], other.labels[name]]) for name in one.labels if name in other.labels},
        np.concatenate([one.people, other.people]),
        np.concatenate([one.sources, other.sources]),
    )


def load(folder: Path) -> Labelled:
    """The pictures of a folder with ``images/`` and ``labels.csv``.

    Raises:
        InputError: the folder has not been rendered completely.
    """
    if not (folder / "labels.csv").exists():
        raise InputError(f"{folder} has no labels.csv; render it first")
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = tuple(row["file"] for row in rows)
    images = np.stack([np.asarray(Image.open(folder / "images" / name).convert("RGB")) for name in names])
    labels = {label: np.array([float(row[label]) for row in rows]) for label in LABELS}
    people = np.unique([int(row["person"]) for row in rows], return_inverse=True)[1]
    return Labelled(names, images, labels, people.astype(np.int64), np.arange(len(names)))
