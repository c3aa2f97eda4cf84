"""How a decomposer's readings relate to the truth."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """One semantic on faces of known truth: reading = offset + slope * truth.

    Attributes:
        name: of `SEMANTIC_NAMES`.
        offset: what is read where the truth is 0; 0 for what changes sign in a mirror, by symmetry.
        slope: how much more is read where the truth is 1 more.
        correlation: of readings and truth.
        is_used: whether readings are corrected; not if they say too little of the truth.
        error: mean absolute error before, on faces that the line was not fitted to.
        error_after: the same after the correction.
    """

    name: str
    offset: float
    slope: float
    correlation: float
    is_used: bool
    error: float
    error_after: float
