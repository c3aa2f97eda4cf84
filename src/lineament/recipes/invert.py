"""Invert photographs: find their latents in a generator, and measure how good they are.

Run the same command again to resume.
"""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import nn

from lineament import __version__
from lineament.checkpoints.growth import layers_then
from lineament.checkpoints.opening import open_generator, our_file
from lineament.checkpoints.ours import load_encoder, load_features, network_fingerprint
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.console import console, number
from lineament.engine.devices import make_fabric
from lineament.engine.run_folder import GentleStop
from lineament.engine.work import Piece, Stopped, Work
from lineament.errors import ConfigError, ImageError, InputError
from lineament.faces.face_finder import CascadeFinder, FaceFinder, aligned, usual_face_of
from lineament.faces.inversion import check_encoder_matches, invert_images, quality
from lineament.faces.latent_spread import latent_spread
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.alignment import FoundFace
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.ops.seeding import latents
from lineament.records.inversions import Inversions
from lineament.reports.figures import MIN_TILE_PX, labelled_rows
from lineament.settings.invert import InvertConfig
from lineament.store.images import MAX_BYTES, ImageSource, decode_image, decode_whole
from lineament.store.inversions import save_inversions
from lineament.store.pictures import enlarge, save_png

NO_ENCODER = Path("none")
NUM_PICTURED = 10
"""Columns of the picture."""
NUM_WORST = 5
"""Number of inversions, and of reasons for skipping, that the tables list."""
ROWS = ("photograph", "inversion", "difference")
_ARRAYS = ("ws", "photographs", "ssim", "rmse", "distance", "offset")


@dataclass(frozen=True)
class InvertResult:
    """What was inverted.

    Attributes:
        path: the file of the latents.
        picture: path of the picture; None if it was not asked for.
        inversions: contents of the file.
        shown: whether this process prints the result; of several processes only the first one does.
    """

    path: Path
    picture: Path | None
    inversions: Inversions
    shown: bool = True

    def table(self) -> Table:
        """Quality over all photographs, and the names of the worst ones."""
        found, good = self.inversions, self.inversions.good()
        title = f"{len(found):,} photographs inverted, {len(found.skipped):,} files skipped"
        table = Table(title=title, title_justify="left")
        for name in ("", "median", "worst tenth", "worst"):
            table.add_column(name, justify="right" if name else "left", style="" if name else "bold")
        for name, values in (("SSIM", -found.ssim), ("rmse", found.rmse), ("distance", found.distance)):
            cells = np.abs([np.median(values), np.quantile(values, 0.9), values.max()])
            table.add_row(name, *map(number, cells.tolist()))
        worst = [found.names[i] for i in np.argsort(found.ssim)[:NUM_WORST] if not good[i]]
        table.caption = f"{int((~good).sum()):,} of them are poor" + (f": {', '.join(worst)}" if worst else "")
        table.caption_justify = "left"
        return table

    def skipped_table(self) -> Table:
        """Why files were skipped, the most frequent reason first."""
        reasons = Counter(self.inversions.skipped.values())
        examples = {reason: name for name, reason in reversed(self.inversions.skipped.items())}
        table = Table(title="Skipped", title_justify="left")
        for name in ("files", "reason", "such as"):
            table.add_column(name, justify="right" if name == "files" else "left", overflow="fold")
        for reason, count in reasons.most_common(NUM_WORST):
            table.add_row(f"{count:,}", Text(reason), Text(examples[reason]))
        if more := sum(reasons.values()) - sum(count for _, count in reasons.most_common(NUM_WORST)):
            table.add_row(f"{more:,}", "other reasons; all are in the file", "")
        return table

    def renderables(self) -> list[RenderableType]:
        """For standard output: the tables, the paths."""
        if not self.shown:
            return []
        tables: list[RenderableType] = [self.table()]
        if self.inversions.skipped:
            tables.append(self.skipped_table())
        return [*tables, *(str(path) for path in (self.path, self.picture) if path is not None)]


class Cropper:
    """Crops encoded images as the settings say.

    Args:
        config: the settings.
        generator: the crops are aligned like its images.
        finder: finds faces; if None, the finder of the optional extra is used where one is needed.
    """

    def __init__(self, config: InvertConfig, generator: Generator, finder: FaceFinder | None = None) -> None:
        self._config, self._size = config, generator.config.resolution
        self._generator = generator
        # Made here, so that a missing extra is reported before the work begins.
        self._finder = None if config.align == "none" else finder or CascadeFinder()
        self._usual: FoundFace | None = None

    def crop(self, data: bytes) -> UInt8[np.ndarray, "r r 3"]:
        """The crop.

        Raises:
            ImageError: the image is not readable, is too small, or lacks the face that was asked for.
        """
        if not data:
            raise ImageError(f"empty, not readable, or larger than {MAX_BYTES >> 20} MiB")
        if self._finder is None:
            return decode_image(data, self._size)
        image = decode_whole(data)
        if self._config.align == "auto" and image.shape[0] == image.shape[1]:
            return decode_image(data, self._size)
        if self._usual is None:
            self._usual = usual_face_of(self._generator, self._finder)
        return aligned(image, self._finder, self._usual, self._size, alone=self._config.alone)[0]


def find_encoder(config: InvertConfig, generator: Generator, device: torch.device) -> Encoder | None:
    """The named encoder; else an encoder of this generator that lies beside it or is shipped; else None.

    Raises:
        MismatchError: the named encoder belongs to another generator.
    """
    if config.encoder == NO_ENCODER:
        return None
    if config.encoder is not None:
        encoder = load_encoder(config.encoder, device)
        check_encoder_matches(encoder, generator, config.generator or "the shipped generator")
        return encoder
    for path in _beside(config, ("encoder.safetensors",)):
        encoder = load_encoder(path, device)
        if layers_then(generator, encoder.config.generator):
            return encoder
    console.print("no --encoder of this generator: starting at its mean w, which takes longer", soft_wrap=True)
    return None


def find_features(config: InvertConfig, generator: Generator, device: torch.device) -> nn.Module | None:
    """The named perceptual features, or else those beside the generator or shipped."""
    if not config.fit.likeness.perceptual:
        return None
    names = ("features.safetensors", "discriminator.safetensors")
    for path in [config.features] if config.features is not None else _beside(config, names):
        z = latents(0, range(32), generator.config.z_dim).to(device)
        return load_features(path, generator(z, 0.8).clamp(-1, 1), device)
    return None


def _beside(config: InvertConfig, names: tuple[str, ...]) -> list[Path]:
    """Files of these names beside the named generator, or else those shipped with the package."""
    if config.generator is not None:
        paths = [our_file(config.generator).with_name(name) for name in names]
        return [path for path in paths if path.exists()]
    for name in names:
        try:
            return [shipped_path(name, config.pair)]
        except InputError:
            continue
    return []


def run(config: InvertConfig) -> InvertResult:
    """Invert photographs, or resume an interrupted run.

    Raises:
        ImageError: there is no usable image at all.
        InputError, FileFormatError: a file cannot be read, or the extra is missing.
        MismatchError: the encoder belongs to another generator.
        ConfigError: the unfinished run was for other images, networks or settings.
        KeyboardInterrupt: the user stopped the run; its results so far are kept.
    """
    return invert(config)


@torch.no_grad()
def invert(config: InvertConfig, finder: FaceFinder | None = None) -> InvertResult:
    """The same as `run`, with another face finder if one is given."""
    fabric = make_fabric(config.devices)
    source = ImageSource(config.images)
    generator = open_generator(config.generator or shipped_path("generator.safetensors", config.pair), fabric.device)
    if generator.config.image_channels != 3:
        raise ConfigError(f"the generator draws {generator.config.image_channels} channels, but photographs have 3")
    encoder = find_encoder(config, generator, fabric.device)
    features = find_features(config, generator, fabric.device)
    cropper = Cropper(config, generator, finder)
    spread = latent_spread(generator)
    settings: dict[str, Any] = {
        "fit": asdict(config.fit),
        "align": config.align,
        "alone": config.alone,
        "batch_size": config.batch_size,
        "perceptual": features is not None,
    }
    prints = network_fingerprint(generator), "" if encoder is None else network_fingerprint(encoder)
    firsts = {name: place for place, name in reversed(list(enumerate(source.names)))}

    def piece(index: int) -> Piece:
        crops: dict[str, np.ndarray] = {}
        skipped: dict[str, str] = {}
        start = index * config.batch_size
        with source.reader() as read:
            for place, name in enumerate(source.names[start : start + config.batch_size], start=start):
                if firsts[name] != place:
                    continue  # a zip may hold a name twice; only one of them can be read
                try:
                    crops[name] = cropper.crop(read(name))
                except ImageError as error:
                    skipped[name] = str(error)
        size, facts = generator.config.resolution, {"names": list(crops), "skipped": skipped}
        shape = (len(crops), generator.num_ws, generator.config.w_dim)
        if not crops:
            empty = {"ws": np.zeros(shape, np.float32), "photographs": np.zeros((0, size, size, 3), np.uint8)}
            return empty | {name: np.zeros(0) for name in _ARRAYS[2:]}, facts
        photographs = np.stack(list(crops.values()))
        images = to_tensor(photographs).to(fabric.device)
        inverted = invert_images(generator, encoder, images, config.fit, features, spread=spread)
        arrays = {"ws": inverted.ws.cpu().numpy(), "photographs": photographs}
        return arrays | quality(inverted, images, spread), facts

    work_folder = config.out.with_name(f"{config.out.name}.parts")
    with GentleStop() as stop:
        work = Work(work_folder, fabric, stop)
        facts = {"the images": source.signature(), "the generator": prints[0], "the encoder": prints[1]}
        work.check_inputs(
            facts | {"the settings": json.dumps(settings, sort_keys=True)},
            f"name the same ones, or delete {work_folder} to begin anew",
        )
        count = -(-len(source) // config.batch_size)
        began = time.monotonic()
        try:
            pieces = list(work.do("inverted", count, piece, label="inverting", images=len(source)))
        except Stopped:
            console.print("stopped; the same command goes on", soft_wrap=True)
            raise KeyboardInterrupt from None
        seconds = time.monotonic() - began
    skipped = {name: reason for _, facts in pieces for name, reason in facts["skipped"].items()}
    inside = work_folder.absolute()
    others = [name for name in source.others if inside not in (source.path.absolute() / name).parents]
    skipped |= dict.fromkeys(others, "not a PNG, JPEG or WebP file by its name")
    names = tuple(name for _, facts in pieces for name in facts["names"])
    if not names:
        first = next(iter(skipped.items()))
        work.remove()
        raise ImageError(
            f"{config.images} has no usable image among {len(source)}; the first: {first[0]} ({first[1]}); offer others"
        )
    arrays: dict[str, Any] = {name: np.concatenate([part[name] for part, _ in pieces]) for name in _ARRAYS}
    inversions = Inversions(
        names=names,
        **arrays,
        generator_fingerprint=prints[0],
        encoder_fingerprint=prints[1],
        skipped=dict(sorted(skipped.items())),
        lineament_version=__version__,
        created=date.today().isoformat(),
        provenance=settings | {"images": config.images.name, "signature": source.signature()},
    )
    if fabric.is_global_zero:
        console.print(f"inverted in {seconds:.1f} s, {seconds / max(len(names), 1):.2f} s a photograph", soft_wrap=True)
        if config.picture is not None:
            save_picture(config.picture, generator, inversions)
        save_inversions(config.out, inversions)
        work.remove()
    fabric.barrier()
    return InvertResult(config.out, config.picture, inversions, shown=fabric.is_global_zero)


@torch.no_grad()
def save_picture(path: Path, generator: Generator, inversions: Inversions) -> None:
    """Write a picture of some photographs, evenly chosen, with their inversions and the differences on grey.

    The numbers above the columns are SSIM.
    """
    chosen = np.unique(np.linspace(0, len(inversions) - 1, NUM_PICTURED).round().astype(int))
    photographs = to_tensor(inversions.photographs[chosen])
    ws = torch.from_numpy(inversions.ws[chosen]).to(generator.mapping.w_avg.device)
    images = generator.synthesize(ws).clamp(-1, 1).cpu()
    rows = np.concatenate([to_uint8(part) for part in (photographs, images, photographs - images)])
    rows = np.stack([enlarge(row, -(-MIN_TILE_PX // rows.shape[1])) for row in rows])
    names = [f"{inversions.ssim[i]:.2f} {Path(inversions.names[i]).stem}" for i in chosen]
    text = {"Software": f"Lineament {__version__}", "lineament:generator": inversions.generator_fingerprint}
    save_png(path, labelled_rows(rows, ROWS, names), text=text)
