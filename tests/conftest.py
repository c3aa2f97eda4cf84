"""Fixtures that several rooms share."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import network_fingerprint, save_network
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.records.atlas import Atlas
from lineament.records.direction import Direction, SeenRange
from lineament.records.semantics import SCALAR_SEMANTICS
from lineament.records.shapes import DecomposerConfig, GeneratorConfig
from lineament.store.atlas import save_atlas

# ---- a tiny untrained world: a 64 px generator, a decomposer, and an atlas made up for them ----


@pytest.fixture(scope="session")
def tiny_networks() -> tuple[Generator, Decomposer]:
    """Untrained networks with random weights, small enough for tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2(
            GeneratorConfig(z_dim=16, w_dim=16, num_mapping_layers=2, channel_base=512, channel_max=8)
        )
        decomposer = Decomposer(DecomposerConfig(channels=4, channel_max=8, code_dim=8, pose_channels=4))
    for network in (generator, decomposer):
        # Weights go through half precision, as a file's do, so that fingerprints and outputs survive saving.
        network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
        network.eval().requires_grad_(False)
    return generator, decomposer


@pytest.fixture(scope="session")
def tiny_atlas(tiny_networks: tuple[Generator, Decomposer]) -> Atlas:
    """Random directions in w for every scalar semantic, with the tiny networks' fingerprints."""
    generator, decomposer = tiny_networks
    rng = np.random.default_rng(0)
    root = np.eye(16) + 0.1 * rng.standard_normal((16, 16))
    w_cov = root @ root.T
    directions = []
    for i, semantic in enumerate(SCALAR_SEMANTICS):
        gradient = rng.standard_normal(16)
        pulled = w_cov @ gradient
        variance = float(gradient @ pulled)
        spread = variance**0.5
        directions.append(
            Direction(
                name=semantic.name,
                unit=semantic.unit,
                sign=semantic.sign,
                description=semantic.description,
                gradient=gradient,
                step=pulled / variance,
                standard_error=np.full(16, 0.1),
                r2=0.9 - 0.1 * i,
                residual_std=0.3 * spread,
                mean=0.5,
                std=spread,
                range_seen=SeenRange(-3 * spread, -2 * spread, 0.0, 2 * spread, 3 * spread),
                calibration=((-1.25 * spread, -spread), (0.0, 0.0), (1.25 * spread, spread)),
            )
        )
    return Atlas(
        directions=tuple(directions),
        w_mean=np.zeros(16),
        w_cov=w_cov,
        num_samples=100,
        num_held_out=50,
        seed=0,
        truncation=0.8,
        generator_fingerprint=network_fingerprint(generator),
        decomposer_fingerprint=network_fingerprint(decomposer),
        generator={"resolution": 64, "w_dim": 16, "num_layers": 10},
        lineament_version="0.1.0",
        created="2025-01-31T12:00:00+00:00",
    )


@pytest.fixture(scope="session")
def tiny_files(
    tmp_path_factory: pytest.TempPathFactory, tiny_networks: tuple[Generator, Decomposer], tiny_atlas: Atlas
) -> Path:
    """A folder with generator.safetensors, decomposer.safetensors, atlas.safetensors of the tiny world."""
    folder = tmp_path_factory.mktemp("tiny")
    generator, decomposer = tiny_networks
    save_network(folder / "generator.safetensors", "generator", generator, generator.config.to_dict(), {"kimg": 0})
    save_network(folder / "decomposer.safetensors", "decomposer", decomposer, decomposer.config.to_dict(), {})
    save_atlas(folder / "atlas.safetensors", tiny_atlas)
    return folder
