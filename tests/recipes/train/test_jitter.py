"""Random changes of framing, colour and sharpness."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lineament.cli.main import main
from lineament.errors import ConfigError
from lineament.recipes.train.jitter import MAX_STRIP, STRIP_SHARE, Jitter
from lineament.settings.train_decomposer import TrainDecomposerConfig
from tests import tiny


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, size: int = 64) -> torch.Tensor:
    return torch.from_numpy(tiny.images(n, size)).permute(0, 3, 1, 2) / 127.5 - 1


def still(n: int) -> Jitter:
    """No change at all."""
    return Jitter.draw(n, 0.0, rng())


@pytest.mark.parametrize("size", [64, 128])
def test_without_strength_nothing_changes(size: int) -> None:
    faces = images(6, size)
    faces[0, :, :4] = -1.0
    torch.testing.assert_close(still(6).apply(faces), faces, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_changed_images_are_images_and_differ(size: int, strength: float) -> None:
    faces = images(32, size)
    changed = Jitter.draw(32, strength, rng()).apply(faces)
    assert changed.shape == faces.shape
    assert changed.dtype == faces.dtype
    assert float(changed.abs().max()) <= 1
    assert float((changed - faces).abs().mean(dim=(1, 2, 3)).min()) > 0.005


def test_more_strength_changes_more() -> None:
    faces = images(32)
    mild, usual, strong = (
        float((Jitter.draw(32, strength, rng()).apply(faces) - faces).abs().mean()) for strength in (0.3, 1.0, 2.0)
    )
    assert mild < 0.6 * usual < 0.6 * strong


def test_the_same_numbers_give_the_same_changes_to_any_image() -> None:
    faces = images(8)
    assert torch.equal(Jitter.draw(8, 1.0, rng()).apply(faces), Jitter.draw(8, 1.0, rng()).apply(faces))
    assert not torch.equal(Jitter.draw(8, 1.0, rng(1)).apply(faces), Jitter.draw(8, 1.0, rng()).apply(faces))
    alike = Jitter.draw(2, 1.0, rng()).apply(faces[:1].expand(2, -1, -1, -1))
    assert float((alike[0] - alike[1]).abs().mean()) > 0.01  # every image has changes of its own


def test_the_first_get_the_same_changes() -> None:
    faces, jitter = images(8), Jitter.draw(8, 1.0, rng())
    torch.testing.assert_close(jitter.first(3).apply(faces[:3]), jitter.apply(faces)[:3], atol=1e-6, rtol=0)
    assert all(len(getattr(jitter.first(3), field.name)) == 3 for field in fields(Jitter))


def test_changes_do_not_depend_on_the_resolution() -> None:
    large = torch.nn.functional.interpolate(images(16, 16), 128, mode="bilinear", align_corners=False)
    jitter = Jitter.draw(16, 1.0, rng())
    small = torch.nn.functional.avg_pool2d(large, 2)
    of_large = torch.nn.functional.avg_pool2d(jitter.apply(large), 2)
    assert float((jitter.apply(small) - of_large).abs().mean()) < 0.01


def test_strips_have_one_colour_and_the_rest_stays() -> None:
    faces = images(5)
    strips = torch.zeros(5, 4)
    strips[:4] = torch.eye(4) * 0.125  # 8 of 64 pixels at left, right, top and bottom
    jitter = replace(still(5), strips=strips)
    striped = jitter.on_strips(faces)
    for i, edge in enumerate((striped[0, ..., :8], striped[1, ..., -8:], striped[2, :, :8], striped[3, :, -8:])):
        assert torch.equal(edge, jitter.colour[i].view(3, 1, 1).expand_as(edge)), i
    rest = ((0, slice(8, None)), (1, slice(None, -8)))
    assert all(torch.equal(striped[i, ..., part], faces[i, ..., part]) for i, part in rest)
    assert torch.equal(striped[2, :, 8:], faces[2, :, 8:])
    assert torch.equal(striped[3, :, :-8], faces[3, :, :-8])
    assert torch.equal(striped[4], faces[4])


def test_strips_are_as_frequent_and_as_wide_as_stated() -> None:
    drawn = Jitter.draw(4000, 2.0, rng()).strips
    assert float((drawn > 0).float().mean()) == pytest.approx(STRIP_SHARE / 4, rel=0.1)
    assert 0.9 * MAX_STRIP < float(drawn.max()) <= MAX_STRIP
    assert float(Jitter.draw(4000, 0.5, rng()).strips.max()) <= MAX_STRIP / 2


def test_each_kind_of_change_does_what_it_says() -> None:
    faces, plain = images(1), still(1)
    x, y = (slice(20, 44),) * 2
    moved = replace(plain, place=torch.tensor([[[1.0, 0.0, 4 / 32], [0.0, 1.0, 0.0]]])).apply(faces)
    torch.testing.assert_close(moved[..., y, x], faces[..., y, 24:48], atol=1e-3, rtol=0)
    redder = replace(plain, gain=torch.tensor([[1.2, 1.0, 1.0]])).apply(faces) - faces
    assert float(redder[:, 0].mean()) > 0.01
    assert float(redder[:, 1:].abs().max()) < 1e-3
    assert float((replace(plain, gamma=torch.tensor([1.3])).apply(faces) - faces).mean()) < -0.01
    grain = torch.randn(1, 3, 64, 64, generator=rng()) * 0.2
    softer = replace(plain, blur=torch.tensor([0.7])).apply(grain)
    assert float(softer.std()) < 0.6 * float(grain.std())
    assert float(softer.mean()) == pytest.approx(float(grain.mean()), abs=1e-2)


@pytest.mark.parametrize("reflected", [0.0, 1.0])
def test_what_comes_from_outside_repeats_the_edge_or_is_reflected(reflected: float) -> None:
    ramp = torch.linspace(-0.9, 0.9, 64).expand(1, 3, 64, 64)
    place = torch.tensor([[[1.0, 0.0, 0.25], [0.0, 1.0, 0.0]]])  # 8 pixels come from beyond the right edge
    end = replace(still(1), place=place, reflected=torch.tensor([reflected])).apply(ramp)[0, 0, 32, -8:]
    expected = ramp[0, 0, 32, -8:].flip(0) if reflected else ramp[0, 0, 32, -1:].expand(8)
    torch.testing.assert_close(end, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("strength", [3.0, -1.0, float("nan")])
def test_a_strength_out_of_bounds_is_refused_in_one_line(strength: float) -> None:
    with pytest.raises(ConfigError, match=r"jitter is .*expected 0 to") as refused:
        TrainDecomposerConfig(out=Path("run"), images=(Path("faces"),), jitter=strength)
    assert "\n" not in str(refused.value)


def test_a_strength_out_of_bounds_is_one_line_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "decomposer", "--images", "faces", "--out", "run", "--jitter", "3"]) == 2
    assert capsys.readouterr().err == "lineament: error: jitter is 3.0, expected 0 to 2; lower it\n"
