"""The mean head that comes with the package."""

from importlib.resources import files
from pathlib import Path

from lineament.errors import InputError
from lineament.ops.mean_head import MeanHead
from lineament.store.tensors import load_tensors, save_tensors

KIND, SCHEMA_VERSION = "mean-head", 1


def mean_head_path() -> Path:
    """Where the package keeps it."""
    return Path(str(files("lineament") / "weights" / "mean_head.safetensors"))


def load_mean_head(path: str | Path | None = None) -> MeanHead:
    """The mean head of a file, or the one that comes with the package.

    Raises:
        InputError: the installation lacks it.
        FileFormatError: the file holds something else.
    """
    if path is None and not mean_head_path().exists():
        raise InputError("this installation has no weights/mean_head.safetensors; install lineament again")
    tensors, _ = load_tensors(path or mean_head_path(), kind=KIND, framework="pt")
    return MeanHead(tensors["depth"].float(), tensors["albedo"].float())


def save_mean_head(path: str | Path, head: MeanHead, provenance: dict[str, object]) -> None:
    """Write a mean head."""
    tensors = {"depth": head.depth, "albedo": head.albedo.half()}
    save_tensors(path, tensors, kind=KIND, schema_version=SCHEMA_VERSION, header={"provenance": provenance})
