"""What the page knows of semantic fields, against the fields themselves."""

import base64
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lineament.estimators.pixel_jacobian import remove_span
from lineament.estimators.semantic_field import semantic_fields, spatial_test
from lineament.records.atlas import Atlas
from lineament.records.parts import Localization
from lineament.reports import field as field_report
from lineament.reports.field import (
    FIELD_SIDE,
    TEST_SIDE,
    encoded_cosines,
    field_context,
    preset_pixels,
    rows_at,
    thinned,
)
from tests.made_up import jacobian_of, with_parts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_report, "spatial_test", partial(spatial_test, num_pixels=150, permutations=99))


ROOT = np.eye(16) + 0.2 * np.random.default_rng(6).standard_normal((16, 16))
COV = ROOT @ ROOT.T


@pytest.fixture(scope="module")
def local(tiny_atlas: Atlas) -> Localization:
    found = with_parts(tiny_atlas).local
    assert found is not None
    return found


@pytest.fixture(scope="module")
def jacobian(local: Localization) -> np.ndarray:
    return jacobian_of(local, 16)


@pytest.mark.parametrize(("size", "side"), [(64, 22), (128, 22), (128, 64), (9, 4), (9, 5), (3, 22)])
def test_thinned_pixels_are_even_and_symmetric(size: int, side: int) -> None:
    chosen = thinned(size, side)
    assert len(chosen) == min(size, side)
    assert (chosen[0], chosen[-1]) == (0, size - 1)
    assert (chosen + chosen[::-1] == size - 1).all()
    assert np.ptp(np.diff(chosen)) <= 1


def test_every_third_pixel_of_64() -> None:
    assert thinned(64, FIELD_SIDE).tolist() == list(range(0, 64, 3))


def test_rows_are_those_of_the_pixels() -> None:
    J = np.arange(4 * 5 * 7, dtype=float)[:, None]
    few = rows_at(J, (5, 7), np.array([1, 4]), np.array([0, 2, 6]))
    expected = [kind * 35 + row * 7 + column for kind in range(4) for row in (1, 4) for column in (0, 2, 6)]
    assert few[:, 0].tolist() == expected


def decoded(text: str, n: int) -> np.ndarray:
    """As the program in the page reads it, index by index."""
    values = np.frombuffer(base64.b64decode(text), np.int8)
    matrix = np.eye(n)
    for i in range(n):
        for j in range(n):
            a, b = min(i, j), max(i, j)
            if a != b:
                matrix[i, j] = values[a * n - a * (a + 1) // 2 + b - a - 1] / 127
    return matrix


def test_cosines_survive_their_encoding() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 3))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    rows[1] = -rows[0]
    np.testing.assert_allclose(decoded(encoded_cosines(rows @ rows.T), 9), rows @ rows.T, atol=0.5 / 127 + 1e-9)
    assert decoded(encoded_cosines(rows @ rows.T), 9)[0, 1] == -1


def test_presets_lie_where_a_face_has_them(local: Localization) -> None:
    few = thinned(64, FIELD_SIDE)
    allowed = local.mask[np.ix_(few, few)]
    found = preset_pixels(local, allowed, few, few)
    assert list(found) == ["nose tip", "eye", "brow", "mouth corner", "cheek", "chin"]
    assert all(allowed[pixel] for pixel in found.values())
    row, column = {name: pixel[0] for name, pixel in found.items()}, {name: p[1] for name, p in found.items()}
    middle = (FIELD_SIDE - 1) / 2
    assert abs(row["nose tip"] - middle) < 1  # the made-up depth is nearest in the middle
    assert row["brow"] < row["eye"] < row["nose tip"] < row["mouth corner"] < row["chin"]
    assert max(column[name] for name in ("eye", "brow", "mouth corner", "cheek")) < middle - 1
    assert column["cheek"] < column["mouth corner"]
    assert abs(column["nose tip"] - middle) < 1
    assert abs(column["chin"] - middle) < 3
    # Where the wanted pixel does not answer, the next one does.
    allowed[found["eye"]] = False
    moved = preset_pixels(local, allowed, few, few)["eye"]
    assert allowed[moved]
    assert max(abs(moved[0] - row["eye"]), abs(moved[1] - column["eye"])) == 1


def test_the_page_holds_the_fields_freed_of_pose(local: Localization, jacobian: np.ndarray, tiny_atlas: Atlas) -> None:
    scalars = tiny_atlas.gradients(("yaw", "light_x"))
    found = field_context(local, jacobian, COV, scalars)
    assert found is not None
    J, few = remove_span(jacobian, scalars, COV), thinned(64, FIELD_SIDE)
    points = np.array(found["data"]["points"])
    rows, columns = few[points // FIELD_SIDE], few[points % FIELD_SIDE]
    assert found["data"]["side"] == [FIELD_SIDE, FIELD_SIDE]
    assert local.mask[rows, columns].all()
    assert len(points) == local.mask[np.ix_(few, few)].sum()
    for kind, text in found["data"]["cosines"].items():
        cosines = decoded(text, len(points))
        for name, point in found["presets"]:
            pixel = (int(rows[point]), int(columns[point]))
            field = semantic_fields(J, COV, local.mask, [pixel], kind)[0]
            np.testing.assert_allclose(cosines[point], field[rows, columns], atol=0.01, err_msg=name)
    assert [(name, kind) for name, kind, _ in found["pictures"]] == [
        (name, kind) for kind in ("depth", "albedo") for name in ("nose tip", "eye", "mouth corner", "brow")
    ]
    assert [kind for kind, test, _ in found["tests"] if test and test.distance_p <= 0.05] == ["depth", "albedo"]


def test_pixels_that_do_not_answer_cannot_be_chosen(local: Localization, jacobian: np.ndarray) -> None:
    still = jacobian.copy()
    coef = still.reshape(4, 64, 64, -1)
    coef[0, :30] = 0  # depth
    found = field_context(local, still, COV, np.zeros((0, 16)))
    assert found is not None
    assert min(found["data"]["points"]) // FIELD_SIDE == 10
    coef[:] = 0
    assert field_context(local, still, COV, np.zeros((0, 16))) is None


def test_why_there_is_no_test_is_said(local: Localization, jacobian: np.ndarray) -> None:
    mask = local.mask.copy()
    mask[:, 20:] = False  # left of the nose
    found = field_context(replace(local, mask=mask), jacobian, COV, np.zeros((0, 16)))
    assert found is not None
    assert all(test is None and "mirror pairs" in reason for _, test, reason in found["tests"])


def test_large_maps_are_thinned(tiny_atlas: Atlas) -> None:
    local = with_parts(tiny_atlas, side=96).local
    assert local is not None
    jacobian = jacobian_of(local, 4)
    left_out = np.ones((96, 96), bool)
    left_out[np.ix_(thinned(96, TEST_SIDE), thinned(96, TEST_SIDE))] = False
    jacobian.reshape(4, 96, 96, 4)[:, left_out] = np.nan
    found = field_context(local, jacobian, np.eye(4), np.zeros((0, 4)))
    assert found is not None
    assert found["data"]["side"] == [FIELD_SIDE, FIELD_SIDE]
