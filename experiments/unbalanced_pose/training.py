"""One small network and one recipe, the same for every arm of a task."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from lineament.ops.pixels import to_tensor
from lineament.ops.seeding import philox, step_generator

Kind: TypeAlias = Literal["regression", "verification"]
"""The kind of task: measure the angle in a picture, or tell whether two pictures show one person."""

_ORDER, _AUGMENT, _PARTNERS = 1, 2, 4


@dataclass(frozen=True)
class Recipe:
    """How every network of the experiment is trained; fixed on the validation pictures for the lopsided set as is."""

    steps: int = 700
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    channels: tuple[int, ...] = (12, 24, 48, 96)
    embedding: int = 64
    temperature: float = 0.1
    """Cosines are divided by it before the softmax."""
    half: bool = True
    """Compute the network in bfloat16."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Pictures and their targets for a network.

    Attributes:
        images: the pictures.
        values: the angle to learn, in the units of its label.
        people: the person in each picture, numbered from zero.
        sources: the picture that each was made from; pictures of one source share expression, light and background.
        chance: how often each picture is drawn, relative to the others.
        weight: weight of each picture's loss; the mean is one.
        augment: whether pictures are randomly mirrored, shifted and recoloured each time.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    values: Float[np.ndarray, " n"]
    people: Int[np.ndarray, " n"]
    sources: Int[np.ndarray, " n"]
    chance: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    augment: bool = False


class Net(nn.Module):
    """A small convolutional network: two 3 x 3 convolutions at each of four sizes, the first with stride two."""

    def __init__(self, channels: tuple[int, ...], out_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(zip((3, *channels), channels, strict=False)):
            for k in range(1 if i == 0 else 2):
                layers += [
                    nn.Conv2d(narrow if k == 0 else wide, wide, 3, stride=2 - k, padding=1, bias=False),
                    nn.BatchNorm2d(wide),
                    nn.ReLU(inplace=True),
                ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1] * 16, out_dim)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """The angle or the embedding of pictures (in [-1, 1], 64 px)."""
        return self.head(self.body(images).flatten(1))


def augmented(
    images: Float[Tensor, "n 3 h w"], values: Float[Tensor, " n"], rng: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, " n"]]:
    """Pictures, half of them mirrored (with the sign of their angle), slightly moved and recoloured at random.

    They are rotated by up to 8 degrees, scaled by up to 8 % and shifted by up to 5 % of the width. This is small enough
    to keep yaw and light from the side. Brightness, contrast and saturation change by up to a quarter.
    """
    n = len(images)

    def uniform(size: float) -> Tensor:
        return (torch.rand(n, generator=rng) * 2 - 1) * size

    sign = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    angle, scale = torch.deg2rad(uniform(8.0)), 1 + uniform(0.08)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # The rotation acts on the mirrored picture. The grid says where to fetch pixels, so the mirror acts on x last.
    rows = torch.stack([cos * sign, -sin * sign, uniform(0.1), sin, cos, uniform(0.1)], 1).view(n, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=True)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)
    brightness, contrast, saturation = (1 + uniform(0.25)[:, None, None, None] for _ in range(3))
    moved = (moved + 1) * brightness - 1
    middle = moved.mean(dim=(1, 2, 3), keepdim=True)
    moved = (moved - middle) * contrast + middle
    grey = moved.mean(dim=1, keepdim=True)
    return ((moved - grey) * saturation + grey).clamp(-1, 1), values * sign


def train(data: TrainingSet, kind: Kind, reach: float, recipe: Recipe, seed: int) -> Net:
    """Train a network on a set of pictures.

    Args:
        data: the training set.
        kind: the kind of task.
        reach: the largest value; values are divided by it.
        recipe: how to train.
        seed: seed of the weights and of the order of the pictures.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(recipe.channels, 1 if kind == "regression" else recipe.embedding)
    net.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    chosen = drawn(data.chance, recipe.steps * recipe.batch_size, seed).reshape(recipe.steps, recipe.batch_size)
    if kind == "verification":
        chosen = with_partners(chosen[:, : recipe.batch_size // 2], data, seed)
    for step in range(recipe.steps):
        at = chosen[step]
        images, values = to_tensor(data.images[at]), torch.from_numpy(data.values[at] / reach).float()
        if data.augment:
            images, values = augmented(images, values, step_generator(seed, _AUGMENT, step))
        # Half precision is a third faster on processors that support it; losses are computed in single precision.
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            said = net(images.contiguous(memory_format=torch.channels_last)).float()
        if kind == "regression":
            losses = F.smooth_l1_loss(said[:, 0], values, reduction="none", beta=0.1)
        else:
            losses = contrastive_losses(said, torch.from_numpy(data.people[at]), recipe.temperature)
        loss = (losses * torch.from_numpy(data.weight[at]).float()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def drawn(chance: Float[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " count"]:
    """Indices of the pictures in the order in which they are shown, in shuffled epochs.

    In each epoch, a picture appears as often as its chance says, up to one time more or less. Equal chances give
    ordinary epochs.
    """
    order: list[np.ndarray] = []
    cumulative = np.cumsum(chance / chance.sum())
    n, epoch = len(chance), 0
    while sum(map(len, order)) < count:
        random = philox(seed, _ORDER, epoch)
        marks = (np.arange(n) + random.random()) / n
        order.append(random.permutation(np.minimum(np.searchsorted(cumulative, marks), n - 1)))
        epoch += 1
    return np.concatenate(order)[:count]


def with_partners(chosen: Int[np.ndarray, "steps n"], data: TrainingSet, seed: int) -> Int[np.ndarray, "steps m"]:
    """The batches, each followed by partners: for each picture another one of the same person, drawn by its chance.

    A partner never has the same source, because recognising the same background would be too easy.
    """
    order = np.argsort(data.people, kind="stable")
    starts = np.searchsorted(data.people[order], np.arange(data.people.max() + 2))
    partners = np.empty_like(chosen)
    for step, batch in enumerate(chosen):
        random = philox(seed, _PARTNERS, step)
        for k, i in enumerate(batch):
            own = order[starts[data.people[i]] : starts[data.people[i] + 1]]
            own = own[data.sources[own] != data.sources[i]]
            partners[step, k] = random.choice(own, p=data.chance[own] / data.chance[own].sum())
    return np.concatenate([chosen, partners], axis=1)


def contrastive_losses(
    said: Float[Tensor, "n d"], people: Int[Tensor, " n"], temperature: float
) -> Float[Tensor, " n"]:
    """Supervised contrastive loss of each picture: low if it is more similar to its person than to others in the batch.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    unit = F.normalize(said)
    itself = torch.eye(len(unit), dtype=torch.bool)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    same = (people[:, None] == people[None]) & ~itself
    log_share = logits.log_softmax(dim=1).masked_fill(~same, 0.0)
    return -log_share.sum(dim=1) / same.sum(dim=1)


@torch.inference_mode()
def outputs(net: Net, images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
    """Outputs of a network for pictures."""
    parts = [to_tensor(images[i : i + 256]) for i in range(0, len(images), 256)]
    return torch.cat([net(part.contiguous(memory_format=torch.channels_last)) for part in parts]).numpy()
