"""Checkpoints as other programs write them, made with stand-ins for those programs' classes."""

import argparse
import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

SOURCE = "raise RuntimeError('embedded source was run')\n"
INIT = {"z_dim": 4, "w_dim": 4, "img_resolution": 8, "mapping_kwargs": {"num_layers": 2}}


class Synthesis(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(24.0).view(2, 3, 4))
        self.conv_clamp = None
        self.padding = [1, np.int64(2)]
        self.size = np.array([8, 8])
        self.register_buffer("filter", torch.tensor([1.0, 3.0, 3.0, 1.0]))


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.synthesis = Synthesis()
        self.mapping = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.2))
        self.z_dim = 4
        self.register_buffer("w_avg", torch.linspace(-1, 1, 4))
        self.register_parameter("unused", None)
        self.add_module("absent", None)


class Persistent:
    """Pickles a module as NVIDIA's persistence does: its state and the text of its program."""

    def __init__(self, module: nn.Module, init: dict[str, Any], **changes: Any) -> None:
        self.module, self.init, self.changes = module, init, changes

    def __reduce__(self) -> tuple[Any, ...]:
        easy = sys.modules["dnnlib.util"].EasyDict
        state = dict(vars(self.module), _init_args=(), _init_kwargs=easy(self.init))
        state["_modules"] = {
            name: Persistent(child, {"size": 3}) if isinstance(child, Synthesis) else child
            for name, child in state["_modules"].items()
        }
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": type(self.module).__name__}
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return rebuild, ({**meta, "state": state, **self.changes},)


class Network:
    """Pickles as networks of dnnlib.tflib do."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state


@contextmanager
def foreign_modules() -> Iterator[None]:
    """The modules that NVIDIA's pickles name, for as long as one is written."""

    def module(name: str, **members: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        for key, value in members.items():
            value.__module__, value.__qualname__ = name, key
            setattr(made, key, value)
        return made

    def rebuild(meta: dict[str, Any]) -> None:
        raise AssertionError("a pickle was loaded")

    easy = type("EasyDict", (dict,), {})
    made = {
        "dnnlib": module("dnnlib"),
        "dnnlib.util": module("dnnlib.util", EasyDict=easy),
        "dnnlib.tflib": module("dnnlib.tflib"),
        "dnnlib.tflib.network": module("dnnlib.tflib.network", Network=Network),
        "torch_utils": module("torch_utils"),
        "torch_utils.persistence": module("torch_utils.persistence", _reconstruct_persistent_obj=rebuild),
    }
    with mock.patch.dict(sys.modules, made):
        yield


def generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator().requires_grad_(False)


def nvidia_torch(protocol: int = 4, **changes: Any) -> bytes:
    """What the training loops of stylegan2-ada-pytorch and stylegan3 dump."""
    value = {
        "G": Persistent(generator(), INIT, **changes),
        "D": None,
        "G_ema": Persistent(generator(), INIT, **changes),
        "augment_pipe": None,
        "training_set_kwargs": {"path": "faces.zip", "xflip": False, "max_size": np.int64(7)},
    }
    with foreign_modules():
        return pickle.dumps(value, protocol)


def tensorflow_variables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "dlatent_avg": rng.normal(size=4).astype(np.float32),
        "G_mapping/Dense0/weight": rng.normal(size=(4, 4)).astype(np.float32),
        "G_mapping/Dense0/bias": np.zeros(4, np.float32),
        "G_synthesis/4x4/Conv/weight": np.asfortranarray(rng.normal(size=(3, 3, 4, 2)).astype(np.float32)),
        "G_synthesis/noise0": rng.normal(size=(1, 1, 4, 4)).astype(np.float32),
    }


def nvidia_tensorflow(protocol: int = 4, version: int = 4) -> bytes:
    """What the training loops of StyleGAN and StyleGAN2 dump."""

    def network(name: str, function: str, prefix: str, components: dict[str, Network], **arguments: Any) -> Network:
        named = tensorflow_variables().items()
        variables = [
            (key.removeprefix(prefix), value)
            for key, value in named
            if key.startswith(prefix) and (prefix or "/" not in key)
        ]
        return Network(
            version=version,
            name=name,
            static_kwargs=arguments,
            components=components,
            build_module_src=SOURCE,
            build_func_name=function,
            variables=variables,
        )

    def whole(name: str) -> Network:
        parts = {
            "synthesis": network("G_synthesis", "G_synthesis_stylegan2", "G_synthesis/", {}, resolution=8),
            "mapping": network("G_mapping", "G_mapping", "G_mapping/", {}, mapping_layers=1),
        }
        made = network(name, "G_main", "", parts, num_channels=3, truncation_psi=0.5)
        made.state["variables"].append(("lod", np.float32(0.0)))
        return made

    value = (whole("G"), network("D", "D_stylegan2", "G_mapping/", {}), whole("Gs"))
    with foreign_modules():
        return pickle.dumps(value, protocol)


def state_dict() -> dict[str, Tensor]:
    return dict(generator().state_dict())


def rosinality() -> dict[str, Any]:
    network = nn.Linear(4, 4)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 4)).sum().backward()
    optimizer.step()
    return {
        "g": state_dict(),
        "d": generator().state_dict(),
        "g_ema": state_dict(),
        "g_optim": optimizer.state_dict(),
        "latent_avg": torch.linspace(0, 1, 4),
        "args": argparse.Namespace(size=256, path="/data", lr=0.002, channel_multiplier=2),
        "ada_aug_p": 0.25,
    }


def saved(value: Any, *, legacy: bool = False, protocol: int = 2) -> bytes:
    """The bytes that ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return stream.getvalue()


# ---- pickles written by hand ----


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<L", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def call(module: str, attribute: str, *args: bytes) -> bytes:
    return name(module, attribute) + tuple_of(*args) + b"R"


def dict_of(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def integers(*values: int) -> bytes:
    return tuple_of(*map(integer, values))


def storage(count: int = 4, key: str = "0", kind: str = "FloatStorage") -> bytes:
    """A reference to a storage in a zip archive."""
    return tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), integer(count)) + b"Q"


def tensor(
    size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), offset: int = 0, numbers: bytes | None = None
) -> bytes:
    """A tensor of the storage 0."""
    args = (numbers or storage(), integer(offset), integers(*size), integers(*stride), b"\x89", b"}")
    return call("torch._utils", "_rebuild_tensor_v2", *args)


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def zipped(
    body: bytes,
    storages: dict[str, bytes] | None = None,
    extra: dict[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """A zip archive as ``torch.save`` writes it, with a pickle of our own."""
    stream = io.BytesIO()
    storages = {"0": np.arange(4, dtype="<f4").tobytes()} if storages is None else storages
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled(body))
        archive.writestr("archive/version", "3\n")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for key, data in (extra or {}).items():
            archive.writestr(key, data)
    return stream.getvalue()
