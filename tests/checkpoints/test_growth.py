"""A grown generator draws the same image, and takes what was learned for the one it grew from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.checkpoints.growth import atlas_for, for_all_layers, grown, layers_then
from lineament.checkpoints.ours import load_generator, network_fingerprint, save_block, save_network
from lineament.checkpoints.shipped import shipped_path
from lineament.directions.editor import FaceEditor, load_editor
from lineament.errors import ConfigError, FileFormatError, MismatchError
from lineament.faces.inversion import invert_images
from lineament.faces.latent_spread import latent_spread
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.ops.resample import upsample_fir
from lineament.recipes.train.encoder import new_encoder
from lineament.records.atlas import Atlas
from lineament.records.inversion_settings import InversionSettings
from lineament.records.shapes import EncoderConfig, GeneratorConfig
from lineament.store.atlas import load_atlas
from lineament.store.tensors import load_tensors, save_tensors
from tests import tiny


def small() -> StyleGAN2:
    network = tiny.generator()
    assert isinstance(network, StyleGAN2)
    return network


@pytest.mark.parametrize("channels", [0, 1, 5])
def test_the_grown_image_is_the_same_interpolated(channels: int, tmp_path: Path) -> None:
    network = small()
    large = grown(network, channels).eval()
    w = network.map(torch.randn(3, network.config.z_dim))
    before, after = network.synthesize(network.broadcast(w)), large.synthesize(large.broadcast(w))
    torch.testing.assert_close(after.detach(), upsample_fir(before))
    assert large.config.resolution == 64
    assert large.config.channels(64) == (channels or network.config.channels(32))
    assert [large.config.channels(2**i) for i in range(2, 6)] == [network.config.channels(2**i) for i in range(2, 6)]
    save_network(tmp_path / "large.safetensors", "generator", large, large.config.to_dict(), {})
    assert load_generator(tmp_path / "large.safetensors").config.channels(64) == large.config.channels(64)


def test_what_cannot_be_grown_is_said() -> None:
    with pytest.raises(MismatchError, match="only generators that draw an image at every resolution"):
        grown(StyleGAN2(StyleGAN2Config(32, 8, 8, 2, 64, 6, architecture="resnet")))
    with pytest.raises(ConfigError, match="resolution is 2048"):
        grown(StyleGAN2(GeneratorConfig(1024, 8, 8, 2, 1, 1)))


def test_it_knows_what_it_grew_from() -> None:
    network = small()
    once = grown(network)
    twice = grown(once)
    first = network_fingerprint(network)
    assert [layers_then(one, first) for one in (network, once, twice)] == [8, 8, 8]
    assert layers_then(twice, network_fingerprint(once)) == 10
    assert layers_then(network, network_fingerprint(once)) is None
    with torch.no_grad():
        next(once.blocks[0].parameters()).add_(1)
    assert layers_then(once, first) is None


def test_new_layers_take_what_the_last_one_takes() -> None:
    large = grown(small())
    ws = torch.randn(2, 8, 8)
    extended = for_all_layers(ws, large)
    assert extended.shape == (2, 10, 8)
    assert torch.equal(extended[:, :8], ws)
    assert torch.equal(extended[:, 8:], ws[:, 7:].expand(-1, 2, -1))
    assert torch.equal(for_all_layers(extended, large), extended)


def with_steps(atlas: Atlas) -> Atlas:
    """The atlas with a step for each layer in its first direction, and directions of the finest and coarsest layers."""
    steps = np.arange(160.0).reshape(10, 16)
    first, second, third, *rest = atlas.directions
    own = replace(first, layer_steps=steps), replace(second, layers=(8, 9)), replace(third, layers=(0, 1))
    return replace(atlas, directions=(*own, *rest))


def _of_width(atlas: Atlas, width: int) -> Atlas:
    return replace(atlas, directions=(), local=None, w_mean=atlas.w_mean[:width], w_cov=atlas.w_cov[:width, :width])


def test_an_atlas_fits_on(tiny_networks: tuple[StyleGAN2, Decomposer], tiny_atlas: Atlas) -> None:
    network, atlas = tiny_networks[0], with_steps(tiny_atlas)
    large = grown(network)
    assert atlas_for(atlas, network) is atlas
    found = atlas_for(atlas, large)
    assert found.generator_fingerprint == network_fingerprint(large)
    assert found.generator == atlas.generator | {"num_layers": 12, "resolution": 128}
    steps = found.directions[0].layer_steps
    assert steps is not None
    np.testing.assert_array_equal(steps[:10], np.arange(160.0).reshape(10, 16))
    np.testing.assert_array_equal(steps[10:], np.tile(np.arange(144.0, 160.0), (2, 1)))
    assert [found.directions[i].layers for i in (1, 2, 3)] == [(8, 9, 10, 11), (0, 1), None]
    other = _of_width(atlas, 16)
    for wrong in (replace(other, generator=other.generator | {"num_layers": 11}), _of_width(atlas, 15)):
        with pytest.raises(MismatchError, match="the generator that it names has 10 and 16"):
            atlas_for(wrong, network)
    with pytest.raises(MismatchError, match="the atlas was made for generator 00000000"):
        atlas_for(replace(atlas, generator_fingerprint="0" * 64), large, Path("mine.safetensors"))


def test_faces_of_a_grown_generator_are_edited_by_the_atlas_there_was(
    tiny_files: Path, tiny_networks: tuple[StyleGAN2, Decomposer], tmp_path: Path
) -> None:
    large = grown(tiny_networks[0]).eval()
    save_network(tmp_path / "large.safetensors", "generator", large, large.config.to_dict(), {})

    def editor(path: Path) -> FaceEditor:
        decomposer = tiny_files / "decomposer.safetensors"
        return load_editor(tiny_files / "atlas.safetensors", path, decomposer, "faces64", torch.device("cpu"))

    before, after = editor(tiny_files / "generator.safetensors"), editor(tmp_path / "large.safetensors")
    changes = np.full((2, 1), 3.0)
    w = before.generator.map(torch.randn(2, 16))
    small_images, images = (one.edited(w, ("yaw",), changes) for one in (before, after))
    # Clamped after it is interpolated, or before: the same but at the rims of what is clamped.
    assert float((images - upsample_fir(small_images)).abs().median()) < 1e-5


def test_photographs_are_inverted_with_the_encoder_there_was(tiny_networks: tuple[StyleGAN2, Decomposer]) -> None:
    network = tiny_networks[0]
    large = grown(network).eval().requires_grad_(False)
    spread = latent_spread(network)
    shape = EncoderConfig(channels=4, channel_max=6, offset_dim=4)
    encoder = new_encoder(network, spread, shape).eval().requires_grad_(False)
    photographs = torch.rand(2, 3, 128, 128) * 2 - 1
    found = invert_images(large, encoder, photographs, InversionSettings(steps=0))
    assert torch.equal(found.ws, for_all_layers(encoder(photographs), large))
    assert found.images.shape == photographs.shape
    with pytest.raises(MismatchError, match="the encoder was trained for generator"):
        invert_images(grown(tiny.generator(tiny.GENERATOR64)), encoder, photographs)  # pyright: ignore[reportArgumentType]


def test_the_shipped_parts_move_the_new_layers_too() -> None:
    atlas = load_atlas(shipped_path("atlas.safetensors", "faces64"))
    found = atlas.of_grown("1" * 64, 12, 128)
    assert found.local is not None
    assert atlas.local is not None
    assert found.local.layer_groups[-1] == (*atlas.local.layer_groups[-1], 10, 11)
    assert found.local.layer_groups[:-1] == atlas.local.layer_groups[:-1]
    for before, after in zip(atlas.local.parts, found.local.parts, strict=True):
        if before.direction.layers == atlas.local.layer_groups[-1]:
            assert after.direction.layers == found.local.layer_groups[-1]
        else:
            assert after.direction.layers == before.direction.layers


def test_a_block_alone_is_put_together_with_the_shipped_generator(tmp_path: Path) -> None:
    network = load_generator(shipped_path("generator.safetensors", "faces64"))
    assert isinstance(network, StyleGAN2)
    large = grown(network, 3).eval()
    torch.nn.init.normal_(large.blocks[-1].to_rgb.weight)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    large.load_state_dict({name: tensor.half().float() for name, tensor in large.state_dict().items()})
    file = tmp_path / "block.safetensors"
    save_block(file, large, "faces64", {})
    assert file.stat().st_size < 0.2 * shipped_path("generator.safetensors", "faces64").stat().st_size
    found = load_generator(file)
    assert network_fingerprint(found) == network_fingerprint(large)
    assert layers_then(found, network_fingerprint(network)) == 10
    save_block(file, large, "renders64", {})
    with pytest.raises(FileFormatError, match="was grown from another renders64 than comes with this release"):
        load_generator(file)
    tensors, header = load_tensors(file, kind="generator", framework="pt")
    header["grown_from"]["pair"] = "mine"
    save_tensors(file, tensors, kind="generator", schema_version=1, header=header)
    with pytest.raises(FileFormatError, match="was grown from a generator 'mine' that does not come"):
        load_generator(file)
