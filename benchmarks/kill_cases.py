"""The commands that `benchmarks.kills` kills, and what they read: small networks, generated faces, and their truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import save_network
from lineament.checkpoints.shipped import shipped_path
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.ops.pixels import to_uint8
from lineament.ops.seeding import latents, philox
from lineament.recipes.convert import run as convert
from lineament.records.shapes import GeneratorConfig
from lineament.settings.convert import ConvertConfig
from lineament.store.pictures import save_png

NUM_FACES = 48
SMALL = GeneratorConfig(resolution=32, z_dim=8, w_dim=8, num_mapping_layers=2, channel_base=64, channel_max=6)
DRAWN = GeneratorConfig(resolution=64, z_dim=8, w_dim=8, num_mapping_layers=2, channel_base=128, channel_max=6)
LARGE = GeneratorConfig(resolution=64, z_dim=512, w_dim=512, channel_base=32768, channel_max=512)
"""Untrained generators: one to grow, one to discover in, and one whose conversion takes long enough to be killed."""

_TRUTH = ("pitch", "yaw", "roll", "tx", "ty", "tz", "ambient", "diffuse", "dx", "dy")


@dataclass(frozen=True)
class KillCase:
    """A command to be killed, as the words after ``lineament``; its results lie in its working folder."""

    name: str
    words: tuple[str, ...]


def kill_cases(world: Path) -> tuple[KillCase, ...]:
    """All commands, reading from the folder that `make_world` filled."""
    faces, small, drawn = world / "faces", world / "small.safetensors", world / "drawn.safetensors"
    net = "--network.channels=4 --network.channel-max=8"
    sizes = "--network.resolution=32 --network.z-dim=8 --network.w-dim=8 --network.channel-base=64"
    balance = (
        f"balance --images {faces} --out out --semantics yaw --range=-15:15 --bins 2 --from samples --min-face 0 "
        "--count 56 --max-variation 0.5 --batch-size 4"
    )
    lines = {
        "train generator": f"train generator --images {faces} --out out {sizes} --network.num-mapping-layers=2 "
        "--network.channel-max=6 --batch-size=4 --kimg=0.12 --snapshot-kimg=0.012 --eval-images=16",
        "train details": f"train details --images {faces} --generator {small} --out out --upsampler.channels=4 "
        "--upsampler.num-blocks=1 --upsampler-steps=24 --pixel-steps=8 --block-steps=24 --batch-size=4 "
        "--snapshot-steps=5 --eval-images=8",
        "train decomposer": f"train decomposer --images {faces} --generator {drawn} --out out {net} "
        "--network.code-dim=8 --network.pose-channels=4 --batch-size=4 --steps=16 --snapshot-steps=2",
        "train encoder": f"train encoder --images {faces} --generator {drawn} --out out {net} --network.offset-dim=4 "
        "--batch-size=4 --steps=32 --latent-steps=12 --snapshot-steps=6",
        "train judge": f"train judge --truth {world / 'truth'} --test {world / 'test'} --out out {net} "
        "--network.hidden-dim=8 --batch-size=8 --steps=60 --snapshot-steps=6",
        "discover": f"discover --generator {drawn} --decomposer {shipped_path('decomposer.safetensors')} --out out "
        "--samples=256 --held-out=64 --batch-size=32 --parts.samples=768 --parts.layer-groups=2 --parts.components=3 "
        "--calibration-faces=8",
        "invert": f"invert --images {faces} --out out.safetensors --picture out.png --batch-size=4 --steps=6",
        "balance, a folder": balance,
        "balance, shards": f"{balance} --shards 16",
        "convert": f"convert {world / 'foreign.pt'} --out out",
        "edit, a video": "edit yaw=+20 --seeds 0-3 --frames=16 --out out.mp4",
    }
    on = {name: () if name == "convert" else ("--on.accelerator=cpu",) for name in lines}
    return tuple(KillCase(name, (*words.split(), *on[name])) for name, words in lines.items())


def make_world(world: Path) -> None:
    """Fill a folder, whose path must not hold spaces, with what the commands read."""
    world.mkdir()
    generator = open_generator(shipped_path("generator.safetensors"))
    with torch.inference_mode():
        faces = to_uint8(generator(latents(7, range(3 * NUM_FACES), generator.config.z_dim), 0.8).clamp(-1, 1))
    for folder, own in zip(("faces", "truth", "test"), np.split(faces, 3), strict=True):
        _write_faces(world / folder, own, renders=folder != "faces")
    torch.manual_seed(0)
    for name, shape in (("small", SMALL), ("drawn", DRAWN), ("large", LARGE)):
        network = StyleGAN2(shape)
        save_network(world / f"{name}.safetensors", "generator", network, shape.to_dict(), {})
    convert(ConvertConfig(world / "large.safetensors", world / "foreign.pt", to="rosinality"))


def _write_faces(folder: Path, images: np.ndarray, *, renders: bool) -> None:
    """Pictures; as renders with a table of made-up truth, which is enough to train a judge on."""
    pictures = folder / "images" if renders else folder
    pictures.mkdir(parents=True)
    for i, image in enumerate(images):
        save_png(pictures / f"{i:06d}.png", image)
    if not renders:
        return
    (folder / "truth").mkdir()
    for i in range(len(images)):
        np.savez(folder / "truth" / f"{i:06d}.npz", depth=np.ones(1))
    values = philox(0, 0, len(folder.name)).normal(size=(len(images), len(_TRUTH)))
    np.savez(folder / "truth.npz", index=np.arange(len(images)), names=np.array(_TRUTH), values=values)
