"""Plan how a lopsided folder is balanced, and balance it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lineament.api.tables import Accelerator, as_text
from lineament.engine.console import OnProgress, quietly
from lineament.errors import ConfigError
from lineament.recipes.balance.report import Summary
from lineament.recipes.balance.run import run as run_balance
from lineament.settings.balance import BalanceConfig


class BalancePlan:
    """How a lopsided folder would be filled; made by `balance`. Nothing is written before `run`.

    Attributes:
        config: all settings, as the command has them.
    """

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config

    @cached_property
    def _shown(self) -> str:
        with quietly():
            return as_text(run_balance(replace(self.config, dry_run=True)).renderables())

    def show(self) -> str:
        """The histogram, the plan and what it would cost; images are measured for it, once.

        Raises:
            ImageError, InputError: no usable image, or no such folder.
            ConfigError: a target that cannot be reached.
        """
        return self._shown

    __str__ = show

    def run(self, out: str | Path, *, on_progress: OnProgress | None = None) -> Summary | None:
        """Make the images, or go on making them.

        Returns:
            What the folder holds; None if it was stopped before the end.

        Raises:
            StorageError: the folder cannot be written.
            DataError: the folder lies within that of the images.
        """
        with quietly(on_progress):
            return run_balance(replace(self.config, out=Path(out), dry_run=False)).summary


def balance(
    images: str | Path,
    semantics: Mapping[str, tuple[int | float, int | float] | None] | str = "yaw",
    *,
    bins: int = 10,
    device: Accelerator = "auto",
    **settings: Any,
) -> BalancePlan:
    """Plan how a folder of images is balanced by guided extrapolation.

    Args:
        images: folder or zip of aligned images.
        semantics: what to balance, with the range of its histogram: ``{"yaw": (-20, 20)}``; None takes nearly all.
        bins: bins of each semantic.
        device: where to compute.
        settings: of `lineament.settings.balance.BalanceConfig`, such as ``count`` or ``source="samples"``.

    Raises:
        ConfigError: a setting out of bounds, or an unknown one.
    """
    spans = {semantics: None} if isinstance(semantics, str) else dict(semantics)
    given = [span for span in spans.values() if span is not None]
    if given and len(given) < len(spans):
        raise ConfigError("give a range for each semantic, or for none")
    known = {field.name for field in fields(BalanceConfig)}
    if unknown := sorted(set(settings) - known):
        raise ConfigError(f"balance has no setting {unknown[0]!r}; expected some of {', '.join(sorted(known))}")
    span = ",".join(f"{low!r}:{high!r}" for low, high in given) or None
    words = {"semantics": ",".join(spans), "bins": str(bins), "range": span}
    device_settings = replace(BalanceConfig(Path(images), dry_run=True).devices, accelerator=device)
    return BalancePlan(
        BalanceConfig(**{"images": Path(images), "dry_run": True, "devices": device_settings, **words, **settings})
    )
