"""Estimators over arrays, with scikit-learn's conventions; they never see a network.

``from lineament.estimators import LinearSemantics`` loads no more than that one needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineament.estimators.ganspace import GANSpaceActivations as GANSpaceActivations
    from lineament.estimators.ganspace import GANSpaceW as GANSpaceW
    from lineament.estimators.interfacegan import InterFaceGAN as InterFaceGAN
    from lineament.estimators.linear_semantics import LinearSemantics as LinearSemantics
    from lineament.estimators.pixel_jacobian import PixelJacobian as PixelJacobian
    from lineament.estimators.random_directions import RandomDirections as RandomDirections
    from lineament.estimators.sefa import SeFa as SeFa
    from lineament.estimators.sparse_factors import SparseFactors as SparseFactors
    from lineament.estimators.supervised_directions import SupervisedDirections as SupervisedDirections

_HOME = {
    "GANSpaceActivations": "ganspace",
    "GANSpaceW": "ganspace",
    "InterFaceGAN": "interfacegan",
    "LinearSemantics": "linear_semantics",
    "PixelJacobian": "pixel_jacobian",
    "RandomDirections": "random_directions",
    "SeFa": "sefa",
    "SparseFactors": "sparse_factors",
    "SupervisedDirections": "supervised_directions",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
