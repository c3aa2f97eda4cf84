"""Rendered people, several pictures of each: the lopsided and the balanced training sets, validation and test.

The renderer is not part of this repository; it is loaded from the given path. A person (shape, skin, hair) comes from
one of its samples, everything else in a picture (expression, background, clothes, framing, light, pose) from another;
then the angle of interest is set. The training, validation and test sets show different people.
"""

import csv
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from lineament.errors import InputError
from lineament.ops.seeding import philox
from lineament.store.atomic import write_text_atomic

Part: TypeAlias = Literal["lopsided", "balanced", "validation", "test"]

PARTS: tuple[Part, ...] = ("lopsided", "balanced", "validation", "test")

LABELS = ("yaw", "pitch", "roll", "ambient", "diffuse", "light_x", "light_y")
"""Labels of every picture, in degrees, fractions and slopes."""

_TRUTH = {"light_x": "dx", "light_y": "dy"}
"""The renderer's names of labels, where they differ from ours."""

_PEOPLE_SEED, _PICTURES_SEED = 710_000_001, 720_000_001
"""Seeds of the renderer's samples; no generator or decomposer of ours was trained on either."""

_FIRST_PERSON = {"lopsided": 0, "balanced": 0, "validation": 100_000, "test": 200_000}
"""Number of the first person of each set. The balanced and the lopsided set show the same people, expressions and
backgrounds; only the angle differs."""

_OF_A_PICTURE = (
    "yaw",
    "pitch",
    "roll",
    "tx",
    "ty",
    "tz",
    "ambient",
    "diffuse",
    "dx",
    "dy",
    "scale",
    "crop_y",
    "gaze_y",
)
_OF_A_PICTURE_STARTS = ("e_", "bg", "cloth_")

_BATCH = 16


@dataclass(frozen=True)
class Imbalance:
    """The values that are rare in the lopsided set.

    Attributes:
        semantic: the label whose large values are rare.
        edge: absolute values above it are rare.
        reach: the largest absolute value.
        ratio: how much rarer a rare value is than a common one.
    """

    semantic: str
    edge: float
    reach: float
    ratio: float = 100.0

    def value(self, share: Float[np.ndarray, " n"], *, lopsided: bool) -> Float[np.ndarray, " n"]:
        """Quantiles of the distribution: the values at these shares (in [0, 1])."""
        ends = np.array([-self.reach, -self.edge, self.edge, self.reach])
        mass = np.diff(ends) / (np.array([self.ratio, 1.0, self.ratio]) if lopsided else 1.0)
        return np.interp(share, np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum(), ends)

    def rare(self, values: Float[np.ndarray, " n"]) -> np.ndarray:
        """Which values are rare in the lopsided set."""
        return np.abs(values) > self.edge


IMBALANCES = {"yaw": Imbalance("yaw", 25.0, 45.0), "light_x": Imbalance("light_x", 0.5, 0.9)}


@dataclass(frozen=True)
class Size:
    """How many people, and how many pictures of each."""

    people: int
    pictures: int


SIZES: dict[Part, Size] = {
    "lopsided": Size(840, 5),
    "balanced": Size(840, 5),
    "validation": Size(60, 9),
    "test": Size(150, 9),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture to render."""

    person: int
    number: int
    parameters: dict[str, float]
    morphs: dict[str, float]

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.person:06d}-{self.number:02d}.png"


def load_renderer(path: Path) -> ModuleType:
    """The renderer as a module.

    Raises:
        InputError: there is no such file.
    """
    spec = importlib.util.spec_from_file_location("renderer", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; name the renderer's synthface.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shares(size: Size, part: Part, seed: int) -> Float[np.ndarray, "people pictures"]:
    """Share of the angle's distribution at which each picture lies, evenly spread.

    In training sets, shares are spread over the whole set, so that the number of rare pictures is as intended and they
    fall on random people. In validation and test, they are spread over each person's pictures, so that everybody is
    seen at all angles.
    """
    random = philox(seed, 0, _FIRST_PERSON[part])
    if part in ("validation", "test"):
        order = np.stack([random.permutation(size.pictures) for _ in range(size.people)])
        return (order + random.random(order.shape)) / size.pictures
    n = size.people * size.pictures
    return ((random.permutation(n) + random.random(n)) / n).reshape(size.people, size.pictures)


def pictures(renderer: ModuleType, basis: Any, imbalance: Imbalance, part: Part, size: Size) -> Iterator[Picture]:
    """All pictures of a part."""
    values = imbalance.value(shares(size, part, _PICTURES_SEED).ravel(), lopsided=part == "lopsided")
    values = values.reshape(size.people, size.pictures)
    for i in range(size.people):
        person = _FIRST_PERSON[part] + i
        who, shape = renderer.sample(basis, _PEOPLE_SEED, person)
        for k in range(size.pictures):
            other, mimic = renderer.sample(basis, _PICTURES_SEED, person * 100 + k)
            changing = [key for key in who if key in _OF_A_PICTURE or key.startswith(_OF_A_PICTURE_STARTS)]
            parameters = who | {key: other[key] for key in changing}
            expression = [key.removeprefix("e_") for key in changing if key.startswith("e_")]
            parameters[_TRUTH.get(imbalance.semantic, imbalance.semantic)] = float(values[i, k])
            yield Picture(person, k, parameters, shape | {name: mimic[name] for name in expression})


def render(tool: Path, imbalance: Imbalance, part: Part, size: Size, folder: Path, resolution: int = 64) -> None:
    """Write ``folder/images/*.png`` and then ``folder/labels.csv``; does nothing if labels.csv exists."""
    if (folder / "labels.csv").exists():
        return
    renderer = load_renderer(tool)
    basis = renderer.Basis()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    batch: list[Picture] = []
    everything = list(pictures(renderer, basis, imbalance, part, size))
    for start in range(0, len(everything), _BATCH):
        batch = everything[start : start + _BATCH]
        with torch.no_grad():
            drawn = renderer.render_batch(basis, [p.parameters for p in batch], [p.morphs for p in batch], resolution)
        for picture, drawing in zip(batch, drawn, strict=True):
            Image.fromarray(np.round(drawing["image"] * 255).astype(np.uint8)).save(folder / "images" / picture.name)
        rows += [
            {"file": p.name, "person": p.person} | {name: p.parameters[_TRUTH.get(name, name)] for name in LABELS}
            for p in batch
        ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(folder / "labels.csv", text.getvalue())
