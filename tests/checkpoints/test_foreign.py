"""What people have on disk: wrapped, renamed, packed again, beside broken parts; and networks that are only alike."""

import argparse
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lineament.checkpoints.conversion_cache import CACHE_VARIABLE
from lineament.checkpoints.foreign import generator_of
from lineament.checkpoints.opening import open_generator
from lineament.errors import FileFormatError
from lineament.networks.layouts.stylegan2 import generator_from_tensorflow, generator_to_rosinality
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.store.foreign.checkpoints import open_checkpoint
from tests.foreign_names import FILTER, made, to_nvidia, to_tensorflow
from tests.networks.layouts import test_stylegan1 as stylegan1

Z = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


ROSINALITY = generator_to_rosinality(made(w_dim=6))
STATE, MEAN = ROSINALITY["g_ema"], ROSINALITY["latent_avg"]
OFFICIAL = to_nvidia(made(w_dim=6))


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def renamed(*pairs: tuple[str, str]) -> State:
    """The state under names that the pairs of pattern and replacement make, without the filters' kernels."""
    state = {}
    for name, tensor in STATE.items():
        for pattern, new in pairs:
            name = re.sub(pattern, new, name)
        if not name.endswith("kernel"):
            state[name] = tensor
    return state


BASICSR = renamed(
    (r"^style\.", "style_mlp."),
    (r"^input\.input$", "constant_input.weight"),
    (r"noise_(\d+)$", r"noise\1"),
    (r"^conv", "style_conv"),
    (r"\.conv\.", ".modulated_conv."),
    (r"\.noise\.weight", ".weight"),
)
MMGENERATION = renamed(
    (r"^style\.(\d+)\.weight", r"style_mapping.\1.linear.weight_orig"),
    (r"^style\.", "style_mapping."),
    (r"^input\.input$", "constant_input.input"),
    (r"\.modulation\.weight", ".style_modulation.linear.weight_orig"),
    (r"\.modulation\.bias", ".style_modulation.bias"),
    (r"\.noise\.weight", ".noise_injector.weight"),
    (r"noises\.noise_", "injected_noise_"),
    (r"\.conv\.weight$", ".conv.weight_orig"),
)


def hammer() -> State:
    state = {}
    for name, tensor in OFFICIAL.items():
        match = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.*)", name)
        if match:
            level = int(match[1]).bit_length() - 3
            layer = f"output{level}" if match[2] == "torgb" else f"layer{2 * level - (match[2] == 'conv0')}"
            part = match[3].replace("affine.", "style.").replace("noise_const", "noise")
            name = f"synthesis.{layer}.{part.replace('resample_filter', 'filter')}"
            tensor = tensor[None, None] if part == "noise" else tensor
        name = name.replace("synthesis.b4.const", "synthesis.early_layer.const").replace("mapping.w_avg", "w_avg")
        state[name.replace("mapping.fc", "mapping.dense")] = tensor[None] if name.endswith("const") else tensor
    filters = {"synthesis.filter": FILTER, "synthesis.layer1.filter": FILTER}
    return {name: tensor for name, tensor in state.items() if "filter" not in name} | filters


class Wrapped(nn.Module):
    """A module around another one, pickled whole."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.module = nn.Module()
        for name, tensor in state.items():
            *path, last = name.split(".")
            inner = self.module
            for part in path:
                if part not in inner._modules:
                    inner.add_module(part, nn.Module())
                inner = inner._modules[part]
                assert inner is not None
            inner.register_buffer(last, tensor)


ONE = torch.ones(1)
NAN = {"final_linear.1.weight": torch.full((1, 6), torch.nan)}
FILES: dict[str, Callable[[], Any]] = {
    "DataParallel": lambda: {"g_ema": under("module.", STATE), "latent_avg": MEAN},
    "torch.compile": lambda: {"g_ema": under("_orig_mod.module.", STATE), "latent_avg": MEAN},
    "Lightning": lambda: {"state_dict": under("G.", made_again()) | under("G_ema.", OFFICIAL) | under("D.", NAN)},
    "an average within": lambda: {
        "state_dict": under("net.generator.", made_again()) | under("generator_ema.", OFFICIAL)
    },
    "nested dicts": lambda: {"model": {"generators": {"ema": STATE, "latent_avg": MEAN}}, "step": 7},
    "an object that holds them": lambda: argparse.Namespace(g_ema=STATE, latent_avg=MEAN, step=7),
    "pSp": lambda: {
        "state_dict": {"encoder.input_layer.0.weight": torch.ones(2)} | under("decoder.", STATE),
        "latent_avg": MEAN.repeat(8, 1),
    },
    "BasicSR": lambda: {"params_ema": BASICSR, "params": BASICSR, "latent_avg": MEAN},
    "BasicSR with plain biases": lambda: {
        "params_ema": {name.replace("activate.", ""): tensor for name, tensor in BASICSR.items()},
        "latent_avg": MEAN,
    },
    "MMGeneration": lambda: {"state_dict": under("generator_ema.", MMGENERATION), "meta": {}, "latent_avg": MEAN},
    "Hammer": lambda: {"models": {"generator_smooth": hammer()}, "running_metadata": {}},
    "NaN beside": lambda: {"g_ema": STATE, "d": NAN, "latent_avg": MEAN},
    "half a network beside": lambda: {
        "g_ema": STATE,
        "d": {"final_linear.1.weight": torch.ones(1)},
        "latent_avg": MEAN,
    },
    "a sparse tensor beside": lambda: {"g_ema": STATE, "extra": torch.eye(2).to_sparse(), "latent_avg": MEAN},
    "a range in the options": lambda: {"g_ema": STATE, "latent_avg": MEAN, "args": argparse.Namespace(layers=range(8))},
    "a whole module": lambda: Wrapped(OFFICIAL),
}


def made_again() -> State:
    """Weights of the same shapes that are not those to be drawn."""
    return {name: tensor + 1 for name, tensor in OFFICIAL.items() if not name.endswith("filter")}


@pytest.mark.parametrize("case", FILES)
def test_what_people_have_opens(tmp_path: Path, case: str) -> None:
    path = tmp_path / "g.pt"
    torch.save(FILES[case](), path)
    torch.testing.assert_close(open_generator(path)(Z, 0.7), made(w_dim=6)(Z, 0.7), atol=1e-5, rtol=1e-5)


def test_safetensors_of_other_programs_and_archives_packed_again(tmp_path: Path) -> None:
    expected = made(w_dim=6)(Z, 0.7)
    safetensors.torch.save_file(
        {name: tensor.clone() for name, tensor in OFFICIAL.items()}, tmp_path / "model.safetensors"
    )
    torch.testing.assert_close(open_generator(tmp_path / "model.safetensors")(Z, 0.7), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(open_generator(tmp_path)(Z, 0.7), expected, atol=1e-5, rtol=1e-5)
    torch.save(OFFICIAL, tmp_path / "packed.pt")
    with zipfile.ZipFile(tmp_path / "packed.pt") as old, zipfile.ZipFile(tmp_path / "flat.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name.partition("/")[2], old.read(name))
        old.extractall(tmp_path / "unpacked")
    for name in ("flat.pt", "unpacked", "unpacked/packed", "unpacked/packed/data.pkl"):
        torch.testing.assert_close(open_generator(tmp_path / name)(Z, 0.7), expected, atol=1e-5, rtol=1e-5)


def test_a_broken_generator_is_refused_by_the_name_of_its_tensor(tmp_path: Path) -> None:
    torch.save({"g_ema": STATE | {"to_rgb1.bias": torch.full((1, 3, 1, 1), torch.nan)}}, tmp_path / "g.pt")
    with pytest.raises(FileFormatError, match=r"tensor 'g_ema: to_rgb1\.bias' is not read: it holds NaN"):
        open_generator(tmp_path / "g.pt")
    torch.save({"g_ema": {name: tensor.to(torch.float8_e5m2) for name, tensor in STATE.items()}}, tmp_path / "g.pt")
    with pytest.raises(FileFormatError, match="float8_e5m2, which is not read; save it as float16"):
        open_generator(tmp_path / "g.pt")


def test_a_mean_w_for_each_layer_must_be_one(tmp_path: Path) -> None:
    for mean, why in ((torch.randn(8, 6), "differs from layer to layer"), (torch.ones(5), "expected rows of 6")):
        torch.save({"g_ema": STATE, "latent_avg": mean}, tmp_path / "g.pt")
        with pytest.raises(FileFormatError, match=why):
            open_generator(tmp_path / "g.pt")


def test_missing_noise_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {name: tensor for name, tensor in STATE.items() if "noises" not in name}
    torch.save({"g_ema": bare, "latent_avg": MEAN}, tmp_path / "g.pt")
    for _ in range(2):  # converted, and from the cache
        open_generator(tmp_path / "g.pt")
        assert "no noise maps; images are drawn without noise" in capsys.readouterr().err


ALIKE = {
    "EG3D": under("backbone.", OFFICIAL) | {"superresolution.block0.conv0.weight": ONE, "decoder.net.0.weight": ONE},
    "StyleGAN-XL": {"synthesis.input.freqs": ONE, "synthesis.L0_36_1024.weight": ONE, "mapping.embed.weight": ONE},
    "StyleGAN-T": {"synthesis.input.freqs": ONE, "synthesis.b8.conv0.affine.proj.weight": ONE},
    "DualStyleGAN": under("generator.", STATE) | {"res.0.norm.style.weight": ONE},
    "GFPGAN": under("stylegan_decoder.", BASICSR) | {"conv_body_first.weight": ONE},
    "BasicSR's StyleGAN2GeneratorClean": {
        name: tensor for name, tensor in BASICSR.items() if not name.startswith("style_mlp.2.")
    }
    | {"style_mlp.3.weight": ONE},
    "FastGAN": {"init.init.0.weight": ONE, "feat_8.1.weight": ONE},
    "a discriminator of Projected GAN": {"feature_network.pretrained.layer0.weight": ONE},
    "lucidrains' stylegan2_pytorch": {"GAN": {"S.net.0.weight": ONE, "GE.initial_block": ONE, "G.initial_block": ONE}},
    "InterFaceGAN's StyleGAN": {"synthesis.layer0.first_layer": ONE, "mapping.dense0.fc.weight": ONE},
    "an encoder of pSp or e4e, without its decoder": {"state_dict": {"encoder.styles.0.convs.0.weight": ONE}},
    "a diffusion model": {"state_dict": {"model.diffusion_model.out.0.weight": ONE}},
}


@pytest.mark.parametrize("name", ALIKE)
def test_other_networks_are_named(tmp_path: Path, name: str) -> None:
    torch.save(ALIKE[name], tmp_path / "g.pt")
    with pytest.raises(FileFormatError, match=rf"g\.pt holds {re.escape(name)}, which is not read: "):
        open_generator(tmp_path / "g.pt")


def test_rectangles_are_told(tmp_path: Path) -> None:
    torch.save({"G_ema": OFFICIAL | {"synthesis.b4.const": torch.ones(6, 4, 2)}}, tmp_path / "g.pt")
    with pytest.raises(FileFormatError, match="draws rectangles 2:1, which are not read"):
        open_generator(tmp_path / "g.pt")
    # StyleGAN-Human's StyleGAN3 has no constant that would show it.
    torch.save({"G_ema": OFFICIAL | {"square": False}}, tmp_path / "h.pt")
    with pytest.raises(FileFormatError, match="draws rectangles 2:1, which are not read"):
        open_generator(tmp_path / "h.pt")


def test_latents_alone_are_told(tmp_path: Path) -> None:
    for value, what in (
        (torch.ones(1, 8, 6), r"one tensor of shape \(1, 8, 6\)"),
        ({"w": torch.ones(8, 6)}, "'w' alone"),
    ):
        torch.save(value, tmp_path / "w.pt")
        with pytest.raises(FileFormatError, match=rf"{what}.*latents; name the generator"):
            open_generator(tmp_path / "w.pt")


# ---- TensorFlow ----


def grown(level: float = 0.0) -> State:
    """Variables of configurations B to D: an image of each size is there, and only that of the last is drawn."""
    variables = to_tensorflow(made(architecture="orig")) | {
        "lod": torch.tensor(level),
        "synthesis/lod": torch.tensor(level),
    }
    last = [name for name in variables if "/ToRGB/" in name]
    for name in last:
        *_, part = name.split("/")
        tensor = variables.pop(name)
        for k in range(4):
            variables[f"synthesis/ToRGB_lod{k}/{part}"] = tensor + k
    return variables


def test_of_grown_networks_only_the_last_image_is_drawn() -> None:
    config, state = generator_from_tensorflow(grown(), {})
    network = StyleGAN2(config).eval().requires_grad_(False)
    network.load_state_dict(state)
    torch.testing.assert_close(network(Z, 0.7), made(architecture="orig")(Z, 0.7), atol=1e-5, rtol=1e-5)
    with pytest.raises(FileFormatError, match="saved while it grew"):
        generator_from_tensorflow(grown(1.5), {})


def test_the_first_stylegan_truncates_the_coarse_layers_alone(tmp_path: Path) -> None:
    torch.save({"Gs": stylegan1.tensorflow_generator(128)}, tmp_path / "g.pt")
    found = generator_of(open_checkpoint(tmp_path / "g.pt"))
    assert found is not None
    generator: Any = found.network
    generator.choose_class(0)
    z = torch.randn(2, generator.config.z_dim)
    coarse, full = generator.map(z, 0.7), generator.map(z)
    ws = generator.draw_ws(z, 0.7)
    assert torch.equal(ws[:, :8], coarse[:, None].expand(-1, 8, -1))
    assert torch.equal(ws[:, 8:], full[:, None].expand(-1, ws.shape[1] - 8, -1))
    assert torch.equal(generator(z, 0.7), generator.synthesize(ws))
    generator.truncation_cutoff = None
    assert torch.equal(generator.draw_ws(z, 0.7), generator.broadcast(coarse))
