from pathlib import Path

import pytest

from lineament.errors import DataError, FileFormatError, InputError
from lineament.store.labels import Labels, check_labels_match, read_labels, write_labels


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_round_trip(tmp_path: Path) -> None:
    labels = Labels(("file", "who", "note"), {"b/1.png": ("Ann", 'says "hi", twice'), "a.png": ("Øde", "two\nlines")})
    write_labels(tmp_path / "out.csv", labels)
    assert read_labels(tmp_path / "out.csv") == labels


def test_a_byte_order_mark_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    found = read_labels(written(tmp_path, "\ufefffile,who\r\n\r\na.png,1\r\n"))
    assert found == Labels(("file", "who"), {"a.png": ("1",)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines"),
        ("file,who\n", "1 lines"),
        ("file\na.png\n", "at least one label"),
        ("file,file\na.png,1\n", "headings that differ"),
        ("file,who\na.png\n", "row 2 has 1 columns, expected 2"),
        ("file,who\na.png,1\na.png,2\n", "'a.png' stands in more than one row"),
        ('file,who\na.png,"1\n', "not a readable CSV"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_labels(written(tmp_path, text))


def test_not_text_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="UTF-8"):
        read_labels(written(tmp_path, "file,who\na.png,Ø\n", "latin-1"))
    with pytest.raises(InputError, match="does not exist"):
        read_labels(tmp_path / "none.csv")


def test_labels_that_do_not_match_are_counted_and_named() -> None:
    labels = Labels(("file", "who"), {f"{i}.png": ("x",) for i in range(10)})
    check_labels_match(labels, [f"{i}.png" for i in range(10)], "l.csv")
    with pytest.raises(DataError, match=r"6 of 10 rows name no image \('4.png', '5.png', '6.png', …\)") as caught:
        check_labels_match(labels, ["0.png", "1.png", "2.png", "3.png", "in/4.png"], "l.csv")
    assert "1 of 5 images have no row ('in/4.png')" in str(caught.value)
