"""Plan how to balance a folder of images, and balance it."""

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
    """A plan for balancing a folder of images, made by `balance`. Nothing is written before `run`.

    Attributes:
        config: all settings of the command.
    """

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config

    @cached_property
    def _shown(self) -> str:
        with quietly():
            return as_text(run_balance(replace(self.config, dry_run=True)).renderables())

    def show(self) -> str:
        """The histogram, the plan and its cost, as text. The images are measured at the first call.

        Raises:
            ImageError, InputError: no usable image, or no such folder.
            ConfigError: a target that cannot be reached.
        """
        return self._shown

    __str__ = show

    def run(self, out: str | Path, *, on_progress: OnProgress | None = None) -> Summary:
        """Make the images, or continue an earlier run.

        Args:
            out: folder for the balanced images.
            on_progress: is called with a `ProgressReport` as the work proceeds.

        Returns:
            A summary of the folder.

        Raises:
            StorageError: the folder cannot be written.
            DataError: ``out`` lies within the folder of the images.
            KeyboardInterrupt: stopped by Ctrl-C; what is done is kept, and the same call goes on.
        """
        with quietly(on_progress):
            summary = run_balance(replace(self.config, out=Path(out), dry_run=False)).summary
        assert summary is not None  # only dry runs have none
        return summary


def balance(
    images: str | Path,
    semantics: Mapping[str, tuple[int | float, int | float] | None] | str = "yaw",
    *,
    bins: int = 10,
    device: Accelerator = "auto",
    **settings: Any,
) -> BalancePlan:
    """Plan how to balance a folder of images by guided extrapolation.

    Args:
        images: folder or zip of aligned images.
        semantics: the semantics to balance, each with the range of its histogram, such as ``{"yaw": (-20, 20)}``. A
            range of None covers nearly all images.
        bins: number of bins of each semantic.
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
