"""``python -m benchmarks.carried --out FOLDER``: the same edits, carried and linear, as pictures for other judges.

Generated faces, or inverted photographs, are edited by the same latents in both ways (`lineament.records.like`). The
folders ``before``, ``carried`` and ``linear`` hold the same faces under the same names, so that networks that share
nothing with ours can say how far each face turned, and whether it is still the same person.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from lineament.checkpoints.shipped import Pair
from lineament.directions.editor import load_editor
from lineament.faces.subjects import Subjects, photographed, sampled
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_uint8
from lineament.records.bounds import check_bounds
from lineament.records.like import Like
from lineament.store.atomic import make_folder
from lineament.store.pictures import save_png


@dataclass(frozen=True)
class CarriedConfig:
    """Edit faces in both ways and write a picture of each.

    Example: ``python -m benchmarks.carried --out judged --name yaw --change 15``
    """

    out: Path
    """Folder for the pictures."""
    faces: int = 200
    """Number of faces."""
    pair: Pair = "faces64"
    """Shipped networks that draw and edit the faces."""
    name: str = "yaw"
    """The semantic to change."""
    change: float = 15.0
    """By how much, in its unit."""
    truncation: float = 0.7
    """Truncation of the faces."""
    latents: Path | None = None
    """File of `lineament invert`: its photographs are edited; generated faces if not given."""

    def __post_init__(self) -> None:
        check_bounds(self, "faces", least=1)
        check_bounds(self, "truncation", above=0, most=1)


def faces_of(config: CarriedConfig, generator: Generator) -> Subjects:
    """The faces to edit."""
    if config.latents is None:
        return sampled(generator, range(config.faces), 0, config.truncation)
    return photographed(generator, config.latents, range(config.faces), config.pair)


@torch.no_grad()
def run(config: CarriedConfig) -> None:
    """Draw, edit and write the faces."""
    changes = np.full((config.faces, 1), config.change)
    for like in get_args(Like):
        editor = load_editor(None, None, None, config.pair, torch.device("cpu"), like=like)
        faces = faces_of(config, editor.generator)
        pasted = config.latents is not None
        for name, images in (
            ("before", editor.before(faces, pasted=pasted)),
            (like, editor.shown(faces, [config.name], changes, pasted=pasted)),
        ):
            make_folder(config.out / name)
            for i, image in enumerate(to_uint8(images)):
                save_png(config.out / name / f"{i:04d}.png", image)


if __name__ == "__main__":
    from lineament.cli.main import run_module

    raise SystemExit(run_module("benchmarks.carried", "CarriedConfig", "python -m benchmarks.carried"))
