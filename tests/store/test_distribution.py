import json
from pathlib import Path

import numpy as np
import pytest

from lineament.errors import FileFormatError, InputError
from lineament.store.distribution import read_distribution


def test_shares_are_brought_to_one(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        json.dumps({"edges": {"yaw": [-40, 0, 40], "pitch": [0, 1, 2, 3]}, "shares": [[1, 2, 1], [0, 4, 2]]})
    )
    names, edges, shares = read_distribution(path)
    assert names == ("yaw", "pitch")
    assert edges[0].tolist() == [-40, 0, 40]
    np.testing.assert_allclose(shares, np.array([[1, 2, 1], [0, 4, 2]]) / 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"edges": {}, "shares": []}',
        '{"edges": {"yaw": [0, 1]}, "shares": [1, 2]}',
        '{"edges": {"yaw": [0, 1, 2]}, "shares": [1, -2]}',
        '{"edges": {"yaw": [0, 1, 2]}, "shares": [0, 0]}',
        '{"edges": {"yaw": [0, 1, 2]}, "shares": [NaN, 1]}',
        '{"edges": {"yaw": "wide"}, "shares": [1]}',
        '{"edges": {"yaw": [0, 1, 2]}, "shares": [[1], [2, 3]]}',
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(FileFormatError, match="expected"):
        read_distribution(tmp_path / "t.json")


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_distribution(tmp_path / "t.json")
