"""Photographs as latents of a generator, with scores that tell good inversions from bad ones."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from lineament.errors import ConfigError, ShapeError
from lineament.records.direction import require_finite

SCHEMA_VERSION = 1

MIN_SSIM = 0.6
"""Minimum SSIM of an inversion to trust: 99 of 100 aligned photographs of faces reach 0.61, most other images less."""
MAX_DISTANCE = 0.8
"""Maximum distance of an inversion to trust. 99 of 100 aligned photographs of faces stay below 0.77, inversions of the
generator's own images below 0.75. A third of upside-down, shifted or too small faces and half of other images exceed
it."""


MAX_W = 1e6
"""Largest number in a latent; generators make numbers of up to about 100."""


@dataclass(frozen=True, eq=False)
class Inversions:
    """Photographs as latents of one generator.

    Convention:
        A photograph is a square crop, aligned as the generator's own images are and at their resolution. The
        reconstruction is the generator's image of the latents; reconstruction + residual = photograph.

    Attributes:
        names: of the photographs, relative to their folder or zip; unique.
        ws: the latents, one w per layer of the generator; float32.
        photographs: the crops that were inverted.
        ssim: structural similarity of reconstruction and photograph; 1 is perfect.
        rmse: root mean square difference of the two, black at 0 and white at 1.
        distance: between the mean of w over the layers and the generator's mean w: Mahalanobis norm / sqrt(d), about 1
            for the generator's own samples without truncation. Far out, edits leave the region of faces.
        offset: root mean square distance of the layers' w from their mean, in standard deviations of w.
        generator_fingerprint: SHA-256 of the weights of the generator.
        encoder_fingerprint: SHA-256 of the weights of the encoder; empty if there was none.
        skipped: files that could not be inverted, and why.
        lineament_version: release that inverted them.
        created: ISO 8601 date or time.
        provenance: settings and anything else worth keeping; JSON values.
        schema_version: of the file's layout.
    """

    names: tuple[str, ...]
    ws: Float[np.ndarray, "n l d"]
    photographs: UInt8[np.ndarray, "n h w 3"]
    ssim: Float[np.ndarray, " n"]
    rmse: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    offset: Float[np.ndarray, " n"]
    generator_fingerprint: str
    encoder_fingerprint: str
    skipped: dict[str, str]
    lineament_version: str
    created: str
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.ws.ndim != 3 or self.ws.dtype != np.float32:
            raise ShapeError(f"ws are {self.ws.dtype} {self.ws.shape}, expected float32 (photographs, layers, w)")
        if self.photographs.ndim != 4 or self.photographs.shape[3:] != (3,) or self.photographs.dtype != np.uint8:
            raise ShapeError(
                f"photographs are {self.photographs.dtype} {self.photographs.shape}, expected uint8 (n, h, w, 3)"
            )
        scores = {"ssim": self.ssim, "rmse": self.rmse, "distance": self.distance, "offset": self.offset}
        for name, values in {"ws": self.ws, "photographs": self.photographs, **scores}.items():
            if len(values) != n or (name in scores and values.shape != (n,)):
                raise ShapeError(f"{name} has shape {values.shape}, expected one entry for each of {n} names")
        require_finite("the inversions", self.ws, *scores.values())
        for name, low, high in (("ssim", -1.001, 1.001), ("rmse", 0, 1.001), ("distance", 0, 1e9), ("offset", 0, 1e9)):
            if n and not low <= scores[name].min() <= scores[name].max() <= high:
                raise ShapeError(f"{name} lies outside of {low:.0f} to {high:.0f}; invert the photographs again")
        if n and float(np.abs(self.ws).max(initial=0.0)) > MAX_W:
            raise ShapeError(f"ws hold numbers above {MAX_W:g}, which no generator makes; invert the photographs again")
        if len(set(self.names)) != n:
            repeated = Counter(self.names).most_common(1)[0][0]
            raise ConfigError(f"the photograph {repeated} occurs twice; invert each once")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            raise ConfigError(f"created is {self.created!r}, expected an ISO 8601 date such as 2025-01-31") from error

    def __len__(self) -> int:
        return len(self.names)

    def good(self, min_ssim: float = MIN_SSIM, max_distance: float = MAX_DISTANCE) -> Bool[np.ndarray, " n"]:
        """Which inversions can be trusted: they look like their photograph and lie where the generator samples w."""
        return (self.ssim >= min_ssim) & (self.distance <= max_distance)
