"""Folders of known faces, whole and damaged."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.errors import ConfigError, FileFormatError, ImageError, LineamentError, StorageError
from lineament.records.truth import FaceTruth
from lineament.store import truth as module
from lineament.store.truth import load_truth, open_truth
from tests.truths import (
    COLUMNS,
    PLANTED,
    drawn_face,
    known_faces,
    write_drawn,
    write_face,
    write_named,
    write_pairs,
    write_rendered,
)

SIZE = 16


@pytest.fixture(scope="module")
def known() -> FaceTruth:
    return known_faces(3, SIZE)


@pytest.fixture
def rendered(tmp_path: Path, known: FaceTruth) -> Path:
    return write_rendered(tmp_path / "rendered", known)


@pytest.fixture
def pairs(tmp_path: Path, known: FaceTruth) -> Path:
    return write_pairs(tmp_path / "pairs", known)


@pytest.mark.parametrize("start", [0, 100])
def test_rendered_faces_come_back(known: FaceTruth, tmp_path: Path, start: int) -> None:
    read = load_truth(write_rendered(tmp_path / "in", known, start), SIZE)
    for field in fields(FaceTruth):
        tolerance = 1e-3 if field.name == "canon_albedo" else 1e-6  # albedo is kept in half precision
        np.testing.assert_allclose(getattr(read, field.name), getattr(known, field.name), atol=tolerance, rtol=0)
    assert len(read) == 3


def test_pairs_come_back_without_pose_light_and_albedo(known: FaceTruth, pairs: Path) -> None:
    read = load_truth(pairs, SIZE)
    np.testing.assert_array_equal(read.images, known.images)
    np.testing.assert_array_equal(read.mask, known.mask)
    np.testing.assert_allclose(read.depth, known.depth, atol=0.2 / 65535, rtol=0)
    assert read.view is None
    assert read.canon_depth is None


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA"])
def test_a_depth_of_eight_bits_in_any_mode(pairs: Path, mode: str) -> None:
    value = np.zeros((SIZE, SIZE), np.uint8)
    value[4:8, 4:8] = np.arange(240, 256).reshape(4, 4)
    for path in (pairs / "depth").iterdir():
        Image.fromarray(value).convert(mode).save(path)
    read = load_truth(pairs, SIZE)
    np.testing.assert_allclose(read.depth[1], 1.1 - 0.2 * value / 255.0, atol=1e-6, rtol=0)
    assert read.mask.sum() == 3 * 16


def test_a_limit_reads_no_more_than_it_needs(rendered: Path, pairs: Path, known: FaceTruth) -> None:
    (rendered / "truth" / "000002.npz").write_bytes(b"damaged, but not read")
    (pairs / "depth" / "depth_000002.png").write_bytes(b"the same")
    for folder in (rendered, pairs):
        np.testing.assert_array_equal(load_truth(folder, SIZE, 2).mask, known.mask[:2])
        with pytest.raises(LineamentError):
            load_truth(folder, SIZE)
    with pytest.raises(ConfigError, match="a limit of 0"):
        load_truth(rendered, SIZE, 0)


def test_shapes_can_be_read_one_by_one(rendered: Path, known: FaceTruth) -> None:
    source = open_truth(rendered)
    depth, mask = source.shape(1, SIZE)
    np.testing.assert_allclose(depth, known.depth[1])
    np.testing.assert_array_equal(mask, known.mask[1])


def test_images_larger_by_a_whole_factor_are_averaged(pairs: Path, known: FaceTruth) -> None:
    for i, path in enumerate(sorted((pairs / "image").iterdir())):
        large = known.images[i].astype(int).repeat(2, axis=0).repeat(2, axis=1)
        large[::2] = np.clip(large[::2] + 20, 0, 255)  # the mean of a block rises by 10
        Image.fromarray(large.astype(np.uint8)).save(path)
    expected = np.clip(known.images.astype(int) + 10, 0, 255)
    dark = known.images < 235
    np.testing.assert_array_equal(load_truth(pairs, SIZE).images[dark], expected[dark])


def change_face(**changed: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: write_face(folder / "truth" / "000001.npz", known_faces(3, SIZE), 1, **changed)


def change_table(**changed: np.ndarray) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with np.load(folder / "truth.npz", allow_pickle=False) as table:
            np.savez(folder / "truth.npz", **(dict(table) | changed))

    return change


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-200])


def hole(value: float) -> np.ndarray:
    depth = np.ones((SIZE, SIZE), np.float32)
    depth[3, 4] = value
    return depth


NAMES_WITHOUT_YAW = np.array(["other", *COLUMNS[1:]])
VALUES = np.zeros((3, len(COLUMNS)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "truth.npz").unlink(), r"truth.npz does not exist.*let the rendering end"),
        (cut("truth.npz"), r"truth.npz is damaged or truncated"),
        (lambda f: (f / "truth.npz").write_bytes(b""), r"truth.npz is damaged"),
        (lambda f: np.savez(f / "truth.npz", index=np.arange(3)), r"truth.npz has no array 'names'"),
        (change_table(names=NAMES_WITHOUT_YAW), "no column 'yaw'"),
        (change_table(values=np.zeros((2, len(COLUMNS)))), "do not fit together"),
        (change_table(index=np.zeros(3)), "do not fit together"),
        (change_table(values=np.full_like(VALUES, np.nan)), r"truth.npz: values holds NaN"),
        (change_table(index=np.array([0, 1, 3])), "lists other faces"),
        (lambda f: (f / "truth.csv").unlink() or change_table(index=np.array([0, 1, 1]))(f), "two rows for one face"),
        (lambda f: (f / "truth.csv").write_text("index\n0\n1\n"), r"truth.csv lists other faces than truth.npz"),
        (lambda f: (f / "truth" / "000001.npz").unlink(), r"3 rows for 2 truth files, and truth 000001 has no file"),
        (lambda f: (f / "images" / "000001.png").unlink(), r"3 rows for 2 image files, and image 000001 has no file"),
        (lambda f: (f / "truth" / "000009.npz").touch(), r"truth 000009 has no row"),
        (cut("truth/000001.npz"), r"000001.npz is damaged or truncated"),
        (lambda f: np.savez(f / "truth" / "000001.npz", depth=hole(1)), r"000001.npz has no array 'mask'"),
        (
            lambda f: np.savez(f / "truth" / "000001.npz", depth=hole(1), mask=hole(1), label=hole(2)),
            r"no array 'canon_depth'",
        ),
        (change_face(depth=hole(np.nan)), r"000001.npz: depth holds NaN"),
        (change_face(canon_depth=hole(np.inf)), r"000001.npz: canon_depth holds NaN or infinity"),
        (change_face(depth=hole(0)), r"depth falls to 0, expected more than 0"),
        (change_face(depth=np.array([[object()]])), r"damaged or truncated \(Object arrays cannot be loaded"),
        (change_face(depth=np.full((SIZE, SIZE), "x")), r"depth is of type <U1"),
        (change_face(depth=np.ones((32, 32))), r"depth is \(32, 32\), expected \(16, 16\); truth is not resized"),
        (change_face(canon_albedo=np.full((SIZE, SIZE, 3), 2.0)), r"canon_albedo is 2 to 2, expected 0 to 1"),
        (change_face(mask=np.zeros((SIZE, SIZE))), "shows no face"),
        (change_face(canon_mask=np.zeros((SIZE, SIZE))), "shows no face from the front"),
    ],
)
def test_damaged_rendered_faces_are_one_clear_error(rendered: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(rendered)
    with pytest.raises(FileFormatError, match=said):
        load_truth(rendered, SIZE)


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda f: (f / "depth" / "depth_000001.png").unlink(), FileFormatError, r"3 PNG files in image/ and 2"),
        (
            lambda f: (f / "depth" / "depth_000001.png").rename(f / "depth" / "depth_000011.png"),
            FileFormatError,
            r"image/image_000001.png is paired with depth/depth_000002.png",
        ),
        (cut("depth/depth_000001.png"), ImageError, r"depth_000001.png is a damaged picture"),
        (lambda f: (f / "depth" / "depth_000001.png").write_bytes(b"?"), ImageError, "is not a readable PNG"),
        (cut("image/image_000001.png"), ImageError, r"image_000001.png: not a readable image"),
        (
            lambda f: Image.new("L", (SIZE, SIZE), 9).save(f / "depth" / "depth_000001.png"),
            FileFormatError,
            "shows no face",
        ),
        (
            lambda f: Image.new("L", (32, 32)).save(f / "depth" / "depth_000000.png"),
            FileFormatError,
            r"depth is \(32, 32\), expected \(16, 16\)",
        ),
        (lambda f: Image.new("RGB", (24, 24)).save(f / "image" / "image_000000.png"), ImageError, r"24 x 24 px"),
        (lambda f: Image.new("RGB", (32, 16)).save(f / "image" / "image_000000.png"), ImageError, r"32 x 16 px"),
        (lambda f: Image.new("RGB", (8, 8)).save(f / "image" / "image_000000.png"), ImageError, r"a whole multiple"),
    ],
)
def test_damaged_pairs_are_one_clear_error(
    pairs: Path, damage: Callable[[Path], None], kind: type[Exception], said: str
) -> None:
    damage(pairs)
    with pytest.raises(kind, match=said):
        load_truth(pairs, SIZE)


def test_other_folders(tmp_path: Path, rendered: Path) -> None:
    with pytest.raises(ImageError, match="is not a folder"):
        load_truth(tmp_path / "missing", SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no truth"):
        load_truth(tmp_path / "empty", SIZE)
    for path in (rendered / "images").iterdir():
        path.unlink()
    (rendered / "images").rmdir()
    with pytest.raises(StorageError, match="cannot read"):
        load_truth(rendered, SIZE)


def test_members_beyond_reason_are_not_unpacked(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_face(rendered / "truth" / "000001.npz", known_faces(3, SIZE), 1, depth=np.ones((500, 500)))
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    with pytest.raises(FileFormatError, match="depth has more than 1000000 bytes"):
        load_truth(rendered, SIZE)


def test_mutated_files_are_read_or_refused(rendered: Path) -> None:
    rng = np.random.default_rng(0)
    for trial in range(150):
        path = rendered / ("truth.npz" if trial % 3 else "truth/000000.npz")
        whole = path.read_bytes()
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        with suppress(LineamentError):
            load_truth(rendered, SIZE, 1)
        path.write_bytes(whole)


def labelled(folder: Path, labels: list[str]) -> FaceTruth:
    """Rendered faces whose label maps hold a mouth, a face and hair, one below the other."""
    truth = known_faces(2)
    write_rendered(folder, truth)
    (folder / "info.json").write_text(json.dumps({"labels": labels}))
    rows = np.repeat([0, 1, 2, 3], 16)[:, None] * np.ones((1, 64), int)
    for i in range(2):
        write_face(folder / "truth" / f"{i:06d}.npz", truth, i, label=rows.astype(np.uint8))
    return truth


def test_labels_tell_the_face_and_the_hole_of_the_mouth(tmp_path: Path) -> None:
    truth = labelled(tmp_path, ["background", "hair", "skin", "mouth_inside"])
    read = load_truth(tmp_path, 64)
    rows = np.arange(64)[None, :, None]
    assert read.face is not None
    assert np.array_equal(read.face, np.broadcast_to((rows >= 32) & (rows < 48), truth.mask.shape))
    assert np.array_equal(read.mask, truth.mask & (rows < 48))


def test_the_table_and_the_labels_from_the_front(tmp_path: Path) -> None:
    places = write_named(tmp_path, 3, SIZE)
    source = open_truth(tmp_path)
    assert source.names == (*COLUMNS, *PLANTED)
    assert source.parameters is not None
    assert source.parameters.shape == (3, len(source.names))
    view = known_faces(3, SIZE).view
    assert view is not None
    np.testing.assert_allclose(source.parameters[:, 0], np.degrees(view[:, 1]), rtol=1e-5)
    seen = source.canonical_labels(2, SIZE)
    np.testing.assert_array_equal(seen == source.labels.index("hair"), places["hair"])
    with pytest.raises(FileFormatError, match=r"canon_label is \(16, 16\), expected \(32, 32\)"):
        source.canonical_labels(2, 32)


def test_labels_may_be_missing_but_not_damaged(tmp_path: Path) -> None:
    write_rendered(tmp_path / "none", replace(known_faces(2), face=None))
    assert load_truth(tmp_path / "none", 64).face is None
    labelled(tmp_path / "some", ["background", "skin"])
    (tmp_path / "some" / "info.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"info\.json is damaged"):
        load_truth(tmp_path / "some", 64)
    truth = labelled(tmp_path / "less", ["background", "skin"])
    write_face(tmp_path / "less" / "truth" / "000001.npz", replace(truth, face=None), 1)
    with pytest.raises(FileFormatError, match="has no array 'label'"):
        load_truth(tmp_path / "less", 64)


def test_proportions_are_known_with_landmarks_and_labels_alone(tmp_path: Path) -> None:
    truth = known_faces(2, SIZE)
    source = open_truth(write_drawn(tmp_path / "drawn", truth, np.array([1.3, 1.7])))
    assert source.has_proportions
    assert source.proportions(1)["jaw_width"] > source.proportions(0)["jaw_width"] + 0.3
    assert not open_truth(write_rendered(tmp_path / "plain", truth)).has_proportions
    assert not open_truth(write_pairs(tmp_path / "pairs", truth)).has_proportions


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"canon_landmarks": np.zeros((3, 3))}, r"canon_landmarks is \(3, 3\), expected \(12, 3\)"),
        ({"canon_landmarks": np.full((12, 3), np.nan)}, "canon_landmarks holds NaN"),
        ({"canon_landmarks": np.zeros((12, 3))}, "less than a pixel apart"),
        ({"canon_label": np.zeros((4, 4))}, "canon_label is"),
        ({"canon_depth": np.float32(1)}, "canon_depth is 0 px wide"),
        ({"canon_depth": np.zeros((SIZE, SIZE // 2))}, "canon_depth is"),
    ],
)
def test_damaged_frontal_truth_is_named(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    truth = known_faces(1, SIZE)
    write_drawn(tmp_path, truth, np.array([1.5]))
    landmarks, label, depth = drawn_face(SIZE)
    whole = {"canon_landmarks": landmarks, "canon_label": label, "canon_depth": depth}
    write_face(tmp_path / "truth" / "000000.npz", truth, 0, **(whole | changed))
    with pytest.raises(FileFormatError, match=message):
        open_truth(tmp_path).proportions(0)
