"""The pieces of a balance by themselves: measuring, stepping, trying, choosing, keeping work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from lineament.directions.steps import calibrated_step, step_length
from lineament.engine.run_folder import GentleStop, Stopped
from lineament.engine.work import Work
from lineament.errors import ConfigError, DataError
from lineament.estimators.histograms import Grid
from lineament.estimators.part_scores import PartReader
from lineament.estimators.steps import mahalanobis_norm
from lineament.faces.measure import measure, measure_parts
from lineament.ops.seeding import latents
from lineament.recipes.balance.generation import DRIFTED, FAR, MISSED, Limits, corrected, fixed_batch
from lineament.recipes.balance.measures import Meter, Stepper
from lineament.recipes.balance.networks import open_networks
from lineament.recipes.balance.plan import Goal, make_grid, set_goal, uniform_goal
from lineament.recipes.balance.rounds import Candidates, second_chances
from lineament.recipes.balance.sources import Samples
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.balance import BalanceConfig, read_bins, read_spans
from tests import tiny
from tests.made_up import with_parts


def images(num: int = 5) -> torch.Tensor:
    return torch.rand(num, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


# ---- measuring and stepping ----


@pytest.mark.parametrize("names", [("yaw",), ("light_x",), ("light_y", "pitch", "translation_x"), SEMANTIC_NAMES])
@pytest.mark.parametrize("equivariant", [True, False])
def test_a_meter_measures_as_everybody_does(tiny_atlas, names: tuple[str, ...], equivariant: bool) -> None:
    decomposer = tiny.decomposer(gain=20.0, config=replace(tiny.DECOMPOSER, equivariant=equivariant))
    found, codes = Meter(decomposer, tiny_atlas, names).look(images())
    expected = measure(decomposer, images())[:, [SEMANTIC_NAMES.index(name) for name in names]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert codes.shape == (5, 0)


def test_codes_tell_images_apart_and_do_not_change_the_values(tiny_atlas) -> None:
    meter = Meter(tiny.decomposer(gain=20.0), tiny_atlas, ("yaw", "ambient"))
    values, codes = meter.look(images(), identity=True)
    np.testing.assert_array_equal(values, meter.look(images())[0])
    distances = np.linalg.norm(codes[:, None] - codes, axis=2)
    assert (distances + np.eye(5) > 0).all()
    np.testing.assert_allclose(meter.look(images()[:2], identity=True)[1], codes[:2], rtol=1e-4, atol=1e-4)


def test_a_meter_reads_parts_and_knows_what_it_cannot_measure(tiny_networks, tiny_atlas) -> None:
    atlas = with_parts(tiny_atlas)
    _, decomposer = tiny_networks
    meter = Meter(decomposer, atlas, ("nose", "yaw"))
    values, _ = meter.look(images())
    scores = measure_parts(decomposer, PartReader(atlas.local), images())
    np.testing.assert_allclose(values[:, 0], scores[:, atlas.part_names.index("nose")])
    np.testing.assert_allclose(values[:, 1], measure(decomposer, images())[:, 0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="no direction 'smile'"):
        Meter(decomposer, atlas, ("smile",))


@pytest.mark.parametrize("names", [("yaw",), ("yaw", "light_x"), ("nose", "yaw"), ("mouth", "nose")])
def test_steps_are_those_of_edit(tiny_atlas, names: tuple[str, ...]) -> None:
    atlas = with_parts(tiny_atlas)
    changes = np.random.default_rng(0).normal(size=(6, len(names))) * 3
    found = Stepper(atlas, names).steps(changes)
    for row, step in zip(changes, found, strict=True):
        expected = calibrated_step(atlas, dict(zip(names, row.tolist(), strict=True)))
        np.testing.assert_allclose(step, np.broadcast_to(expected, step.shape), atol=1e-9)


def test_extrapolation_is_the_length_of_the_linear_step(tiny_atlas) -> None:
    names = ("yaw", "pitch")
    stepper = Stepper(tiny_atlas, names)
    cost = stepper.extrapolation(tiny_atlas, names)
    change = np.array([[0.3, -0.2]])
    step = np.einsum("nm,mld->nld", change, stepper.basis)[0]
    assert cost.cost(np.zeros((1, 2)), change)[0] == pytest.approx(step_length(step, tiny_atlas.w_cov))
    assert mahalanobis_norm(step, tiny_atlas.w_cov)[0] == pytest.approx(step_length(step, tiny_atlas.w_cov))


def test_samples_depend_on_their_number_alone(tiny_networks, tiny_atlas) -> None:
    generator, _ = tiny_networks
    few, many = (Samples(generator, tiny_atlas, ("yaw",), 3, 0.7, n) for n in (10, 5000))
    np.testing.assert_allclose(few.values, many.values[:10], rtol=1e-5)
    torch.testing.assert_close(few.ws(np.array([7, 2])), many.ws(np.array([2, 7])).flip(0))
    assert many.names[4999].startswith("sample ")
    w = generator.map(latents(3, [(1 << 45) + 4], 16), 0.7)
    torch.testing.assert_close(few.ws(np.array([4]))[0, 0], w[0])


def test_a_batch_is_bounded_by_the_size_of_the_images_and_not_by_todays_memory(monkeypatch) -> None:
    generator = tiny.generator()
    assert fixed_batch(generator, 64) == 64
    monkeypatch.setattr("lineament.recipes.balance.generation.bytes_per_image", lambda _: 1 << 30)
    assert fixed_batch(generator, 64) == 4
    monkeypatch.setattr("lineament.recipes.balance.generation.bytes_per_image", lambda _: 1 << 40)
    assert fixed_batch(generator, 64) == 1


def test_pictures_without_a_face_or_with_two_are_told_from_faces() -> None:
    networks = open_networks(
        BalanceConfig(images=Path(), out=Path("x"), source="samples"), ("yaw",), torch.device("cpu")
    )
    generator = networks.generator
    with torch.no_grad():
        faces = generator.synthesize(generator.broadcast(generator.map(latents(5, range(6), 128), 0.7))).clamp(-1, 1)
    pairs = torch.cat([faces[:3, :, :, ::2], faces[3:, :, :, ::2]], dim=3)
    noise = images(3)
    found = networks.likeness(torch.cat([faces, pairs, noise]))
    assert found is not None
    least = BalanceConfig(images=Path(), out=Path("x")).min_face
    assert (found[:6] > 1.5 * least).all()
    assert (found[6:9] < found[:6].min() / 1.5).all()
    assert (found[9:] < least / 3).all()


# ---- plans ----


def test_ranges_and_bins_for_each_semantic() -> None:
    names = ("yaw", "light_x")
    assert read_spans("-45:45,-0.5:0.5", names) == ((-45, 45), (-0.5, 0.5))
    assert read_bins("10", names) == (10, 10)
    assert read_bins("10,4", names) == (10, 4)
    for text in ("", "a:b", "1:2", "1:2,3", "nan:1,0:1", "2:1,0:1"):
        with pytest.raises(ConfigError, match="range is"):
            read_spans(text, names)


def test_without_a_range_nearly_all_values_are_within_the_bins() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 1))
    grid = make_grid(("yaw",), values, None, "5")
    assert grid.counts(values).sum() == pytest.approx(980, abs=2)
    with pytest.raises(DataError, match="nearly the same yaw"):
        make_grid(("yaw",), np.zeros((10, 1)), None, "5")


def test_a_goal_by_hand() -> None:
    values = np.array([[0.5]] * 8 + [[1.5]] * 2 + [[5.0]])
    grid = Grid.regular(("yaw",), ((0.0, 2.0),), (2,))
    shares, words = uniform_goal(grid)
    goal = set_goal(grid, words, shares, values, 17, 0.05)
    assert goal.added.tolist() == [0, 6]
    assert (goal.size, goal.outside) == (17, 1)
    assert goal.variation() == pytest.approx((abs(8 / 11 - 0.5) + abs(2 / 11 - 0.5) + 1 / 11) / 2)
    assert goal.facts()["to_make"] == [0, 6]


def candidates(wanted: list[float], measured: list[float], faults: list[int], round_: int = 0) -> Candidates:
    n = len(wanted)
    values, asked = np.array(measured)[:, None], np.array(wanted)[:, None]
    grid = Grid.regular(("yaw",), ((0.0, 2.0),), (2,))
    none = np.zeros(n)
    place = np.where(np.isnan(values[:, 0]), -1, np.arange(n))
    return Candidates(
        source=np.arange(n),
        start=none[:, None],
        wanted=asked,
        aim=asked,
        measured=values,
        bin=grid.locate(values),
        drift=none,
        distance=none,
        length=none,
        faults=np.array(faults),
        reason=["" if p >= 0 else "bad inversion" for p in place],
        round=np.full(n, round_),
        batch=np.zeros(n, np.int64),
        place=place,
    )


def goal_of(added: list[int]) -> Goal:
    grid = Grid.regular(("yaw",), ((0.0, 2.0),), (2,))
    return Goal(grid, "uniform", np.full(2, 0.5), np.array([10, 10]), 0, np.array(added))


def test_the_first_that_pass_are_chosen_and_the_others_say_why_not() -> None:
    made = candidates([1.5, 1.5, 1.5, 1.5, 0.5, 1.5], [1.4, np.nan, 1.6, 1.7, 1.2, 0.1], [0, 0, DRIFTED | FAR, 0, 0, 1])
    assert made.chosen(np.array([0, 2])).tolist() == [True, False, False, True, False, False]
    assert made.reasons(np.array([0, 2])) == [
        "",
        "bad inversion",
        "identity drifted and latents far from the generator's mean",
        "",
        "passed, but its bin is full",
        "measured too far from requested",
    ]


def test_who_missed_is_aimed_further_and_the_rest_is_made_anew() -> None:
    limits = Limits(np.array([0.5]), 1.0, 2.0, 1.0)
    made = candidates([1.5, 1.6, 1.7, 1.8], [1.5, 0.9, -9.0, 1.8], [0, MISSED, MISSED, DRIFTED])
    again, fresh = second_chances(goal_of([0, 4]), made, made, limits)
    assert again.source.tolist() == [1]  # the third missed by more than any aim may be moved
    assert again.aim.tolist() == [[pytest.approx(1.6 + 1.6 - 0.9)]]
    assert not again.is_new.any()
    assert fresh.tolist() == [
        0,
        8,
    ]  # three lack, one in four passed: twelve, four of which the second chance stands for


def test_aims_are_moved_by_the_median_miss_and_not_endlessly() -> None:
    bins, wanted = np.repeat([0, 1], 8), np.full((16, 1), 10.0)
    measured = wanted - np.where(bins == 0, 1.0, 100.0)[:, None]
    offset = corrected(np.zeros((3, 1)), bins, wanted, measured, np.array([2.0]))
    assert offset.tolist() == [[1.0], [8.0], [0.0]]
    few = corrected(np.zeros((3, 1)), bins[:5], wanted[:5], measured[:5], np.array([2.0]))
    assert few.tolist() == [[0.0]] * 3


# ---- work ----


def piece(value: int):
    return {"x": np.array([value])}, {"said": str(value)}


def test_pieces_are_computed_once_and_come_in_order(tmp_path: Path) -> None:
    done: list[int] = []

    def compute(index: int):
        done.append(index)
        return piece(index)

    for _ in range(2):
        work = Work(tmp_path / "work", Fabric(accelerator="cpu"), GentleStop())
        assert [int(a["x"][0]) for a, _ in work.do("a", 5, compute)] == [0, 1, 2, 3, 4]
    assert done == [0, 1, 2, 3, 4]
    assert next(work.do("b", 1, lambda _: piece(7)))[1] == {"said": "7"}
    memory = Work(None, Fabric(accelerator="cpu"), GentleStop())
    assert [int(a["x"][0]) for a, _ in memory.do("a", 3, compute)] == [0, 1, 2]


def test_a_damaged_piece_is_removed_and_made_again_by_the_next_run(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", Fabric(accelerator="cpu"), GentleStop())
    list(work.do("a", 2, piece))
    path = tmp_path / "work" / "a-000001.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ConfigError, match="run the same command again"):
        list(work.do("a", 2, piece))
    assert [int(a["x"][0]) for a, _ in work.do("a", 2, piece)] == [0, 1]


def test_a_wish_to_stop_is_heard_between_two_pieces_and_forgotten_by_the_next_run(tmp_path: Path) -> None:
    stop = GentleStop()
    work = Work(tmp_path / "work", Fabric(accelerator="cpu"), stop)

    def compute(index: int):
        stop.requested = index == 1
        return piece(index)

    with pytest.raises(Stopped, match=r"what is done is kept in .*/work, and the same command goes on"):
        work.do("a", 4, compute).__next__()
    assert sorted(p.name for p in (tmp_path / "work").glob("a-*")) == ["a-000000.safetensors", "a-000001.safetensors"]
    again = Work(tmp_path / "work", Fabric(accelerator="cpu"), GentleStop())
    assert len(list(again.do("a", 4, piece))) == 4
