"""How pose and light of a face are edited."""

from typing import Literal, TypeAlias

from lineament.errors import ConfigError

Like: TypeAlias = Literal["carried", "linear"]
"""carried: the face's own pixels, moved by its depth and shaded anew; what was hidden, and all but the face, from the
linear edit. linear: the generator's image of the moved w."""


def like_of(asked: str | None, *, latents_alone: bool) -> Like:
    """How to edit: as asked, or else carried, but linear if the edit has settings that only latents have.

    These are other semantics to hold, other layers, and plain steps.

    Raises:
        ConfigError: there is no such way.
    """
    if asked is None:
        return "linear" if latents_alone else "carried"
    if asked == "carried" or asked == "linear":
        return asked
    raise ConfigError(f"like is {asked!r}, expected carried or linear")
