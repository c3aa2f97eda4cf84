"""Networks and image sets so small that a training step takes milliseconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lineament.checkpoints.ours import save_network
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.discriminator import DiscriminatorConfig
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.records.shapes import DecomposerConfig, GeneratorConfig

GENERATOR = GeneratorConfig(resolution=32, z_dim=8, w_dim=8, num_mapping_layers=2, channel_base=64, channel_max=6)
GENERATOR64 = GeneratorConfig(resolution=64, z_dim=8, w_dim=8, num_mapping_layers=2, channel_base=128, channel_max=6)
DISCRIMINATOR = DiscriminatorConfig.matching(GENERATOR)
DECOMPOSER = DecomposerConfig(channels=4, channel_max=8, code_dim=8, pose_channels=4, mean_head=False, shape_blur=0.0)
UNTIED = replace(DECOMPOSER, tied_shape=False, face_light=False)


def images(num: int, resolution: int = 32, seed: int = 0) -> np.ndarray:
    """Soft blobs of random place and colour on a random ground, uint8 (n, h, w, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:resolution, :resolution] / resolution
    made = []
    for _ in range(num):
        centre, size = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3)
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / size**2)[..., None]
        made.append(blob * rng.uniform(0, 255, 3) + (1 - blob) * rng.uniform(0, 255, 3))
    return np.array(made).round().astype(np.uint8)


def image_folder(path: Path, num: int = 12, resolution: int = 32) -> Path:
    """A folder of PNG files."""
    path.mkdir(parents=True)
    for i, array in enumerate(images(num, resolution)):
        Image.fromarray(array).save(path / f"{i:03d}.png")
    return path


def generator(config: GeneratorConfig = GENERATOR, seed: int = 0) -> Generator:
    """An untrained generator whose noise inputs, mean w and biases are not zero, so that they are seen to act."""
    torch.manual_seed(seed)
    network = StyleGAN2(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    network.mapping.w_avg.copy_(0.1 * torch.randn(config.w_dim))
    return network


def decomposer(config: DecomposerConfig = DECOMPOSER, seed: int = 0, gain: float = 1.0) -> Decomposer:
    """An untrained decomposer; ``gain`` scales what view and light depend on, so that they vary from face to face."""
    torch.manual_seed(seed)
    network = Decomposer(config).eval().requires_grad_(False)
    torch.nn.init.normal_(network.depth_net.head.weight, std=0.1)  # as after a while of training
    for net in (network.view_net, network.light_net):
        net.layers[-1].weight.mul_(gain)
    return network


def save_pair(folder: Path, gain: float = 20.0, config: DecomposerConfig = DECOMPOSER) -> tuple[Path, Path]:
    """A generator and a decomposer as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "generator.safetensors", folder / "decomposer.safetensors"
    made = generator(GENERATOR64)
    save_network(paths[0], "generator", made, made.config.to_dict(), {})
    apart = decomposer(config, gain=gain)
    save_network(paths[1], "decomposer", apart, apart.config.to_dict(), {})
    return paths
