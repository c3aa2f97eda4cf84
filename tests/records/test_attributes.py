"""The names of what a judge reads."""

import numpy as np

from lineament.records.attributes import LOCAL, NOT_IDENTITY, SUMS, attribute_table, is_local


def test_a_table_is_renamed_summed_and_cut() -> None:
    names = ["yaw", "dx", "e_mouth-open", "e_mouth-part", "tx", "bg0_r", "spec", "still", "e_brow-down"]
    values = np.random.default_rng(0).normal(size=(7, 9))
    values[:, 7] = 3.0
    kept, table = attribute_table(names, values)
    assert kept == ("yaw", "light_x", "mouth_opening")
    np.testing.assert_allclose(table[:, 1], values[:, 1])
    np.testing.assert_allclose(table[:, 2], values[:, 2] + values[:, 3])


def test_a_sum_subtracts_what_acts_against_it() -> None:
    names = list(SUMS["smile"])
    kept, table = attribute_table(names, np.eye(3))
    np.testing.assert_allclose(table[:, kept.index("smile")], [SUMS["smile"][name] for name in names])
    assert min(SUMS["smile"].values()) == -1


def test_parts_of_the_face_are_told_from_the_whole() -> None:
    assert all(is_local(name) for name in ("smile", "mouth_opening", "nose_width", "eyes_closed", "beard"))
    assert not any(is_local(name) for name in ("yaw", "light_x", "age", "male", "head_width", "race_asian", "skin"))


def test_pose_light_and_expression_are_not_the_person() -> None:
    assert all(
        name.startswith(NOT_IDENTITY) for name in ("yaw", "light_y", "diffuse", "smile", "hair_long", "lipstick")
    )
    assert not any(name.startswith(NOT_IDENTITY) for name in ("male", "age", "nose_width", "race_asian", "skin"))
    assert len(set(LOCAL)) == len(LOCAL)
