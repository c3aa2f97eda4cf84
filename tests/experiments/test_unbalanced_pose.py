"""The experiment's parts on made-up data; the renderer and its pictures are not needed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from experiments.unbalanced_pose.arms import ARMS, ORACLES, OURS, rarity, training_set
from experiments.unbalanced_pose.figure import svg
from experiments.unbalanced_pose.generating import Generation, fit_line, plan
from experiments.unbalanced_pose.renders import IMBALANCES, LABELS, PARTS, Size, shares
from experiments.unbalanced_pose.run import TASKS, TITLES, ExperimentConfig, report, result_path, run
from experiments.unbalanced_pose.scores import Pairs, errors_of, resampled_errors
from experiments.unbalanced_pose.sets import Labelled, load
from experiments.unbalanced_pose.table import draws_of_people, table_of, verdict
from experiments.unbalanced_pose.training import (
    Kind,
    Recipe,
    TrainingSet,
    augmented,
    contrastive_losses,
    drawn,
    outputs,
    train,
    with_partners,
)
from experiments.unbalanced_pose.turning import turned
from lineament.errors import ConfigError, InputError
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition

YAW = IMBALANCES["yaw"]


def labelled(n: int = 60, people: int = 12, seed: int = 0, *, lopsided: bool = True) -> Labelled:
    """Pictures whose left half is the brighter the larger their yaw, of people of one colour each."""
    rng = np.random.default_rng(seed)
    yaw = rng.permutation(YAW.value((np.arange(n) + 0.5) / n, lopsided=lopsided))
    who = np.arange(n) % people
    images = np.empty((n, 64, 64, 3), np.uint8)
    images[:] = np.random.default_rng(9).integers(60, 200, (people, 1, 1, 3))[who]
    images[:, :, :32] = np.clip(images[:, :, :32] + yaw[:, None, None, None], 0, 255)
    labels = {name: yaw if name == "yaw" else np.zeros(n) for name in LABELS}
    return Labelled(tuple(f"{i:03d}.png" for i in range(n)), images, labels, who, np.arange(n))


def write(folder: Path, some: Labelled) -> None:
    (folder / "images").mkdir(parents=True)
    for name, image in zip(some.names, some.images, strict=True):
        Image.fromarray(image).save(folder / "images" / name)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "person", *LABELS])
        for i, name in enumerate(some.names):
            writer.writerow([name, some.people[i] + 7, *(some.labels[label][i] for label in LABELS)])


class TestSets:
    def test_a_rare_value_is_a_hundred_times_rarer(self) -> None:
        values = YAW.value(np.linspace(0, 1, 200_001), lopsided=True)
        per_degree = [np.mean((values >= low) & (values < high)) / (high - low) for low, high in ((-20, 20), (30, 40))]
        assert per_degree[0] / per_degree[1] == pytest.approx(100, rel=0.01)
        assert values[0] == -YAW.reach
        assert values[-1] == YAW.reach

    def test_a_balanced_set_is_even(self) -> None:
        values = YAW.value(np.linspace(0, 1, 1001), lopsided=False)
        np.testing.assert_allclose(np.diff(values), 2 * YAW.reach / 1000, rtol=1e-9)

    def test_everybody_is_tested_from_everywhere(self) -> None:
        found = shares(Size(20, 9), "test", 1)
        np.testing.assert_array_equal(np.sort((found * 9).astype(int), axis=1), np.tile(np.arange(9), (20, 1)))

    def test_the_balanced_set_differs_in_the_angle_alone(self) -> None:
        np.testing.assert_array_equal(shares(Size(20, 5), "lopsided", 1), shares(Size(20, 5), "balanced", 1))

    def test_folders_come_back(self, tmp_path: Path) -> None:
        some = labelled(10, 3)
        write(tmp_path / "set", some)
        found = load(tmp_path / "set")
        np.testing.assert_array_equal(found.images, some.images)
        np.testing.assert_array_equal(found.people, some.people)
        np.testing.assert_allclose(found.labels["yaw"], some.labels["yaw"])
        with pytest.raises(InputError, match="has no labels"):
            load(tmp_path)


class TestTraining:
    def test_equal_chances_are_shuffled_epochs(self) -> None:
        order = drawn(np.ones(50), 100, seed=1)
        np.testing.assert_array_equal(np.sort(order[:50]), np.arange(50))
        np.testing.assert_array_equal(np.sort(order[50:]), np.arange(50))
        assert (order[:50] != order[50:]).any()

    def test_pictures_are_drawn_by_their_chance(self) -> None:
        counts = np.bincount(drawn(np.array([1.0, 3.0, 6.0] + [1.0] * 10), 20 * 1300, seed=1), minlength=13)
        np.testing.assert_allclose(counts[:3] / 26_000, np.array([1, 3, 6]) / 20, rtol=0.06)

    def test_partners_are_others_of_the_same_person(self) -> None:
        some = labelled(40, 8)
        chance = np.ones(40)
        chance[:8] = 1e-9  # the first picture of everybody is all but never drawn
        data = TrainingSet(some.images, some.labels["yaw"], some.people, some.sources // 16, chance, np.ones(40))
        batch = np.arange(40)[None]
        found = with_partners(batch, data, seed=0)
        np.testing.assert_array_equal(found[:, :40], batch)
        np.testing.assert_array_equal(some.people[found[0, 40:]], some.people)
        assert (found[0, 40:] // 16 != np.arange(40) // 16).all()
        assert (found[0, 40:] >= 8).all()

    def test_contrastive_loss_by_hand(self) -> None:
        said = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
        losses = contrastive_losses(said, torch.tensor([0, 0, 1, 1]), temperature=0.5)
        # Cosines are 1 with the partner, 0 with two strangers: log(e^2 + 2) - 2.
        np.testing.assert_allclose(losses.numpy(), np.full(4, np.log(np.e**2 + 2) - 2), rtol=1e-6)

    def test_a_mirrored_picture_has_the_mirrored_angle(self) -> None:
        images = torch.full((64, 3, 64, 64), -0.5)
        images[..., :32] = 0.5  # brighter on the left: positive
        moved, values = augmented(images, torch.ones(64), torch.Generator().manual_seed(0))
        brighter_left = moved[..., :24].mean(dim=(1, 2, 3)) > moved[..., 40:].mean(dim=(1, 2, 3))
        np.testing.assert_array_equal((values > 0).numpy(), brighter_left.numpy())
        assert 10 < int(brighter_left.sum()) < 54

    def test_networks_learn_and_repeat(self) -> None:
        some = labelled(60, 12, lopsided=False)
        data = training_set("as is", "regression", YAW, some, some, None, 1.0)
        recipe = Recipe(steps=40, batch_size=16, channels=(4, 8, 8, 8))
        first, again = (outputs(train(data, "regression", YAW.reach, recipe, seed=3), some.images) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert np.corrcoef(first[:, 0], some.labels["yaw"])[0, 1] > 0.8
        other = outputs(train(data, "regression", YAW.reach, recipe, seed=4), some.images)
        assert not np.allclose(first, other)


class TestArms:
    def test_rarity_makes_bins_count_the_same(self) -> None:
        values = np.concatenate([np.full(90, 1.0), np.full(10, 40.0)])
        found = rarity(values, YAW)
        assert found[:90].sum() == pytest.approx(found[90:].sum())
        assert found.mean() == pytest.approx(1)
        np.testing.assert_allclose(rarity(values, YAW, 0.0), 1)

    @pytest.mark.parametrize("kind", ["regression", "verification"])
    def test_every_arm_sees_what_its_name_says(self, kind: Kind) -> None:
        lopsided = labelled(300)
        balanced, made = labelled(300, seed=1, lopsided=False), labelled(30, seed=2, lopsided=False)
        for arm in ARMS:
            data = training_set(arm, kind, YAW, lopsided, balanced, made, 1.0)
            expected = balanced if arm in ORACLES else lopsided
            np.testing.assert_array_equal(data.images[:300], expected.images)
            assert len(data.images) == (330 if arm in OURS else 300)
            assert data.augment == ("standard" in arm)
            assert (np.ptp(data.weight) > 0) == (arm == "re-weighting")
            assert (np.ptp(data.chance) > 0) == ("oversampling" in arm or (arm in OURS and kind == "regression"))

    def test_ours_needs_pictures(self) -> None:
        with pytest.raises(ConfigError, match="generated"):
            training_set("ours", "regression", YAW, labelled(), labelled(), None, 1.0)


class TestPlan:
    def test_rare_values_are_filled_evenly_from_the_same_side(self) -> None:
        values = YAW.value((np.arange(5000) + 0.5) / 5000, lopsided=True)
        settings = Generation(uses=2)
        found = plan(values, np.ones(5000, bool), YAW, settings)
        rare = YAW.rare(found.targets)
        assert (np.sign(found.targets) == np.sign(values[found.sources]))[rare].all()
        both = np.concatenate([values, found.targets[rare]])
        counts = np.histogram(both, np.linspace(-45, 45, 19))[0]
        assert counts.min() > 0.97 * counts.max()
        assert np.bincount(found.sources[rare]).max() <= 2
        # In order: who is turned most already is turned farthest.
        right = found.targets > YAW.edge
        np.testing.assert_array_equal(np.argsort(found.targets[right]), np.arange(right.sum()))
        assert (np.diff(values[found.sources[right]]) >= 0).all()
        common = ~rare
        assert 0.3 < common.sum() / rare.sum() <= 0.5
        assert np.abs(found.targets - values[found.sources])[common].max() <= settings.farthest * YAW.reach

    def test_only_usable_pictures_are_sources_and_none_too_often(self) -> None:
        values = YAW.value((np.arange(1000) + 0.5) / 1000, lopsided=True)
        usable = np.arange(1000) % 10 == 0
        found = plan(values, usable, YAW, Generation(uses=3))
        assert usable[found.sources].all()
        assert np.bincount(found.sources[YAW.rare(found.targets)]).max() == 3

    def test_line(self) -> None:
        measured = np.array([-1.0, 0.0, 2.0])
        line = fit_line(measured, 3 * measured + 1)
        np.testing.assert_allclose(line.label(measured), 3 * measured + 1)
        np.testing.assert_allclose(line.measured(line.label(measured)), measured)


class TestTurning:
    def parts(self, n: int = 2) -> Decomposition:
        """A bulging face in the middle of a 64 px image."""
        y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
        depth = (1.04 - 0.1 * (1 - (x / 0.8) ** 2 - (y / 0.9) ** 2).clamp_min(0).sqrt()).expand(n, -1, -1)
        return Decomposition(depth, torch.zeros(n, 3, 64, 64), torch.zeros(n, 6), torch.zeros(n, 4))

    def test_no_turn_changes_nothing(self) -> None:
        photos = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        parts = self.parts()
        found = turned(photos, parts, parts.view, Camera())
        torch.testing.assert_close(found.images, photos, atol=2e-3, rtol=0)
        assert found.share[:, :, 20:44, 20:44].min() == 1
        assert found.apart[:, :, :, :2].min() == 1
        torch.testing.assert_close(found.over(photos - 0.1, torch.full_like(photos, 0.1)), photos, atol=0.11, rtol=0)

    def test_a_turn_moves_the_nose_and_hides_a_cheek(self) -> None:
        photos = torch.full((1, 3, 64, 64), -1.0)
        photos[..., 29:35, 29:35] = 1.0  # the tip of the nose
        parts = self.parts(1)
        view = parts.view.clone()
        view[:, 1] = np.deg2rad(30.0)  # to the image's left
        found = turned(photos, parts, view, Camera())
        columns = torch.arange(64.0)
        nose = (found.images[0, 0] + 1).sum(dim=0)
        assert (nose * columns).sum() / nose.sum() < 24
        assert 0.2 < found.share.mean() < 0.9


class TestScores:
    def test_area_under_the_curve(self) -> None:
        rng = np.random.default_rng(0)
        people = np.arange(80) % 16
        said = rng.standard_normal((16, 8))[people] + rng.standard_normal((80, 8))
        left, right = np.arange(80) < 40, np.arange(80) >= 40
        rate, loss = Pairs.of(said, people, left, right).rates(np.ones(16))
        unit = said / np.linalg.norm(said, axis=1, keepdims=True)
        alike, same = (unit[left] @ unit[right].T).ravel(), (people[left][:, None] == people[right][None]).ravel()
        assert loss == pytest.approx(100 * (1 - roc_auc_score(same, alike)), abs=0.05)
        cut = np.quantile(alike[same], rate / 100)
        assert 100 * np.mean(alike[~same] >= cut) == pytest.approx(rate, abs=2)

    def test_people_who_are_told_apart(self) -> None:
        people = np.arange(12) % 4
        pairs = Pairs.of(np.eye(4)[people], people, np.ones(12, bool), np.ones(12, bool))
        assert pairs.rates(np.ones(4)) == (0.0, 0.0)

    def test_weights_are_repetitions(self) -> None:
        some = labelled(40, 10, lopsided=False)
        said = np.random.default_rng(1).standard_normal((40, 1))
        draws = np.ones((2, 10))
        draws[1, 0] = 3
        found = resampled_errors("regression", said, some, YAW, draws)
        wrong = np.abs(said[:, 0] * YAW.reach - some.labels["yaw"])
        rare = YAW.rare(some.labels["yaw"])
        again = np.concatenate([wrong[rare], *[wrong[rare & (some.people == 0)]] * 2])
        assert found[1] == pytest.approx(again.mean())
        assert found[0] == pytest.approx(errors_of("regression", said, some, YAW)["rare"])
        embedded = np.random.default_rng(1).standard_normal((40, 6))
        once = resampled_errors("verification", embedded, some, YAW, draws)[0]
        assert once == pytest.approx(errors_of("verification", embedded, some, YAW)["rare_auc"])


class TestTable:
    def results(self) -> list[dict]:
        errors = {"as is": (9.8, 10.2), "oversampling": (7.9, 8.1), "ours": (3.9, 4.1), "upper bound": (1.9, 2.1)}
        return [
            {"arm": arm, "errors": {"rare": value, "all": 1.0}, "draws": [value - 0.5, value + 0.5]}
            for arm, values in errors.items()
            for value in values
        ]

    def test_numbers(self) -> None:
        rows = {row.arm: row for row in table_of(self.results(), "rare")}
        assert list(rows) == ["as is", "oversampling", "ours", "upper bound"]
        assert rows["ours"].closed == pytest.approx(0.75)
        assert rows["ours"].cut is not None
        assert rows["ours"].cut.mean == pytest.approx(0.6)
        # Student: 12.706 times the standard error 0.1.
        assert rows["ours"].rare.high - rows["ours"].rare.mean == pytest.approx(1.2706, rel=1e-3)
        assert rows["as is"].cut is None
        assert rows["as is"].others == {"all": 1.0}

    def test_verdict(self) -> None:
        found = verdict(table_of(self.results(), "rare"), "ours")
        assert found["apart from"] == ["as is", "oversampling"]
        assert found["not apart from"] == []

    def test_people_are_drawn_as_often_as_there_are(self) -> None:
        draws = draws_of_people(30)
        np.testing.assert_array_equal(draws.sum(axis=1), 30)
        assert (draws != draws[0]).any()

    def test_figure_is_well_formed(self) -> None:
        from xml.etree import ElementTree

        picture = svg({"yaw regression": table_of(self.results(), "rare")}, TITLES)
        texts = [node.text for node in ElementTree.fromstring(picture).iter() if node.text and node.text.strip()]
        assert {"as is", "ours", TITLES["yaw regression"]} <= set(texts)


class TestRun:
    @pytest.fixture
    def config(self, tmp_path: Path) -> ExperimentConfig:
        for k, part in enumerate(PARTS):
            write(tmp_path / "renders" / "yaw" / part, labelled(36, 6, seed=k, lopsided=part == "lopsided"))
        recipe = Recipe(steps=3, batch_size=8, channels=(8, 8, 8, 8))
        return ExperimentConfig(
            renders=tmp_path / "renders",
            out=tmp_path / "out",
            tasks=("yaw regression", "yaw verification"),
            arms=("as is", "standard", "upper bound"),
            seeds=2,
            recipes={"regression": recipe, "verification": recipe},
        )

    def test_goes_on_and_reports(self, config: ExperimentConfig) -> None:
        run(config)
        task = TASKS["yaw verification"]
        kept, gone = result_path(config, task, "as is", 0), result_path(config, task, "standard", 1)
        first = json.loads(gone.read_text())
        before = kept.stat().st_mtime_ns
        gone.unlink()
        run(config)
        assert kept.stat().st_mtime_ns == before
        again = json.loads(gone.read_text())
        assert again["said"] == first["said"]
        tables = report(config)
        assert [row.arm for row in tables["yaw regression"]] == ["as is", "standard", "upper bound"]
        assert (config.out / "test" / "yaw-regression.md").read_text().count("\n") == 5
        assert (config.out / "test" / "errors.svg").exists()

    def test_settings_that_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no task"):
            ExperimentConfig(tmp_path, tmp_path, tasks=("roll",))
        with pytest.raises(ConfigError, match="part"):
            ExperimentConfig(tmp_path, tmp_path, part="lopsided")
        with pytest.raises(ConfigError, match="seeds"):
            ExperimentConfig(tmp_path, tmp_path, seeds=1)
