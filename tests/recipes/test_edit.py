import numpy as np
import pytest
import torch
from PIL import Image

from lineament.errors import ConfigError, InputError, MismatchError
from lineament.estimators.part_scores import PartReader
from lineament.estimators.steps import euclidean_step
from lineament.recipes.edit import (
    EditConfig,
    Editor,
    animation_fractions,
    extrapolation_warnings,
    parse_seeds,
    picture_fractions,
    requested_changes,
    run,
)
from lineament.recipes.editing import HOLDABLE, linear_change, measure, synthesize_edited
from lineament.recipes.jacobian import maps_of_images
from lineament.recipes.models import save_network
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.store.atlas import save_atlas
from lineament.store.pictures import read_png_text
from tests.made_up import with_parts


@pytest.fixture
def config(tiny_files, tmp_path):
    """Makes a config of the tiny world."""

    def make(*edits, out="a.png", **changes):
        files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
        return EditConfig(edits=edits, out=tmp_path / out, **(files | {"seeds": "0-2"} | changes))

    return make


def test_seeds_are_numbers_and_ranges_in_order():
    assert parse_seeds("0-2, 12,5") == [0, 1, 2, 12, 5]


@pytest.mark.parametrize("text", ["", "a", "3-1", "-4", "1-", "0-99999", "1,,2", "1.5"])
def test_other_seeds_are_refused(text):
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)


def test_relative_changes_are_the_same_for_all_and_absolute_ones_depend_on_the_present_value():
    present = np.array([[1.0, 5.0], [2.0, -5.0]])
    assert requested_changes({"yaw": 3.0}, {"pitch": 4.0}, present).tolist() == [[3, -1], [3, 9]]


def test_fractions_begin_and_end_where_they_should():
    assert picture_fractions(2, False) == [0, 0.5, 1]
    assert picture_fractions(1, True) == [-1, 0, 1]
    loop = animation_fractions(8, False)
    assert min(loop) == loop[0] == 0
    assert max(loop) == pytest.approx(1)
    swing = animation_fractions(8, True)
    assert (min(swing), max(swing)) == (pytest.approx(-1), pytest.approx(1))


def test_a_step_changes_what_it_should_and_holds_the_rest(tiny_networks, tiny_atlas):
    editor = Editor(tiny_atlas, *tiny_networks, hold=HOLDABLE, plain=False)
    step = editor.steps(["yaw"], np.array([[0.5]]))[0, 0]
    held = [tiny_atlas.direction(name).gradient @ step for name in HOLDABLE if name != "yaw"]
    # The atlas says that a linear step achieves 0.8 of its promise, so a longer step is taken.
    assert tiny_atlas.direction("yaw").gradient @ step == pytest.approx(0.625)
    assert np.allclose(held, 0, atol=1e-9)


def test_a_plain_step_is_the_euclidean_one(tiny_networks, tiny_atlas):
    editor = Editor(tiny_atlas, *tiny_networks, hold=HOLDABLE, plain=True)
    step = editor.steps(["yaw"], np.array([[0.5]]))[0, 0]
    assert np.allclose(step, euclidean_step(tiny_atlas.direction("yaw").gradient, 0.5))


def test_png_has_a_row_per_face_and_carries_its_recipe(config, tiny_atlas):
    result = run(config("yaw=+0.5", "light_x=-0.2", steps=3, scale=1))
    with Image.open(result.path) as picture:
        assert picture.size == (4 * 66 - 2, 3 * 66 - 2)
    words = read_png_text(result.path)
    assert words["lineament:edits"] == "yaw=+0.5 light_x=-0.2"
    assert tiny_atlas.generator_fingerprint in words["lineament:atlas"]
    assert result.measured
    assert result.names == ("yaw", "light_x")
    assert set(result.side_effects) == set(SEMANTIC_NAMES) - {"yaw", "light_x"}
    assert result.requested.tolist() == [[0.5, -0.2]] * 3
    assert (result.lengths > 0).all()


def test_an_absolute_edit_asks_for_the_difference(config):
    result = run(config("yaw=1.5"))
    assert np.allclose(result.before + result.requested, 1.5)


def test_same_seed_same_bytes_and_a_face_does_not_depend_on_its_neighbours(config):
    first = run(config("yaw=+0.5", out="a.png"))
    again = run(config("yaw=+0.5", out="b.png"))
    assert first.path.read_bytes() == again.path.read_bytes()
    alone = run(config("yaw=+0.5", out="c.png", seeds="2"))
    assert np.allclose(alone.before[0], first.before[2], atol=1e-4)
    rows, single = (np.asarray(Image.open(r.path)).astype(int) for r in (first, alone))
    assert np.abs(rows[-128:] - single[-128:]).max() <= 2


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4"])
def test_animations(config, suffix):
    result = run(config("yaw=+0.5", out=f"a.{suffix}", seeds="0", frames=4, scale=1))
    assert result.path.stat().st_size > 100


def test_an_edit_out_of_the_range_seen_is_called_an_extrapolation(config, tiny_atlas, capsys):
    limit = tiny_atlas.direction("yaw").range_seen.maximum
    run(config(f"yaw={limit * 2}"))
    assert "extrapolation" in capsys.readouterr().err
    assert extrapolation_warnings(tiny_atlas, ["yaw"], np.array([[limit * 0.9]]), [0]) == []


def test_without_a_decomposer_the_linear_model_speaks_and_says_so(config, capsys):
    result = run(config("yaw=+0.5", decomposer=None))
    assert not result.measured
    assert not result.side_effects
    assert np.allclose(result.achieved, 0.625, atol=1e-5)  # the promise before calibration
    assert "linear model" in capsys.readouterr().err


def test_files_that_do_not_belong_together_are_refused(config, tiny_networks, tmp_path):
    generator, decomposer = tiny_networks
    weights = {k: v.clone() for k, v in generator.state_dict().items()}
    other = type(generator)(generator.config)
    other.load_state_dict(weights | {"mapping.w_avg": torch.ones(16)})
    save_network(tmp_path / "other.safetensors", "generator", other, generator.config.to_dict(), {})
    with pytest.raises(MismatchError, match=r"other\.safetensors"):
        run(config("yaw=+1", generator=tmp_path / "other.safetensors"))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        stranger = type(decomposer)(decomposer.config)
    save_network(tmp_path / "stranger.safetensors", "decomposer", stranger, decomposer.config.to_dict(), {})
    with pytest.raises(MismatchError, match=r"stranger\.safetensors"):
        run(config("yaw=+1", decomposer=tmp_path / "stranger.safetensors"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"edits": ()}, ConfigError, "no edit"),
        ({"steps": 0}, ConfigError, "steps is 0"),
        ({"frames": 1}, ConfigError, "frames is 1"),
        ({"truncation": 0.0}, ConfigError, "truncation is 0"),
        ({"fps": 0.0}, ConfigError, "fps is 0"),
        ({"out": "a.bmp"}, ConfigError, r"\.png"),
        ({"out": "missing/a.png"}, InputError, "does not exist"),
    ],
)
def test_settings_out_of_range_are_refused(config, changes, error, message):
    edits = changes.pop("edits", ("yaw=+1",))
    with pytest.raises(error, match=message):
        config(*edits, **changes)


def test_a_picture_too_large_is_refused_before_it_is_computed(config):
    with pytest.raises(ConfigError, match="smaller scale"):
        run(config("yaw=+1", scale=1000))


def test_unknown_names_end_with_a_hint_and_before_anything_is_written(config):
    with pytest.raises(ConfigError, match="did you mean 'yaw'"):
        run(config("yow=+1"))
    with pytest.raises(ConfigError, match="no direction 'bogus'"):
        run(config("yaw=+1", hold=("bogus",)))
    assert not config("yaw=+1").out.exists()


@pytest.fixture(scope="module")
def atlas_with_parts(tiny_networks, tiny_atlas):
    """Parts made up for the tiny world: mouth, brows and nose."""
    return with_parts(tiny_atlas, tiny_networks[1].config.resolution)


def test_a_part_is_edited_while_pose_light_and_other_parts_are_held(tiny_networks, atlas_with_parts):
    held = (*SEMANTIC_NAMES, "brows", "nose")
    step = Editor(atlas_with_parts, *tiny_networks, held, False).steps(("mouth",), np.array([[2.0]]))[0]
    assert not step[[0, 9]].any()
    changes = linear_change(atlas_with_parts, (*held, "mouth"), step[None])[0]
    np.testing.assert_allclose(changes, [0] * len(held) + [2], atol=1e-6)


def test_a_part_edit_is_measured_and_pose_is_watched(config, tiny_files, tmp_path, atlas_with_parts, tiny_networks):
    save_atlas(tmp_path / "atlas.safetensors", atlas_with_parts)
    result = run(config("mouth=+2", "yaw=+1", atlas=tmp_path / "atlas.safetensors"))
    assert result.names == ("mouth", "yaw")
    assert "pitch" in result.side_effects
    editor = Editor(atlas_with_parts, *tiny_networks, None, False)
    w = torch.zeros(1, atlas_with_parts.w_dim)
    image = synthesize_edited(tiny_networks[0], w)
    values = editor.values(w, image, ("brows", "yaw", "mouth"))[0]
    assert atlas_with_parts.local is not None
    scores = PartReader(atlas_with_parts.local).read(maps_of_images(tiny_networks[1], image).numpy())[0]
    np.testing.assert_allclose(values[[2, 0]], scores[:2])
    assert values[1] == pytest.approx(measure(tiny_networks[1], image)[0, 0])


def test_layers_narrow_an_edit(config, tiny_networks, tiny_atlas):
    generator = tiny_networks[0]
    w, change = torch.zeros(1, tiny_atlas.w_dim), np.array([[3.0]])
    whole, coarse, none = (
        Editor(tiny_atlas, *tiny_networks, (), False, layers).edited(w, ("yaw",), change)
        for layers in (None, (0, 1), ())
    )
    plain = synthesize_edited(generator, w)
    torch.testing.assert_close(none, plain, rtol=0, atol=0)
    assert 0 < float((coarse - plain).abs().mean()) != float((whole - plain).abs().mean())
    run(config("yaw=+1", layers="0-1,3"))
    with pytest.raises(ConfigError, match=r"layers are 0-10, expected some of 0-9"):
        run(config("yaw=+1", layers="0-10"))
    with pytest.raises(ConfigError, match="layers are 'all'"):
        run(config("yaw=+1", layers="all"))
