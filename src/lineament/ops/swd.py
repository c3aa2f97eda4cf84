"""Sliced Wasserstein distance between image sets: a quality number that needs no network.

Source:
    Karras et al., "Progressive Growing of GANs", ICLR 2018, section 5 and its official settings: 7 x 7 patches from
    every level of a Laplacian pyramid down to 16 px, normalised per channel, distances times 1000.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lineament.ops.resample import binomial_blur

PATCH = 7
COARSEST = 16


def laplacian_pyramid(images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n c _h _w"]]:
    """Band-pass levels from fine to coarse; the last is the low-pass rest at 16 px (or the input's size)."""
    levels = []
    current = images
    while current.shape[-1] > COARSEST:
        smaller = binomial_blur(current, padding_mode="reflect")[:, :, ::2, ::2]
        stuffed = torch.zeros_like(current)
        stuffed[:, :, ::2, ::2] = smaller
        levels.append(current - binomial_blur(stuffed, gain=4.0, padding_mode="reflect"))
        current = smaller
    return [*levels, current]


def patch_descriptors(
    level: Float[Tensor, "n c h w"], patches_per_image: int, rng: torch.Generator
) -> Float[Tensor, "m p"]:
    """Random 7 x 7 patches of a pyramid level, one row each."""
    n, c, h, w = level.shape
    tops = torch.randint(0, h - PATCH + 1, (n, patches_per_image), generator=rng)
    lefts = torch.randint(0, w - PATCH + 1, (n, patches_per_image), generator=rng)
    offset = torch.arange(PATCH)
    rows = (tops[..., None, None] + offset[:, None]).expand(-1, -1, PATCH, PATCH)
    columns = (lefts[..., None, None] + offset[None, :]).expand(-1, -1, PATCH, PATCH)
    index = (rows * w + columns).reshape(n, 1, -1).expand(n, c, -1)
    patches = level.flatten(2).gather(2, index).reshape(n, c, patches_per_image, PATCH * PATCH)
    return patches.transpose(1, 2).reshape(n * patches_per_image, -1)


def _normalised(descriptors: Tensor, channels: int) -> Tensor:
    x = descriptors.reshape(len(descriptors), channels, -1)
    x = x - x.mean(dim=(0, 2), keepdim=True)
    return (x / x.std(dim=(0, 2), keepdim=True).clamp_min(1e-8)).flatten(1)


def sliced_wasserstein(
    a: Float[Tensor, "m p"], b: Float[Tensor, "m p"], num_projections: int, rng: torch.Generator
) -> float:
    """Mean absolute difference of the sorted projections of two equally large sets on random unit vectors."""
    directions = torch.randn(a.shape[1], num_projections, generator=rng)
    directions = directions / directions.norm(dim=0)
    total = 0.0
    for chunk in directions.split(32, dim=1):  # 32 projections at a time keep the memory flat
        total += float((torch.sort(a @ chunk, dim=0)[0] - torch.sort(b @ chunk, dim=0)[0]).abs().mean(dim=0).sum())
    return total / num_projections


def image_set_distance(
    real: Float[Tensor, "n c h w"],
    fake: Float[Tensor, "n c h w"],
    *,
    seed: int = 0,
    patches_per_image: int = 64,
    num_projections: int = 128,
) -> dict[str, float]:
    """Sliced Wasserstein distance (times 1000) of two equally large image sets at each resolution and on average.

    Args:
        real: images, any range.
        fake: as many images of the same size and range.
        seed: of the patch positions and projections.
        patches_per_image: descriptors taken from each image and level.
        num_projections: random directions.

    Returns:
        ``{"swd_64": ..., "swd_32": ..., "swd_16": ..., "swd_mean": ...}``; lower is better. Depends on the number of
        images, so compare only equal numbers.
    """
    rng = torch.Generator().manual_seed(seed)
    scores: dict[str, float] = {}
    pyramids = zip(laplacian_pyramid(real), laplacian_pyramid(fake), strict=True)
    for level_real, level_fake in pyramids:
        a = _normalised(patch_descriptors(level_real, patches_per_image, rng), real.shape[1])
        b = _normalised(patch_descriptors(level_fake, patches_per_image, rng), real.shape[1])
        scores[f"swd_{level_real.shape[-1]}"] = 1e3 * sliced_wasserstein(a, b, num_projections, rng)
    scores["swd_mean"] = sum(scores.values()) / len(scores)
    return scores
