"""Batches of faces: repeatable, mixed in the given share, and mirrored together with their truth."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.engine.devices import make_fabric
from lineament.errors import ConfigError
from lineament.ops.render import render
from lineament.ops.seeding import step_generator
from lineament.recipes.train.decomposer_loss import TrueParts
from lineament.recipes.train.face_stream import FaceStream, mirrored_where
from lineament.recipes.train.latent_pairs import LatentPairs
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.devices import Devices
from lineament.records.truth import FaceTruth
from lineament.settings.train_decomposer import TrainDecomposerConfig
from tests import tiny

FABRIC = make_fabric(Devices(accelerator="cpu"))


def test_sources_are_mixed_in_the_given_share(tmp_path: Path) -> None:
    tiny.save_pair(tmp_path)
    tiny.image_folder(tmp_path / "in", resolution=64)
    stream = FaceStream(
        64,
        FABRIC,
        generator=tmp_path / "generator.safetensors",
        images=(tmp_path / "in",),
        cache_dir=tmp_path / "cache",
        fraction=0.25,
    )
    batch = stream.batch(3, 8, step_generator(0, 2, 3)).images
    assert batch.shape == (8, 3, 64, 64)
    assert torch.equal(batch, stream.batch(3, 8, step_generator(0, 2, 3)).images)
    both_ways = torch.cat([batch, batch.flip(3)])
    photographs = torch.from_numpy(tiny.images(12, 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    known = [bool((photographs == image).flatten(1).all(dim=1).any()) for image in both_ways]
    assert [a or b for a, b in zip(known[:8], known[8:], strict=True)] == [False] * 2 + [True] * 6


def a_face(n: int = 3) -> Decomposition:
    """Lopsided parts in a lopsided view, so that nothing is its own mirror image."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    depth = 0.95 + 0.04 * ((x - 0.2) ** 2 + y**2)
    albedo = torch.stack([x, y, x * y]) * 0.8
    rng = torch.Generator().manual_seed(0)
    view = torch.randn(n, 6, generator=rng) * torch.tensor([0.1, 0.2, 0.1, 0.005, 0.005, 0.0])
    light = torch.tensor([0.5, 0.4, 0.7, -0.3]).expand(n, 4)
    return Decomposition(depth.expand(n, 64, 64), albedo.expand(n, 3, 64, 64), view, light)


def test_mirroring_the_truth_mirrors_the_image() -> None:
    # What the signs of view and light mean: rendering the mirrored parts gives the mirrored rendering.
    parts = a_face()
    everywhere = torch.ones(3, 64, 64, dtype=torch.bool)
    twin = mirrored_where(torch.ones(3, dtype=torch.bool), TrueParts(parts, everywhere)).parts
    straight, mirrored = render(parts, Camera()), render(twin, Camera())
    both = (straight.recon_mask.flip(2) & mirrored.recon_mask)[:, None]
    difference = (straight.recon_image.flip(3) - mirrored.recon_image).abs() * both
    assert float(difference.mean()) < 2e-3  # the triangles' diagonals are not mirrored
    assert float((straight.recon_image - mirrored.recon_image).abs().mean()) > 0.1
    kept = mirrored_where(torch.zeros(3, dtype=torch.bool), TrueParts(parts, everywhere)).parts
    assert torch.equal(kept.view, parts.view)


def truth() -> FaceTruth:
    parts = a_face(4)
    return FaceTruth(
        images=tiny.images(4, 64),
        depth=parts.canon_depth.numpy(),
        mask=np.ones((4, 64, 64), dtype=bool),
        view=parts.view.numpy(),
        light=parts.light.numpy(),
        canon_depth=parts.canon_depth.numpy(),
        canon_mask=np.arange(64)[None, None] < np.full((4, 64, 1), 50),
        canon_albedo=parts.canon_albedo.permute(0, 2, 3, 1).numpy() / 2 + 0.5,
    )


def test_truth_comes_with_its_images() -> None:
    stream = FaceStream(64, FABRIC, truth=truth())
    batch = stream.batch(0, 4, step_generator(0, 2, 0))
    assert batch.truth is not None
    faces = torch.from_numpy(tiny.images(4, 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    views = a_face(4).view
    for image, view, mask in zip(batch.images, batch.truth.parts.view, batch.truth.mask, strict=True):
        flipped = not bool((faces == image).flatten(1).all(dim=1).any())
        index = int((faces == (image.flip(2) if flipped else image)).flatten(1).all(dim=1).nonzero()[0])
        signs = torch.tensor([1.0, -1, -1, -1, 1, 1]) if flipped else torch.ones(6)
        assert torch.equal(view, views[index] * signs)
        assert bool(mask[0, 63]) is flipped


def test_half_a_truth_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs view, light, canon_depth and canon_albedo"):
        FaceStream(64, FABRIC, truth=replace(truth(), light=None))


def test_samples_and_photographs_are_jittered(tmp_path: Path) -> None:
    tiny.save_pair(tmp_path)
    tiny.image_folder(tmp_path / "in", resolution=64)
    plain, jittered, again = (
        FaceStream(
            64,
            FABRIC,
            generator=tmp_path / "generator.safetensors",
            images=(tmp_path / "in",),
            cache_dir=tmp_path / "cache",
            jitter=jitter,
        )
        .batch(3, 8, step_generator(0, 2, 3))
        .images
        for jitter in (0.0, 1.0, 1.0)
    )
    assert torch.equal(jittered, again)
    assert float(jittered.abs().max()) <= 1
    assert float((jittered - plain).abs().mean(dim=(1, 2, 3)).min()) > 0.005  # all eight, of both sources
    assert float((jittered - plain).abs().mean()) < 0.5 * float((plain - plain.roll(1, 0)).abs().mean())


def test_images_with_truth_are_not_jittered() -> None:
    plain, jittered = (FaceStream(64, FABRIC, truth=truth(), jitter=jitter) for jitter in (0.0, 1.0))
    batches = [stream.batch(0, 4, step_generator(0, 2, 0)) for stream in (plain, jittered)]
    assert torch.equal(batches[0].images, batches[1].images)


class Unmoved(LatentPairs):
    """Pairs whose second face is the first one again."""

    def moved(self, w: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return self.generator.broadcast(w)


def test_both_faces_of_a_pair_are_jittered_alike(tmp_path: Path) -> None:
    tiny.save_pair(tmp_path)
    stream = FaceStream(64, FABRIC, generator=tmp_path / "generator.safetensors", jitter=1.0)
    assert stream.generator is not None
    stream.pairs = Unmoved(stream.generator, seed=0, truncation=0.8)
    stream.pairs.steps = torch.zeros(1, 1, 8)
    batch = stream.batch(0, 8, step_generator(0, 2, 0))
    assert batch.moved is not None
    torch.testing.assert_close(batch.moved, batch.images, atol=1e-5, rtol=0)
    stream.jitter = 0.0
    assert float((stream.batch(0, 8, step_generator(0, 2, 0)).images - batch.images).abs().mean()) > 0.01


def test_photographs_are_drawn_evenly_over_how_far_they_turn(tmp_path: Path) -> None:
    folder = tiny.image_folder(tmp_path / "in", 200, 64)
    stream = FaceStream(64, FABRIC, images=(folder,), cache_dir=tmp_path / "cache", seed=1)
    # Of 200 photographs 10 turn by 22 degrees, and 190 by 2.
    yaw = torch.where(torch.arange(200) % 20 == 0, math.radians(-22), math.radians(2))
    done = [0]

    def view(images: torch.Tensor, *, rough: bool) -> torch.Tensor:
        assert rough
        found = torch.zeros(len(images), 6)
        found[:, 1] = yaw[done[0] : done[0] + len(images)]
        done[0] += len(images)
        return found

    network = tiny.decomposer()
    network.view = view  # pyright: ignore[reportAttributeAccessIssue]

    def wide(share: float) -> float:
        done[0] = 0
        stream.turned = None
        stream.draw_turned(network, share)
        numbers = [stream._photographs_of(i, 20, 20, torch.Generator().manual_seed(i)) for i in range(60)]
        return float(np.mean(np.array(numbers) % 20 == 0))

    assert wide(0.0) == pytest.approx(0.05)
    assert wide(1.0) == pytest.approx(0.5, abs=0.05)
    assert wide(0.5) == pytest.approx(0.275, abs=0.05)
    again = [stream._photographs_of(3, 20, 20, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert again[0] == again[1]
    with pytest.raises(ConfigError, match="give both"):
        TrainDecomposerConfig(out=tmp_path, images=(folder,), turned_share=0.5)
