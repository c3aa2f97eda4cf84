from pathlib import Path

import pytest

from lineament.errors import DataError, FileFormatError, InputError
from lineament.store.labels import Labels, match_labels, read_labels, write_labels


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_round_trip(tmp_path: Path) -> None:
    labels = Labels(
        ("file", "who", "note"),
        {"b/1.png": ("Ann", 'says "hi", twice'), "a.png": ("Øde", "two\nlines"), "%FF": ("a;b\t|", "")},
    )
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
        ("file,who\na.png,1,2\n", "row 2 has 3 columns, expected 2"),
        ("file,who\n,1\n", "row 2 names no file"),
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
    assert match_labels(labels, [f"{i}.png" for i in range(10)], "l.csv") == labels
    with pytest.raises(DataError, match=r"6 of 10 rows name no image \('4.png', '5.png', '6.png', …\)") as caught:
        match_labels(labels, ["0.png", "1.png", "2.png", "3.png", "in/4.png"], "l.csv")
    assert "1 of 5 images have no row ('in/4.png')" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file;who;size\r\na.png;Ann, B;1,5\r\nb.png;;-2\r\n", "utf-8-sig"),
        ("file\twho\tsize\r\na.png\tAnn, B\t1,5\r\nb.png\t\t-2\r\n", "utf-16"),
        ('"file";"who";"size"\n"a.png";"Ann, B";"1,5"\n"b.png";"";"-2"\n', "utf-8"),
        ('file,who,size\na.png,"Ann, B",1.5\nb.png,,-2\n', "utf-8"),
        ("sep=;\r\nfile;who;size\r\na.png;Ann, B;1,5\r\nb.png;;-2\r\n", "utf-8"),
        ("file|who|size\ra.png|Ann, B|1.5\rb.png||-2\r", "utf-8"),
        ("file;who;size;;\na.png;Ann, B;1,5;;\nb.png;;-2;;\n;;;;\n", "utf-8"),
    ],
    ids=["excel in Europe", "excel's unicode text", "quoted", "commas", "sep", "bars", "empty columns and rows"],
)
def test_tables_of_spreadsheets_are_read_alike(tmp_path: Path, text: str, encoding: str) -> None:
    found = read_labels(written(tmp_path, text, encoding))
    assert found == Labels(("file", "who", "size"), {"a.png": ("Ann, B", "1.5"), "b.png": ("", "-2")})


def test_commas_in_words_stay(tmp_path: Path) -> None:
    found = read_labels(written(tmp_path, "file;what\na.png;1,5\nb.png;about 1,5\n"))
    assert found.rows == {"a.png": ("1,5",), "b.png": ("about 1,5",)}


def test_blanks_are_allowed_and_counted(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "file,who,age\nb.png,Ann\na.png,,7\n"))
    assert labels.rows == {"b.png": ("Ann", ""), "a.png": ("", "7")}
    whole = match_labels(labels, ["a.png", "b.png", "c.png"], "l.csv")
    assert list(whole.rows.items()) == [("a.png", ("", "7")), ("b.png", ("Ann", "")), ("c.png", ("", ""))]
    assert whole.blanks_text() == "4 labels are blank, and stay so (who 2, age 2)"
    assert Labels(("file", "who"), {"a": ("x",)}).blanks_text() == ""


def test_rows_may_name_images_as_windows_does_or_by_their_bytes() -> None:
    labels = Labels(("file", "who"), {"sub\\a.png": ("x",), "\x1b.png": ("y",)})
    assert match_labels(labels, ["%1B.png", "sub/a.png"], "l.csv").rows == {"%1B.png": ("y",), "sub/a.png": ("x",)}
    twice = Labels(("file", "who"), {"sub\\a.png": ("x",), "sub/a.png": ("y",)})
    with pytest.raises(DataError, match="names 1 image"):
        match_labels(twice, ["sub/a.png"], "l.csv")
