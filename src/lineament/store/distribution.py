"""Read a target distribution of semantics from JSON."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from lineament.errors import FileFormatError, InputError, LineamentError
from lineament.store.json_text import parse_json
from lineament.store.regular_files import check_regular


def read_distribution(
    path: str | Path,
) -> tuple[tuple[str, ...], tuple[Float[np.ndarray, " _"], ...], Float[np.ndarray, "*b"]]:
    """Read ``{"edges": {"yaw": [-40, -20, 0, 20, 40]}, "shares": [1, 2, 2, 1]}``.

    Returns:
        Names; bin edges for each name; and shares, scaled to sum 1, with one axis for each name (nested lists in the
        file).

    Raises:
        InputError: there is no such file.
        FileFormatError: not such a JSON, or shares that do not fit the edges, are negative or are all 0.
    """
    expected = 'expected {"edges": {"yaw": [-40, 0, 40]}, "shares": [1, 1]}: rising edges, and a share for each bin'
    check_regular(path)
    try:
        found = parse_json(Path(path).read_bytes())
        names = tuple(map(str, found["edges"]))
        edges = tuple(np.array(found["edges"][name], np.float64) for name in names)
        shares = np.array(found["shares"], np.float64)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; {expected}") from error
    except LineamentError:
        raise
    except Exception as error:  # JSON of another form raises errors of every kind
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise FileFormatError(f"{path} is not a distribution ({reason}); {expected}") from error
    shape = tuple(edge.size - 1 for edge in edges)
    for name, edge in zip(names, edges, strict=True):
        if edge.ndim != 1 or edge.size < 2 or not np.isfinite(edge).all() or (np.diff(edge) <= 0).any():
            raise FileFormatError(f"{path}: the edges of {name:.40} do not rise, or are not two or more; {expected}")
    if not names or shares.shape != shape or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise FileFormatError(
            f"{path} has {' x '.join(map(str, shape))} bins and shares of shape {shares.shape}, expected one share of "
            f"at least 0 for each bin, and not all of them 0; {expected}"
        )
    return names, edges, shares / shares.sum()
