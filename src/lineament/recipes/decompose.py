"""Take faces apart: write a picture of the parts, print the semantics and, if asked, save all numbers as arrays."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from lineament import __version__
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer, network_fingerprint
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.console import console, number
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError, ImageError, MismatchError
from lineament.faces.agreement import DOUBTFUL, agreement
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.measure import measure
from lineament.faces.subjects import parse_seeds
from lineament.networks.decomposer import Decomposer
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.seeding import latents
from lineament.ops.shading import normals_from_depth
from lineament.records.decomposition import Decomposition
from lineament.records.semantics import SCALAR_SEMANTICS, SEMANTIC_NAMES
from lineament.reports.figures import MIN_TILE_PX, PART_NAMES, labelled_rows, part_pictures, relit, seen, turned
from lineament.settings.decompose import MAX_FACES, DecomposeConfig
from lineament.store.atomic import atomic_write
from lineament.store.images import ImageSource, ReadingReport, decode_image
from lineament.store.pictures import save_png

TURNS_DEG = (-30.0, 30.0)
LIGHTS_X = (1.2, -1.2)
ROWS = (*PART_NAMES, *(f"turned {turn:+g}°" for turn in TURNS_DEG), "lit from left", "lit from right")
_BATCH = 8


@dataclass(frozen=True)
class DecomposeResult:
    """Output of the decomposer for every face.

    Attributes:
        path: the picture.
        maps: file of the arrays; None if they were not asked for.
        names: names of the faces, such as "seed 3" or "a/b.png".
        semantics: measured values, in the order and units of `SCALAR_SEMANTICS`.
        agreement: how far each is to be believed; see `faces.agreement`.
    """

    path: Path
    maps: Path | None
    names: tuple[str, ...]
    semantics: Float[np.ndarray, "n m"]
    agreement: Float[np.ndarray, " n"]

    def table(self) -> Table:
        """One row per face."""
        table = Table(title="What the decomposer measures", title_justify="left")
        table.add_column("face", style="bold", overflow="fold")
        for semantic in SCALAR_SEMANTICS:
            table.add_column(Text(f"{semantic.name}\n[{semantic.unit}]"), justify="right", no_wrap=True)
        table.add_column("agreement", justify="right")
        for name, values, alike in zip(self.names, self.semantics.tolist(), self.agreement.tolist(), strict=True):
            table.add_row(Text(name), *map(number, values), f"{alike:.2f}")
        return table

    def warning(self) -> str | None:
        """What to say of images that show no face as the decomposer knows them; None if all do."""
        doubtful = [name for name, alike in zip(self.names, self.agreement.tolist(), strict=True) if alike < DOUBTFUL]
        if not doubtful:
            return None
        return (
            f"{len(doubtful)} of {len(self.names)} images have an agreement below {DOUBTFUL}, the first: "
            f"{doubtful[0]}; their numbers mean little. Do they show aligned faces, not hidden in part?"
        )

    def renderables(self) -> list[RenderableType]:
        """For standard output: the table, a warning if there is a reason, the paths."""
        said = self.warning()
        return [
            self.table(),
            *([said] if said else []),
            *(str(path) for path in (self.path, self.maps) if path is not None),
        ]


@dataclass(frozen=True)
class FacesToDecompose:
    """Faces to take apart.

    Attributes:
        images: in [-1, 1], at the decomposer's resolution.
        names: names for people to read.
        numbers: arrays that identify the faces, such as their seeds, for the file of arrays.
        origin: text for the picture's file.
    """

    images: Float[Tensor, "n 3 h w"]
    names: list[str]
    numbers: dict[str, np.ndarray]
    origin: dict[str, str]


def photographs(path: Path, count: int, resolution: int) -> FacesToDecompose:
    """The first usable images of a folder or zip.

    Raises:
        ImageError: there is no usable image.
    """
    source, report = ImageSource(path), ReadingReport()
    names: list[str] = []
    images: list[np.ndarray] = []
    with source.reader() as read:
        for name in source.names:
            try:
                images.append(decode_image(read(name), resolution, report))
            except ImageError as error:
                report.skipped[name] = str(error)
                continue
            names.append(name)
            if len(names) == count:
                break
    if not names:
        raise ImageError(f"{path} has no usable image among {len(source)}: {report.summary()}")
    for line in report.lines():
        console.print(line, soft_wrap=True, markup=False)
    origin = {"lineament:faces": f"{len(names)} of {path.name}"}
    return FacesToDecompose(to_tensor(np.stack(images)), names, {"images": np.array(names)}, origin)


def generated(
    path: Path, seeds: list[int], truncation: float, decomposer: Decomposer, device: torch.device
) -> FacesToDecompose:
    """Faces drawn by a generator; the same seeds give the same faces as in `lineament edit`.

    Raises:
        MismatchError: the generator's images are smaller than the decomposer's.
    """
    generator = open_generator(path, device)
    found, resolution = generator.config.resolution, decomposer.config.resolution
    if found < resolution:
        raise MismatchError(
            f"{path} makes {found} px images, the decomposer takes {resolution} px: choose networks that fit"
        )
    z = latents(0, seeds, generator.config.z_dim).to(device)
    images = torch.cat(
        [
            decomposer.shown(generator(part, truncation).clamp(-1, 1))
            for part in z.split(min(images_at_a_time(generator), _BATCH))
        ]
    )
    origin = {
        "lineament:faces": f"seeds {','.join(map(str, seeds))} at truncation {truncation:g}",
        "lineament:generator": network_fingerprint(generator),
    }
    return FacesToDecompose(images, [f"seed {seed}" for seed in seeds], {"seeds": np.array(seeds, np.int64)}, origin)


def pictures_of(decomposer: Decomposer, images: Float[Tensor, "n 3 h w"], parts: Decomposition) -> list[Tensor]:
    """For each of `ROWS` one batch of pictures, n 3 side side in [-1, 1]."""
    resolution = decomposer.config.resolution
    side = resolution * -(-MIN_TILE_PX // resolution)
    views = [turned(parts, yaw, decomposer) for yaw in TURNS_DEG]
    views += [relit(parts, light_x, decomposer) for light_x in LIGHTS_X]
    return [*part_pictures(decomposer, images, parts, side), *(seen(view, decomposer.camera, side) for view in views)]


def numbers_of(
    decomposer: Decomposer, parts: Decomposition, semantics: Float[np.ndarray, "n m"]
) -> dict[str, np.ndarray]:
    """All outputs of a decomposer, as plain arrays.

    Convention:
        Signs and frames are those of docs/conventions.md. ``view`` and ``light`` are relative to the canonical face,
        which may be tilted. ``semantics`` are relative to the upright face: the canonical face pitched by ``tilt``.
    """
    normals = normals_from_depth(parts.canon_depth, decomposer.camera)
    tensors = {
        "canon_depth": parts.canon_depth,  # n h w
        "canon_albedo": parts.canon_albedo.permute(0, 2, 3, 1) / 2 + 0.5,  # n h w 3 in [0, 1]
        "normals": normals.permute(0, 2, 3, 1),  # n h w 3, unit length
        "view": parts.view,  # n 6: pitch, yaw, roll in radians, shift in world units
        "light": parts.light,  # n 4: ambient, diffuse, dx, dy
        "tilt": decomposer.tilt,  # radians
    }
    units = np.array([semantic.unit for semantic in SCALAR_SEMANTICS])
    words = {"semantics": semantics, "names": np.array(SEMANTIC_NAMES), "units": units}
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()} | words


@writes("out", "maps")
@torch.no_grad()
def run(config: DecomposeConfig) -> DecomposeResult:
    """Take faces apart, measure them, and write the files.

    Raises:
        ConfigError: the seeds cannot be read, or there are too many.
        ImageError: the folder or zip cannot be used.
        MismatchError: the generator's images are smaller than the decomposer's.
        StorageError: a file cannot be written.
    """
    seeds = parse_seeds("0-7" if config.seeds is None else config.seeds)
    if len(seeds) > MAX_FACES:
        raise ConfigError(f"{len(seeds)} seeds, expected at most {MAX_FACES}; take more apart in parts")
    device = make_fabric(config.devices).device
    decomposer = load_decomposer(config.decomposer or shipped_path("decomposer.safetensors", config.pair), device)
    if config.images is None:
        path = config.generator or shipped_path("generator.safetensors", config.pair)
        faces = generated(path, seeds, config.truncation, decomposer, device)
    else:
        faces = photographs(config.images, config.faces, decomposer.config.resolution)
    images = faces.images.to(device)
    batches = images.split(_BATCH)
    found = [decomposer(batch) for batch in batches]
    shown = [pictures_of(decomposer, *pair) for pair in zip(batches, found, strict=True)]
    rows = [to_uint8(torch.cat(row)) for row in zip(*shown, strict=True)]
    semantics = measure(decomposer, images)
    alike = torch.cat([agreement(decomposer, *pair) for pair in zip(batches, found, strict=True)]).cpu().numpy()
    if config.maps is not None:
        parts = Decomposition(*(torch.cat([getattr(p, f.name) for p in found]) for f in fields(Decomposition)))
        arrays = faces.numbers | numbers_of(decomposer, parts, semantics) | {"agreement": alike}
        with atomic_write(config.maps) as handle:
            np.savez_compressed(handle, **arrays)  # pyright: ignore[reportArgumentType]
    save_png(
        config.out,
        labelled_rows(np.concatenate(rows), ROWS, [Path(name).name for name in faces.names]),
        text={
            "Software": f"Lineament {__version__}",
            "lineament:decomposer": network_fingerprint(decomposer),
            **faces.origin,
        },
    )
    return DecomposeResult(config.out, config.maps, tuple(faces.names), semantics, alike.astype(np.float64))
