"""Run one network of an original PyTorch program: write its checkpoint as the program does, and what it computes.

`benchmarks.originals` calls this file by its path, so that it also works in an environment without Lineament. It holds
no code of the programs, only calls. Where a program has operations for accelerators only, those of rosinality's program
for the CPU stand in.
"""

import argparse
import importlib
import json
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Case = dict[str, Any]
Draw = Callable[[Tensor, Tensor | None, float, int | None], tuple[Tensor, Tensor]]
Score = Callable[[Tensor, Tensor | None], Tensor]


@dataclass
class Original:
    """Networks of a program.

    Attributes:
        networks: their weights are made random; the drawing one first.
        draw: latents, classes, truncation and number of truncated layers (None for all) to (ws, images).
        file: gives what the program saves.
        score: images and classes to the discriminator's logits.
        pickled: whether the program saves with pickle, not with `torch.save`.
    """

    networks: Sequence[nn.Module]
    draw: Draw
    file: Callable[[], Any]
    score: Score | None = None
    pickled: bool = False


def member(name: str) -> Any:
    """The member "module:name" of a program."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def bare_packages(folder: Path, *names: str) -> None:
    """Make packages importable without running their ``__init__``, which imports what is not needed here."""
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package


def operations(folder: Path, *names: str) -> None:
    """Let rosinality's operations for the CPU stand in for the modules of these names; no kernel is built."""
    extension = importlib.import_module("torch.utils.cpp_extension")
    setattr(extension, "load", lambda *args, **options: None)  # noqa: B010, for a module the type checker knows
    sys.path.insert(1, str(folder.parent / "stylegan2-pytorch"))
    ours = importlib.import_module("op")
    sys.modules.update(dict.fromkeys(names, ours))


def nvidia(case: Case, folder: Path) -> Original:
    """NVIDIA's PyTorch programs, and forks of them."""
    program = importlib.import_module(case["module"])
    sizes = {"img_resolution": case["resolution"], "img_channels": 3, "c_dim": case["classes"]}
    latents = {"z_dim": case["z_dim"], "w_dim": case["z_dim"]}
    ema, other = (program.Generator(**sizes, **latents, **case["generator"]).eval() for _ in range(2))
    judge = None
    if case["judge_module"]:
        judge = importlib.import_module(case["judge_module"]).Discriminator(**sizes, **case["judge"]).eval()
    noise = {} if case["module"].endswith("stylegan3") else {"noise_mode": "const"}

    def draw(z: Tensor, label: Tensor | None, psi: float, layers: int | None) -> tuple[Tensor, Tensor]:
        ws = ema.mapping(z, label, truncation_psi=psi, truncation_cutoff=layers)
        return ws, ema.synthesis(ws, force_fp32=True, **noise)

    def file() -> dict[str, Any]:
        data = member("dnnlib:EasyDict")(class_name="training.dataset.ImageFolderDataset", path="faces.zip")
        return {"training_set_kwargs": dict(data), "G": other, "D": judge, "G_ema": ema, "augment_pipe": None}

    if judge is None:
        return Original([ema, other], draw, file, pickled=True)
    score: Score = lambda image, label: judge(image, label, force_fp32=True)  # noqa: E731
    return Original([ema, other, judge], draw, file, score, pickled=True)


def drawn_from_styles(generator: nn.Module, mean: Tensor) -> Draw:
    """How a generator with rosinality's interface draws."""

    def draw(z: Tensor, label: Tensor | None, psi: float, layers: int | None) -> tuple[Tensor, Tensor]:
        options = {"truncation_latent": mean, "return_latents": True, "randomize_noise": False}
        image, ws = generator([z], truncation=psi, **options)
        return ws, image

    return draw


def rosinality(case: Case, folder: Path) -> Original:
    """rosinality's program; files of its ``convert_weight`` or, without a mean w, of its ``train``."""
    operations(folder)
    size = case["resolution"]
    ema, other = (member("model:Generator")(size, case["z_dim"], 8, **case["generator"]) for _ in range(2))
    judge, mean = member("model:Discriminator")(size, **case["generator"]), torch.randn(case["z_dim"]) * 0.3

    def file() -> dict[str, Any]:
        saved = {"g": other.state_dict(), "d": judge.state_dict(), "g_ema": ema.state_dict()}
        if case["mean"]:
            return saved | {"latent_avg": mean}
        optimiser = torch.optim.Adam(judge.parameters())
        return saved | {"d_optim": optimiser.state_dict(), "args": argparse.Namespace(size=size), "ada_aug_p": 0}

    return Original([ema, other, judge], drawn_from_styles(ema, mean), file, lambda image, label: judge(image))


def encoder(case: Case, folder: Path) -> Original:
    """Encoders around rosinality's generator (e4e, pSp, ReStyle), with a small layer as the encoding network."""
    operations(folder, "models.stylegan2.op", "models.stylegan2.op.fused_act", "models.stylegan2.op.upfirdn2d")
    bare_packages(folder, "models", "models.stylegan2")
    net = nn.Module()
    net.encoder = nn.Linear(4, 4)
    net.decoder = member("models.stylegan2.model:Generator")(case["resolution"], case["z_dim"], 8)
    mean = torch.randn(case["z_dim"]) * 0.3
    saved_mean = mean.repeat(net.decoder.n_latent, 1) if case["mean_per_layer"] else mean

    def file() -> dict[str, Any]:
        options = {"stylegan_size": case["resolution"], "start_from_latent_avg": True}
        return {"state_dict": net.state_dict(), "opts": options, "latent_avg": saved_mean}

    return Original([net.decoder], drawn_from_styles(net.decoder, mean), file)


def basicsr(case: Case, folder: Path) -> Original:
    """BasicSR's StyleGAN2, as its ``save_network`` writes it: without a mean w."""
    bare_packages(folder, "basicsr", "basicsr.archs", "basicsr.utils", "basicsr.ops")
    operations(folder, "basicsr.ops.fused_act", "basicsr.ops.upfirdn2d")
    make = member("basicsr.archs.stylegan2_arch:StyleGAN2Generator")
    ema, other = (make(case["resolution"], case["z_dim"], **case["generator"]) for _ in range(2))
    draw = drawn_from_styles(ema, torch.zeros(case["z_dim"]))
    return Original([ema, other], draw, lambda: {"params": other.state_dict(), "params_ema": ema.state_dict()})


def mmgeneration(case: Case, folder: Path) -> Original:
    """MMGeneration's StyleGAN2, as its runner writes it: without a mean w; its discriminator is in the file alone."""
    architectures = "mmgen.models.architectures"
    bare_packages(folder, "mmgen", "mmgen.core", "mmgen.core.runners", "mmgen.models", architectures)
    bare_packages(folder, f"{architectures}.stylegan", f"{architectures}.stylegan.modules", "torchvision", "mmcv.ops")
    operations(folder, "mmcv.ops.fused_bias_leakyrelu", "mmcv.ops.upfirdn2d")
    shown, own = sys.modules["mmcv.ops.upfirdn2d"], sys.modules[architectures]
    shown.FusedBiasLeakyReLU, shown.fused_bias_leakyrelu = shown.FusedLeakyReLU, shown.fused_leaky_relu
    own.PixelNorm = member(f"{architectures}.pggan.modules:PixelNorm")
    program = f"{architectures}.stylegan.generator_discriminator_v2"
    make = member(f"{program}:StyleGANv2Generator")
    ema, other = (make(case["resolution"], case["z_dim"], channel_multiplier=1).eval() for _ in range(2))
    judge = member(f"{program}:StyleGAN2Discriminator")(case["resolution"], channel_multiplier=1).eval()
    mean, whole = torch.zeros(case["z_dim"]), nn.Module()
    whole.generator, whole.generator_ema, whole.discriminator = other, ema, judge

    def draw(z: Tensor, label: Tensor | None, psi: float, layers: int | None) -> tuple[Tensor, Tensor]:
        options = {"truncation_latent": mean, "return_latents": True, "randomize_noise": False}
        result = ema(z, truncation=psi, **options)
        return result["latent"], result["fake_img"]

    def file() -> dict[str, Any]:
        return {"meta": {"iter": 1}, "state_dict": whole.state_dict(), "optimizer": {}}

    return Original([ema, other], draw, file)


def genforce(case: Case, folder: Path) -> Original:
    """genforce and Hammer; files of genforce's converters or, with "models", of the runner."""
    bare_packages(folder, "models")
    sizes = {"resolution": case["resolution"], case["label_option"]: case["classes"]}
    ema, other = (member(case["module"])(**sizes, **case["generator"]).eval() for _ in range(2))
    judge = member(case["judge_module"])(**sizes, **case["judge"]).eval() if case["judge_module"] else None
    drawing, both = case["reference"]["drawing"], case["reference"]["both"]

    def draw(z: Tensor, label: Tensor | None, psi: float, layers: int | None) -> tuple[Tensor, Tensor]:
        cut = {"trunc_psi": psi, "trunc_layers": layers or 1000}
        result = ema(z, label if case["classes"] else None, **cut, **drawing, **both)
        return result["wp"], result["image"]

    def score(image: Tensor, label: Tensor | None) -> Tensor:
        assert judge is not None
        result = judge(image, label if case["classes"] else None, **both)
        return result["score"] if isinstance(result, dict) else result

    def file() -> dict[str, Any]:
        networks = {"generator": other, "discriminator": judge, "generator_smooth": ema}
        saved = {name: network.state_dict() for name, network in networks.items() if network is not None}
        return {"models": saved, "running_metadata": {"iter": 1}} if case["runner"] else saved

    networks = [ema, other] + ([] if judge is None else [judge])
    return Original(networks, draw, file, None if judge is None else score)


def interfacegan(case: Case, folder: Path) -> Original:
    """InterFaceGAN's StyleGAN, whose file is the state without the factors of truncation."""
    make = member("models.stylegan_generator_model:StyleGANGeneratorModel")
    generator = make(case["resolution"], truncation_psi=1.0, truncation_layers=0)

    def draw(z: Tensor, label: Tensor | None, psi: float, layers: int | None) -> tuple[Tensor, Tensor]:
        factors = generator.truncation.truncation
        factors.fill_(1.0)
        factors[:, : layers or 1000] = psi
        ws = generator.truncation(generator.mapping(z))
        return ws, generator.synthesis(ws)

    def file() -> dict[str, Tensor]:
        return {name: value for name, value in generator.state_dict().items() if name != "truncation.truncation"}

    return Original([generator], draw, file)


PROGRAMS = {f.__name__: f for f in (nvidia, rosinality, encoder, basicsr, mmgeneration, genforce, interfacegan)}


@torch.no_grad()
def disturb(network: nn.Module, image_scale: float) -> None:
    """Move what is zero or one in a new network away from that: biases, noise strengths, the mean w, mean squares.

    The constant of a new StyleGAN is one everywhere, and its normalisation would then only enlarge rounding errors.
    """
    for name, value in network.state_dict().items():
        slow = name.startswith(("mapping.", "style.", "style_mlp.", "style_mapping."))
        strength = name.endswith(("noise_strength", "noise.weight")) or (name.endswith("weight") and value.numel() == 1)
        if strength or name.endswith(("w_avg", "layer0.const", "first_layer")):
            value.copy_(torch.randn_like(value) * 0.3)
        elif image_scale != 1 and "synthesis.output" in name and name.endswith("weight"):
            value.mul_(image_scale)
        elif name.endswith("magnitude_ema"):
            value.copy_(torch.rand_like(value) + 0.5)
        elif name.endswith("bias"):
            value.add_(torch.randn_like(value) * (10.0 if slow else 0.2))


@torch.no_grad()
def outputs(original: Original, inputs: dict[str, Tensor], layers: int | None) -> dict[str, np.ndarray]:
    """What the program computes, by the names that `benchmarks.originals` compares."""
    z, label = inputs["z"], inputs["label"]
    found: dict[str, Tensor] = {}
    found["w"], found["image"] = original.draw(z, label, 1.0, None)
    found["truncated w"], found["truncated image"] = original.draw(z, label, 0.7, None)
    if layers:
        found[f"image, {layers} layers truncated"] = original.draw(z, label, 0.7, layers)[1]
    if original.score is not None:
        found["score"] = original.score(inputs["images"], inputs["labels"]).flatten()
    return {name: value.numpy() for name, value in found.items()}


def main(folder: Path) -> None:
    """Read ``case.json`` and ``inputs.npz`` in the folder; write ``checkpoint`` and ``outputs.npz`` there."""
    case = json.loads((folder / "case.json").read_text())
    program = Path(case["program"])
    sys.path[0] = str(program)
    sys.path[1:1] = [str(program / path) for path in case["paths"]]
    torch.manual_seed(0)
    original = PROGRAMS[case["runs"]](case, program)
    for network in original.networks:
        disturb(network, case["image_scale"])
    with np.load(folder / "inputs.npz") as stored:
        inputs = {name: torch.from_numpy(stored[name]) for name in stored.files}
    np.savez(folder / "outputs.npz", **outputs(original, inputs, case["cutoff"]))  # pyright: ignore[reportArgumentType]
    if original.pickled:
        with (folder / "checkpoint").open("wb") as stream:
            pickle.dump(original.file(), stream)
    else:
        torch.save(original.file(), folder / "checkpoint")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
