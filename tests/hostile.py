"""Files that attack whoever opens them, by name. `CORPUS` holds them as makers of bytes.

Loaded by the programs that wrote such files, most of these run a payload: it creates the file that the environment
variable LINEAMENT_CANARY names.
"""

import contextlib
import os
import pickle
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

from lineament.errors import LineamentError
from lineament.store.foreign.checkpoints import open_checkpoint
from tests import foreign_checkpoints as made
from tests import hostile_archives, hostile_values
from tests.foreign_checkpoints import pickled
from tests.hostile_gadgets import GADGETS, WORKING_GADGETS
from tests.hostile_registry import CORPUS
from tests.watch import audited

__all__ = ["CORPUS", "GADGETS", "HARMLESS", "WORKING_GADGETS", "hostile_archives", "hostile_values"]

HARMLESS = frozenset(
    {
        "embedded source that runs",
        "an object with slots and a hostile state",
        "an object whose state replaces its class",
        "a class with a state that its __setstate__ would run",
        "a huge memo index",
        "two entries of one key",
        "a cycle beside the weights",
        "a long list that holds itself beside the weights",
        "exponential sharing beside the weights",
        "exponential sharing without end beside the weights",
        "a key that takes exponential time to hash",
        "a numpy array of objects beside the weights",
        "an absurd shape in what nobody needs",
        "a zip comment",
        "an unknown function called beside the weights",
        "NaN in a tensor",
        "a numpy array of NaN",
        "infinity in a half",
        "a sparse tensor among the weights",
    }
)
"""Those that open all the same: weights can be had, and what is strange stays inert, unread or unused."""


def outcome_of(path: Path) -> dict[str, Any]:
    """What opening a file does, takes and says."""
    modules = set(sys.modules)
    found: dict[str, Any] = {"opened": False, "error": "", "size": path.stat().st_size}
    tracemalloc.start()
    start = time.process_time()
    with audited(path) as events:
        try:
            open_checkpoint(path)
            found["opened"] = True
        except LineamentError as error:
            found["error"] = f"{type(error).__name__}: {error}"
    found["seconds"] = time.process_time() - start
    found["peak"] = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found["events"] = events + sorted(set(sys.modules) - modules)
    return found


def run_by_pickle(canary: Path) -> list[str]:
    """Which of the gadgets work where pickles are simply loaded."""
    worked = []
    for label in WORKING_GADGETS:
        with contextlib.suppress(Exception):
            pickle.loads(pickled(GADGETS[label]))
        if canary.exists():
            worked.append(label)
            canary.unlink()
    return worked


def examine(folder: Path) -> dict[str, Any]:
    """Open the whole corpus in a folder: what happened, as values for JSON."""
    canary = Path(os.environ["LINEAMENT_CANARY"])
    os.chdir(folder)
    worked = run_by_pickle(canary)
    path = folder / "network.pkl"
    path.write_bytes(made.nvidia_torch())
    open_checkpoint(path)  # what torch imports late is not a file's doing
    outcomes = {}
    for label, maker in CORPUS.items():
        path.write_bytes(maker())
        outcomes[label] = outcome_of(path)
        if canary.exists():
            outcomes[label]["events"].append("the payload ran")
            canary.unlink()
    return {"run by pickle": worked, "outcomes": outcomes}
