"""Folders and zips of images: every way in which they can be odd, broken or hostile."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.errors import ConfigError, ImageError, StorageError
from lineament.records.image_paths import check_image_paths
from lineament.store import images as module
from lineament.store.images import ReadingReport, decode_image, decode_whole, load_image_array
from tests import tiny
from tests.image_makers import encoded, folder_of, picture, zip_of


def huge_png(side: int = 100_000) -> bytes:
    """A PNG of a hundred bytes that claims ten gigapixels."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 10)),
        (b"IEND", b""),
    ):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


# --------------------------------------------------------------------------------------------------------------------
# One image


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [("PNG", {}, 0), ("WEBP", {"lossless": True}, 0), ("JPEG", {"quality": 95, "subsampling": 0}, 40)],
)
def test_formats(kind: str, options: dict, tolerance: int) -> None:
    image = picture()
    decoded = decode_image(encoded(image, kind, **options), 16)
    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.asarray(image)).max() <= tolerance


def test_grey_becomes_three_equal_channels() -> None:
    grey = picture().convert("L")
    decoded = decode_image(encoded(grey), 16)
    for channel in range(3):
        np.testing.assert_array_equal(decoded[..., channel], np.asarray(grey))


def test_transparency_is_laid_over_white() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:] = (200, 100, 50, 255)
    rgba[4:, :4] = (200, 100, 50, 51)  # a fifth of the colour, four fifths of white
    decoded = decode_image(encoded(Image.fromarray(rgba)), 8)
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[0, 7].tolist() == [200, 100, 50]
    np.testing.assert_allclose(decoded[7, 0], [244, 224, 214], atol=1)


def test_only_transparent_pixels_count_as_blended() -> None:
    report = ReadingReport()
    for alpha in (255, 254, 0, 255):
        decode_whole(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, alpha))), report)
    decode_whole(encoded(picture()), report)
    assert report.blended == 2
    assert report.lines() == ["2 image(s) have transparent pixels, which were blended with white"]


def test_grey_with_alpha() -> None:
    decoded = decode_image(encoded(Image.merge("LA", [Image.new("L", (8, 8), 10), Image.new("L", (8, 8), 0)])), 8)
    assert (decoded == 255).all()


def test_palette_and_transparent_colours() -> None:
    two = Image.new("P", (8, 8), 0)
    two.putpalette([10, 20, 30, 40, 50, 60])
    two.paste(1, (0, 0, 4, 8))
    assert decode_image(encoded(two), 8)[0, [0, 7]].tolist() == [[40, 50, 60], [10, 20, 30]]
    assert decode_image(encoded(two, transparency=1), 8)[0, [0, 7]].tolist() == [[255, 255, 255], [10, 20, 30]]
    rgb = Image.new("RGB", (8, 8), (1, 2, 3))
    assert (decode_image(encoded(rgb, transparency=(1, 2, 3)), 8) == 255).all()


def test_black_and_white() -> None:
    bits = Image.new("1", (8, 8), 1)
    assert (decode_image(encoded(bits), 8) == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode_image(encoded(Image.fromarray(ramp)), 16)
    np.testing.assert_array_equal(decoded[..., 0], ramp >> 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 1 << 15, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 1 << 30, -1]], np.int32), [0, 64, 255]),
        (np.array([[0, 1 << 15, 65535]], np.uint16), [0, 128, 255]),
    ],
    ids=["fractions", "16 of 32 bits", "32 bits", "16 bits"],
)
def test_deep_tiffs_are_scaled(values: np.ndarray, expected: list[int]) -> None:
    image = Image.fromarray(values)
    assert decode_whole(encoded(image, "TIFF"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, -0.5, 200.0])
def test_values_without_a_known_white_are_refused(value: float) -> None:
    with pytest.raises(ImageError, match="black and white are unknown"):
        decode_whole(encoded(Image.fromarray(np.full((2, 2), value, np.float32)), "TIFF"))


def test_cmyk_jpeg() -> None:
    red = Image.new("RGB", (16, 16), (220, 30, 30)).convert("CMYK")
    decoded = decode_image(encoded(red, "JPEG", quality=95), 16)
    np.testing.assert_allclose(decoded.reshape(-1, 3).mean(axis=0), [220, 30, 30], atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = picture(12, 8)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpose that makes the stored from the upright image
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode_image(encoded(upright), 8)
    np.testing.assert_array_equal(decode_image(encoded(stored, exif=exif), 8), expected)


def test_not_square_is_cropped_at_its_centre() -> None:
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    assert (decode_image(encoded(wide), 10) == 255).all()
    assert (decode_image(encoded(wide.transpose(Image.Transpose.ROTATE_90)), 10) == 255).all()


def test_resizing_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    decoded = decode_image(encoded(stripes), 8)
    assert 120 <= decoded.min() <= decoded.max() <= 135


def test_enlarged_at_most_twice() -> None:
    assert decode_image(encoded(picture(16, 20)), 32).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="15 x 20 pixels are too few for 32 x 32"):
        decode_image(encoded(picture(15, 20)), 32)
    with pytest.raises(ImageError, match="1 x 1 pixels are too few"):
        decode_image(encoded(picture(1, 1)), 32)


def test_one_pixel_may_be_enough() -> None:
    assert decode_image(encoded(picture(1, 1)), 1).shape == (1, 1, 3)


def test_claimed_size_is_refused_unread() -> None:
    with pytest.raises(ImageError):
        decode_image(huge_png(), 16)
    with pytest.raises(ImageError, match="pixels are more than"):
        decode_image(huge_png(8500), 16)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"{}", b"\x89PNG\r\n\x1a\n", encoded(picture(), "EPS"), encoded(picture(), "PDF"), bytes(1000)],
    ids=["empty", "text", "json", "cut", "eps", "pdf", "zeros"],
)
def test_not_an_image_of_ours(data: bytes) -> None:
    with pytest.raises(ImageError, match="not a readable image"):
        decode_image(data, 16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000"])
def test_truncated_or_mutated_files_are_images_or_image_errors(kind: str) -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(picture(), kind, **({} if kind in ("GIF", "JPEG2000") else {"exif": exif}))
    refused = 0
    for trial in range(150):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        cut = data[: rng.integers(1, len(data))] if trial % 2 else data
        try:
            assert decode_image(bytes(cut), 16).shape == (16, 16, 3)
        except ImageError:
            refused += 1
    assert refused > 50


# --------------------------------------------------------------------------------------------------------------------
# Folders and zips


def test_unusable_files_are_skipped_and_named(tmp_path: Path) -> None:
    good = encoded(picture(seed=1))
    source = folder_of(
        tmp_path / "in",
        a_dot_png=good[: len(good) // 2],
        b_dot_png=good,
        c_dot_jpg=b"not an image",
        d_dot_png=huge_png(),
        e_dot_webp=encoded(picture(seed=2), "WEBP", lossless=True),
        f_dot_png=encoded(picture(1, 1)),
        g_dot_png=b"",
    )
    skipped: list[ReadingReport] = []
    progress: list[tuple[int, int]] = []
    array = load_image_array(
        source, 16, tmp_path / "cache", on_report=skipped.append, on_progress=lambda *now: progress.append(now)
    )
    assert array.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(array[0], np.asarray(picture(seed=1)))
    np.testing.assert_array_equal(array[1], np.asarray(picture(seed=2)))
    assert set(skipped[0].skipped) == {"a.png", "c.jpg", "d.png", "f.png", "g.png"}
    assert skipped[0].summary().startswith("skipped 5 unusable image(s), the first: a.png (")
    assert progress == [(i, 7) for i in range(1, 8)]


def test_nothing_usable(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", a_dot_png=b"x", b_dot_png=b"y")
    with pytest.raises(ImageError, match=r"has no usable image among 2: skipped 2 unusable .* a.png"):
        load_image_array(source, 16, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_unreadable_file_counts_as_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "in", a_dot_png=encoded(picture()), b_dot_png=encoded(picture()))
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.png":
            raise PermissionError(13, "no")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert len(load_image_array(source, 16, tmp_path / "cache")) == 1


def test_zip_equals_folder(tmp_path: Path) -> None:
    files = {f"sub/{i}.png": encoded(picture(seed=i)) for i in range(3)} | {"notes.txt": b"x", "sub/": b""}
    archive = zip_of(tmp_path / "in.zip", files)
    folder = tmp_path / "in"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    from_zip, from_folder = (load_image_array(p, 16, tmp_path / p.stem / "c") for p in (archive, folder))
    np.testing.assert_array_equal(from_zip, from_folder)


def test_damaged_member_of_a_zip_is_skipped(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(picture(seed=i)) for i in range(3)}
    path = zip_of(tmp_path / "in.zip", files)
    data = bytearray(path.read_bytes())
    middle = data.find(b"1.png") + 40
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(bytes(data))
    skipped: list[ReadingReport] = []
    array = load_image_array(path, 16, tmp_path / "c", on_report=skipped.append)
    assert len(array) == 2
    assert list(skipped[0].skipped) == ["1.png"]


# --------------------------------------------------------------------------------------------------------------------
# The cache


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "in", a_dot_png=encoded(picture(seed=1)), b_dot_png=b"broken")


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def count(data: bytes, resolution: int, report: ReadingReport) -> np.ndarray:
        calls.append(resolution)
        return decode_image(data, resolution, report)

    monkeypatch.setattr(module, "decode_image", count)
    return calls


def test_cache_is_used_mapped_and_still_tells_of_skipped_files(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, skipped = counting(monkeypatch), []
    folder_of(source, c_dot_png=encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 0))))
    first = load_image_array(source, 16, tmp_path / "c", on_report=skipped.append)
    second = load_image_array(source, 16, tmp_path / "c", on_report=skipped.append)
    assert len(calls) == 3
    assert isinstance(second, np.memmap)
    assert not second.flags.writeable
    np.testing.assert_array_equal(first, second)
    assert skipped[0] == skipped[1]
    assert (list(skipped[1].skipped), skipped[1].blended) == (["b.png"], 1)


@pytest.mark.parametrize("change", ["add", "remove", "modify", "resolution"])
def test_cache_is_left_when_the_source_changes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load_image_array(source, 16, tmp_path / "c")
    calls = counting(monkeypatch)
    match change:
        case "add":
            folder_of(source, c_dot_png=encoded(picture(seed=2)))
        case "remove":
            (source / "b.png").unlink()
        case "modify":
            folder_of(source, b_dot_png=encoded(picture(seed=3)))
        case _:
            pass
    array = load_image_array(source, 8 if change == "resolution" else 16, tmp_path / "c")
    assert calls
    assert len(array) == (2 if change in ("add", "modify") else 1)


@pytest.mark.parametrize("damage", [b"", b"garbage", "truncated", "foreign", "report"])
def test_damaged_cache_is_made_again(source: Path, tmp_path: Path, damage: bytes | str) -> None:
    expected = np.array(load_image_array(source, 16, tmp_path / "c"))
    (cache,) = (tmp_path / "c").glob("*.npy")
    match damage:
        case "truncated":
            cache.write_bytes(cache.read_bytes()[:-100])
        case "foreign":
            np.save(cache, np.zeros((3, 2)))
        case "report":
            cache.with_suffix(".json").write_text("[1, 2]")
        case bytes():
            cache.write_bytes(damage)
    np.testing.assert_array_equal(load_image_array(source, 16, tmp_path / "c"), expected)


def test_cache_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot make the folder"):
        load_image_array(source, 16, tmp_path / "c")


def test_wrong_resolution(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resolution is 0"):
        load_image_array(source, 0, tmp_path / "c")


def test_a_whole_image_keeps_its_size() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    np.testing.assert_array_equal(decode_whole(encoded(Image.fromarray(array))), array)
    with pytest.raises(ImageError, match="not a readable"):
        decode_whole(b"")


def test_several_sources_are_read_as_one(tmp_path: Path) -> None:
    first, second = tiny.image_folder(tmp_path / "a", 3, 16), tiny.image_folder(tmp_path / "b", 2, 16)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for file in sorted(second.iterdir())[::-1]:
            archive.writestr(file.name, file.read_bytes())
    (second / "bad.png").write_bytes(b"no image")
    reports: list[ReadingReport] = []
    paths = (first, second, tmp_path / "c.zip")
    together = load_image_array(paths, 16, tmp_path / "cache", on_report=reports.append)
    apart = [load_image_array(path, 16, tmp_path / "cache") for path in paths]
    np.testing.assert_array_equal(together, np.concatenate(apart))
    assert list(reports[0].skipped) == ["2: bad.png"]
    # Decoded once; another order or a change of any is another set.
    caches = set((tmp_path / "cache").glob("*.npy"))
    load_image_array(paths, 16, tmp_path / "cache")
    assert set((tmp_path / "cache").glob("*.npy")) == caches
    np.testing.assert_array_equal(
        load_image_array(paths[::-1], 16, tmp_path / "cache"), np.concatenate([apart[2], apart[1], apart[0]])
    )
    (first / "000.png").unlink()
    assert len(load_image_array(paths, 16, tmp_path / "cache")) == len(together) - 1


def test_sources_that_are_missing_or_none_are_told(tmp_path: Path) -> None:
    folder = tiny.image_folder(tmp_path / "a", 1, 16)
    with pytest.raises(ImageError, match="missing does not exist"):
        load_image_array((folder, tmp_path / "missing"), 16, tmp_path / "cache")
    with pytest.raises(ConfigError, match="give --images a folder or a zip"):
        load_image_array((), 16, tmp_path / "cache")
    with pytest.raises(ConfigError, match="twice"):
        check_image_paths((folder, folder))
