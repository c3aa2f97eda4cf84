"""The first StyleGAN's networks of other programs: names, conventions, golden outputs of the originals, bad files."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.errors import FileFormatError
from lineament.networks.layouts.stylegan1 import (
    discriminator_from_genforce,
    discriminator_from_tensorflow,
    generator_from_genforce,
    generator_from_tensorflow,
    spread,
)
from lineament.networks.stylegan.progressive_discriminator import ProgressiveDiscriminator
from lineament.networks.stylegan.stylegan1 import StyleGAN1

Tensors = dict[str, Tensor]
Z_DIM, W_DIM, INNER_DIM, CLASSES = 6, 5, 7, 3
BASE, MAXIMUM = 256, 6  # at 128 pixels, where the original's upscaling is another: 2 channels


def width(resolution: int) -> int:
    return min(BASE // resolution, MAXIMUM)


def ramp(shape: tuple[int, ...], index: int) -> Tensor:
    """Numbers in [-1, 1) that look as if drawn, from whole numbers."""
    count = torch.arange(torch.Size(shape).numel())
    return (((count * 7919 + index * 104729) % 2003).double() / 1001.5 - 1).float().view(shape)


def ramped(shapes: Iterator[tuple[str, tuple[int, ...]]]) -> Tensors:
    tensors = {}
    for index, (name, shape) in enumerate(shapes):
        tensors[name] = ramp(shape, index) * (100.0 if ".dense" in name else 1.0)
        if name.endswith("kernel"):
            tensors[name] = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).div(16).expand(shape).clone()
        if name.endswith("lod"):
            tensors[name] = torch.zeros(())
    return tensors


def generator_shapes(resolution: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Of genforce's generator with classes."""
    yield "mapping.label_weight", (CLASSES, Z_DIM)
    dims = [2 * Z_DIM, *[INNER_DIM] * 7, W_DIM]
    for i in range(8):
        yield f"mapping.dense{i}.weight", (dims[i + 1], dims[i])
        yield f"mapping.dense{i}.bias", (dims[i + 1],)
    yield "truncation.w_avg", (W_DIM,)
    yield "synthesis.lod", ()
    size, i = 4, 0
    while size <= resolution:
        here, before = width(size), width(max(size // 2, 4))
        for first in (True, False):
            layer = f"synthesis.layer{i}"
            yield f"{layer}.bias", (here,)
            yield f"{layer}.apply_noise.weight", (here,)
            yield f"{layer}.apply_noise.noise", (1, 1, size, size)
            yield f"{layer}.style.weight", (2 * here, W_DIM)
            yield f"{layer}.style.bias", (2 * here,)
            if i:
                yield f"{layer}.weight", (here, before if first else here, 3, 3)
            else:
                yield f"{layer}.const", (1, here, 4, 4)
            if i and first:
                yield f"{layer}.blur.kernel", (here, 1, 3, 3)
            i += 1
        yield f"synthesis.output{i // 2 - 1}.weight", (3, here, 1, 1)
        yield f"synthesis.output{i // 2 - 1}.bias", (3,)
        size *= 2


def discriminator_shapes(resolution: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Of genforce's discriminator with classes."""
    yield "lod", ()
    size, k = resolution, 0
    while size >= 4:
        here, after = width(size), width(size // 2)
        yield f"input{k}.weight", (here, 3, 1, 1)
        yield f"input{k}.bias", (here,)
        yield f"layer{2 * k}.weight", (here, here + (size == 4), 3, 3)
        yield f"layer{2 * k}.bias", (here,)
        yield f"layer{2 * k + 1}.weight", (after, here, 3, 3) if size > 4 else (after, here * 16)
        yield f"layer{2 * k + 1}.bias", (after,)
        if size > 4:
            yield f"layer{2 * k + 1}.blur.kernel", (here, 1, 3, 3)
        size, k = size // 2, k + 1
    yield f"layer{2 * k}.weight", (CLASSES, width(2))
    yield f"layer{2 * k}.bias", (CLASSES,)


def to_tensorflow(weight: Tensor) -> Tensor:
    return weight.permute(2, 3, 1, 0) if weight.dim() == 4 else weight.T if weight.dim() == 2 else weight


def tensorflow_generator(resolution: int) -> Tensors:
    """The same numbers under the names of the TensorFlow code."""
    theirs = ramped(generator_shapes(resolution))
    top = max(i for i in range(9) if f"synthesis.output{i}.weight" in theirs)
    tensors = {"lod": torch.zeros(()), "G_synthesis/lod": torch.zeros(()), "dlatent_avg": theirs["truncation.w_avg"]}
    tensors["G_mapping/LabelConcat/weight"] = theirs["mapping.label_weight"]
    for i in range(8):
        for part in ("weight", "bias"):
            tensors[f"G_mapping/Dense{i}/{part}"] = to_tensorflow(theirs[f"mapping.dense{i}.{part}"])
    for i in range(2 * top + 2):
        size = 4 * 2 ** (i // 2)
        place = "Const" if i == 0 else "Conv" if i == 1 else "Conv1" if i % 2 else "Conv0_up"
        mine, scope = f"synthesis.layer{i}", f"G_synthesis/{size}x{size}/{place}"
        own = f"{scope}/weight" if i else f"{scope}/const"
        tensors[own] = to_tensorflow(theirs[f"{mine}.weight"]) if i else theirs[f"{mine}.const"]
        tensors[f"{scope}/bias"] = theirs[f"{mine}.bias"]
        tensors[f"{scope}/Noise/weight"] = theirs[f"{mine}.apply_noise.weight"]
        tensors[f"{scope}/StyleMod/weight"] = theirs[f"{mine}.style.weight"].T
        tensors[f"{scope}/StyleMod/bias"] = theirs[f"{mine}.style.bias"]
        tensors[f"G_synthesis/noise{i}"] = theirs[f"{mine}.apply_noise.noise"]
    for k in range(top + 1):
        for part in ("weight", "bias"):
            tensors[f"G_synthesis/ToRGB_lod{top - k}/{part}"] = to_tensorflow(theirs[f"synthesis.output{k}.{part}"])
    return tensors


def tensorflow_discriminator(resolution: int) -> Tensors:
    theirs = ramped(discriminator_shapes(resolution))
    tensors = {"lod": torch.zeros(())}
    size, k = resolution, 0
    while size >= 4:
        names = ("Conv0", "Conv1_down") if size > 4 else ("Conv", "Dense0")
        for part in ("weight", "bias"):
            tensors[f"FromRGB_lod{k}/{part}"] = to_tensorflow(theirs[f"input{k}.{part}"])
            for j, name in enumerate(names):
                tensors[f"{size}x{size}/{name}/{part}"] = to_tensorflow(theirs[f"layer{2 * k + j}.{part}"])
        size, k = size // 2, k + 1
    for part in ("weight", "bias"):
        tensors[f"4x4/Dense1/{part}"] = to_tensorflow(theirs[f"layer{2 * k}.{part}"])
    return tensors


def generator_of(converted: tuple[Any, Tensors]) -> StyleGAN1:
    network = StyleGAN1(converted[0])
    network.load_state_dict(converted[1])
    return network.eval().requires_grad_(False)


def discriminator_of(converted: tuple[Any, Tensors]) -> ProgressiveDiscriminator:
    network = ProgressiveDiscriminator(converted[0])
    network.load_state_dict(converted[1])
    return network.eval().requires_grad_(False)


def golden_inputs() -> tuple[Tensor, Tensor]:
    return 2 * ramp((2, Z_DIM), 1), torch.eye(CLASSES)[[0, 2]]


# ---- the originals' outputs ----

# Of genforce's code in double precision, on the same numbers.
GOLDEN = {
    "w": [[-0.246515, 1.24965, -0.0166278, -0.283185, 1.0663], [-0.246452, 1.26345, -0.0151657, -0.283022, 1.0806]],
    "truncated": [
        [0.0453627, 1.06482, 0.150567, -0.0638809, 0.852898],
        [0.045407, 1.07448, 0.151591, -0.0637667, 0.862911],
    ],
    "mean": [[-0.209066, -0.51145, -0.813834], [-0.212897, -0.517157, -0.821416]],
    "std": [[0.410624, 0.609258, 0.808257], [0.408207, 0.605854, 0.803862]],
    "pixels": [
        [[0.162628, 0.0382102, -0.0862075], [0.156549, 0.0293369, -0.097875]],
        [[0.129825, -0.0134529, -0.156731], [0.124053, -0.0219243, -0.167902]],
        [[0.0334916, -0.15058, -0.334652], [0.0268088, -0.160069, -0.346946]],
        [[0.160745, 0.0343454, -0.0920546], [0.155601, 0.0266542, -0.102293]],
    ],
    "logits": [0.46299, -0.862982],
}


def test_golden_generator() -> None:
    network = generator_of(generator_from_genforce(ramped(generator_shapes(128))))
    z, label = golden_inputs()
    w = network.map(z, label=label)
    torch.testing.assert_close(w, torch.tensor(GOLDEN["w"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(network.map(z, 0.7, label), torch.tensor(GOLDEN["truncated"]), atol=1e-4, rtol=0)
    image = network.synthesize(network.broadcast(w))
    torch.testing.assert_close(image.mean(dim=(2, 3)), torch.tensor(GOLDEN["mean"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(image.std(dim=(2, 3)), torch.tensor(GOLDEN["std"]), atol=1e-4, rtol=0)
    pixels = torch.stack([image[:, :, y, x] for y, x in ((0, 0), (0, 127), (64, 31), (127, 5))])
    torch.testing.assert_close(pixels, torch.tensor(GOLDEN["pixels"]), atol=1e-4, rtol=0)


def test_golden_discriminator() -> None:
    network = discriminator_of(discriminator_from_genforce(ramped(discriminator_shapes(128))))
    logits = network(ramp((2, 3, 128, 128), 2), golden_inputs()[1])
    torch.testing.assert_close(logits, torch.tensor(GOLDEN["logits"]), atol=1e-4, rtol=0)


# ---- names and settings ----


def test_settings_are_inferred() -> None:
    config, state = generator_from_genforce(ramped(generator_shapes(32)))
    assert config.to_dict() == {
        "resolution": 32,
        "z_dim": Z_DIM,
        "w_dim": W_DIM,
        "c_dim": CLASSES,
        "image_channels": 3,
        "num_mapping_layers": 8,
        "mapping_dim": INNER_DIM,
        "channel_base": 192,
        "channel_max": 6,
        "widths": (),
        "truncation_cutoff": 8,
    }
    assert state.keys() == StyleGAN1(config).state_dict().keys()
    config, state = discriminator_from_genforce(ramped(discriminator_shapes(32)))
    assert (config.resolution, config.dense_dim, config.c_dim, config.num_std_channels) == (32, 6, CLASSES, 1)
    assert [config.channels(r) for r in (4, 8, 16, 32)] == [6, 6, 6, 6]
    assert state.keys() == ProgressiveDiscriminator(config).state_dict().keys()


@pytest.mark.parametrize(
    ("read", "theirs", "read_genforce", "genforce"),
    [
        (generator_from_tensorflow, tensorflow_generator, generator_from_genforce, generator_shapes),
        (discriminator_from_tensorflow, tensorflow_discriminator, discriminator_from_genforce, discriminator_shapes),
    ],
)
def test_both_layouts_give_the_same(read: Callable, theirs: Callable, read_genforce: Callable, genforce: Callable):
    tensors = theirs(128)
    config, state = read(tensors, {})
    expected_config, expected = read_genforce(ramped(genforce(128)))
    assert config == expected_config
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, msg=name)
    plain = {name.removeprefix("G_"): value for name, value in tensors.items()}
    assert all(torch.equal(value, state[name]) for name, value in read(plain, {})[1].items())


def test_mirrored_kernels_where_the_original_was_told_another_way_of_upscaling() -> None:
    tensors = tensorflow_generator(128)
    states = {fused: generator_from_tensorflow(tensors, {"fused_scale": fused})[1] for fused in ("auto", True, False)}
    for i in range(12):
        name = f"layers.{i}.weight"
        if i < 2 or i % 2:
            assert i == 0 or all(torch.equal(state[name], states["auto"][name]) for state in states.values())
            continue
        torch.testing.assert_close(states[True][name], states[False][name].flip(2, 3))
        assert torch.equal(states["auto"][name], states[i == 10][name])  # layer 10 is the first at 128 pixels
    with pytest.raises(FileFormatError, match="fused_scale='sometimes'"):
        generator_from_tensorflow(tensors, {"fused_scale": "sometimes"})


def test_spread_known_value() -> None:
    kernel = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    expected = [[1.0, 3, 5, 3], [5, 12, 16, 9], [11, 24, 28, 15], [7, 15, 17, 9]]
    torch.testing.assert_close(spread(kernel)[0, 0], torch.tensor(expected))


def test_rate_of_the_mapping_network_is_folded_in() -> None:
    tensors = tensorflow_generator(8)
    published, other = (generator_from_tensorflow(tensors, s)[1] for s in ({}, {"mapping_lrmul": 0.02}))
    for part in ("weight", "bias"):
        name = f"mapping.layers.3.{part}"
        torch.testing.assert_close(other[name], 2 * published[name])


def test_one_class_and_none_are_told_apart_by_the_settings() -> None:
    tensors = tensorflow_discriminator(8)
    for part in ("weight", "bias"):
        tensors[f"4x4/Dense1/{part}"] = tensors[f"4x4/Dense1/{part}"][..., :1]
    assert discriminator_from_tensorflow(tensors, {})[0].c_dim == 0
    assert discriminator_from_tensorflow(tensors, {"label_size": 1})[0].c_dim == 1
    assert discriminator_from_tensorflow(tensors, {"mbstd_group_size": 8})[0].group_size == 8


# ---- bad files ----

READERS = {
    "tensorflow G": (lambda t: generator_from_tensorflow(t, {}), lambda: tensorflow_generator(8)),
    "tensorflow D": (lambda t: discriminator_from_tensorflow(t, {}), lambda: tensorflow_discriminator(8)),
    "genforce G": (generator_from_genforce, lambda: ramped(generator_shapes(8))),
    "genforce D": (discriminator_from_genforce, lambda: ramped(discriminator_shapes(8))),
}


@pytest.mark.parametrize("kind", READERS)
def test_every_missing_or_misshapen_tensor_is_an_error_of_ours(kind: str) -> None:
    read, make = READERS[kind]
    tensors = make()
    config, state = read(tensors)
    build = StyleGAN1 if kind.endswith("G") else ProgressiveDiscriminator
    shapes = {name: value.shape for name, value in build(config).state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == shapes
    optional = ("lod", "kernel", "label_weight", "LabelConcat/weight")
    for name in tensors:
        if name.endswith(optional) or name.startswith(("input1", "FromRGB_lod1")) or "ToRGB_lod1" in name:
            continue
        if "output0" in name:
            continue
        with pytest.raises(FileFormatError):
            read({key: value for key, value in tensors.items() if key != name})
        with pytest.raises(FileFormatError, match="has the shape"):
            read(tensors | {name: torch.zeros((1, 1, 1, 1, 1))})
        with pytest.raises(FileFormatError, match="has the shape"):
            read(tensors | {name: torch.zeros((0,) * tensors[name].dim())})


@pytest.mark.parametrize("kind", READERS)
def test_left_over_tensors_are_named(kind: str) -> None:
    read, make = READERS[kind]
    with pytest.raises(FileFormatError, match=r"1 tensors are left over .*'surprise/weight'"):
        read(make() | {"surprise/weight": torch.zeros(1)})


@pytest.mark.parametrize(("kind", "name"), [("genforce G", "synthesis.lod"), ("genforce D", "lod")])
def test_missing_tensors_are_named(kind: str, name: str) -> None:
    read, make = READERS[kind]
    tensors = make()
    victim = next(key for key in tensors if key.endswith("layer1.bias"))
    with pytest.raises(FileFormatError, match=f"tensor '{victim}' is missing"):
        read({key: value for key, value in tensors.items() if key != victim})
    with pytest.raises(FileFormatError, match=r"saved while it grew \(level of detail 1\.5, expected 0\).*later snap"):
        read(tensors | {name: torch.tensor(1.5)})


@pytest.mark.parametrize(("name", "value"), [("use_wscale", False), ("blur_filter", None), ("nonlinearity", "relu")])
def test_other_settings_are_refused(name: str, value: Any) -> None:
    for read, tensors in (
        (generator_from_tensorflow, tensorflow_generator(8)),
        (discriminator_from_tensorflow, tensorflow_discriminator(8)),
    ):
        with pytest.raises(FileFormatError, match=f"made with {name}={value!r}; only"):
            read(tensors, {name: value})
        read(tensors, {"blur_filter": (1, 2, 1), "resolution": 8})


def test_kernels_of_another_size_are_refused() -> None:
    tensors = ramped(generator_shapes(8))
    with pytest.raises(FileFormatError, match="5 x 5 kernels, expected 3 x 3"):
        generator_from_genforce(tensors | {"synthesis.layer2.weight": torch.zeros(6, 6, 5, 5)})
