"""The decomposer: ranges, borders, and the mirror symmetry of what it measures."""

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from lineament.errors import ConfigError
from lineament.networks.decomposer import LIGHT_SIGNS, MEAN_GAIN, VIEW_SIGNS, Decomposer
from lineament.ops.render import render
from lineament.ops.shapes import ellipsoid_depth, face_oval
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.records.shapes import DecomposerConfig
from tests import tiny

BARE = dict.fromkeys(("mean_shape", "aligned", "tied_shape", "face_light", "mean_head"), False)


def noise(n: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def small(resolution: int, **changes: bool) -> Decomposer:
    return tiny.decomposer(replace(tiny.DECOMPOSER, resolution=resolution, **changes), gain=50.0)


@pytest.mark.parametrize("size", [64, 128])
def test_shapes_and_ranges(size: int) -> None:
    network = small(size)
    network.depth_net.head.weight.mul_(200)
    network.albedo_net.head.weight.mul_(200)
    parts = network(noise(2, size))
    camera = network.camera
    assert parts.canon_depth.shape == (2, size, size)
    assert parts.canon_albedo.shape == (2, 3, size, size)
    inner = parts.canon_depth[:, :, 2:-2]
    assert camera.min_depth - 1e-6 <= inner.min() < 0.92
    assert 1.08 < inner.max() <= camera.max_depth + 1e-6
    assert parts.canon_albedo.abs().max() <= 1
    assert parts.view.shape == (2, 6)
    assert parts.view[:, :3].abs().max() <= math.radians(60) + 1e-6
    assert parts.view[:, 3:5].abs().max() <= 0.1 + 1e-6
    assert (parts.view[:, 5] == 0).all()
    assert parts.light.shape == (2, 4)
    assert (parts.light[:, :2] >= 0).all()
    assert (parts.light[:, :2] <= 1).all()
    assert parts.light[:, 2:].abs().max() <= 1


def test_border_columns() -> None:
    depth = small(64).depth(noise())
    border = torch.cat([depth[:, :, :2], depth[:, :, -2:]], dim=2)
    torch.testing.assert_close(border, torch.full_like(border, Camera().border_depth))
    assert (depth[:, :, 2] != Camera().border_depth).any()
    assert (depth[:, 0, 2:-2] != Camera().border_depth).any()  # rows are free


def test_another_camera() -> None:
    camera = Camera(min_depth=0.5, max_depth=0.7, border_depth=0.65)
    torch.manual_seed(0)
    depth = Decomposer(tiny.DECOMPOSER, camera).depth(noise())
    assert 0.5 <= depth.min() < depth.max() <= 0.7
    torch.testing.assert_close(depth[:, :, 0], torch.full((2, 64), 0.65))


@pytest.mark.parametrize("size", [64, 128])
def test_confidence(size: int) -> None:
    network = small(size)
    pixels, features = network.sigmas(noise(3, size))
    assert pixels.shape == (3, 2, size, size)
    assert features.shape == (3, 2, size // 4, size // 4)
    assert min(pixels.min(), features.min()) >= network.config.min_sigma


def test_a_network_for_use_says_the_same_but_not_how_sure_it_is() -> None:
    network = Decomposer(tiny.DECOMPOSER).eval()
    network.face_box = (0.1, 0.1, 0.9, 0.9)
    used, image = network.for_use(), noise(2, 64)
    said, before = used(image), network(image)
    assert all(torch.equal(getattr(said, part.name), getattr(before, part.name)) for part in fields(before))
    assert used.face_box == network.face_box
    assert Decomposer(used.config).state_dict().keys() == used.state_dict().keys()
    assert network.confidence_net is not None
    assert len(network.parts()) == len(used.parts()) + 1
    with pytest.raises(ConfigError, match="without its confidence"):
        used.sigmas(image)


def test_view_and_light_of_the_mirror_image_are_mirrored() -> None:
    network, images = small(64), noise(3)
    parts, mirrored = network(images), network(images.flip(3))
    torch.testing.assert_close(mirrored.view, parts.view * torch.tensor(VIEW_SIGNS), rtol=0, atol=1e-7)
    torch.testing.assert_close(mirrored.light, parts.light * torch.tensor(LIGHT_SIGNS), rtol=0, atol=1e-7)
    assert (parts.view[:, :5].std(dim=0) > 0).all()
    free = small(64, equivariant=False)
    assert float((free(images.flip(3)).view - free(images).view * torch.tensor(VIEW_SIGNS)).abs().max()) > 1e-3


def share_of_faces(net: torch.nn.Module, images: torch.Tensor) -> float:
    """How much of the spread of a layer's values is between images."""
    values = net(images)
    return float(values.std(dim=0).mean() / values.std())


def test_he_weights_carry_the_image_through() -> None:
    torch.manual_seed(0)
    network = Decomposer(DecomposerConfig())
    images = torch.from_numpy(tiny.images(16, 64)).permute(0, 3, 1, 2) / 127.5 - 1
    nets = [torch.nn.Sequential(net.encoder, net.decoder[:-1]) for net in (network.depth_net, network.albedo_net)]
    with torch.no_grad():
        seen = network.front(images, torch.zeros(16, 6))
        assert max(share_of_faces(net, seen) for net in nets) < 0.2  # PyTorch's default
        network.init_he()
        assert min(share_of_faces(net, seen) for net in nets) > 0.3
        # All activations have about the size of the input's, and the outputs start small.
        x = network.front(images, network.view(images))
        for layer in [*network.albedo_net.encoder, *network.albedo_net.decoder[:-1]]:
            x = layer(x)
            assert 0.2 < float(x.square().mean().sqrt()) < 3
        parts = network(images)
        assert float(parts.view.abs().max()) < 0.3
        assert float(parts.canon_depth.std(dim=0).max()) < 1e-6  # how faces differ is learned


@pytest.mark.parametrize("resolution", [64, 128])
def test_single_shapes_differ_smoothly(resolution: int) -> None:
    raw = torch.randn(2, resolution, resolution, generator=torch.Generator().manual_seed(0))
    image = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(1))

    def roughness(blur: float) -> float:
        network = Decomposer(replace(tiny.DECOMPOSER, resolution=resolution, shape_blur=blur)).eval()
        network.depth_net.forward = lambda front: raw[:, None]  # pyright: ignore[reportAttributeAccessIssue]
        depth = network.depth(image).detach()[:, :, 4:-4]
        return float((depth[:, 1:] - depth[:, :-1]).square().mean() / depth.var(dim=(1, 2)).mean())

    assert roughness(0.0) > 1.5  # as rough as noise
    assert roughness(0.03) < 4 / (0.03 * resolution) ** 2
    depth = Decomposer(replace(tiny.DECOMPOSER, shape_blur=0.03)).depth(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(depth, depth.flip(2))


@pytest.mark.parametrize("tied", [False, True])
def test_start_from_a_shape(tied: bool) -> None:
    network = Decomposer(replace(tiny.DECOMPOSER, tied_shape=tied))
    shape = ellipsoid_depth(64, near=0.95, far=1.05)
    network.start_from(shape)
    depth = network.depth(noise(3)).detach()
    assert torch.equal(depth[0], depth[2])  # how faces differ is learned
    relief, wanted = depth[0, 32, 20:44] - depth[0, 32, 32], shape[32, 20:44] - shape[32, 32]
    scale = float(relief @ wanted / (wanted @ wanted))
    assert (scale < 0.9) is tied  # this ellipsoid is deeper than a head
    torch.testing.assert_close(relief, wanted * (scale if tied else 1), atol=1e-3, rtol=0.1)
    with pytest.raises(ConfigError, match=r"needs --network\.mean-shape"):
        small(64, **BARE).start_from(shape)


@pytest.mark.parametrize("symmetric", [False, True])
def test_canonical_maps_are_symmetric_where_asked(symmetric: bool) -> None:
    network = small(64, symmetric_depth=symmetric, symmetric_albedo=symmetric)
    parts = network(noise())
    twin = parts.mirrored()
    assert torch.allclose(parts.canon_depth, twin.canon_depth, atol=1e-6) is symmetric
    assert torch.allclose(parts.canon_albedo, twin.canon_albedo, atol=1e-6) is symmetric


@pytest.mark.parametrize("equivariant", [False, True])
def test_measure_mirrors_exactly(equivariant: bool) -> None:
    network, images = small(64, equivariant=equivariant), noise(3)
    values, mirrored = network.measure(images), network.measure(images.flip(3))
    sign = torch.tensor(
        [-1.0 if name in ("yaw", "roll", "translation_x", "light_x") else 1.0 for name in SEMANTIC_NAMES]
    )
    assert torch.equal(mirrored, values * sign)
    assert (values.std(dim=0) > 0).all()


@pytest.mark.parametrize("lopsided", [{}, {"symmetric_depth": False}, {"face_light": False}])
def test_light_mirrors_exactly_whatever_the_mean_shape(lopsided: dict[str, bool]) -> None:
    network, images = small(64, **lopsided), noise(3)
    assert network.mean_shape is not None
    network.mean_shape.copy_(noise(1, 16)[0, 0] / 10)
    light = network.light(images)
    assert torch.equal(network.light(images.flip(3)), light * torch.tensor(LIGHT_SIGNS))
    assert float(light.std(dim=0).min()) > 0
    torch.testing.assert_close(network(images).light, light)
    torch.testing.assert_close(network.light(images, network.view(images)), light)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("face_light", [True, False])
def test_only_the_face_counts_for_the_light(size: int, face_light: bool) -> None:
    network, image, ahead = small(size, face_light=face_light), noise(2, size), torch.zeros(2, 6)
    around = (
        F.max_pool2d(face_oval(size)[None].float(), 3, stride=1, padding=1) > 0
    )  # pixels may take of their neighbours
    assert 0.1 < float((~around).float().mean()) < 0.5
    other = torch.where(around, image, -image.flip(0))
    change = float((network.light(other, ahead) - network.light(image, ahead)).abs().max())
    assert change == 0 if face_light else change > 1e-3
    inside = torch.where(around, -image.flip(0), image)
    assert float((network.light(inside, ahead) - network.light(image, ahead)).abs().max()) > 1e-3


def test_light_is_read_off_the_face_wherever_it_looks() -> None:
    network, image = small(64), noise(1)
    turned = torch.tensor([[0.1, 0.5, 0.1, 0.01, 0.0, 0.0]])
    assert float((network.light(image, turned) - network.light(image, torch.zeros(1, 6))).abs().max()) > 1e-3
    plain = small(64, face_light=False)
    assert torch.equal(plain.light(image, turned), plain.light(image))


def test_measure_of_a_symmetric_image_has_no_side() -> None:
    images = noise(2)
    values = small(64).measure(images + images.flip(3))
    for name in ("yaw", "roll", "translation_x", "light_x"):
        assert (values[:, SEMANTIC_NAMES.index(name)] == 0).all(), name


def test_measure_units(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small(64, equivariant=False)
    view = torch.tensor([[0.1, 0.2, 0.3, 0.01, 0.02, 0.0]])
    light = torch.tensor([[0.4, 0.5, 0.6, 0.7]])
    mirror_view, mirror_light = view * torch.tensor(VIEW_SIGNS), light * torch.tensor(LIGHT_SIGNS)
    monkeypatch.setattr(network, "view", lambda image: torch.cat([view, mirror_view]))
    monkeypatch.setattr(network, "light", lambda image, view: torch.cat([light, mirror_light]))
    measured = dict(zip(SEMANTIC_NAMES, network.measure(noise(1))[0].tolist(), strict=True))
    width = 2 * math.tan(math.radians(5))
    expected = {
        "yaw": math.degrees(0.2),
        "pitch": math.degrees(0.1),
        "roll": math.degrees(0.3),
        "translation_x": 1 / width,
        "translation_y": 2 / width,
        "ambient": 0.4,
        "diffuse": 0.5,
        "light_x": 0.6,
        "light_y": 0.7,
    }
    assert measured == pytest.approx(expected, rel=1e-5)


def test_does_not_depend_on_the_batch() -> None:
    network, images = small(64), noise(5)
    whole = network.measure(images)
    alone = torch.cat([network.measure(images[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, whole, atol=1e-4, rtol=1e-5)


def test_parameter_count_of_the_default() -> None:
    # A pin: a change makes every saved decomposer unreadable.
    with torch.device("meta"):
        network = Decomposer(DecomposerConfig())
    means, mirror_images = 3 * 64**2, 2 * 3 * 24 * 4**2
    assert sum(p.numel() for p in network.parameters()) == 3_953_618 + means + mirror_images
    assert network.mean_shape is not None
    assert network.mean_shape.shape == (64, 64)
    with torch.device("meta"):
        learned = Decomposer(DecomposerConfig(mean_head=False))
    assert sum(p.numel() for p in learned.parameters()) == 3_953_618 + 16**2 + means + mirror_images


def test_wrong_resolution() -> None:
    with pytest.raises(ConfigError, match="resolution is 100, expected 64 or 128"):
        DecomposerConfig(resolution=100)


def test_mean_of_the_raw_depth_is_taken_out() -> None:
    network, images = small(64), noise()
    before = network.depth(images)
    network.depth_net.head.bias.add_(3.0)
    torch.testing.assert_close(network.depth(images), before, atol=1e-5, rtol=0)


def test_upright_removes_the_tilt_from_views_and_light() -> None:
    """Derivation: a face tilted by t that is seen turned by yaw about its own upright axis has R = Ry(yaw) Rx(t)."""
    network = tiny.decomposer()
    network.tilt.fill_(math.radians(12))
    view = torch.tensor([[math.radians(12), math.radians(20), 0, 0.01, -0.02, 0], [0, 0, 0, 0, 0, 0]])
    # Light from straight ahead of the tilted face falls 12 degrees off the upright one's axis.
    light = torch.tensor([[0.4, 0.5, 0, 0], [0.4, 0.5, 0.3, 0]])
    angles, moved = network.upright(view, light)
    assert torch.allclose(angles[0, :3], torch.tensor([0, math.radians(20), 0]), atol=1e-6)
    assert torch.equal(angles[:, 3:], view[:, 3:])
    assert angles[1, 0] == pytest.approx(-math.radians(12), abs=1e-6)
    assert moved[0].tolist() == pytest.approx([0.4, 0.5, 0, -math.tan(math.radians(12))], abs=1e-6)
    assert moved[1, 2] == pytest.approx(0.3 / math.cos(math.radians(12)), abs=1e-6)


def test_upright_without_tilt_changes_nothing() -> None:
    rng = torch.Generator().manual_seed(0)
    view = (torch.rand(16, 6, generator=rng) * 2 - 1) * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1, 0.0])
    light = torch.rand(16, 4, generator=rng)
    angles, moved = tiny.decomposer().upright(view, light)
    assert torch.allclose(angles, view, atol=1e-5)
    assert torch.allclose(moved, light, atol=1e-6)


def test_aligned_networks_see_a_face_from_the_front() -> None:
    # Turn a picture of a known surface; what the networks see is the picture again where it is not hidden.
    network = Decomposer(tiny.DECOMPOSER)
    network.start_from(ellipsoid_depth(64, near=0.95, far=1.05))
    rows, columns = torch.meshgrid(torch.linspace(-3, 3, 64), torch.linspace(-3, 3, 64), indexing="ij")
    albedo = torch.stack([rows.sin(), columns.sin(), (rows + columns).cos()])[None].mul(0.8)
    depth = network.depth(albedo).detach()  # untrained: the mean shape
    view = torch.tensor([[0.1, 0.3, 0.1, 0.005, -0.005, 0.0]])
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    seen = render(Decomposition(depth, albedo, view, light), network.camera).recon_image
    face, mirrored = network.front(seen, view).split(3, dim=1)
    middle = (slice(None), slice(None), slice(16, 48), slice(16, 48))
    turned, turned_back = ((image - albedo)[middle].abs().mean() for image in (seen, face))
    assert float(turned_back) < 0.1 * float(turned)
    torch.testing.assert_close(mirrored, face.flip(3))
    assert torch.equal(small(64, aligned=False, face_light=False).front(seen, view), seen)


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (
            ("mean_shape",),
            r"--network\.no-aligned, --network\.no-tied-shape and --network\.no-mean-head with --network\.no-mean-sh",
        ),
        (("mean_shape", "aligned", "face_light"), r"--network\.no-tied-shape and"),
        (("mean_shape", "tied_shape"), r"--network\.no-aligned, "),
        (("aligned",), r"--network\.no-face-light with --network\.no-aligned"),
    ],
)
def test_what_needs_a_setting_is_refused_without_it(off: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        replace(tiny.DECOMPOSER, **dict.fromkeys(off, False))
    assert "\n" not in str(refused.value)


def test_mean_albedo_is_its_own_mirror_image_and_of_all_faces() -> None:
    network = Decomposer(tiny.DECOMPOSER).requires_grad_(False)
    images = noise(2)
    before = network.albedo(images).atanh()
    assert network.mean_albedo is not None
    network.mean_albedo[0, 5, 7] = 0.1
    change = network.albedo(images).atanh() - before
    expected = torch.zeros_like(change)
    expected[:, 0, 5, [7, 56]] = 0.1 * MEAN_GAIN / 2
    torch.testing.assert_close(change, expected, atol=1e-4, rtol=1e-3)


def test_every_parameter_belongs_to_one_part() -> None:
    for network in (small(64), small(64, mean_albedo=False, **BARE)):
        listed = [id(p) for part in network.parts() for p in part]
        assert sorted(listed) == sorted(id(p) for p in network.parameters())


def test_what_the_networks_see_follows_image_and_view_but_teaches_no_view() -> None:
    network = Decomposer(tiny.DECOMPOSER)
    image, view = noise(1), torch.full((1, 6), 0.01)
    for training in (False, True):
        network.train(training)
        leaves = image.clone().requires_grad_(), view.clone().requires_grad_()
        network.front(*leaves).square().sum().backward()
        assert leaves[0].grad is not None
        assert (leaves[1].grad is None) is training
        assert network.mean_shape is not None
        assert network.mean_shape.grad is None


def test_the_albedo_as_seen_is_the_one_that_was_painted() -> None:
    """Render a relief with a pattern, turned and lit from one side, and read its albedo back off the image."""
    network = small(64).eval()
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    depth = (1 - 0.04 * torch.exp(-3 * (x**2 + y**2)))[None]
    albedo = torch.stack([0.4 * torch.sin(4 * x), 0.3 * torch.cos(5 * y), 0.2 * x * y])[None]
    view = torch.tensor([[0.05, 0.2, 0.03, 0.002, -0.003, 0.0]])
    parts = Decomposition(depth, albedo, view, torch.tensor([[0.4, 0.5, 0.6, -0.2]]))
    image = render(parts, network.camera).recon_image
    seen = network.seen_albedo(image, parts)
    inner = (slice(None), slice(None), slice(14, 50), slice(14, 50))
    assert float((seen[inner] - albedo[inner]).abs().mean()) < 0.01
    dark = replace(parts, light=torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    assert float(network.seen_albedo(image, dark).max()) <= 3
    flat = replace(parts, canon_depth=torch.ones_like(depth))
    assert float((network.seen_albedo(image, flat)[inner] - albedo[inner]).abs().mean()) > 0.03


def test_the_face_box_is_cut_out_of_larger_images() -> None:
    network = tiny.decomposer(replace(tiny.DECOMPOSER, face_box=(0.5, 0.0, 1.0, 0.5)))
    image = torch.randn(1, 3, 128, 128)
    assert torch.equal(network.shown(image), image[:, :, :64, 64:])
    network.face_box = (0.0, 0.0, 0.5, 0.5)
    assert torch.equal(network.shown(image), image[:, :, :64, :64])
    for box in ((0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 1.1), (-0.1, 0.0, 1.0, 1.0), (0.0, 0.9, 1.0, 0.1)):
        with pytest.raises(ConfigError, match="the face box is"):
            replace(tiny.DECOMPOSER, face_box=box)
