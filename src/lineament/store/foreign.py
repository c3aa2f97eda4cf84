"""Weights of other programs, read without running anything that they carry."""

from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from lineament.errors import FileFormatError, InputError
from lineament.store.atomic import storage_error


def load_foreign_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file that is not ours.

    Raises:
        InputError: there is no such file.
        FileFormatError: not a safetensors file (a pickle, for example, is never opened).
        StorageError: the disk refused to read.
    """
    try:
        return safetensors.torch.load(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise storage_error(path, error, verb="read") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FileFormatError(f"{path} is not a safetensors file ({error}); convert the weights to one") from error
