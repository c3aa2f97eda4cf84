"""Lineament: what a face generator knows about faces, as sliders with units, without a label.

The front door is this module::

    import lineament as ln

    editor = ln.open()                                      # the shipped networks, or ln.open("ffhq.pkl", atlas=...)
    editor.sample(range(8)).edit(yaw=+15).save("turned.png")

It is light: PyTorch is loaded when a name is first used. The rooms behind it, from the outside in (imports run one way
only)::

    cli -> api -> recipes -> settings -> reports -> directions -> faces -> checkpoints -> engine
        -> networks | estimators | store -> ops -> records -> errors
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineament.api.balancing import BalancePlan as BalancePlan
    from lineament.api.balancing import balance as balance
    from lineament.api.editor import Editor as Editor
    from lineament.api.editor import Faces as Faces
    from lineament.api.opening import discover as discover
    from lineament.api.opening import open as open
    from lineament.api.tables import Atlas as Atlas
    from lineament.api.tables import ExtrapolationWarning as ExtrapolationWarning
    from lineament.api.tables import Values as Values
    from lineament.api.tables import load_atlas as load_atlas
    from lineament.api.tables import to as to
    from lineament.engine.console import ProgressReport as ProgressReport
    from lineament.errors import LineamentError as LineamentError

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("Atlas", "ExtrapolationWarning", "Values", "load_atlas", "to"), "lineament.api.tables"),
    **dict.fromkeys(("Editor", "Faces"), "lineament.api.editor"),
    **dict.fromkeys(("discover", "open"), "lineament.api.opening"),
    **dict.fromkeys(("BalancePlan", "balance"), "lineament.api.balancing"),
    "ProgressReport": "lineament.engine.console",
    "LineamentError": "lineament.errors",
}

__all__ = [*_HOME, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
