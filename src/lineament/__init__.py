"""Lineament: what a face generator knows about faces, as sliders with units, without a label.

The rooms, from the outside in (imports run one way only)::

    cli  ->  recipes  ->  networks | estimators | store  ->  ops  ->  records  ->  errors
"""

__version__ = "0.1.0"
