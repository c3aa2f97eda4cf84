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
from lightning_fabric import Fabric
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lineament import __version__
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import network_fingerprint
from lineament.checkpoints.pairs import find_encoder, find_features
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.console import console, number
from lineament.engine.devices import make_fabric
from lineament.engine.locks import locked
from lineament.engine.run_folder import GentleStop
from lineament.engine.work import Piece, Work, remove_work
from lineament.errors import ConfigError, ImageError, LineamentError
from lineament.faces.cropping import Cropper
from lineament.faces.face_finder import FaceFinder
from lineament.faces.inversion import invert_images, quality
from lineament.faces.latent_spread import latent_spread
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.records.inversions import Inversions
from lineament.reports.figures import MIN_TILE_PX, labelled_rows
from lineament.settings.invert import InvertConfig
from lineament.store.image_signature import content_signature
from lineament.store.images import ImageSource, blended_text
from lineament.store.inversions import load_inversions, save_inversions
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


def run(config: InvertConfig) -> InvertResult:
    """Invert photographs, or resume an interrupted run.

    Raises:
        ImageError: there is no usable image at all.
        InputError, FileFormatError: a file cannot be read, or the extra is missing.
        MismatchError: the encoder belongs to another generator.
        ConfigError: there is a file, or an unfinished run, of other images, networks or settings.
        Stopped: the user stopped the run; its results so far are kept.
    """
    return invert(config)


@torch.no_grad()
def invert(config: InvertConfig, finder: FaceFinder | None = None) -> InvertResult:
    """The same as `run`, with another face finder if one is given."""
    fabric = make_fabric(config.devices)
    source = ImageSource(config.images)
    with locked(config.out, config.picture, fabric=fabric):
        return _invert(config, finder, source, fabric)


def _invert(config: InvertConfig, finder: FaceFinder | None, source: ImageSource, fabric: Fabric) -> InvertResult:
    generator = open_generator(config.generator or shipped_path("generator.safetensors", config.pair), fabric.device)
    if generator.config.image_channels != 3:
        raise ConfigError(f"the generator draws {generator.config.image_channels} channels, but photographs have 3")
    use_encoder = config.encoder != NO_ENCODER
    encoder = find_encoder(config.encoder, generator, config.generator, config.pair) if use_encoder else None
    features = None
    if config.fit.likeness.perceptual:
        features = find_features(config.features, generator, config.generator, config.pair)
    cropper = Cropper(generator, config.align, alone=config.alone, finder=finder)
    spread = latent_spread(generator)
    settings: dict[str, Any] = {
        "fit": asdict(config.fit),
        "align": config.align,
        "alone": config.alone,
        "batch_size": config.batch_size,
        "perceptual": features is not None,
    }
    prints = network_fingerprint(generator), "" if encoder is None else network_fingerprint(encoder)
    provenance = settings | {
        "images": config.images.name,
        "signature": content_signature(source),
        # The scale depends on rounding, and so on the device.
        "features": "" if features is None else network_fingerprint(features, without=("scale",)),
    }
    if config.out.exists():
        return _finished(config, generator, fabric, prints, provenance)

    def piece(index: int) -> Piece:
        crops: dict[str, np.ndarray] = {}
        skipped: dict[str, str] = {}
        start, blended = index * config.batch_size, cropper.blended
        with source.reader() as read:
            for name in source.names[start : start + config.batch_size]:
                try:
                    crops[name] = cropper.crop(read(name))
                except ImageError as error:
                    skipped[name] = str(error)
        size = generator.config.resolution
        facts = {"names": list(crops), "skipped": skipped, "blended": cropper.blended - blended}
        shape = (len(crops), generator.num_ws, generator.config.w_dim)
        if not crops:
            empty = {"ws": np.zeros(shape, np.float32), "photographs": np.zeros((0, size, size, 3), np.uint8)}
            return empty | {name: np.zeros(0) for name in _ARRAYS[2:]}, facts
        photographs = np.stack(list(crops.values()))
        images = to_tensor(photographs).to(fabric.device)
        inverted = invert_images(generator, encoder, images, config.fit, features, spread=spread)
        arrays = {"ws": inverted.ws.cpu().numpy(), "photographs": photographs}
        return arrays | quality(inverted, images, spread), facts

    with GentleStop() as stop:
        work = Work(parts_of(config.out), fabric, stop)
        work.check_inputs(
            {
                "the contents of the images": provenance["signature"],
                "the generator": prints[0],
                "the encoder": prints[1],
                "the features": provenance["features"],
                "the settings": json.dumps(settings, sort_keys=True),
            },
            f"name the same ones, or delete {parts_of(config.out)} to begin anew",
        )
        count = -(-len(source) // config.batch_size)
        began = time.monotonic()
        pieces = list(work.do("inverted", count, piece, label="inverting", images=len(source)))
        seconds = time.monotonic() - began
    skipped = {name: reason for _, facts in pieces for name, reason in facts["skipped"].items()}
    inside = parts_of(config.out).absolute()
    at = source.path.absolute()
    skipped |= {name: reason for name, reason in source.left.items() if inside not in (at / name).parents}
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
        provenance=provenance,
    )
    if fabric.is_global_zero:
        if blended := sum(facts.get("blended", 0) for _, facts in pieces):
            console.print(blended_text(blended), soft_wrap=True)
        console.print(f"inverted in {seconds:.1f} s, {seconds / max(len(names), 1):.2f} s a photograph", soft_wrap=True)
        if config.picture is not None:
            save_picture(config.picture, generator, inversions)
        save_inversions(config.out, inversions)
        work.remove()
    fabric.barrier()
    return InvertResult(config.out, config.picture, inversions, shown=fabric.is_global_zero)


def parts_of(out: Path) -> Path:
    """Folder of the results so far, beside the file."""
    return out.with_name(f"{out.name}.parts")


def _finished(
    config: InvertConfig,
    generator: Generator,
    fabric: Fabric,
    prints: tuple[str, str],
    provenance: dict[str, Any],
) -> InvertResult:
    """The result that is there already: of the same command, which may have been killed while it tidied up.

    Raises:
        ConfigError: the file is something else.
    """
    try:
        found = load_inversions(config.out)
    except LineamentError:
        found = None
    own = {"images": config.images.name}
    if (
        found is None
        or (found.generator_fingerprint, found.encoder_fingerprint) != prints
        or found.provenance | own != json.loads(json.dumps(provenance)) | own
    ):
        raise ConfigError(f"{config.out} exists already, and holds something else; delete it, or choose another --out")
    if fabric.is_global_zero:
        console.print(f"{config.out} is finished already", soft_wrap=True)
        if config.picture is not None:
            save_picture(config.picture, generator, found)
        remove_work(parts_of(config.out))
    fabric.barrier()
    return InvertResult(config.out, config.picture, found, shown=fabric.is_global_zero)


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
