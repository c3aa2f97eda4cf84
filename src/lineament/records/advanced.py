"""Marks settings that few people change; ``--help`` leaves them out, ``--help-all`` shows them."""

from typing import Annotated, TypeAlias, TypeVar

T = TypeVar("T")

ADVANCED = "advanced"

Advanced: TypeAlias = Annotated[T, ADVANCED]
"""``kimg: Advanced[float]`` is a float that works like any other setting."""
