"""Files and folders that attack whoever opens them, by name.

Loaded by the programs that wrote such files, most of these run a payload: it creates the file that the environment
variable LINEAMENT_CANARY names.
"""

import contextlib
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lineament.errors import LineamentError
from lineament.store.foreign.checkpoints import open_checkpoint
from tests import (
    hostile_archives,
    hostile_bypasses,
    hostile_folders,
    hostile_networks,
    hostile_safetensors,
    hostile_tables,
    hostile_values,
)
from tests.foreign_checkpoints import pickled
from tests.hostile_gadgets import GADGETS, WORKING_GADGETS
from tests.hostile_published import PUBLISHED, PUBLISHED_WORKING
from tests.hostile_registry import CORPUS, FOLDERS, OWN
from tests.own_files import OPENERS, WORKSHOP, honest
from tests.watch import added_memory, audited

__all__ = ["CORPUS", "FOLDERS", "HARMLESS", "OWN", "PUBLISHED", "WORKING"]

_REGISTERED = (
    hostile_archives,
    hostile_bypasses,
    hostile_folders,
    hostile_networks,
    hostile_safetensors,
    hostile_tables,
    hostile_values,
)

WORKING = {name: GADGETS[name] for name in WORKING_GADGETS} | {name: PUBLISHED[name] for name in PUBLISHED_WORKING}
"""Gadgets that Python's own unpickler is made to run, to see that they work."""

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
        "a second pickle of another name",
        "a pickle in place of numbers",
        "an archive within an archive",
        "an archive version that is no number",
        "embedded source of TensorFlow",
        "safetensors: a shape of 70 axes",
        "safetensors: one name twice",
        "safetensors: metadata of megabytes",
        "safetensors: names of escape sequences",
        "safetensors: a name of a megabyte",
        "safetensors: a name that leads out",
        "safetensors: a name of nothing",
        "safetensors: NaN alone",
        "safetensors: a pickle as data",
        "ours: a tensor of whole numbers",
        "labels of zeros",
        "labels that name a delimiter of Unicode",
        "labels that name a quote as delimiter",
        "directions: layers that are texts",
        "a log of steps that are texts",
        "a log of NaN and many digits",
        "a log without lines",
        "a log that is no text",
        "a log that nests",
        "a state of origins that are a list",
        "a state of a huge step",
        "inputs that are no text",
        "inputs that are a list",
        "inputs that are a number",
        "inputs that nest",
        "inputs of pairs",
        "a manifest of one long text again and again",
        "foreign: settings of 2^40 pixels",
        "foreign: settings of 2^60 classes",
        "foreign: a constant of whole numbers",
        "an unpacked archive in a circle",
        "a name that is no text",
    }
)
"""Those that open all the same: weights can be had, and what is strange stays inert, unread or unused."""


def attacks(folder: Path) -> Iterator[tuple[str, Path, Callable[[Path], object]]]:
    """Everything hostile, one after the other, in a folder: its name, where it lies, and what opens it."""
    path, inner = folder / "network.pkl", folder / "inner"
    for label, maker in CORPUS.items():
        path.write_bytes(maker())
        yield label, path, open_checkpoint
    for label, (opener, maker) in OWN.items():
        path.write_bytes(maker())
        yield label, path, OPENERS[opener]
    for label, make in FOLDERS.items():
        inner.mkdir()
        make(inner)
        yield label, inner, open_checkpoint
        shutil.rmtree(inner)


def outcome_of(path: Path, opener: Callable[[Path], object]) -> dict[str, Any]:
    """What opening a file or a folder does, takes and says."""
    modules = set(sys.modules)
    found: dict[str, Any] = {"opened": False, "error": "", "size": path.stat().st_size}
    start = time.process_time()
    with added_memory() as peak, audited(path, path.parent / WORKSHOP) as events:
        try:
            opener(path)
            found["opened"] = True
        except LineamentError as error:
            found["error"] = f"{type(error).__name__}: {error}"
        except Exception as error:
            found["error"] = f"not ours: {error!r}"
    found["seconds"] = time.process_time() - start
    found["peak"] = peak[0]
    found["events"] = events + sorted(set(sys.modules) - modules)
    return found


def run_by_pickle(canary: Path) -> list[str]:
    """Which of the gadgets work where pickles are simply loaded."""
    worked = []
    for label, body in WORKING.items():
        with contextlib.suppress(Exception):
            pickle.loads(b"\x80\x04" + pickled(body)[2:])
        if canary.exists():
            worked.append(label)
            canary.unlink()
    return worked


def open_honest(folder: Path) -> None:
    """Open an honest file of every format, so that what is imported late is not taken for a hostile file's doing."""
    path = folder / "network.pkl"
    for opener, files in honest().items():
        for data in files:
            path.write_bytes(data)
            OPENERS[opener](path)


def examine(folder: Path) -> dict[str, Any]:
    """Open everything hostile in a folder: what happened, as values for JSON."""
    canary = Path(os.environ["LINEAMENT_CANARY"])
    os.chdir(folder)
    worked = run_by_pickle(canary)
    open_honest(folder)
    outcomes = {}
    for label, path, opener in attacks(folder):
        outcomes[label] = outcome_of(path, opener)
        if canary.exists():
            outcomes[label]["events"].append("the payload ran")
            canary.unlink()
    shutil.rmtree(folder / WORKSHOP)
    return {"run by pickle": worked, "outcomes": outcomes}
