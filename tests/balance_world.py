"""A world in which a folder can be balanced within a second: tiny networks, an atlas fitted to them, their samples."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lineament.checkpoints.ours import load_decomposer, load_generator, network_fingerprint
from lineament.faces.latent_spread import latent_spread
from lineament.faces.measure import measure
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import latents
from lineament.recipes.balance import networks as balance_networks
from lineament.recipes.balance import run as balance
from lineament.recipes.balance import trials as balance_trials
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.inversion_settings import InversionSettings
from lineament.records.inversions import Inversions
from lineament.records.semantics import SCALAR_SEMANTICS
from lineament.settings.balance import BalanceConfig
from lineament.store.atlas import save_atlas
from lineament.store.inversions import save_inversions
from tests import tiny

NUM_FITTED = 200
NAME, OTHER = "pitch", "ambient"
"""The semantics of these untrained networks that are linear in w by half (R^2 0.53 and 0.55)."""


def make(folder: Path) -> Path:
    """Networks, their atlas, and a folder of some 30 images whose pitch is mostly a middle one.

    inversions.safetensors knows their latents.
    """
    paths = tiny.save_pair(folder, gain=20.0, config=tiny.UNTIED)
    generator, decomposer = load_generator(paths[0]), load_decomposer(paths[1])
    with torch.inference_mode():
        w = generator.map(latents(1, range(NUM_FITTED), 8))
        images = torch.cat([generator.synthesize(generator.broadcast(part)).clamp(-1, 1) for part in w.split(50)])
        y = measure(decomposer, images)
    x = w.double().numpy()
    cov = np.cov(x.T)
    solution, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)
    directions = []
    for i, semantic in enumerate(SCALAR_SEMANTICS):
        gradient, column = solution[:-1, i], y[:, i]
        pulled = cov @ gradient
        quantiles = np.percentile(column, [0, 1, 50, 99, 100]).tolist()
        words = (semantic.name, semantic.unit, semantic.sign, semantic.description)
        errors, mean, std = np.full(8, 0.1), float(column.mean()), float(column.std())
        seen = SeenRange(*quantiles)
        directions.append(Direction(*words, gradient, pulled / (gradient @ pulled), errors, 0.5, 0.1, mean, std, seen))
    facts = {"resolution": 64, "w_dim": 8, "num_layers": 10}
    prints = network_fingerprint(generator), network_fingerprint(decomposer)
    atlas = Atlas(tuple(directions), x.mean(axis=0), cov, NUM_FITTED, 9, 1, 1.0, *prints, facts, "0.1.0", "2025-01-31")
    save_atlas(folder / "atlas.safetensors", atlas)
    values = y[:, [s.name for s in SCALAR_SEMANTICS].index(NAME)]
    middle = np.argsort(np.abs(values - np.median(values)), kind="stable")
    chosen = sorted({*middle[:24].tolist(), *middle[::20].tolist()})
    names, pictures = tuple(f"{i:03d}.png" for i in chosen), to_uint8(images[chosen])
    (folder / "images").mkdir()
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / "images" / name)
    perfect, none = np.ones(len(chosen)), np.zeros(len(chosen))
    ws = generator.broadcast(w[chosen]).numpy().copy()
    inversions = Inversions(names, ws, pictures, perfect, none, none, none, prints[0], "", {}, "0.1.0", "2025-01-31")
    save_inversions(folder / "inversions.safetensors", inversions)
    return folder


def settings(world: Path, out: Path, **changes) -> BalanceConfig:
    """Settings that balance the world's images by pitch, from samples."""
    files = {name: world / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
    config = BalanceConfig(
        images=world / "images",
        out=out,
        semantics=NAME,
        bins="4",
        source="samples",
        tolerance=1.5,
        batch_size=8,
        truncation=1.0,
        inversion=InversionSettings(steps=2),
        **files,
    )
    return replace(on(config, 1), **changes)


def on(config: BalanceConfig, count: int) -> BalanceConfig:
    """The same on that many processes."""
    return replace(config, devices=replace(config.devices, accelerator="cpu", count=count))


def shrink() -> None:
    """Try plans on fewer faces; for good, in a process of its own, and under `pytest.MonkeyPatch` otherwise."""
    for module, name, value in SMALLER:
        setattr(module, name, value)


SMALLER = (
    (balance_trials, "TRIALS_PER_BIN", 8),
    (balance_trials, "TRIAL_FACES", 128),
    (balance, "TRIAL_FACES", 128),
    (balance_trials, "NUM_PEOPLE", 16),
    (balance_networks, "latent_spread", functools.partial(latent_spread, num_samples=500)),
)
"""Module, name and value of what makes trials smaller."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
