"""Sliced Wasserstein distance: its axioms on descriptors, its behaviour on images."""

import pytest
import torch
import torch.nn.functional as F

from lineament.ops.swd import image_set_distance, laplacian_pyramid, patch_descriptors, sliced_wasserstein


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int = 24, size: int = 32, seed: int = 0) -> torch.Tensor:
    coarse = torch.randn(num, 3, size // 4, size // 4, generator=rng(seed))
    fine = torch.randn(num, 3, size, size, generator=rng(seed + 100))
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False) + 0.3 * fine


def test_axioms() -> None:
    a, b = torch.randn(40, 6, generator=rng(1)), torch.randn(40, 6, generator=rng(2)) + 1
    assert sliced_wasserstein(a, a, 50, rng()) == 0
    assert sliced_wasserstein(a, b, 50, rng()) == sliced_wasserstein(b, a, 50, rng()) > 0
    shuffled = a[torch.randperm(40, generator=rng(3))]
    assert sliced_wasserstein(shuffled, b, 50, rng()) == pytest.approx(sliced_wasserstein(a, b, 50, rng()), rel=1e-5)


def test_shift_in_closed_form() -> None:
    # All projections shift by u.t: in one dimension u = +-1, so the distance is the shift.
    a = torch.randn(30, 1, generator=rng())
    assert sliced_wasserstein(a, a + 0.7, 8, rng()) == pytest.approx(0.7, rel=1e-5)


def test_pyramid_reconstructs() -> None:
    images = pictures(2, 64)
    levels = laplacian_pyramid(images)
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    current = levels[-1]
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (4 * taps[:, None] * taps).expand(3, 1, 5, 5)
    for level in levels[-2::-1]:
        stuffed = torch.zeros_like(level)
        stuffed[:, :, ::2, ::2] = current
        current = level + F.conv2d(F.pad(stuffed, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
    torch.testing.assert_close(current, images)


def test_patches_are_patches() -> None:
    level = torch.arange(2 * 3 * 9 * 8, dtype=torch.float32).view(2, 3, 9, 8)
    rows = patch_descriptors(level, 5, rng())
    assert rows.shape == (10, 3 * 49)
    for i, row in enumerate(rows):
        patch = row.view(3, 7, 7)
        top, left = divmod(int(patch[0, 0, 0]) % 72, 8)
        torch.testing.assert_close(patch, level[i // 5, :, top : top + 7, left : left + 7])


def test_grows_with_blur_and_noise() -> None:
    real, other = pictures(48), pictures(48, seed=7)
    floor = image_set_distance(real, other)["swd_mean"]
    kernel = torch.ones(3, 1, 3, 3) / 9
    blurred, distances = other, [floor]
    for num in (1, 2, 5):
        for _ in range(num):
            blurred = F.conv2d(F.pad(blurred, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)
        distances.append(image_set_distance(real, blurred)["swd_mean"])
    assert distances == sorted(distances)
    assert distances[-1] > 2 * floor
    noisy = [other + s * torch.rand(other.shape, generator=rng(9)).bernoulli(0.1, generator=rng(1)) for s in (2, 6)]
    distances = [image_set_distance(real, images)["swd_mean"] for images in noisy]
    assert floor < distances[0] < distances[1]


def test_equal_sets_and_order() -> None:
    real = pictures(48)
    equal = image_set_distance(real, real)
    assert set(equal) == {"swd_32", "swd_16", "swd_mean"}
    # Not zero: the two sides are cut into patches at different places. It is the floor of the measurement.
    floor = image_set_distance(real, pictures(48, seed=7))["swd_mean"]
    assert equal["swd_mean"] < 1.1 * floor
    assert image_set_distance(real, real.flip(0))["swd_mean"] == pytest.approx(equal["swd_mean"], rel=0.2)
    assert image_set_distance(real, real) == equal  # no hidden randomness
    assert image_set_distance(real, real, seed=1) != equal
