"""Networks for Lineament that were trained on photographs of faces. For non-commercial research only."""

from importlib.resources import files
from importlib.resources.abc import Traversable

__version__ = "0.1.0"


def weights() -> Traversable:
    """The folder of the pairs of networks, each with its model card."""
    return files(__name__) / "weights"
