from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.checkpoints.ours import network_fingerprint, save_network
from lineament.directions.editor import FaceEditor, extrapolation_warnings, requested_changes
from lineament.directions.steps import HOLDABLE, affordable_hold, linear_change, linear_step
from lineament.errors import ConfigError, InputError, MismatchError
from lineament.estimators.part_scores import PartReader
from lineament.faces.maps import maps_of_images
from lineament.faces.measure import measure, synthesize_edited
from lineament.faces.subjects import parse_seeds, sampled
from lineament.recipes.edit import animation_fractions, picture_fractions, run, unreached
from lineament.records.inversions import Inversions
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.edit import EditConfig
from lineament.store.atlas import atlas_fingerprint, save_atlas
from lineament.store.inversions import save_inversions
from lineament.store.pictures import read_png_text
from tests.made_up import with_parts


@pytest.fixture
def config(tiny_files, tmp_path):
    """Makes a config of the tiny world."""

    def make(*edits, out="a.png", **changes):
        files = {name: tiny_files / f"{name}.safetensors" for name in ("atlas", "generator", "decomposer")}
        return EditConfig(edits=edits, out=tmp_path / out, **(files | {"seeds": "0-2"} | changes))

    return make


@pytest.mark.parametrize("amount", ["+1e308", "+1e30", "-1e9", "1e308", "@-1e200"])
def test_an_amount_far_beyond_what_was_seen_is_refused_with_the_range(config, amount):
    with pytest.raises(ConfigError, match=r"yaw would change by .*, expected at most .* times the range seen \("):
        run(config(f"yaw={amount}"))
    assert not config("yaw=+1").out.exists()


def test_seeds_are_numbers_and_ranges_in_order():
    assert parse_seeds("0-2, 12,5") == [0, 1, 2, 12, 5]


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "-4", "1-", "0-99999", "1,,2", "1.5", "0-1000000000000", str(2**64), "9" * 5000]
)
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
    editor = FaceEditor(tiny_atlas, *tiny_networks, hold=HOLDABLE, plain=False)
    step = editor.steps(["yaw"], np.array([[0.5]]))[0, 0]
    held = [tiny_atlas.direction(name).gradient @ step for name in HOLDABLE if name != "yaw"]
    # The atlas says that a linear step achieves 0.8 of its promise, so a longer step is taken.
    assert tiny_atlas.direction("yaw").gradient @ step == pytest.approx(0.625)
    assert np.allclose(held, 0, atol=1e-9)


def test_a_plain_step_is_the_euclidean_one(tiny_networks, tiny_atlas):
    editor = FaceEditor(tiny_atlas, *tiny_networks, hold=HOLDABLE, plain=True)
    step = editor.steps(["yaw"], np.array([[0.5]]))[0, 0]
    gradient = tiny_atlas.direction("yaw").gradient
    assert np.allclose(step, 0.5 * gradient / (gradient @ gradient))


@pytest.fixture
def steady_atlas(tiny_atlas):
    """An atlas whose yaw and pitch have steps of single layers, as the shipped ones have."""
    rng = np.random.default_rng(7)
    steps = {name: rng.normal(size=(tiny_atlas.num_layers, tiny_atlas.w_dim)) for name in ("yaw", "pitch")}
    return replace(
        tiny_atlas, directions=tuple(replace(one, layer_steps=steps.get(one.name)) for one in tiny_atlas.directions)
    )


def test_steps_of_single_layers_are_taken_as_they_are_and_add_up(tiny_networks, steady_atlas):
    editor = FaceEditor(steady_atlas, *tiny_networks, hold=None, plain=False)
    yaw, pitch = (steady_atlas.direction(name).layer_steps for name in ("yaw", "pitch"))
    # The calibration of the tiny atlas: a linear step achieves 0.8 of its promise.
    np.testing.assert_allclose(editor.steps(["yaw"], np.array([[0.5]]))[0], 0.625 * yaw)
    both = editor.steps(["yaw", "pitch"], np.array([[0.5, 1.0]]))[0]
    np.testing.assert_allclose(both, 0.625 * yaw + 1.25 * pitch)


def test_a_shift_beside_a_turn_is_solved_for_together(tiny_networks, steady_atlas):
    """Shifts have no steady steps, and follow the head: only one linear system can set both."""
    editor = FaceEditor(steady_atlas, *tiny_networks, hold=None, plain=False)
    names = ("yaw", "translation_x")
    step = editor.steps(names, np.array([[3.0, -1.0]]))
    assert step.shape == (1, 1, steady_atlas.w_dim)
    changed = linear_change(steady_atlas, names, step)[0]
    asked = [3.0, -1.25]
    np.testing.assert_allclose(changed, asked, rtol=1e-6)  # yaw is not calibrated for such a step
    assert editor.used(names)[1] == affordable_hold(steady_atlas.layers_alike(), names)


def test_a_part_beside_a_turn_gets_what_was_asked_of_it(tiny_networks, atlas_with_parts):
    rng = np.random.default_rng(8)
    steps = 0.1 * rng.normal(size=(atlas_with_parts.num_layers, atlas_with_parts.w_dim))
    directions = tuple(
        replace(one, layer_steps=steps) if one.name == "yaw" else one for one in atlas_with_parts.directions
    )
    atlas = replace(atlas_with_parts, directions=directions)
    part = atlas.part_names[0]
    step = linear_step(atlas, {"yaw": 2.0, part: 0.7}, ())
    assert linear_change(atlas, [part], step[None])[0, 0] == pytest.approx(0.7)
    own = list(atlas.direction(part).layers or range(atlas.num_layers))
    others = [layer for layer in range(atlas.num_layers) if layer not in own]
    np.testing.assert_allclose(step[others], 2 * steps[others])


@pytest.mark.parametrize("asked", [{"hold": ("pitch",)}, {"plain": True}, {"layers": (0, 1)}])
def test_who_asks_for_another_step_moves_layers_alike(tiny_networks, tiny_atlas, steady_atlas, asked):
    settings = {"hold": None, "plain": False, "layers": None} | asked
    change = np.array([[0.5]])
    tiny_atlas = replace(tiny_atlas, directions=tuple(replace(one, calibration=()) for one in tiny_atlas.directions))
    steady, alike = (
        FaceEditor(atlas, *tiny_networks, **settings).steps(["yaw"], change) for atlas in (steady_atlas, tiny_atlas)
    )
    np.testing.assert_array_equal(steady, alike)


def picture(config: EditConfig) -> np.ndarray:
    return np.asarray(Image.open(run(config).path)).astype(float)


def test_pose_is_carried_unless_asked_otherwise_and_the_recipe_says_which(config):
    carried, linear = picture(config("yaw=+1")), picture(config("yaw=+1", out="b.png", like="linear"))
    assert np.abs(carried - linear).max() > 5
    assert np.array_equal(carried[:, :128], linear[:, :128])  # the unedited faces
    assert read_png_text(config("yaw=+1").out)["lineament:like"] == "carried"
    for changes in ({"hold": ()}, {"plain": True}, {"layers": "0-5"}, {"like": "linear"}):
        assert config("yaw=+1", **changes).way == "linear"


def test_a_carried_edit_keeps_more_of_the_faces_pixels(config):
    cells = [picture(config("light_x=+0.05", out=f"{like}.png", like=like)) for like in ("carried", "linear")]
    kept = [np.abs(cell[:, :128] - cell[:, 130:258]).mean() for cell in cells]
    assert kept[0] < 0.7 * kept[1]


def test_parts_are_drawn_by_the_generator(config, tiny_files, tmp_path, atlas_with_parts):
    path = tmp_path / "parts.safetensors"
    save_atlas(path, atlas_with_parts)
    pictures = [picture(config("mouth=+1", atlas=path, like=like)) for like in ("carried", "linear")]
    assert np.array_equal(*pictures)


def test_faces_that_miss_what_was_asked_are_named(config, tiny_networks, tiny_atlas):
    editor = FaceEditor(tiny_atlas, *tiny_networks, None, False)
    faces = sampled(editor.generator, range(3), 0, 0.7)
    asked, got = np.array([[5.0], [5.0], [0.0]]), np.array([[4.0], [-5.0], [0.0]])
    lines = unreached(editor, ["yaw"], asked, got, np.array([1.0, 1.0, 0.1]), faces)
    assert lines == [
        "less than 30% of the turned face was visible before in 1 of 3 faces (seeds 2): the generator's image is taken",
        "yaw reached less than 60% of what was asked in 1 of 3 faces (seeds 1)",
    ]


def test_png_has_a_row_per_face_and_carries_its_recipe(config, tiny_atlas):
    result = run(config("yaw=+0.5", "light_x=-0.2", steps=3, scale=1))
    with Image.open(result.path) as picture:
        assert picture.size == (4 * 66 - 2, 3 * 66 - 2)
    words = read_png_text(result.path)
    assert words["lineament:edits"] == "yaw=+0.5 light_x=-0.2"
    assert words["lineament:atlas"].startswith(atlas_fingerprint(tiny_atlas))
    assert tiny_atlas.generator_fingerprint in words["lineament:atlas"]
    assert words["lineament:faces"] == "0,1,2, seeds of run 0 at truncation 0.8"
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
        ({"scale": 1000}, ConfigError, "scale is 1000"),
        ({"steps": 60_000_000}, ConfigError, "steps is 60000000"),
        ({"frames": 10**9}, ConfigError, "frames is 1000000000"),
        ({"run_seed": -1}, ConfigError, "run_seed is -1"),
        ({"out": "a.bmp"}, ConfigError, r"\.png"),
        ({"out": "missing/a.png"}, InputError, "does not exist"),
    ],
)
def test_settings_out_of_range_are_refused(config, changes, error, message):
    edits = changes.pop("edits", ("yaw=+1",))
    with pytest.raises(error, match=message):
        config(*edits, **changes)


def test_a_picture_too_large_is_refused_before_it_is_computed(config):
    for large in ({"steps": 1000}, {"seeds": "0-999"}, {"steps": 100, "symmetric": True}):
        with pytest.raises(ConfigError, match="smaller scale"):
            run(config("yaw=+1", scale=64, **large))
    with pytest.raises(ConfigError, match="smaller scale"):
        run(config("yaw=+1", "pitch=+1", grid=True, steps=1000))
    with pytest.raises(ConfigError, match="smaller scale"):
        run(config("yaw=+1", out="a.gif", frames=10_000, scale=10))


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
    step = FaceEditor(atlas_with_parts, *tiny_networks, held, False).steps(("mouth",), np.array([[2.0]]))[0]
    assert not step[[0, 9]].any()
    changes = linear_change(atlas_with_parts, (*held, "mouth"), step[None])[0]
    np.testing.assert_allclose(changes, [0] * len(held) + [2], atol=1e-6)


def test_a_part_edit_is_measured_and_pose_is_watched(config, tiny_files, tmp_path, atlas_with_parts, tiny_networks):
    save_atlas(tmp_path / "atlas.safetensors", atlas_with_parts)
    result = run(config("mouth=+2", "yaw=+1", atlas=tmp_path / "atlas.safetensors"))
    assert result.names == ("mouth", "yaw")
    assert "pitch" in result.side_effects
    editor = FaceEditor(atlas_with_parts, *tiny_networks, None, False)
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
        FaceEditor(tiny_atlas, *tiny_networks, (), False, layers).edited(w, ("yaw",), change)
        for layers in (None, (0, 1), ())
    )
    plain = synthesize_edited(generator, w)
    torch.testing.assert_close(none, plain, rtol=0, atol=0)
    assert 0 < float((coarse - plain).abs().mean()) != float((whole - plain).abs().mean())
    run(config("yaw=+1", layers="0-1,3"))
    with pytest.raises(ConfigError, match="layer 10 was asked for, expected some of 0-9"):
        run(config("yaw=+1", layers="0-10"))
    with pytest.raises(ConfigError, match="layers are 'all'"):
        run(config("yaw=+1", layers="all"))


def test_a_grid_of_two_edits(config):
    result = run(config("yaw=+0.5", "light_x=-0.2", grid=True, seeds="0,3", scale=1, steps=2))
    cells = np.asarray(Image.open(result.path)).astype(int)
    assert cells.shape[:2] == (6 * 66 - 2, 3 * 66 - 2)
    down = run(config("yaw=+0.5", seeds="0,3", scale=1, steps=2, out="b.png"))
    # Its first column is the first edit alone (what is held differs, as light_x is held there).
    assert np.abs(cells[:64, :64] - np.asarray(Image.open(down.path)).astype(int)[:64, :64]).max() == 0
    assert np.abs(cells[66:130, :64] - cells[:64, :64]).max() > 0
    assert np.abs(cells[:64, 66:130] - cells[:64, :64]).max() > 0
    with pytest.raises(ConfigError, match="two edits"):
        config("yaw=+1", grid=True)


@pytest.fixture
def photographs(tiny_networks, tmp_path):
    """Made-up photographs with latents of the tiny generator that differ from layer to layer; the last is poor."""
    generator = tiny_networks[0]
    rng = np.random.default_rng(3)
    ws = rng.normal(size=(10, generator.num_ws, generator.config.w_dim)).astype(np.float32) * 0.3
    found = Inversions(
        names=tuple(f"{i}.png" for i in range(10)),
        ws=ws,
        photographs=rng.integers(0, 256, (10, 64, 64, 3), np.uint8),
        ssim=np.linspace(0.99, 0.1, 10),
        rmse=np.zeros(10),
        distance=np.full(10, 0.5),
        offset=np.zeros(10),
        generator_fingerprint=network_fingerprint(generator),
        encoder_fingerprint="",
        skipped={},
        lineament_version="0",
        created="2026-01-01",
    )
    save_inversions(tmp_path / "inversions.safetensors", found)
    return tmp_path / "inversions.safetensors", found


def test_an_unedited_photograph_returns_itself(config, photographs):
    path, found = photographs
    result = run(config("yaw=+0.5", photographs=path, seeds=None, scale=1))
    assert (result.kind, result.faces) == ("photograph", found.names[:8])
    cells = np.asarray(Image.open(result.path))
    for i in range(8):
        assert np.array_equal(cells[66 * i : 66 * i + 64, :64], found.photographs[i])
        assert not np.array_equal(cells[66 * i : 66 * i + 64, 66:], found.photographs[i])
    words = read_png_text(result.path)
    assert words["lineament:paste-back"] == "True"
    assert "photographs of inversions.safetensors" in words["lineament:faces"]


def test_without_pasting_back_the_inversion_is_shown(config, photographs, tiny_networks):
    path, found = photographs
    result = run(config("yaw=+0.5", photographs=path, seeds="4", scale=1, paste_back=False))
    shown = np.asarray(Image.open(result.path))[:64, :64].astype(float) / 127.5 - 1
    image = synthesize_edited(tiny_networks[0], torch.from_numpy(found.ws[4:5]))[0].permute(1, 2, 0).numpy()
    assert np.abs(shown - image).max() < 1 / 127
    assert result.requested.tolist() == [[0.5]]


def test_poor_inversions_are_named(config, photographs, capsys):
    run(config("yaw=+0.5", photographs=photographs[0], seeds="0,9"))
    assert "1 of 2 inversions are poor, and so will be their edits: 9.png" in capsys.readouterr().err


def test_photographs_that_cannot_be(config, photographs, tiny_networks, tmp_path):
    with pytest.raises(ConfigError, match="holds 10 photographs, numbers 0 to 9"):
        run(config("yaw=+0.5", photographs=photographs[0], seeds="3,10"))
    with pytest.raises(ConfigError, match="leave --truncation out"):
        config("yaw=+0.5", photographs=photographs[0], truncation=0.5)
    with pytest.raises(InputError):
        run(config("yaw=+0.5", photographs=tmp_path / "missing.safetensors"))
    other = replace(photographs[1], generator_fingerprint="0" * 64)
    save_inversions(tmp_path / "other.safetensors", other)
    with pytest.raises(MismatchError, match="inverted for generator 0000"):
        run(config("yaw=+0.5", photographs=tmp_path / "other.safetensors"))
