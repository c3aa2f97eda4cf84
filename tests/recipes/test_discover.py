"""Discovery, end to end on untrained networks, and its odd ends."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.checkpoints.ours import load_decomposer, load_generator, network_fingerprint, save_network
from lineament.checkpoints.pairs import look_as_in
from lineament.directions import calibrate as calibrating
from lineament.directions import solve
from lineament.directions.solve import uncalibrated_atlas
from lineament.directions.steps import HOLDABLE, affordable_hold, candidates_to_hold, linear_change, linear_step
from lineament.engine import run_folder
from lineament.errors import ConfigError, InputError, MismatchError
from lineament.estimators.linear_semantics import LinearSemantics
from lineament.faces import samples
from lineament.faces.samples import MAX_KEPT_VALUES, Discovery, sample_and_measure
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.recipes.discover import run
from lineament.records.atlas import Atlas
from lineament.records.devices import Device
from lineament.records.part_settings import PartsConfig
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.discover import DiscoverConfig
from lineament.store.atlas import load_atlas
from tests import tiny


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny.save_pair(tmp_path_factory.mktemp("pair"), config=tiny.UNTIED)


WITHOUT = PartsConfig(find=False)
PARTS = PartsConfig(samples=80, layer_groups=2)


def settings(pair: tuple[Path, Path], out: Path, **changes: Any) -> DiscoverConfig:
    config = DiscoverConfig(
        out=out,
        generator=pair[0],
        decomposer=pair[1],
        samples=40,
        held_out=20,
        calibration_faces=4,
        batch_size=16,
        parts=PARTS,
        report=False,
        devices=Device(accelerator="cpu"),
    )
    return replace(config, **changes)


def arrays(atlas: Atlas) -> dict[str, np.ndarray]:
    found = {"w_mean": atlas.w_mean, "w_cov": atlas.w_cov}
    for direction in atlas.all_directions:
        for name in ("gradient", "step", "standard_error", "r2", "residual_std", "mean", "std", "calibration"):
            found[f"{direction.name}.{name}"] = np.asarray(getattr(direction, name))
        seen = direction.range_seen
        found[f"{direction.name}.seen"] = np.array([seen.minimum, seen.p1, seen.median, seen.p99, seen.maximum])
    return found


@pytest.fixture(scope="session")
def found(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = run(settings(pair, tmp_path_factory.mktemp("found") / "out"))
    assert path is not None
    return load_atlas(path)


def test_atlas(found: Atlas, pair: tuple[Path, Path]) -> None:
    generator, decomposer = load_generator(pair[0]), load_decomposer(pair[1])
    assert found.names == SEMANTIC_NAMES
    assert (found.num_samples, found.num_held_out, found.truncation) == (40, 20, 0.5)
    assert found.generator_fingerprint == network_fingerprint(generator)
    assert found.decomposer_fingerprint == network_fingerprint(decomposer)
    assert found.generator == {
        "family": "stylegan2",
        "resolution": 64,
        "w_dim": 8,
        "num_layers": 10,
        "class_number": None,
        "face_box": [0.0, 0.0, 1.0, 1.0],
    }
    w, y = sample_and_measure(generator, decomposer, 0, range(40), 0.5)
    w64 = w.double().numpy()
    np.testing.assert_allclose(found.w_mean, w64.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.w_cov, np.cov(w64.T), rtol=1e-6, atol=1e-9)
    solution, *_ = np.linalg.lstsq(w64 - w64.mean(axis=0), y - y.mean(axis=0), rcond=None)
    for column, direction in zip(solution.T, found.directions, strict=True):
        np.testing.assert_allclose(direction.gradient, column, rtol=1e-4, atol=1e-4 * np.abs(column).max())
        assert direction.gradient @ direction.step == pytest.approx(1)
    np.testing.assert_allclose(found.direction("yaw").std, y[:, 0].std(ddof=1), rtol=1e-6)


def test_same_command_same_atlas_whatever_the_batch(found: Atlas, pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = run(settings(pair, tmp_path / "out", batch_size=7))
    assert path is not None
    again = arrays(load_atlas(path))
    for name, value in arrays(found).items():
        np.testing.assert_allclose(
            again[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max(initial=1e-3), err_msg=name
        )


@pytest.mark.parametrize("batches", [1, 4])
def test_stop_and_resume_gives_the_same_bits(
    found: Atlas, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    config = settings(pair, tmp_path / "out")
    stops: list[run_folder.GentleStop] = []
    enter = run_folder.GentleStop.__enter__
    count = 0

    def counted(sample: Callable[..., Any]) -> Callable[..., Any]:
        def one_more(*args: Any) -> Any:
            nonlocal count
            count += 1
            stops[-1].requested = count == batches
            return sample(*args)

        return one_more

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.GentleStop, "__enter__", lambda self: stops.append(self) or enter(self))
        for name in ("sample_and_measure", "sample_mixed"):
            patch.setattr(samples, name, counted(getattr(samples, name)))
        with pytest.raises(run_folder.Stopped, match="the same command goes on"):
            run(config)
    assert not (config.out / "atlas.safetensors").exists()
    path = run(config)
    again = arrays(load_atlas(path))
    for name, value in arrays(found).items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_other_settings_or_networks_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    own = tiny.save_pair(tmp_path / "pair")
    config = settings(own, tmp_path / "out", calibration_faces=1)
    run(config)
    with pytest.raises(ConfigError, match=r"other settings \(samples was 40, now 41\)"):
        run(replace(config, samples=41))
    other = tiny.generator(tiny.GENERATOR64, seed=3)
    save_network(own[0], "generator", other, other.config.to_dict(), {})
    with pytest.raises(MismatchError, match=r"another generator than .* \(generator: \w{8} before, \w{8} now\)"):
        run(config)


@pytest.mark.parametrize("samples", [2, 9])
def test_too_few_samples_are_refused_up_front(pair: tuple[Path, Path], tmp_path: Path, samples: int) -> None:
    config = settings(pair, tmp_path / "out", samples=samples)
    with pytest.raises(ConfigError, match=f"{samples} samples do not determine 8 coefficients; take more than 9"):
        run(config)
    assert not config.out.exists()


def test_parts_need_halves_that_determine_them(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"half of 35 samples .* more than 35, or --parts.no-find"):
        run(settings(pair, tmp_path / "out", parts=replace(PARTS, samples=35)))
    assert not (tmp_path / "out").exists()


WIDE = replace(tiny.GENERATOR64, w_dim=16, z_dim=16)


@pytest.fixture(scope="session")
def wide(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A generator that has room beside pose and light."""
    generator = tiny.generator(WIDE)
    path = tmp_path_factory.mktemp("wide") / "generator.safetensors"
    save_network(path, "generator", generator, generator.config.to_dict(), {})
    return path, pair[1]


def test_no_room_beside_pose_and_light_is_said(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(settings(pair, tmp_path / "out", calibration_faces=1))
    assert path is not None
    assert load_atlas(path).local is None
    assert "no parts of the face: pose and light use up all 8 dimensions of w" in capsys.readouterr().err


def test_parts_are_found_held_apart_from_pose_and_scored(wide: tuple[Path, Path], tmp_path: Path) -> None:
    atlases = []
    for batch_size in (16, 7):
        path = run(settings(wide, tmp_path / str(batch_size), calibration_faces=1, batch_size=batch_size))
        assert path is not None
        atlases.append(load_atlas(path))
    found = atlases[0]
    for name, value in arrays(found).items():
        # The mean score of a part is all but zero; it counts in standard deviations. An R² is a share of one.
        size = np.abs(value).max(initial=1.0 if name.endswith((".mean", ".r2")) else 1e-3)
        np.testing.assert_allclose(arrays(atlases[1])[name], value, rtol=1e-2, atol=1e-2 * size, err_msg=name)
    assert found.local is not None
    assert len(found.part_names) >= 1
    assert found.local.num_samples == 80
    assert found.local.layer_groups == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    steps = np.array([linear_step(found, {name: 1.0}, ()) for name in found.part_names])
    assert {tuple(np.flatnonzero(np.abs(step).max(axis=1))) for step in steps} <= set(found.local.layer_groups)
    moved = linear_change(found, found.names, steps) / np.array([d.std for d in found.directions])
    assert np.abs(moved).max() < 1e-3
    assert all(part.direction.r2 < 1 for part in found.local.parts)  # 1 until measured
    assert all(part.direction.range_seen.minimum < part.direction.range_seen.maximum for part in found.local.parts)


def test_parts_can_be_left_out_and_found_otherwise_without_sampling_again(
    wide: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(wide, tmp_path / "out", calibration_faces=1, parts=replace(PARTS, count=3))
    path = run(config)
    assert path is not None
    assert len(load_atlas(path).part_names) <= 3
    for name in ("add", "add_mixed"):
        monkeypatch.setattr(Discovery, name, lambda *_: pytest.fail("sampled again"))
    run(replace(config, parts=replace(PARTS, count=2)))
    assert len(load_atlas(path).part_names) <= 2
    with pytest.raises(ConfigError, match=r"parts.find was True, now False"):
        run(replace(config, parts=replace(PARTS, find=False)))
    with pytest.raises(ConfigError, match=r"parts.layer_groups was 2, now 1"):
        run(replace(config, parts=replace(PARTS, layer_groups=1)))
    monkeypatch.undo()
    path = run(replace(config, out=tmp_path / "without", parts=WITHOUT))
    assert path is not None
    assert load_atlas(path).local is None


def test_steady_steps_change_one_semantic_and_less_of_the_face(
    wide: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(wide, tmp_path / "out", calibration_faces=2, steady=0.0)
    path = run(config)
    assert path is not None
    plain = load_atlas(path)
    for name in ("add", "add_mixed"):
        monkeypatch.setattr(Discovery, name, lambda *_: pytest.fail("sampled again"))
    run(replace(config, steady=1000.0))
    steady = load_atlas(path)
    assert steady.provenance["steady"] == 1000
    names = [name for name in HOLDABLE if name in steady.names]
    assert names
    steps = np.array([linear_step(steady, {name: 1.0}) for name in names])
    np.testing.assert_allclose(linear_change(steady, names, steps), np.eye(len(names)), atol=1e-4)
    assert all(len(np.unique(step.round(9), axis=0)) == 2 for step in steps)  # two groups of layers
    for before, after in zip(plain.directions, steady.directions, strict=True):
        np.testing.assert_array_equal(before.gradient, after.gradient)
        assert (after.layer_steps is not None) == (after.name in names)
        assert before.calibration != after.calibration or after.name not in names
    # Pose and light are known by gradients all the same: edits of parts still hold them.
    part = steady.part_names[0]
    assert set(names) <= set(candidates_to_hold(steady, (part,)))
    run(config)
    assert all(direction.layer_steps is None for direction in load_atlas(path).directions)


def test_very_long_steady_steps_are_pointed_out(
    wide: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(wide, tmp_path / "out", calibration_faces=1)
    monkeypatch.setattr(solve, "MAX_STEADY_STRETCH", 1e9)
    run(config)
    assert "times as long" not in capsys.readouterr().err
    monkeypatch.setattr(solve, "MAX_STEADY_STRETCH", 0.0)
    run(replace(config, steady=500.0))
    assert "times as long as that of one w for all layers; a lower --steady" in capsys.readouterr().err


def test_steady_steps_that_cannot_be_leave_the_atlas_as_it_is(
    wide: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConfigError("yaw and pitch are nearly collinear")

    monkeypatch.setattr(solve, "steady_steps", refuse)
    path = run(settings(wide, tmp_path / "out", calibration_faces=1, steady=10.0))
    assert path is not None
    assert all(direction.layer_steps is None for direction in load_atlas(path).directions)
    assert "no steady steps: yaw and pitch are nearly collinear" in capsys.readouterr().err
    for wrong, message in ((-1.0, "steady is -1.0"), (float("nan"), "steady is nan")):
        with pytest.raises(ConfigError, match=message):
            settings(wide, tmp_path / "other", steady=wrong)


def test_ridge_takes_few_samples(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = run(settings(pair, tmp_path / "out", samples=9, ridge=0.1, calibration_faces=1, parts=WITHOUT))
    assert path is not None
    assert load_atlas(path).provenance["ridge"] == 0.1


def write_decomposer(path: Path, **last_gains: float) -> None:
    """A decomposer whose named outputs (number of the view or light output) are scaled."""
    network = tiny.decomposer(gain=20.0)
    for name, gain in last_gains.items():
        net, index = name.split("_")
        getattr(network, f"{net}_net").layers[-1].weight[int(index)] *= gain
    save_network(path, "decomposer", network, network.config.to_dict(), {})


def test_constant_semantic_is_left_out(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # View output 0 is pitch, light output 0 ambient; both now have their bias alone. Pitch is even under mirroring.
    write_decomposer(tmp_path / "d.safetensors", view_0=0.0, light_0=0.0)
    path = run(settings((pair[0], tmp_path / "d.safetensors"), tmp_path / "out"))
    assert path is not None
    atlas = load_atlas(path)
    assert atlas.names == tuple(name for name in SEMANTIC_NAMES if name not in ("pitch", "ambient"))
    message = capsys.readouterr().err
    assert "pitch is left out" in message
    assert "ambient is left out" in message
    # The calibration of the others still belongs to them: it is fitted to the measured change of their own column.
    assert all(direction.calibration for direction in atlas.directions if direction.r2 > 0.5)


def test_calibration_reads_its_own_column(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A measurement that follows the linear model to the letter must give identity calibrations, also when the first
    # semantics are missing from the atlas.
    config = settings(pair, tmp_path)
    generator, decomposer = load_generator(pair[0]), load_decomposer(pair[1])
    gathered = Discovery.empty()
    w, y = sample_and_measure(generator, decomposer, 0, range(60), 0.8)
    gathered.add(w.double().numpy(), y)
    gathered.held_out.update(w.double().numpy(), y)
    atlas = uncalibrated_atlas(gathered, generator, decomposer, seed=config.seed, truncation=config.truncation)
    model = LinearSemantics().fit_moments(gathered.fit)
    atlas = replace(atlas, directions=atlas.directions[2:])
    monkeypatch.setattr(calibrating, "synthesize_edited", lambda generator, w, move, _: w.double().numpy() + move[0])
    monkeypatch.setattr(calibrating, "measure", lambda decomposer, moved: model.predict(moved))
    monkeypatch.setattr(calibrating, "sample_and_measure", lambda *args: (w[:5], model.predict(w[:5].double().numpy())))
    monkeypatch.setattr(calibrating, "affordable_hold", lambda atlas, names: ())
    calibrated, records = calibrating.calibrate(config.calibration_faces, atlas, generator, decomposer)
    for direction, record in zip(calibrated.directions, records, strict=True):
        assert record.leakage.shape == (8, 9)
        for step, change in direction.calibration:
            assert change == pytest.approx(step, rel=1e-4), direction.name


def test_nothing_varies(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gains = {f"view_{i}": 0.0 for i in range(6)} | {f"light_{i}": 0.0 for i in range(4)}
    write_decomposer(tmp_path / "d.safetensors", **gains)
    with pytest.raises(ConfigError, match="gives the same values for every face; train it longer"):
        run(settings((pair[0], tmp_path / "d.safetensors"), tmp_path / "out"))


def test_collinear_semantics_do_not_hold_each_other(pair: tuple[Path, Path], tmp_path: Path) -> None:
    network = tiny.decomposer(gain=20.0)
    last = network.light_net.layers[-1]
    last.weight[1], last.bias[1] = last.weight[0], last.bias[0]  # diffuse repeats ambient
    save_network(tmp_path / "d.safetensors", "decomposer", network, network.config.to_dict(), {})
    path = run(settings((pair[0], tmp_path / "d.safetensors"), tmp_path / "out"))
    assert path is not None
    found = load_atlas(path)
    assert found.names == SEMANTIC_NAMES
    assert "ambient" not in affordable_hold(found, ("diffuse",))
    assert "diffuse" not in affordable_hold(found, ("ambient",))


def test_memory_does_not_grow_with_the_samples() -> None:
    rng = np.random.default_rng(0)
    sizes = []
    gathered = Discovery.empty()
    for _ in range(4):
        gathered.add(rng.normal(size=(MAX_KEPT_VALUES, 8)), rng.normal(size=(MAX_KEPT_VALUES, 9)))
        sizes.append(sum(tensor.nbytes for tensor in gathered.tensors().values()))
    assert len(set(sizes)) == 1
    assert gathered.fit.count == 4 * MAX_KEPT_VALUES


def test_gathered_state_round_trip() -> None:
    rng = np.random.default_rng(0)
    gathered = Discovery.empty()
    for filled in (gathered, Discovery.empty()):
        if filled is gathered:
            filled.add(rng.normal(size=(5, 3)), rng.normal(size=(5, 9)))
        again = Discovery.from_tensors(filled.tensors()).tensors()
        assert all(torch.equal(again[name], value) for name, value in filled.tensors().items())


def test_settings_out_of_range(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for changes in ({"samples": 1}, {"held_out": 1}, {"batch_size": 0}, {"calibration_faces": 0}):
        with pytest.raises(ConfigError, match=r"expected (at least )?\d.*; raise it"):
            settings(pair, tmp_path, **changes)
    for truncation in (0.0, 1.5):
        with pytest.raises(ConfigError, match="expected more than 0 and at most 1"):
            settings(pair, tmp_path, truncation=truncation)
    with pytest.raises(ConfigError, match="belong together"):
        settings(pair, tmp_path, generator=None)
    with pytest.raises(InputError, match="does not exist"):
        run(settings((tmp_path / "no.safetensors", pair[1]), tmp_path / "out"))


def test_a_class_and_a_face_box_are_asked_for_and_remembered(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings_of = StyleGAN2Config(**{**tiny.GENERATOR64.to_dict(), "resolution": 128}, c_dim=3)
    network = StyleGAN2(settings_of).eval().requires_grad_(False)
    save_network(tmp_path / "g.safetensors", "generator", network, settings_of.to_dict(), {})
    write_decomposer(tmp_path / "d.safetensors")
    files = (tmp_path / "g.safetensors", tmp_path / "d.safetensors")
    with pytest.raises(ConfigError, match="has 3 classes, but got no label"):
        run(settings(files, tmp_path / "none"))
    with pytest.raises(ConfigError, match="class 3 was asked for, but the generator has 3 classes"):
        run(settings(files, tmp_path / "wrong", class_number=3))
    box = (0.25, 0.25, 0.75, 0.75)
    path = run(settings(files, tmp_path / "out", class_number=2, face_box=box))
    assert path is not None
    atlas = load_atlas(path)
    assert atlas.generator["class_number"] == 2
    assert atlas.generator["face_box"] == list(box)
    generator, decomposer = load_generator(files[0]), load_decomposer(files[1])
    look_as_in(atlas, generator, decomposer)
    assert generator.chosen_class == 2
    assert decomposer.face_box == box
    z = torch.randn(2, 8)
    torch.testing.assert_close(generator(z), network(z, label=torch.eye(3)[[2, 2]]), atol=0.05, rtol=0.05)
