"""The faces to edit: a generator's own faces by seed, or inverted photographs by their index in a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lineament.checkpoints.ours import network_fingerprint
from lineament.engine.console import console
from lineament.errors import ConfigError, MismatchError
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor
from lineament.ops.seeding import latents
from lineament.records.bounds import MAX_SEED, check_seeds
from lineament.store.inversions import check_inversions_match, load_inversions

MAX_SEEDS = 4096
NUM_FIRST = 8
"""Number of faces that are edited if none are named."""


@dataclass(frozen=True, eq=False)
class Subjects:
    """Faces to edit.

    Attributes:
        ws: their latents.
        numbers: seeds, or indices in the file of inversions.
        names: for display: the seed, or the photograph's file name.
        origin: where the faces are from; it is stored in the recipe of a picture.
        photographs: in [-1, 1]; None for a generator's own faces.
    """

    ws: Float[Tensor, "n l d"]
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    origin: str
    photographs: Float[Tensor, "n 3 h w"] | None = None

    @property
    def kind(self) -> str:
        """The word for one of ``numbers`` in messages: "seed" or "photograph"."""
        return "seed" if self.photographs is None else "photograph"


def parse_seeds(text: str, what: str = "seeds") -> list[int]:
    """Read numbers and ranges such as ``0-7,12``, in the order given.

    Raises:
        ConfigError: the text has another form, a range falls, or there are more than `MAX_SEEDS` numbers.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"{what} are {text!r:.80}, expected numbers from 0 and ranges such as 0-7,12")
        if max(len(first), len(last)) > len(str(MAX_SEED)):
            raise ConfigError(f"{what} {part.strip()!r:.80}: expected numbers from 0 to {MAX_SEED}")
        low, high = int(first), int(last or first)
        if high < low or high - low >= MAX_SEEDS or high > MAX_SEED:
            raise ConfigError(
                f"{what} {part.strip()!r}: expected a rising range of at most {MAX_SEEDS} numbers, up to {MAX_SEED}"
            )
        seeds += range(low, high + 1)
        if len(seeds) > MAX_SEEDS:
            raise ConfigError(f"{len(seeds)} {what} or more, expected at most {MAX_SEEDS}; edit them in parts")
    return seeds


@torch.no_grad()
def sampled(generator: Generator, seeds: Sequence[int], run_seed: int, truncation: float) -> Subjects:
    """Faces of a generator, by seed.

    Raises:
        ConfigError: a seed is no whole number from 0 to `MAX_SEED`.
    """
    check_seeds(seeds, "a seed")
    check_seeds([run_seed], "run_seed")
    z = latents(run_seed, seeds, generator.config.z_dim).to(generator.mapping.w_avg.device)
    ws = generator.draw_ws(z, truncation)
    return Subjects(ws, tuple(seeds), tuple(map(str, seeds)), f"seeds of run {run_seed} at truncation {truncation:g}")


def photographed(generator: Generator, path: Path, numbers: Sequence[int] | None, generator_name: str) -> Subjects:
    """Inverted photographs by index; the first eight of the file if no numbers are given.

    Raises:
        InputError, FileFormatError: the inversions cannot be read.
        MismatchError: they belong to another generator.
        ConfigError: an index is out of range, or the file holds no photographs.
    """
    found = load_inversions(path)
    check_inversions_match(found, network_fingerprint(generator), generator_name)
    chosen = list(range(min(len(found), NUM_FIRST)) if numbers is None else numbers)
    if not chosen or max(chosen) >= len(found):
        raise ConfigError(
            f"{path} holds {len(found)} photographs, numbers 0 to {len(found) - 1}; choose some of these by --seeds"
        )
    config = generator.config
    if found.ws.shape[1:] != (config.num_ws, config.w_dim) or found.photographs.shape[1] != config.resolution:
        raise MismatchError(f"{path} does not fit the generator it names; invert the photographs again")
    bad = [found.names[i] for i in chosen if not found.good()[i]]
    if bad:
        shown = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
        console.print(
            f"warning: {len(bad)} of {len(chosen)} inversions are poor, and so will be their edits: {shown}",
            soft_wrap=True,
            markup=False,
        )
    device = generator.mapping.w_avg.device
    return Subjects(
        torch.from_numpy(found.ws[chosen]).to(device),
        tuple(chosen),
        tuple(found.names[i] for i in chosen),
        f"photographs of {path.name}",
        to_tensor(np.ascontiguousarray(found.photographs[chosen])).to(device),
    )
