"""The bench, in a world where images are w itself and the judge is linear: every answer is known."""

import numpy as np
import pytest
import torch

from lineament.errors import ConfigError
from lineament.faces import labelled as labelled_samples
from lineament.faces.labelled import chosen_columns, label_samples
from lineament.networks.judge import Judge
from lineament.recipes.evaluate import direction_bench
from lineament.recipes.evaluate.direction_bench import Bench, by_layers
from lineament.recipes.evaluate.direction_scores import measure_codes, measure_method, scores_of_method
from lineament.records.found_directions import FoundDirections
from lineament.records.shapes import JudgeConfig

NAMES = ("yaw", "smile", "light_x", "male")


class LinearJudge(Judge):
    """Reads attribute i as the product of the mean w of all layers with row i of ``rows``."""

    rows: torch.Tensor

    def standardised(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0].mean(dim=1) @ self.rows.T


class Distance(torch.nn.Module):
    """A discriminator that likes small w."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -images[:, 0].mean(dim=1).norm(dim=1)


@pytest.fixture
def world(tiny_networks, monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, np.ndarray]:
    """A bench, and the pure step (d) of every attribute: one standard deviation of it and nothing else."""
    generator, _ = tiny_networks

    def images(generator, w, step=None, shown_to=None):
        ws = generator.broadcast(w) + (0.0 if step is None else torch.as_tensor(step, dtype=w.dtype))
        return ws[:, None].expand(-1, 3, -1, -1)

    monkeypatch.setattr(direction_bench, "synthesize_edited", images)
    monkeypatch.setattr(labelled_samples, "synthesize_edited", images)
    judge = LinearJudge(JudgeConfig(attributes=" ".join(NAMES), resolution=16, channels=2, hidden_dim=2))
    judge.rows = 10 * torch.randn(4, generator.config.w_dim, generator=torch.Generator().manual_seed(3))
    judge.r2.fill_(0.9)
    judge.std.copy_(torch.tensor([10.0, 1.0, 2.0, 1.0]))
    bench = Bench(generator, judge, Distance(), 1.0, 5, faces=12, screened=6)
    pure = np.linalg.pinv(judge.rows.double().numpy()).T * (bench.stds / judge.std.double().numpy())[:, None]
    return bench, pure


def directions(steps: np.ndarray, names: tuple[str, ...] | None = None, num_layers: int = 10) -> FoundDirections:
    count = len(steps)
    return FoundDirections(
        method="planted",
        names=names or tuple(f"component {i}" for i in range(count)),
        steps=np.repeat(steps[:, None], num_layers, axis=1),
        units=("deg" if names else "",) * count,
        labels_used=0,
        samples_used=10,
        seconds=1.5,
        generator_fingerprint="",
    )


def test_changes_are_in_standard_deviations(world: tuple[Bench, np.ndarray]) -> None:
    bench, pure = world
    assert bench.names == NAMES
    response = bench.respond(np.repeat(pure[2:3], 10, axis=0), (-1.0, 0.0, 2.0))
    np.testing.assert_allclose(response.changes[..., 2], np.tile([-1, 0, 2], (12, 1)), atol=1e-4)
    np.testing.assert_allclose(response.changes[..., [0, 1, 3]], 0, atol=1e-4)
    np.testing.assert_allclose(response.identity[:, 1], 0, atol=1e-5)
    np.testing.assert_allclose(response.score[:, 1], 0, atol=1e-5)
    # Of the planted attributes "male" alone is of the person, and only edits of it change who that is.
    np.testing.assert_allclose(response.identity, 0, atol=1e-3)
    assert bench.respond(np.repeat(pure[3:], 10, axis=0), (1.0,)).identity.min() > 0.5


def test_the_judge_chooses_the_purest_direction_and_its_sign(world: tuple[Bench, np.ndarray]) -> None:
    bench, pure = world
    mixed = pure[0] + 0.5 * pure[1]
    found = directions(np.stack([mixed, -3 * (pure[0] + 0.1 * pure[1]), pure[1] + pure[2], 0.2 * pure[2]]))
    chosen = bench.choose(found)
    assert set(chosen) == {"yaw", "smile", "light_x"}  # nothing moves the last one
    assert (chosen["yaw"].index, chosen["smile"].index, chosen["light_x"].index) == (1, 2, 3)
    assert chosen["yaw"].amount == pytest.approx(-1 / 3, rel=1e-3)
    assert chosen["light_x"].amount == pytest.approx(5, rel=1e-3)
    assert not chosen["yaw"].by_name


def test_a_method_that_names_its_directions_is_taken_at_its_word(world: tuple[Bench, np.ndarray]) -> None:
    bench, pure = world
    wrong = directions(np.stack([pure[0] + pure[1], pure[0]]), names=("yaw", "thing"))
    chosen = bench.choose(wrong)
    assert (chosen["yaw"].index, chosen["yaw"].by_name) == (0, True)
    backwards = bench.choose(directions(-pure, names=NAMES))
    assert backwards["yaw"].amount < 0


def test_scores_of_planted_directions(world: tuple[Bench, np.ndarray]) -> None:
    bench, pure = world
    steps = pure + 0.3 * np.roll(pure, -1, axis=0)  # each leaks 0.3 into the next
    degrees = bench.stds[0]
    found = directions(steps / np.array([degrees, 1, 1, 1])[:, None], names=NAMES)
    notes: list[str] = []
    measured = measure_method(
        bench, found, lambda name, change: 0.9 * change * found.steps[found.names.index(name)], 60, 0, notes.append
    )
    scores = scores_of_method(bench, "planted", [measured], {"supervised": True, "peer": False}, 6, 0)
    yaw = scores.attributes["yaw"]
    assert yaw.leakage.value == pytest.approx(0.1, abs=1e-3)
    np.testing.assert_allclose(yaw.row, [1, 0.3, 0, 0], atol=1e-3)
    assert yaw.mean_ad is not None
    assert yaw.mean_ad.value == pytest.approx(0.1, abs=1e-3)
    assert yaw.max_ad is not None
    assert yaw.max_ad.value == pytest.approx(0.3, abs=1e-3)
    assert yaw.linearity is not None
    assert yaw.linearity.value == pytest.approx(1, abs=1e-4)
    assert yaw.error is not None
    assert yaw.error.value == pytest.approx(0.1 * 1.25 * degrees, rel=1e-3)  # a tenth of the mean size of requests
    # "male" moves the person, and only so far that half of the way to another is gone.
    male = scores.attributes["male"]
    assert male.identity.value > 0.5
    assert male.range_sd is None  # only the main attributes are measured in full
    assert scores.dci is not None
    assert scores.dci.informativeness.value == pytest.approx(1, abs=0.02)
    assert scores.judged == 0
    assert "yaw" in notes


def test_pure_directions_are_disentangled_and_rotated_ones_are_not(world: tuple[Bench, np.ndarray]) -> None:
    bench, pure = world
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    best, _ = measure_codes(bench, directions(pure), 80, 0)
    worse, _ = measure_codes(bench, directions(rotation @ pure), 80, 0)
    assert best[0] > 0.9 > 0.6 > worse[0]
    assert best[3] > 0.9


def test_labels_are_in_the_truths_units(world: tuple[Bench, np.ndarray]) -> None:
    bench, _ = world
    labelled = label_samples(bench.generator, bench.labeller(), 1, 40, 1.0, "test")
    assert labelled.names == NAMES
    assert labelled.units == ("deg", "", "slope", "")
    np.testing.assert_allclose(labelled.labels.std(axis=0), bench.stds, rtol=0.4)


def test_layers_alone_are_further_directions() -> None:
    found = directions(np.eye(3)[:2], num_layers=4)
    all_of_them = by_layers(found, [(0, 1), (2, 3)])
    assert all_of_them.steps.shape == (6, 4, 3)
    assert all_of_them.names[3] == "component 1, layers 0-1"
    np.testing.assert_array_equal(all_of_them.steps[2:4].sum(axis=(1, 2)), [2, 2])
    np.testing.assert_array_equal(all_of_them.steps[2:4] + all_of_them.steps[4:], found.steps)


def test_attributes_that_cannot_be_read_or_do_not_vary_are_left_out() -> None:
    names = "yaw lip_red lipstick lip_colour beard age"
    judge = Judge(JudgeConfig(attributes=names, resolution=16, channels=2, hidden_dim=2))
    judge.r2.copy_(torch.tensor([0.9, 0.9, 0.9, 0.8, 0.3, 0.9]))
    # An error of sqrt(1 - 0.9) = 0.32 of the renders' spread is half of the variance where the spread is that, too.
    kept = chosen_columns(judge, np.array([0.33, 1, 1, 1, 1, 0.31]))
    assert [judge.names[i] for i in kept] == ["yaw", "lip_colour"]


def test_a_judge_that_reads_nothing_is_refused(tiny_networks) -> None:
    judge = Judge(JudgeConfig(attributes="yaw pitch", resolution=16, channels=2, hidden_dim=2)).eval()
    with pytest.raises(ConfigError, match="reads 0 attributes"):
        Bench(tiny_networks[0], judge, None, 1.0, 5, 4, 2)


def test_on_a_bench_that_carries_pose_is_moved_by_what_the_decomposer_sees(
    world, tiny_networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, pure = world
    _, decomposer = tiny_networks
    asked: list[dict[str, np.ndarray]] = []

    def measured(_, images: torch.Tensor) -> np.ndarray:
        return np.outer(images[:, 0].mean(dim=1) @ bench.judge.rows[0], np.ones(9))

    def carried(_, before: torch.Tensor, after: torch.Tensor, changes: dict[str, np.ndarray]):
        asked.append(changes)
        return before, np.ones(len(before))

    monkeypatch.setattr(direction_bench, "measure", measured)
    monkeypatch.setattr(direction_bench, "carried_edit", carried)
    step = np.repeat(pure[0][None], 10, axis=0)
    plain = bench.respond(step, (-1.0, 2.0), target="yaw").changes
    kept = bench.carrying(decomposer).respond(step, (-1.0, 2.0), target="yaw").changes
    assert plain[..., 0].mean(axis=0) == pytest.approx([-1, 2], rel=1e-3)
    assert np.abs(kept).max() < 1e-6  # the stand-in for carrying changed nothing
    assert [set(one) for one in asked] == [{"yaw"}, {"yaw"}]
    assert asked[1]["yaw"][0] == pytest.approx(-2 * asked[0]["yaw"][0], rel=1e-3)
    named = directions(pure[:2], ("yaw", "smile"))
    carrying = measure_method(bench.carrying(decomposer), named, lambda *_: step, 40, 0, lambda _: None)
    assert set(carrying.responses) <= {"yaw", "light_x"}  # all else is as without carrying
    assert "yaw" in carrying.responses
    assert carrying.codes is None
    assert "smile" in measure_method(bench, named, lambda *_: step, 40, 0, lambda _: None).responses
    smile = bench.carrying(decomposer).respond(np.repeat(pure[1][None], 10, axis=0), (1.0,), target="smile").changes
    assert smile[:, 0, 1].mean() == pytest.approx(1, rel=1e-3)
