"""How pose and light of a face are edited."""

from typing import Literal, TypeAlias

Like: TypeAlias = Literal["carried", "linear"]
"""carried: the face's own pixels, moved by its depth and shaded anew; what was hidden, and all but the face, from the
linear edit. linear: the generator's image of the moved w."""
