"""Peers on a tiny generator: the common form, the atlas whose edits are their own steps, labels, bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from lineament.checkpoints.ours import save_network
from lineament.directions.exchange import FOUND_BY, atlas_of_found, found_of_atlas
from lineament.directions.peers import PEERS, find_directions
from lineament.directions.steps import affordable_hold, calibrated_step, linear_change, linear_step
from lineament.errors import ConfigError, DataError, InputError, MismatchError
from lineament.faces.labelled import Labeller, judge_labeller, label_samples, labels_from_table, sample_w, w_of
from lineament.networks.judge import Judge
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.style_weights import style_weights
from lineament.ops.seeding import latents
from lineament.recipes.peers import labels_of, run
from lineament.records.atlas import Atlas
from lineament.records.found_directions import FoundDirections
from lineament.records.peer_settings import Method, PeerSettings
from lineament.records.shapes import JudgeConfig
from lineament.settings.peers import PeersConfig
from lineament.store.atlas import load_atlas
from tests import tiny

SETTINGS = PeerSettings(samples=200, components=4, truncation=0.8, share=0.2)


def brightness() -> Labeller:
    """Labels with a known answer: means of colours."""
    return Labeller(
        ("red", "green"),
        ("levels", "levels"),
        lambda images: images.mean(dim=(2, 3))[:, :2].double().cpu().numpy(),
    )


def find(method: Method, generator: Generator, **changed: object) -> FoundDirections:
    settings = replace(SETTINGS, **changed)  # pyright: ignore[reportArgumentType]
    labelled = None
    if PEERS[method].needs_labels:
        labelled = label_samples(generator, brightness(), 0, 120, 0.8, "test")
    return find_directions(method, generator, settings, labelled)


@pytest.mark.parametrize("method", PEERS)
def test_every_method_gives_the_common_form_and_an_atlas_of_its_own_steps(
    method: Method, tiny_networks: tuple[Generator, object], tiny_atlas: Atlas
) -> None:
    generator, _ = tiny_networks
    found = find(method, generator)
    labelled = PEERS[method].needs_labels
    assert found.method == PEERS[method].title
    assert found.names == (("red", "green") if labelled else tuple(f"component {i}" for i in range(4)))
    assert found.steps.shape == (len(found.names), 10, 16)
    assert (found.steps == found.steps[:, :1]).all()
    assert found.labels_used == (240 if labelled else 0)
    assert found.samples_used == (120 if labelled else 0 if method == "sefa" else 200)
    assert found.seconds > 0
    assert found.generator_fingerprint == tiny_atlas.generator_fingerprint
    atlas = atlas_of_found(found, generator, samples=100, truncation=0.8)
    for name, step in zip(found.names, found.steps, strict=True):
        for plain in (False, True):
            np.testing.assert_array_equal(linear_step(atlas, {name: -1.7}, plain=plain), -1.7 * step)
        assert atlas.direction(name).unit == ("levels" if method == "supervised" else "step")
    assert atlas.provenance[FOUND_BY] == found.method
    back = found_of_atlas(atlas)
    np.testing.assert_allclose(back.steps, found.steps, rtol=1e-12)
    assert (back.method, back.labels_used, back.names) == (found.method, found.labels_used, found.names)


def test_steps_of_others_are_added_and_hold_nothing(tiny_networks: tuple[Generator, object], tiny_atlas: Atlas) -> None:
    generator, _ = tiny_networks
    steps = np.random.default_rng(0).normal(size=(2, 10, 16))
    found = FoundDirections("SVM", ("yaw", "pitch"), steps, ("", ""), 0, 0, 0.0, "")
    atlas = atlas_of_found(found, generator, samples=100)
    assert affordable_hold(atlas, ("yaw",)) == ()
    both = calibrated_step(atlas, {"yaw": 2.0, "pitch": -1.0})
    np.testing.assert_array_equal(both, 2 * steps[0] - steps[1])
    some = linear_step(atlas, {"yaw": 1.0}, layers=(3,))
    np.testing.assert_array_equal(some, steps[0] * (np.arange(10) == 3)[:, None])
    np.testing.assert_allclose(linear_change(atlas, ("yaw",), steps[:1]), 1.0)
    # Beside ours they change nothing of what ours do.
    theirs = replace(atlas.directions[0], name="theirs")
    assert "theirs" not in affordable_hold(replace(tiny_atlas, directions=(theirs, *tiny_atlas.directions)), ("yaw",))
    mixed = replace(tiny_atlas, directions=(*tiny_atlas.directions, theirs))
    alone = linear_step(mixed, {"yaw": 5.0})
    np.testing.assert_allclose(linear_step(mixed, {"yaw": 5.0, "theirs": 3.0}), alone + 3 * steps[0])
    np.testing.assert_array_equal(alone, linear_step(tiny_atlas, {"yaw": 5.0}))
    with pytest.raises(ConfigError, match="moves some layers against others"):
        atlas_of_found(replace(found, steps=np.array([[1.0], [-1.0]] * 5) * np.ones((2, 10, 16))), generator)


def test_what_each_looks_at(tiny_networks: tuple[Generator, object]) -> None:
    generator, _ = tiny_networks
    w = sample_w(generator, 0, 200, 0.8)
    torch.testing.assert_close(
        torch.from_numpy(w[7:9]).float(), generator.map(latents(0, [7, 8], 16), 0.8), atol=1e-6, rtol=1e-5
    )
    first = find("ganspace-w", generator).steps[0, 0]
    values, vectors = np.linalg.eigh(np.cov(w.T))
    assert abs(first @ vectors[:, -1]) == pytest.approx(np.sqrt(values[-1]), rel=1e-6)
    layers = find("sefa", generator, layers="1-2,4")
    assert {int(i) for i in np.flatnonzero(layers.steps.any(axis=(0, 2)))} == {1, 2, 4}
    weights = np.concatenate([style_weights(generator)[i].double().numpy() for i in (1, 2, 4)])
    rows = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    changes = np.square(rows @ layers.steps[:, 1].T).sum(axis=0)
    np.testing.assert_allclose(changes, layers.provenance["eigenvalues"], rtol=1e-6)
    assert not np.allclose(find("random", generator).steps, find("random", generator, seed=1).steps)
    again = [find("ganspace-activations", generator).steps for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_labelled_methods_raise_their_labels(tiny_networks: tuple[Generator, object]) -> None:
    generator, _ = tiny_networks
    samples = label_samples(generator, brightness(), 0, 300, 0.8, "test")
    assert samples.seconds > 0
    slopes = np.linalg.lstsq(samples.w - samples.w.mean(axis=0), samples.labels, rcond=None)[0].T
    for method in ("interfacegan", "supervised"):
        found = find_directions(method, generator, SETTINGS, samples)
        assert (np.einsum("md,md->m", slopes, found.steps[:, 0]) > 0).all()
    held = find_directions("supervised", generator, SETTINGS, samples).steps[:, 0]
    np.testing.assert_allclose(slopes @ held.T, np.eye(2), atol=1e-6)
    normals = find_directions("interfacegan", generator, SETTINGS, samples).steps[:, 0]
    freed = find_directions("interfacegan", generator, replace(SETTINGS, conditional=True), samples).steps[:, 0]
    np.testing.assert_allclose(np.diag(normals @ freed.T[:, ::-1]), 0, atol=1e-9)


def test_labels_from_a_table(tmp_path: Path, tiny_networks: tuple[Generator, object]) -> None:
    generator, _ = tiny_networks
    path = tmp_path / "labels.csv"
    path.write_text("image,smile,age\n17.png,1,30.5\n00003.png,0,41\n5,1,22\n")
    samples = labels_from_table(generator, path, 4, 0.7)
    np.testing.assert_array_equal(samples.labels, [[1, 30.5], [0, 41], [1, 22]])
    assert (samples.names, samples.units) == (("smile", "age"), ("", ""))
    np.testing.assert_array_equal(samples.w, w_of(generator, 4, [17, 3, 5], 0.7))
    path.write_text("image;smile;age\n17.png;1;30,5\n3.png;;41\n")
    np.testing.assert_array_equal(labels_from_table(generator, path, 4, 0.7).labels, [[1, 30.5]])
    path.write_text("image,smile\n3,\n")
    with pytest.raises(DataError, match="no row without blank labels"):
        labels_from_table(generator, path, 0, 0.7)
    path.write_text("image,smile\nanna.png,1\n")
    with pytest.raises(DataError, match=r"'anna.png' names no image of a seed, expected a number"):
        labels_from_table(generator, path, 0, 0.7)
    path.write_text("image,smile\n3,yes\n")
    with pytest.raises(DataError, match="row '3': could not convert"):
        labels_from_table(generator, path, 0, 0.7)


def test_command(tmp_path: Path, tiny_files: Path) -> None:
    generator = tiny_files / "generator.safetensors"
    words = ["--method", "sefa", "--generator", str(generator), "--components", "3", "--samples", "50", "--layers", "0"]
    config = tyro.cli(PeersConfig, args=[*words, "--out", str(tmp_path / "a.safetensors")])
    result = run(config)
    atlas = load_atlas(result.path)
    assert atlas.names == ("component 0", "component 1", "component 2")
    assert {direction.layers for direction in atlas.directions} == {(0,)}
    assert str(result.path) in result.renderables()
    table = tmp_path / "labels.csv"
    rng = np.random.default_rng(0)
    table.write_text("image,smile\n" + "".join(f"{i},{rng.integers(2)}\n" for i in range(60)))
    labels = PeersConfig("interfacegan", tmp_path / "b.safetensors", generator, labels=table, settings=SETTINGS)
    assert load_atlas(run(labels).path).names == ("smile",)


def test_labels_from_a_judge(tmp_path: Path, tiny_files: Path, tiny_networks: tuple[Generator, object]) -> None:
    generator, _ = tiny_networks
    torch.manual_seed(0)
    judge = Judge(
        JudgeConfig(attributes="yaw smile age", resolution=16, channels=4, channel_max=8, hidden_dim=8)
    ).eval()
    judge.mean.copy_(torch.tensor([10.0, 0.5, 30.0]))
    judge.std.copy_(torch.tensor([20.0, 0.25, 9.0]))
    judge.r2.copy_(torch.tensor([0.9, 0.9, 0.1]))
    judge.out.weight.data.mul_(1000)
    path = tmp_path / "judge.safetensors"
    save_network(path, "judge", judge, judge.config.to_dict(), {}, half=False)
    samples = label_samples(generator, judge_labeller(judge.requires_grad_(False), [2, 0]), 0, 5, 0.8, "judge")
    assert (samples.names, samples.units) == (("age", "yaw"), ("", "deg"))
    w = generator.broadcast(generator.map(latents(0, range(5), 16), 0.8))
    expected = judge.standardised(generator.synthesize(w).clamp(-1, 1)) * judge.std + judge.mean
    np.testing.assert_allclose(samples.labels, expected[:, [2, 0]].double(), rtol=1e-3, atol=1e-2)
    config = PeersConfig("supervised", tmp_path / "a.safetensors", tiny_files / "generator.safetensors", judge=path)
    labelled = labels_of(replace(config, settings=SETTINGS), generator)
    assert labelled is not None
    assert labelled.names == ("yaw", "smile")  # age is read badly
    named = labels_of(replace(config, settings=SETTINGS, attributes=("age",)), generator)
    assert named is not None
    assert (named.names, named.labels.shape) == (("age",), (200, 1))
    with pytest.raises(ConfigError, match="no label 'hair', expected some of yaw, smile, age"):
        labels_of(replace(config, settings=SETTINGS, attributes=("hair",)), generator)
    with pytest.raises(ConfigError, match="give one of them"):
        replace(config, labels=tmp_path / "labels.csv")


class Own(Generator):
    """A generator of a user's own, without styles."""

    family = "own"

    def __init__(self) -> None:
        super().__init__()
        self.config = tiny.GENERATOR
        self.mapping = tiny.generator().mapping


def test_bad_input(tmp_path: Path, tiny_networks: tuple[Generator, object]) -> None:
    generator, _ = tiny_networks
    with pytest.raises(ConfigError, match="InterFaceGAN learns from labels, but none were given"):
        find_directions("interfacegan", generator, SETTINGS)
    with pytest.raises(ConfigError, match="'own' has no style weights that are known"):
        find("sefa", Own())
    assert find("ganspace-w", Own()).w_dim == 8  # a method that looks at samples needs none
    with pytest.raises(ConfigError, match="layer 10 was asked for, expected some of 0-9"):
        find("sefa", generator, layers="3-10")
    with pytest.raises(ConfigError, match="4 samples, expected at least 5"):
        find("ganspace-w", generator, samples=4)
    with pytest.raises(ConfigError, match="99 components were asked for, expected 1 to 16"):
        find("sefa", generator, components=99)
    one_class = Labeller(("glasses",), ("",), lambda images: np.zeros((len(images), 1)))
    with pytest.raises(ConfigError, match="labels of glasses are of one class"):
        find_directions("interfacegan", generator, SETTINGS, label_samples(generator, one_class, 0, 40, 0.8, "test"))
    other = label_samples(tiny.generator(), brightness(), 0, 40, 0.8, "test")
    with pytest.raises(ConfigError, match="labelled w of width 8, expected 16"):
        find_directions("interfacegan", generator, SETTINGS, other)
    found = find("random", generator)
    with pytest.raises(MismatchError, match="of another generator: 10 layers of width 16, expected 8 of width 8"):
        atlas_of_found(found, tiny.generator())
    with pytest.raises(MismatchError, match="another generator"):
        atlas_of_found(replace(found, generator_fingerprint="a" * 64), generator)
    with pytest.raises(ConfigError, match=r"expected a name in .safetensors"):
        PeersConfig("sefa", tmp_path / "a.pt")
    with pytest.raises(InputError, match="does not exist; create it"):
        PeersConfig("sefa", tmp_path / "no" / "a.safetensors")
    with pytest.raises(ConfigError, match="samples is 1, expected at least 2"):
        PeerSettings(samples=1)
    with pytest.raises(ConfigError, match="truncation is 0"):
        PeerSettings(truncation=0.0)
