"""The loss and the health numbers, against their definitions."""

import math
from dataclasses import replace

import pytest
import torch

from lineament.networks.decomposer import Decomposer
from lineament.ops.photometric import laplace_loss
from lineament.ops.render import render
from lineament.recipes.train.decomposer_loss import (
    Reconstruction,
    TrueParts,
    cycle_loss,
    decomposition_loss,
    health_values,
    latent_loss,
    random_views_and_lights,
    reconstruct,
    supervised_loss,
)
from lineament.recipes.train.jitter import Jitter
from lineament.records.decomposition import Decomposition
from lineament.settings.train_decomposer import LossConfig
from tests import tiny

NONE = LossConfig(cycle_weight=0.0)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(n: int = 2) -> torch.Tensor:
    return torch.from_numpy(tiny.images(n, 64)).permute(0, 3, 1, 2) / 127.5 - 1


def lively(symmetric_depth: bool) -> Decomposer:
    return tiny.decomposer(replace(tiny.DECOMPOSER, symmetric_depth=symmetric_depth), gain=20.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_loss_is_what_it_says(symmetric: bool) -> None:
    # The Laplace likelihoods of the reconstruction and of that from mirrored maps, in their common mask.
    decomposer, faces = lively(symmetric), images()
    loss, values = decomposition_loss(decomposer, faces, None, replace(NONE, flip_weight=0.7), rng())
    parts = decomposer(faces)
    straight, mirrored = render(parts, decomposer.camera), render(parts.mirrored(), decomposer.camera)
    mask = torch.logical_and(straight.recon_mask, mirrored.recon_mask)
    sigma = decomposer.sigmas(faces)[0]
    expected = laplace_loss(faces, straight.recon_image, sigma[:, 0], mask)
    expected = expected + 0.7 * laplace_loss(faces, mirrored.recon_image, sigma[:, 1], mask)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    assert values["loss/total"] == pytest.approx(float(loss))


def test_symmetric_maps_need_no_second_rendering() -> None:
    # With both maps symmetric the mirrored reconstruction would be the same image, and is left out.
    decomposer = tiny.decomposer(replace(tiny.DECOMPOSER, symmetric_albedo=True), gain=20.0)
    parts = decomposer(images())
    assert reconstruct(decomposer, parts, LossConfig()).mirrored is None
    straight, mirrored = render(parts, decomposer.camera), render(parts.mirrored(), decomposer.camera)
    torch.testing.assert_close(straight.recon_image, mirrored.recon_image, rtol=0, atol=1e-5)


def test_the_cycle_adds_its_weight() -> None:
    decomposer, faces = tiny.decomposer(), images()
    plain, _ = decomposition_loss(decomposer, faces, None, NONE, rng())
    weighted, _ = decomposition_loss(decomposer, faces, None, LossConfig(cycle_weight=2.0), rng())
    term = cycle_loss(decomposer, decomposer(faces), faces, rng())
    torch.testing.assert_close(weighted - plain, 2 * term, atol=1e-5, rtol=1e-3)


def test_pairs_that_agree_cost_nothing() -> None:
    decomposer, faces = lively(symmetric_depth=True), images(3)
    config = replace(NONE, latent_weight=2.0)
    same, values = decomposition_loss(decomposer, faces, None, config, rng(), faces[:2])
    plain, _ = decomposition_loss(decomposer, faces, None, config, rng())
    assert values["loss/latent"] == pytest.approx(0, abs=1e-5)
    assert float(same - plain) == pytest.approx(0, abs=1e-4)
    alone, values = decomposition_loss(decomposer, faces, None, config, rng(), faces[1:2])
    assert values["loss/latent"] == 0  # there is no stranger to compare with
    assert float(alone - plain) == pytest.approx(0, abs=1e-4)


def test_changes_within_pairs_count_against_differences_of_strangers() -> None:
    decomposer, faces = lively(symmetric_depth=True), images(3)
    config = replace(NONE, latent_weight=2.0)
    other, values = decomposition_loss(decomposer, faces, None, config, rng(), faces[1:])
    plain, _ = decomposition_loss(decomposer, faces, None, config, rng())
    parts = decomposer(faces)
    expected = 0.0
    for maps, share, least in ((parts.canon_albedo, 1.0, 0.02), (parts.canon_depth, 0.15, 1e-4)):
        first, second, third = maps.detach()
        change = ((first - second).abs().mean() + (second - third).abs().mean()) / 2
        strangers = ((first - third).abs().mean() + (second - second).abs().mean()) / 2
        expected += share * float(change / (strangers + least))
    assert values["loss/latent"] == pytest.approx(expected, rel=1e-3)
    assert float(other - plain) == pytest.approx(2 * expected, rel=1e-3)


def test_faces_alike_are_not_rewarded() -> None:
    """Halving all differences between faces leaves the loss as it is, but for what keeps it from dividing by zero."""
    generator = torch.Generator().manual_seed(0)
    view, light = torch.zeros(4, 6), torch.zeros(4, 4)
    depth, albedo, again = (
        torch.rand(*shape, generator=generator) for shape in ((4, 8, 8), (4, 3, 8, 8), (4, 3, 8, 8))
    )

    def loss(scale: float) -> float:
        first = Decomposition(1 + depth * scale, albedo * scale, view, light)
        second = Decomposition(1 + depth.flip(1) * scale, again * scale, view, light)
        decomposer = tiny.decomposer()
        decomposer.forward = lambda image: second  # pyright: ignore[reportAttributeAccessIssue]
        return float(latent_loss(decomposer, first, torch.zeros(4, 3, 8, 8)))

    assert loss(50.0) == pytest.approx(loss(100.0), rel=1e-3)


def test_health_of_one_face_and_of_shapes() -> None:
    decomposer = tiny.decomposer()
    parts = decomposer(torch.zeros(1, 3, 64, 64))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    bowl = 0.9 + 0.1 * (x**2 + y**2)
    everywhere = torch.ones(1, 64, 64, dtype=torch.bool)
    faces = torch.zeros(1, 3, 64, 64)
    for depth, convex in ((bowl, 1.0), (2 - bowl, 0.0)):
        made = Reconstruction(replace(parts, canon_depth=depth[None]), faces + 0.25, None, everywhere)
        values = health_values(decomposer, made, faces)
        assert values["health/convex_share"] == convex
        assert values["health/pixel_error"] == 0.25
        assert values["health/seen"] == 1
        assert values["health/yaw_std_deg"] == 0
        assert values["health/saturated_share"] == 0
    # Yaw at its end and ambient light at zero: two of the nine outputs.
    view, light = torch.zeros(1, 6), torch.tensor([[0.0, 0.5, 0.0, 0.0]])
    view[0, 1] = torch.pi / 3
    made = Reconstruction(replace(parts, view=view, light=light), faces, None, everywhere)
    assert float(health_values(decomposer, made, faces)["health/saturated_share"]) == pytest.approx(2 / 9)


def test_supervised_loss_is_zero_at_the_truth_and_only_there() -> None:
    decomposer, faces = tiny.decomposer(gain=20.0), images()
    parts = decomposer(faces)
    everywhere = torch.ones(2, 64, 64, dtype=torch.bool)
    loss, _ = supervised_loss(decomposer, faces, TrueParts(parts, everywhere))
    assert float(loss) == 0
    for name in ("canon_depth", "canon_albedo", "view", "light"):
        off = replace(parts, **{name: getattr(parts, name) + 0.1})
        assert float(supervised_loss(decomposer, faces, TrueParts(off, everywhere))[0]) > 0.1
    # Unknown pixels of the canonical maps do not count.
    off = replace(parts, canon_depth=parts.canon_depth + 0.1)
    assert float(supervised_loss(decomposer, faces, TrueParts(off, ~everywhere))[0]) == 0


def test_cycle_asks_for_the_view_and_light_that_were_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    decomposer = tiny.decomposer(gain=20.0)
    parts = decomposer(images(16))
    # Of every second face.
    numbers = rng()
    view, light = random_views_and_lights(8, numbers, decomposer)
    jitter = Jitter.draw(8, 1.0, numbers)
    seen = render(Decomposition(parts.canon_depth[::2], parts.canon_albedo[::2], view, light), decomposer.camera)
    shown: list[torch.Tensor] = []
    wrong = view + torch.tensor([0.0, math.radians(20), 0, 0, 0, 0])

    def said(image: torch.Tensor) -> torch.Tensor:
        shown.append(image)
        return wrong

    def lit(image: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        assert image is shown[0]
        assert found is wrong  # the light is looked for where the view says
        return light

    monkeypatch.setattr(decomposer, "view", said)
    monkeypatch.setattr(decomposer, "light", lit)
    # Wrong by one standard deviation in one of five numbers.
    monkeypatch.setattr("lineament.recipes.train.decomposer_loss.STRANGE_SHARE", 0.0)
    others = images(16)
    assert float(cycle_loss(decomposer, parts, others, rng())) == pytest.approx(0.2, rel=1e-5)
    striped = jitter.on_strips(torch.full((8, 3, 64, 64), 9.0)) != 9
    assert 0 < float(striped.float().mean()) < 0.2
    covered = seen.recon_mask[:, None].expand_as(shown[0])
    assert 0.2 < float(covered.float().mean()) < 1
    torch.testing.assert_close(shown[0][covered & ~striped], seen.recon_image.clamp(-1, 1)[covered & ~striped])
    # No second face beside the first, but one colour: the face's mean or another.
    assert 0 < float(jitter.reflected.sum()) < 8
    for i, plain in enumerate(jitter.reflected):
        filling = jitter.colour[i] if plain else seen.recon_image[i].mean(dim=(1, 2))
        beside = (~covered & ~striped)[i]
        torch.testing.assert_close(shown[0][i][beside], filling.view(3, 1, 1).expand(3, 64, 64)[beside])


def test_only_view_and_light_learn_from_the_cycle() -> None:
    decomposer = tiny.decomposer(gain=20.0).requires_grad_()
    cycle_loss(decomposer, decomposer(images()), images(), rng()).backward()
    learned = {name for name, net in decomposer.named_children() if any(p.grad is not None for p in net.parameters())}
    assert learned == {"view_net", "light_net"}


def test_rendered_views_and_lights_are_within_what_can_be_said() -> None:
    decomposer = tiny.decomposer()
    view, light = random_views_and_lights(5000, rng(), decomposer)
    angles = torch.rad2deg(view[:, :3])
    assert float(angles.abs().max()) == pytest.approx(54)
    # Half of the yaws are normal with 20 degrees, half are uniform to 45: a variance of (20^2 + 45^2 / 3) / 2.
    torch.testing.assert_close(angles.std(dim=0), torch.tensor([10.0, 23.2, 5.0]), rtol=0.05, atol=0)
    assert float((angles[:, 1].abs() > 30).float().mean()) == pytest.approx((0.134 + 1 / 3) / 2, abs=0.02)
    assert float(view[:, 5].abs().max()) == 0
    assert (light.amin(0) >= torch.tensor([0.2, 0.2, -0.9, -0.9])).all()
    assert (light.amax(0) <= torch.tensor([0.7, 0.8, 0.9, 0.9])).all()
