"""Augmentation: the identity at p = 0, each transform's known value, and statistics at p = 1."""

import math

import pytest
import torch

from lineament.ops import augment as module
from lineament.ops.augment import apply_color, apply_geometry, augment, color_transforms, geometric_transforms


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(num: int = 2, height: int = 16, width: int = 16) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 2, height), torch.linspace(0, 3, width), indexing="ij")
    return torch.stack([torch.stack([torch.sin(x + i), torch.cos(y * (i + 1)), x * y / 6]) for i in range(num)]) * 0.8


def matrix(**entries: float) -> torch.Tensor:
    result = torch.eye(3)
    for name, value in entries.items():
        result[int(name[1]), int(name[2])] = value
    return result[None]


def test_identity_at_zero() -> None:
    images = smooth()
    assert augment(images, 0.0, rng()) is images
    assert torch.equal(geometric_transforms(50, 0.0, rng(), width=16), torch.eye(3).repeat(50, 1, 1))
    neutral = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)
    torch.testing.assert_close(color_transforms(50, 0.0, rng()), neutral.repeat(50, 1, 1), atol=1e-6, rtol=0)


def test_images_without_a_draw_stay_as_they_are() -> None:
    images = smooth(64)
    out = augment(images, 0.01, rng())
    unchanged = torch.isclose(out, images, atol=1e-6).flatten(1).all(dim=1).float().mean()
    assert 0.6 < unchanged < 1


def test_same_rng_same_result_and_batch_split() -> None:
    images = smooth(8)
    assert torch.equal(augment(images, 0.7, rng(3)), augment(images, 0.7, rng(3)))
    assert not torch.equal(augment(images, 0.7, rng(3)), augment(images, 0.7, rng(4)))


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (matrix(m00=-1.0), lambda x: x.flip(3)),
        (matrix(m00=0.0, m01=-1.0, m10=1.0, m11=0.0), lambda x: x.rot90(1, (2, 3))),
        (matrix(m00=-1.0, m11=-1.0), lambda x: x.flip(2, 3)),
        (matrix(m02=2 * 3 / 16), lambda x: torch.cat([x[..., 3:], x[..., -3:].flip(3)], dim=3)),
        (matrix(m12=-2 * 2 / 16), lambda x: torch.cat([x[:, :, :2].flip(2), x[:, :, :-2]], dim=2)),
    ],
    ids=["mirror", "quarter turn", "half turn", "shift x", "shift y"],
)
def test_known_geometry(transform: torch.Tensor, expected) -> None:
    # Away from the border, where the low-pass filter of the downsampling meets zeros; the filter itself blurs a
    # little, and does the same to the expectation.
    images = smooth(1)
    got, want = apply_geometry(images, transform), apply_geometry(expected(images), torch.eye(3)[None])
    torch.testing.assert_close(got[..., 2:-2, 2:-2], want[..., 2:-2, 2:-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        apply_geometry(images, torch.eye(3)[None])[..., 2:-2, 2:-2], images[..., 2:-2, 2:-2], atol=0.02, rtol=0
    )


def test_scaling_zooms_about_the_centre() -> None:
    x = torch.linspace(-1 + 1 / 16, 1 - 1 / 16, 16).expand(1, 3, 16, 16).contiguous()  # pixel = its own coordinate
    zoomed = apply_geometry(x, matrix(m00=0.5, m11=0.5))
    torch.testing.assert_close(zoomed[..., 3:-3, 3:-3], 0.5 * x[..., 3:-3, 3:-3], atol=1e-5, rtol=0)


def test_geometry_and_its_inverse() -> None:
    angle = 0.3
    turn = matrix(m00=math.cos(angle), m01=-math.sin(angle), m10=math.sin(angle), m11=math.cos(angle))
    images = smooth(1, 32, 32)
    there_and_back = apply_geometry(apply_geometry(images, turn), torch.linalg.inv(turn))
    torch.testing.assert_close(there_and_back[..., 10:-10, 10:-10], images[..., 10:-10, 10:-10], atol=0.02, rtol=0)


def test_not_square() -> None:
    images = smooth(1, 12, 20)
    torch.testing.assert_close(
        apply_geometry(images, matrix(m00=-1.0)), apply_geometry(images.flip(3), torch.eye(3)[None]), atol=1e-5, rtol=0
    )


def color_of(monkeypatch: pytest.MonkeyPatch, **values: float) -> torch.Tensor:
    """The colour transform where only the named parameters differ from their identity."""
    order = ["brightness", "contrast", "flip", "angle", "saturation"]
    calls = iter(order)

    def gate(self, value: torch.Tensor, identity: float, p: float | None = None) -> torch.Tensor:
        return torch.full_like(value, values.get(next(calls), identity))

    monkeypatch.setattr(module._Draws, "gate", gate)
    return color_transforms(1, 1.0, rng())


GREY, RED = torch.full((1, 3, 1, 1), 0.4), torch.tensor([0.8, 0.1, -0.3]).view(1, 3, 1, 1)


def test_brightness_and_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    bright = color_of(monkeypatch, brightness=0.2)
    torch.testing.assert_close(apply_color(RED, bright), RED + 0.2)
    strong = color_of(monkeypatch, contrast=1.5)
    torch.testing.assert_close(apply_color(RED, strong), RED * 1.5)
    both = color_of(monkeypatch, brightness=0.2, contrast=1.5)
    torch.testing.assert_close(apply_color(RED, both), (RED + 0.2) * 1.5)


def test_luma_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    flip = color_of(monkeypatch, flip=-1.0)
    torch.testing.assert_close(apply_color(GREY, flip), -GREY)
    mean = RED.mean()
    torch.testing.assert_close(apply_color(RED, flip), RED - 2 * mean)  # the grey part changes sign, the hue stays


def test_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    pale = color_of(monkeypatch, saturation=0.0)
    torch.testing.assert_close(apply_color(RED, pale), RED.mean().expand_as(RED))


def test_hue(monkeypatch: pytest.MonkeyPatch) -> None:
    third = color_of(monkeypatch, angle=2 * math.pi / 3)
    rolled = apply_color(RED, third).flatten()
    torch.testing.assert_close(rolled, RED.flatten().roll(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(apply_color(GREY, third), GREY)
    back = color_of(monkeypatch, angle=-2 * math.pi / 3)
    torch.testing.assert_close(apply_color(apply_color(RED, third), back), RED, atol=1e-6, rtol=0)


def test_statistics_at_one() -> None:
    n = 4000
    geometry = geometric_transforms(n, 1.0, rng(), width=64)
    determinants = torch.linalg.det(geometry)
    assert (determinants < 0).float().mean().item() == pytest.approx(0.5, abs=0.03)  # mirrored half of the time
    # |det| = scale^-2, and log2(scale) is normal with deviation 0.2; the anisotropic scaling keeps the area.
    log_scale = -0.5 * determinants.abs().log2()
    assert log_scale.mean().item() == pytest.approx(0, abs=0.01)
    assert log_scale.std().item() == pytest.approx(0.2, abs=0.01)
    color = color_transforms(n, 1.0, rng())
    grey = color[:, :, :3].sum(dim=(1, 2)) / 3  # what grey is multiplied with: contrast and luma flip
    assert (grey < 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert grey.abs().log2().std().item() == pytest.approx(0.5, abs=0.03)
    brightness = color[:, 0, 3] / grey
    assert brightness.std().item() == pytest.approx(0.2, abs=0.01)


def test_share_of_transforms_at_p() -> None:
    n, p = 6000, 0.3
    geometry = geometric_transforms(n, p, rng(), width=64)
    still = (geometry == torch.eye(3)).flatten(1).all(dim=1).float().mean().item()
    # Identity: no mirror (1 - p/2), no quarter turn (1 - 3p/4), no whole shift twice, no scale, neither free rotation,
    # no anisotropic scale, no fractional shift twice; a whole shift of up to 8 px rounds to 0 in one of 16 draws.
    whole = 1 - p * (1 - 1 / 16)
    expected = (1 - p / 2) * (1 - 3 * p / 4) * whole**2 * (1 - p) * (1 - p) * (1 - p) * (1 - p) ** 2
    assert still == pytest.approx(expected, abs=0.02)


def test_gradient_flows() -> None:
    images = smooth(4).requires_grad_()
    (gradient,) = torch.autograd.grad(augment(images, 1.0, rng()).square().sum(), images)
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
