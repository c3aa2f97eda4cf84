"""Folders and zips as people have them: odd names, hidden files, links, damaged members."""

import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lineament.errors import ImageError
from lineament.store import image_files
from lineament.store.images import ImageSource, load_image_array
from tests.image_makers import contents, encoded, folder_of, picture, zip_of


def test_folder_is_searched_in_the_order_of_names(tmp_path: Path) -> None:
    one = encoded(picture())
    source = ImageSource(folder_of(tmp_path, b_dot_png=one, a__z_dot_JPG=one, a_dot_txt=b"x", README=b"x"))
    assert source.names == ["a/z.JPG", "b.png"]
    assert source.left == {"a.txt": "not an image", "README": "not an image"}


@pytest.mark.parametrize("make", ["missing", "empty", "only_text", "text_file", "empty_zip", "text_zip"])
def test_nothing_to_read(tmp_path: Path, make: str) -> None:
    path = tmp_path / "in"
    match make:
        case "missing":
            expected = "does not exist; expected a folder or a zip"
        case "empty":
            path.mkdir()
            expected = "holds no images"
        case "only_text":
            folder_of(path, a_dot_txt=b"hello")
            expected = r"holds no images \(1 other files, the first: a.txt \(not an image\)\)"
        case "text_file":
            path.write_text("hello")
            expected = "neither a folder, nor a readable zip, nor an image"
        case "empty_zip":
            zip_of(path, {})
            expected = "holds no images"
        case _:
            zip_of(path, {"a/": b"", "a/b.txt": b"x"})
            expected = r"holds no images \(1 other files, the first: a/b.txt"
    with pytest.raises(ImageError, match=expected):
        ImageSource(path)


def test_mutated_zips_are_read_or_refused(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "in.zip", {f"{i}.png": encoded(picture(8, 8, i)) for i in range(3)}).read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(120):
        data = bytearray(whole)
        low = len(data) - 200 if trial % 2 else 0  # every second time in the directory at the end
        for position in rng.integers(low, len(data), 4):
            data[position] = rng.integers(0, 256)
        path = tmp_path / f"{trial}.zip"
        path.write_bytes(bytes(data))
        with suppress(ImageError):
            source = ImageSource(path)
            source.signature()
            assert all(isinstance(content, bytes | str) for content in contents(source))


def test_truncated_zip(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "in.zip", {"a.png": encoded(picture())})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImageError, match="nor a readable zip"):
        ImageSource(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_with_damaged_data_does_not_spoil_the_others(tmp_path: Path, method: int) -> None:
    path = zip_of(tmp_path / "in.zip", {f"{i}.png": encoded(picture(seed=i)) for i in range(3)}, method)
    data = bytearray(path.read_bytes())
    middle = data.find(b"1.png") + 5
    data[middle : middle + 60] = b"\xa5" * 60
    path.write_bytes(bytes(data))
    first, second, third = contents(ImageSource(path))
    assert isinstance(second, str)
    assert second.startswith("damaged in the zip")
    assert (first, third) == (encoded(picture(seed=0)), encoded(picture(seed=2)))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(10, 9, r"a method that is not supported \(9\)"), (10, 77, "not supported"), (27, 0x7F, "bytes are more than")],
    ids=["deflate64", "unknown method", "huge"],
)
def test_a_member_with_odd_facts_is_skipped_with_the_reason(
    tmp_path: Path, offset: int, value: int, reason: str
) -> None:
    path = zip_of(tmp_path / "in.zip", {f"{i}.png": encoded(picture(seed=i)) for i in range(2)})
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + offset] = value  # in the central header of 0.png
    path.write_bytes(bytes(data))
    first, second = contents(ImageSource(path))
    assert isinstance(first, str)
    assert re.search(reason, first)
    assert second == encoded(picture(seed=1))


def test_encrypted_zip(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "in.zip", {"a.png": encoded(picture())}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag "encrypted", in the local and in the central header
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"no usable image .*encrypted; unpack the zip with its password"):
        load_image_array(path, 16, tmp_path / "c")


def test_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_BYTES", 10_000)
    path = zip_of(tmp_path / "in.zip", {"a.png": bytes(1_000_000), "b.png": encoded(picture())})
    assert contents(ImageSource(path)) == ["1,000,000 bytes are more than 10,000", encoded(picture())]
    folder_of(tmp_path / "f", a_dot_png=bytes(20_000))
    assert contents(ImageSource(tmp_path / "f")) == ["20,000 bytes are more than 10,000"]


@pytest.mark.parametrize("make", ["folder", "zip"])
def test_content_decides_and_hidden_files_are_left_alone(tmp_path: Path, make: str) -> None:
    one = encoded(picture())
    files = {"a.png": one, "noext": encoded(picture(), "JPEG"), "photo.bak": encoded(picture(), "TIFF")}
    files |= {".b.png": one, "__MACOSX/a.png": one, "Thumbs.db": one, ".git/c.png": one, "n/desktop.ini": b"x"}
    files |= {"notes.json": b"[1]", "in.zip": b"PK\x03\x04", "t.csv": b"P1,2\n", "data.npy": b"\x93NUMPY", "empty": b""}
    path = tmp_path / "in"
    if make == "zip":
        zip_of(path, files)
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    source = ImageSource(path)
    assert source.names == ["a.png", "noext", "photo.bak"]
    assert list(source.left) == ["data.npy", "empty", "in.zip", "notes.json", "t.csv"]


def test_one_image_is_found_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "noext").write_bytes(encoded(picture(), "WEBP"))
    (tmp_path / "zip.png").write_bytes(zip_of(tmp_path / "in.zip", {"x.png": encoded(picture())}).read_bytes())
    assert ImageSource(tmp_path / "noext").names == ["noext"]
    assert ImageSource(tmp_path / "zip.png").names == ["x.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other names")
def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as handle:
        handle.write(encoded(picture()))
    folder_of(tmp_path, **{"%FF_dot_png": b"x"})
    source = ImageSource(tmp_path)
    assert source.names[0] == "%FF.png"
    assert re.fullmatch(r"%FF~[0-9a-f]{8}\.png", source.names[1])
    assert contents(source) == [b"x", encoded(picture())]
    assert len(load_image_array(tmp_path, 16, tmp_path / "c")) == 1


def test_a_name_that_is_twice_in_a_zip_is_taken_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("a.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"second")
    assert contents(ImageSource(tmp_path / "in.zip")) == [b"second"]


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_links_in_circles_pipes_and_locked_folders_are_passed_by(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", a_dot_png=encoded(picture()), sub__b_dot_png=encoded(picture()))
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "gone.png").symlink_to(tmp_path / "gone.png")
    (folder / "linked.png").symlink_to(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    source = ImageSource(folder)
    assert source.names == ["a.png", "linked.png", "sub/b.png"]
    assert list(source.left) == ["gone.png", "pipe.png", "self.png", "sub/up"]
    with pytest.raises(ImageError, match="is no ordinary file"):
        ImageSource(folder / "pipe.png")


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "in", a_dot_png=encoded(picture()), sub__b_dot_png=encoded(picture()))
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked = tmp_path / "in" / "sub"
    assert ImageSource(tmp_path / "in").left == {"sub": "a folder that cannot be read (Permission denied)"}
    locked = tmp_path / "in"
    with pytest.raises(ImageError, match=r"cannot be read .Permission denied.; check the path and its permissions"):
        ImageSource(tmp_path / "in")
