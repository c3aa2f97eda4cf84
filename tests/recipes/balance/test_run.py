"""Whole runs in a tiny world: what is written, what is refused, what comes of odd files."""

import csv
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.checkpoints.ours import load_decomposer
from lineament.engine.run_folder import RunFolder
from lineament.errors import BusyError, ConfigError, DataError, FileFormatError, ImageError, MismatchError
from lineament.faces.measure import measure
from lineament.ops.pixels import to_tensor
from lineament.recipes.balance import networks as balance_networks
from lineament.recipes.balance import rounds as balance_rounds
from lineament.recipes.balance.run import forget_a_beginning, run
from lineament.records.inversion_settings import InversionSettings
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.settings.balance import BalanceConfig
from lineament.store.atlas import load_atlas, save_atlas
from lineament.store.inversions import load_inversions, save_inversions
from lineament.store.manifest import load_manifest
from lineament.store.pictures import read_png_text
from tests import balance_world
from tests.balance_world import NAME, OTHER, contents, settings


@pytest.fixture(scope="module", autouse=True)
def smaller():
    with pytest.MonkeyPatch.context() as patch:
        for entry in balance_world.SMALLER:
            patch.setattr(*entry)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return balance_world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def done(world: Path, tmp_path_factory: pytest.TempPathFactory):
    """One finished run from samples."""
    out = tmp_path_factory.mktemp("done") / "out"
    return out, run(settings(world, out)), load_manifest(out / "manifest.parquet")[0]


def test_the_histogram_comes_near_the_target(done) -> None:
    _, result, columns = done
    summary = result.summary
    assert summary.after < summary.before / 3
    assert summary.generated == sum(k == "generated" for k in columns["kind"]) > 20
    assert summary.made == sum(m is not None and k != "original" for m, k in zip(*_of(columns), strict=True))
    after = sum(row.after for row in summary.bins[NAME])
    assert after <= summary.originals + summary.generated
    assert summary.pass_rate > 0.3


def _of(columns):
    return columns[f"measured_{NAME}"], columns["kind"]


def test_originals_are_kept_to_the_byte_and_nothing_else_is_there(world: Path, done) -> None:
    out, _, columns = done
    files = contents(out)
    for path in (world / "images").iterdir():
        assert files.pop(f"images/originals/{path.name}") == path.read_bytes()
    images = {file for file, kind in zip(columns["file"], columns["kind"], strict=True) if kind == "generated"}
    assert images | {"config.json", "manifest.parquet", "plan.json", "report.html"} == set(files)


def test_the_manifest_tells_the_truth(world: Path, done) -> None:
    """What it says was measured is what the decomposer measures on the file, but for the rounding to bytes."""
    out, _, columns = done
    rows = [i for i, kind in enumerate(columns["kind"]) if kind != "rejected"]
    images = np.stack([np.asarray(Image.open(out / columns["file"][i])) for i in rows])
    found = measure(load_decomposer(world / "decomposer.safetensors"), to_tensor(images))
    said = np.array([columns[f"measured_{NAME}"][i] for i in rows])
    np.testing.assert_allclose(found[:, SEMANTIC_NAMES.index(NAME)], said, atol=0.05 * said.std())


def test_every_rejection_has_its_reason_and_every_image_keeps_to_the_limits(done) -> None:
    out, _, columns = done
    tolerance = json.loads((out / "plan.json").read_text())["limits"]["tolerance"][NAME]
    for i, kind in enumerate(columns["kind"]):
        assert (columns["reason"][i] is not None) == (kind == "rejected")
        if kind != "original":
            missed = abs(columns[f"measured_{NAME}"][i] - columns[f"requested_{NAME}"][i])
            far = columns["distance"][i] > 1.6
            assert (missed > tolerance or far) == (columns["reason"][i] not in (None, "passed, but its bin is full"))
    assert len(set(columns["item"]) - {None}) == sum(k != "original" for k in columns["kind"])


def test_weights_are_those_of_the_originals_alone(done) -> None:
    _, _, columns = done
    weights = [w for w, k in zip(columns["weight"], columns["kind"], strict=True) if k == "original"]
    assert np.mean(weights) == pytest.approx(1)
    assert all(w is None for w, k in zip(columns["weight"], columns["kind"], strict=True) if k != "original")


def test_pictures_carry_their_recipe_and_the_report_has_no_time(done) -> None:
    out, _, columns = done
    row = columns["kind"].index("generated")
    text = read_png_text(out / columns["file"][row])
    assert text["lineament:source"] == columns["source"][row]
    assert text["lineament:edit"] == columns["edit"][row]
    assert text["lineament:measured"].startswith(f"{NAME}=")
    page = (out / "report.html").read_text()
    assert "images, balanced by pitch" in page
    assert page.count("<svg") == 2
    assert "passed, but its bin is full" in page


def test_the_same_command_again_changes_nothing_and_says_the_same(world: Path, done) -> None:
    out, result, _ = done
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name not in ("config.json",)}
    again = run(settings(world, out))
    assert again.summary == result.summary
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(world: Path, tmp_path: Path) -> None:
    result = run(settings(world, tmp_path / "out", dry_run=True))
    words = " ".join(line for line in result.renderables() if isinstance(line, str))
    assert "images to make" in words
    assert "ms each on one process" in words
    assert "nothing was written" in words
    assert list(tmp_path.iterdir()) == []


def test_more_images_are_made_if_asked(world: Path, tmp_path: Path) -> None:
    result = run(settings(world, tmp_path / "out", count=60, max_distance=9.0, tolerance=9.0))
    assert result.summary.originals + result.summary.generated <= 60
    with pytest.raises(ConfigError, match=r"count is 3, but the .* images at hand are all kept"):
        run(settings(world, tmp_path / "other", count=3))


# ---- photographs ----


@pytest.fixture
def labelled(world: Path, tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    names = sorted(p.name for p in (world / "images").iterdir())
    path.write_text("file,who\n" + "".join(f"{name},person {name[:3]}\n" for name in names))
    return path


def test_inverted_photographs_are_changed_and_their_labels_carried_over(world: Path, labelled: Path, tmp_path) -> None:
    inversions = load_inversions(world / "inversions.safetensors")
    ssim = inversions.ssim.copy()
    ssim[:5] = 0.1
    path = tmp_path / "some.safetensors"
    save_inversions(path, replace(inversions, ssim=ssim))
    changes = {"source": "photographs", "inversions": path, "labels": labelled, "tolerance": 9.0}
    changes |= {"max_identity_drift": 9.0, "max_distance": 9.0}
    out = tmp_path / "out"
    result = run(settings(world, out, **changes))
    assert result.summary.after < 0.7 * result.summary.before
    columns, _ = load_manifest(out / "manifest.parquet")
    bad = set(inversions.names[:5])
    for source, kind, who in zip(columns["source"], columns["kind"], columns["label_who"], strict=True):
        assert who == f"person {source[:3]}"
        assert kind == "original" or source not in bad
    assert max(v for v in columns["drift"] if v is not None) > 0
    with (out / "labels.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == result.summary.originals + result.summary.generated
    assert all((out / row["file"]).exists() and row["who"].startswith("person") for row in rows)
    uses = [s for s, k in zip(columns["source"], columns["kind"], strict=True) if k == "generated"]
    assert max(map(uses.count, uses)) <= json.loads((out / "plan.json").read_text())["limits"]["max_uses"]


def test_identity_drift_rejects(world: Path, tmp_path: Path) -> None:
    changes = {"source": "photographs", "inversions": world / "inversions.safetensors", "max_variation": 0.5}
    changes["tolerance"] = 9.0
    run(settings(world, tmp_path / "a", max_identity_drift=9.0, **changes))
    limit = float(np.median(drifts(tmp_path / "a", {"generated", "rejected"})))
    strict = run(settings(world, tmp_path / "b", max_identity_drift=limit, **changes))
    assert any("identity drifted" in reason for reason in strict.summary.reasons)
    assert 0 < max(drifts(tmp_path / "b", {"generated"})) <= limit


def drifts(out: Path, kinds: set[str]) -> list[float]:
    columns, _ = load_manifest(out / "manifest.parquet")
    return [d for d, kind in zip(columns["drift"], columns["kind"], strict=True) if kind in kinds and d is not None]


def test_images_are_inverted_on_the_way(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance_networks, "MIN_SSIM", -1.0)
    changes = {"source": "photographs", "inversion": InversionSettings(steps=3), "max_variation": 0.5}
    result = run(settings(world, tmp_path / "out", max_identity_drift=9.0, tolerance=9.0, **changes))
    assert result.summary.generated > 0
    monkeypatch.setattr(balance_networks, "MIN_SSIM", 2.0)
    result = run(settings(world, tmp_path / "none", max_identity_drift=9.0, tolerance=9.0, **changes))
    assert result.summary.generated == 0
    assert set(result.summary.reasons) == {"bad inversion"}


def test_inversions_of_other_images_or_generators_are_refused(world: Path, tmp_path: Path) -> None:
    inversions, path = load_inversions(world / "inversions.safetensors"), tmp_path / "i.safetensors"
    save_inversions(path, replace(inversions, generator_fingerprint="0" * 64))
    with pytest.raises(MismatchError, match="holds latents of 0000"):
        run(settings(world, tmp_path / "out", source="photographs", inversions=path))
    shutil.copytree(world / "images", tmp_path / "more")
    shutil.copy(next((world / "images").iterdir()), tmp_path / "more" / "new.png")
    chosen = {"source": "photographs", "inversions": world / "inversions.safetensors", "images": tmp_path / "more"}
    with pytest.raises(DataError, match=r"1 of .* images are not in .* \('new.png', …\)"):
        run(settings(world, tmp_path / "other", **chosen))


def test_files_that_could_not_be_inverted_are_listed_with_their_reason(world: Path, tmp_path: Path) -> None:
    inversions, path = load_inversions(world / "inversions.safetensors"), tmp_path / "i.safetensors"
    save_inversions(path, replace(inversions, skipped={"crowd.jpg": "3 faces", "tree.jpg": "no face"}))
    shutil.copytree(world / "images", tmp_path / "in")
    for name in ("crowd.jpg", "tree.jpg"):
        Image.new("RGB", (80, 80)).save(tmp_path / "in" / name)
    result = run(
        settings(
            world,
            tmp_path / "out",
            source="photographs",
            inversions=path,
            images=tmp_path / "in",
            max_identity_drift=2.0,
            max_variation=0.5,
        )
    )
    assert result.summary.skipped_files == {"crowd.jpg": "3 faces", "tree.jpg": "no face"}
    assert not (tmp_path / "out" / "images" / "originals" / "tree.jpg").exists()


# ---- targets ----


def test_another_folder_and_a_file_as_target(world: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    names = sorted(p.name for p in (world / "images").iterdir())
    for name in names[::3]:
        shutil.copy(world / "images" / name, wide)
    like = run(settings(world, tmp_path / "a", target=str(wide), max_variation=0.3, bins="2", tolerance=9.0))
    assert like.summary.after <= 0.3
    plan = json.loads((tmp_path / "a" / "plan.json").read_text())
    assert plan["goal"]["target"] == "as wide"
    low, high = plan["goal"]["edges"][NAME][0], plan["goal"]["edges"][NAME][-1]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"edges": {NAME: [low, (low + high) / 2, high]}, "shares": [1, 1]}))
    given = run(settings(world, tmp_path / "b", target=str(path), max_variation=0.3, tolerance=9.0))
    assert next(row.target for row in given.summary.bins[NAME]) == pytest.approx(
        (given.summary.originals + given.summary.generated) / 2
    )
    path.write_text(json.dumps({"edges": {"yaw": [0, 1, 2]}, "shares": [1, 1]}))
    with pytest.raises(ConfigError, match="is a distribution of yaw, but --semantics are pitch"):
        run(settings(world, tmp_path / "c", target=str(path)))
    with pytest.raises(ImageError, match="does not exist"):
        run(settings(world, tmp_path / "d", target=str(tmp_path / "nowhere")))


def test_two_semantics_at_once(world: Path, tmp_path: Path) -> None:
    chosen = {"semantics": f"{NAME},{OTHER}", "bins": "2,2", "max_variation": 0.3, "tolerance": 2.0}
    result = run(settings(world, tmp_path / "out", **chosen))
    assert result.summary.after < result.summary.before
    assert set(result.summary.bins) == {NAME, OTHER}
    columns, _ = load_manifest(tmp_path / "out" / "manifest.parquet")
    row = columns["kind"].index("generated")
    assert columns["edit"][row].count("=") == 2


def test_a_target_out_of_reach_says_how_far_it_can_go_before_anything_is_written(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"beyond what the generator can reach.*It reached pitch .* to .*--range"):
        run(settings(world, tmp_path / "out", range="-80:80", bins="8", count=400, tolerance=0.5, dry_run=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"semantics": "yaw,yaw"}, "different names"),
        ({"semantics": "smile"}, "no direction 'smile'"),
        ({"range": "5"}, "low:high"),
        ({"range": "5:1"}, "low:high"),
        ({"range": "0:1,0:1"}, "low:high"),
        ({"bins": "0"}, "bins are '0'"),
        ({"bins": "2,3"}, "bins are '2,3'"),
        ({"count": 0}, "count is 0"),
        ({"truncation": 1.5}, "at most 1"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"labels": Path("x.csv")}, "--labels are of the images at hand"),
        ({"max_uses": 1, "count": 10**6}, "allow more by --max-uses"),
    ],
)
def test_settings_out_of_range_are_refused(world: Path, tmp_path: Path, changes: dict, message: str) -> None:
    if "max_uses" in changes:
        changes |= {"source": "photographs", "inversions": world / "inversions.safetensors"}
    with pytest.raises(ConfigError, match=message):
        run(settings(world, tmp_path / "out", **changes))


# ---- folders ----


def test_other_folders_are_left_alone(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds something else \(thesis.tex\)"):
        run(settings(world, tmp_path / "mine"))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "images").mkdir()  # a name of ours, but no run of ours
    with pytest.raises(ConfigError, match="holds something else"):
        run(settings(world, tmp_path / "images"))
    with pytest.raises(DataError, match="lies within --images"):
        run(settings(world, world / "images" / "out"))


def test_another_run_is_left_alone(world: Path, done, tmp_path: Path) -> None:
    out, _, _ = done
    before = contents(out)
    with pytest.raises(ConfigError, match="bins was '4', now '5'"):
        run(settings(world, out, bins="5"))
    assert contents(out) == before
    with RunFolder(tmp_path / "busy", BalanceConfig(images=world, out=tmp_path)), pytest.raises(BusyError):
        run(settings(world, tmp_path / "busy"))


def test_a_run_that_was_refused_leaves_no_trace_but_one_with_images_does(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="beyond what the generator can reach"):
        run(settings(world, tmp_path / "new", range="-80:80", count=400))
    assert not (tmp_path / "new").exists()
    work = tmp_path / "begun" / "work"
    work.mkdir(parents=True)
    (work / "images-0-000000.safetensors").write_bytes(b"")
    forget_a_beginning(tmp_path / "begun")
    assert work.exists()


def interrupt(config: BalanceConfig) -> None:
    """Begin a run, and stop it at its first piece."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balance_rounds, "make_piece", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config)


def test_images_that_changed_since_the_run_began_are_noticed(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "images", tmp_path / "in")
    config = settings(world, tmp_path / "out", images=tmp_path / "in")
    interrupt(config)
    shutil.copy(next((tmp_path / "in").iterdir()), tmp_path / "in" / "new.png")
    (tmp_path / "out" / "work" / "images-0-000000.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="the images changed since this run began"):
        run(config)


def test_shards_hold_the_same_as_a_folder(world: Path, done, tmp_path: Path) -> None:
    out, _, columns = done
    run(settings(world, tmp_path / "out", shards=25))
    files = {file: (out / file).read_bytes() for file in columns["file"] if file is not None}
    found: dict[str, bytes] = {}
    shards = sorted((tmp_path / "out" / "shards").iterdir())
    assert len(shards) == -(-len(files) // 25)
    for path in shards:
        with tarfile.open(path) as shard:
            data = {entry.name: shard.extractfile(entry).read() for entry in shard}  # pyright: ignore
        for name in [name for name in data if name.endswith(".json")]:
            facts = json.loads(data[name])
            found[facts["file"]] = data[name.replace(".json", ".png")]
        assert len(data) // 2 in (len(files) // len(shards), len(files) // len(shards) + 1)
    assert found == files
    assert not (tmp_path / "out" / "images").exists()


# ---- odd files ----


def test_odd_images_are_read_and_unusable_ones_listed(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(world / "images", folder)
    picture = Image.open(next(iter(sorted(folder.iterdir())))).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "rotated.jpg", exif=turned)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(folder / "moving.webp", save_all=True, append_images=[picture.rotate(90)], duration=50)
    picture.resize((9, 9)).save(folder / "tiny.png")
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    whole = (folder / "rotated.jpg").read_bytes()
    (folder / "020cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "050empty.png").write_bytes(b"")
    (folder / "words.png").write_text("not an image")
    (folder / "notes.txt").write_text("no image at all")
    result = run(settings(world, tmp_path / "out", images=folder, max_variation=0.3))
    reasons = result.summary.skipped_files
    assert set(reasons) == {"020cut.jpg", "050empty.png", "words.png", "tiny.png", "huge.png"}
    assert "9 x 9 pixels are too few" in reasons["tiny.png"]
    assert "81000000" in reasons["huge.png"].replace("9000 x 9000", "81000000")
    kept = {p.name for p in (tmp_path / "out" / "images" / "originals").iterdir()}
    assert {"rotated.jpg", "cmyk.jpg", "moving.webp"} <= kept
    assert not kept & set(reasons)
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(name in page for name in reasons)


def test_nothing_but_rubbish_is_one_clear_error(world: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_text("rubbish")
    with pytest.raises(ImageError, match=r"no usable image among 3; the first: 0.png \(not a readable"):
        run(settings(world, tmp_path / "out", images=tmp_path / "in"))


def test_labels_that_do_not_match_stop_the_run_before_it_begins(world: Path, labelled: Path, tmp_path: Path) -> None:
    labelled.write_text(labelled.read_text() + "stranger.png,x\n")
    chosen = {"source": "photographs", "inversions": world / "inversions.safetensors", "labels": labelled}
    with pytest.raises(DataError, match=r"1 of .* rows name no image \('stranger.png'\)"):
        run(settings(world, tmp_path / "out", **chosen))
    labelled.write_text("file;who\n")
    with pytest.raises(FileFormatError, match="1 lines"):
        run(settings(world, tmp_path / "out", **chosen))


def test_networks_that_do_not_belong_together(world: Path, tiny_files: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError):
        run(settings(world, tmp_path / "out", generator=tiny_files / "generator.safetensors"))
    with pytest.raises(MismatchError, match="name the atlas's own by --decomposer"):
        run(settings(world, tmp_path / "out", decomposer=tiny_files / "decomposer.safetensors"))


def test_the_number_of_threads_does_not_matter(world: Path, done, tmp_path: Path) -> None:
    out, _, _ = done
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        run(settings(world, tmp_path / "out"))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert contents(tmp_path / "out") == contents(out)


# ---- kills and changed files ----


def test_work_that_a_kill_left_in_a_finished_folder_goes(world: Path, done, tmp_path: Path) -> None:
    out = shutil.copytree(done[0], tmp_path / "out")
    (out / "work").mkdir()
    (out / "work" / "images-0-000000.safetensors").write_bytes(b"")
    (out / ".lock").touch()
    run(settings(world, out))
    assert contents(out) == contents(done[0])


def test_another_atlas_of_the_same_networks_and_day_is_noticed(world: Path, tmp_path: Path) -> None:
    own = shutil.copy(world / "atlas.safetensors", tmp_path)
    config = settings(world, tmp_path / "out", atlas=Path(own))
    interrupt(config)
    (tmp_path / "out" / "work" / "images-0-000000.safetensors").write_bytes(b"")
    atlas = load_atlas(own)
    save_atlas(own, replace(atlas, w_mean=atlas.w_mean + 0.01))
    with pytest.raises(
        ConfigError, match=r"^the atlas changed since this run began.*\(the atlas: \w{8} before, \w{8} now\)"
    ):
        run(config)
