"""Agreement says which images a decomposer can put together again."""

import torch

from lineament.checkpoints.ours import load_decomposer, load_generator
from lineament.checkpoints.shipped import shipped_path
from lineament.faces.agreement import DOUBTFUL, agreement
from lineament.ops.render import render
from lineament.ops.seeding import latents
from tests import tiny


@torch.no_grad()
def test_what_was_put_together_is_alike_whatever_its_brightness_and_surroundings() -> None:
    network = tiny.decomposer(gain=20.0)
    seen = torch.from_numpy(tiny.images(4, 64)).permute(0, 3, 1, 2) / 127.5 - 1
    parts = network(seen)
    made = render(parts, network.camera)
    noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    image = torch.where(made.recon_mask[:, None], 0.7 * made.recon_image - 0.1, noise)
    assert float(agreement(network, image, parts).min()) > 0.95
    assert float(agreement(network, noise, parts).abs().max()) < 0.2
    assert float(agreement(network, torch.zeros_like(seen), parts).abs().max()) == 0
    assert float(agreement(network, -image, parts).max()) < 0


@torch.no_grad()
def test_faces_are_alike_and_other_images_are_not() -> None:
    pair = "renders64"
    generator = load_generator(shipped_path("generator.safetensors", pair))
    network = load_decomposer(shipped_path("decomposer.safetensors", pair))
    faces = generator(latents(0, range(24), generator.config.z_dim), 0.7).clamp(-1, 1)

    def found(images: torch.Tensor) -> torch.Tensor:
        return agreement(network, images, network(images))

    usual = found(faces)
    assert float(usual.quantile(0.1)) > DOUBTFUL + 0.2
    hidden = faces.clone()
    hidden[:, :, 24:] = 0.2
    for other in (faces.flip(2), faces.transpose(2, 3), faces.roll(20, 3), hidden, -faces):
        assert float(found(other).median()) < float(usual.quantile(0.1)) - 0.1
    assert float(found(torch.randn(24, 3, 64, 64).clamp(-1, 1)).max()) < 0.2
