"""Bounds of settings: what passes, and what is said of what does not."""

from dataclasses import dataclass
from typing import Any

import pytest

from lineament.errors import ConfigError
from lineament.records.bounds import MAX_SEED, check_bounds, check_numbers, check_seeds


@dataclass
class Settings:
    steps: float | None = 3
    share: float = 0.5


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        ({"above": 0}, 0, "steps is 0, expected more than 0; raise it"),
        ({"above": 0, "most": 1}, 1.5, "steps is 1.5, expected more than 0 and at most 1; lower it"),
        ({"least": 0}, -1, "steps is -1, expected 0 or more; raise it"),
        ({"least": 2}, 1, "steps is 1, expected at least 2; raise it"),
        ({"least": 0, "most": 1}, 2, "steps is 2, expected 0 to 1; lower it"),
        ({"most": 4}, 5, "steps is 5, expected at most 4; lower it"),
        ({"least": 0}, float("nan"), "steps is nan, expected 0 or more; give a number"),
        ({"most": 4}, float("nan"), "steps is nan, expected at most 4; give a number"),
        ({"least": 2, "group": "parts."}, 1, "parts.steps is 1, expected at least 2; raise it"),
    ],
)
def test_what_lies_outside_is_named(bounds: dict, value: float, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_bounds(Settings(steps=value), "steps", **bounds)
    assert str(caught.value) == message


def test_what_lies_inside_and_what_is_not_given_pass() -> None:
    check_bounds(Settings(), "steps", "share", above=0, most=3)
    check_bounds(Settings(steps=0, share=1), "steps", "share", least=0, most=1)
    check_bounds(Settings(steps=None), "steps", least=1)


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_infinity_is_never_within_bounds(value: float) -> None:
    with pytest.raises(ConfigError, match=r"steps is -?inf"):
        check_bounds(Settings(steps=value), "steps", least=0)
    with pytest.raises(ConfigError, match=r"steps is -?inf"):
        check_bounds(Settings(steps=value), "steps", most=4)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.5, "1", None])
def test_seeds_are_whole_numbers_of_63_bits(seed: Any) -> None:
    with pytest.raises(ConfigError, match=r"seed is .*, expected a whole number from 0 to 9223372036854775807"):
        check_seeds([0, seed])


def test_numbers_without_bounds_of_their_own_are_finite_and_not_negative() -> None:
    check_numbers(Settings(steps=None, share=0.0))
    check_numbers(Settings(steps=-3), signed=("steps",))
    for value in (-1, 10**10, float("nan"), 1e10):
        with pytest.raises(ConfigError, match=r"parts\.steps is"):
            check_numbers(Settings(steps=value), group="parts.")
