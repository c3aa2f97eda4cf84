"""The names of what a judge reads."""

import numpy as np

from lineament.records.attributes import LOCAL, NOT_IDENTITY, attribute_table, is_local


def test_a_table_is_renamed_summed_and_cut() -> None:
    names = ["yaw", "dx", "lip_red", "lipstick", "tx", "bg0_r", "spec", "still", "e_brow-down", "w_nose-hump"]
    values = np.random.default_rng(0).normal(size=(7, 10))
    values[:, 7] = 3.0
    kept, table = attribute_table(names, values)
    assert kept == ("yaw", "light_x", "lip_red", "lipstick", "lip_colour")
    np.testing.assert_allclose(table[:, 1], values[:, 1])
    np.testing.assert_allclose(table[:, 4], values[:, 2] + values[:, 3])


def test_a_sum_needs_all_its_parts() -> None:
    assert attribute_table(["lipstick", "yaw"], np.eye(2))[0] == ("lipstick", "yaw")


def test_parts_of_the_face_are_told_from_the_whole() -> None:
    assert all(is_local(name) for name in ("smile", "mouth_opening", "nose_width", "eye_opening", "beard"))
    assert not any(is_local(name) for name in ("yaw", "light_x", "age", "male", "face_width", "race_asian", "skin"))


def test_pose_light_and_expression_are_not_the_person() -> None:
    assert all(
        name.startswith(NOT_IDENTITY) for name in ("yaw", "light_y", "diffuse", "smile", "hair_long", "lipstick")
    )
    assert not any(name.startswith(NOT_IDENTITY) for name in ("male", "age", "nose_width", "race_asian", "skin"))
    assert len(set(LOCAL)) == len(LOCAL)
