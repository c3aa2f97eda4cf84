"""What every training must do when it is asked to stop."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lineament.engine.run_folder import Stopped
from lineament.store.tensors import load_tensors


def check_stops_after_its_step(run: Callable[[], object], owner: object, folder: Path) -> None:
    """The training ends after the step in which SIGTERM comes, and its state is kept.

    Args:
        run: the training.
        owner: class or module with its ``train_step``.
        folder: the run folder.
    """
    original = getattr(owner, "train_step")  # noqa: B009 - of a class or of a module

    def signalled(*arguments: Any) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "train_step", signalled)
        with pytest.raises(Stopped, match="stopped at step 1; the same command goes on"):
            run()
    assert load_tensors(folder / "state.safetensors", "training-state")[1]["step"] == 1
