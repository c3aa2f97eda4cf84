"""The `Editor` of a generator, and its `Faces`."""

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lineament import __version__
from lineament.api.tables import Atlas, ExtrapolationWarning, Values, finite, to
from lineament.checkpoints.pairs import find_encoder, find_features
from lineament.checkpoints.shipped import PAIR, Pair
from lineament.directions.editor import FaceEditor, extrapolation_warnings, put_back, requested_changes
from lineament.engine.console import quietly
from lineament.errors import ConfigError, ImageError, InputError
from lineament.faces.carrying import carried_edit
from lineament.faces.cropping import Cropper
from lineament.faces.inversion import invert_images
from lineament.faces.measure import synthesize_edited
from lineament.faces.subjects import sampled
from lineament.networks.decomposer import Decomposer
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor, to_uint8
from lineament.records.inversion_settings import Align, InversionSettings
from lineament.records.like import like_of
from lineament.records.semantics import SEMANTIC_NAMES
from lineament.store.images import ImageSource
from lineament.store.pictures import check_size, enlarge, save_picture, tile

MAX_FACES = 100_000
"""Largest number of faces that are sampled together."""

MAX_SCALE = 64
"""Largest factor by which saved pictures are enlarged."""

Picture: TypeAlias = str | Path | Image.Image | np.ndarray
"""A photograph: the path of its file, or of a folder or zip; a PIL image; or an array (h w 3) of bytes."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Some faces of an `Editor`, as latents; the images are drawn when they are first asked for.

    Attributes:
        editor: draws, measures and edits them.
        ws: one w for each layer of the generator.
        names: seeds, or file names of photographs.
        photographs: the crops that were inverted, in [-1, 1]; None for a generator's own faces.
        inverted_ws: latents of the photographs before any edit.
        edits: the edits made so far, for display.
        still_ws: latents with all edits but those of pose and light that are carried; None if there are none.
        carried: changes of pose and light that the faces' own pixels carry, by name.
    """

    editor: "Editor"
    ws: Float[Tensor, "n l d"]
    names: tuple[str, ...]
    photographs: Float[Tensor, "n 3 h w"] | None = None
    inverted_ws: Float[Tensor, "n l d"] | None = None
    edits: tuple[str, ...] = ()
    still_ws: Float[Tensor, "n l d"] | None = None
    carried: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ws)

    def __iter__(self) -> Iterator["Faces"]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, chosen: int | slice) -> "Faces":
        """One face, or some of them, as `Faces`."""
        index = range(len(self))[chosen]
        span = slice(index, index + 1) if isinstance(index, int) else chosen

        def part(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[span]

        return replace(
            self,
            ws=self.ws[span],
            names=self.names[span],
            photographs=part(self.photographs),
            inverted_ws=part(self.inverted_ws),
            still_ws=part(self.still_ws),
            carried={name: column[span] for name, column in self.carried.items()},
        )

    @cached_property
    def drawn(self) -> Float[Tensor, "n c h w"]:
        """Images as the generator draws them, in [-1, 1], without details of photographs that the inversion misses."""
        return synthesize_edited(self.editor.generator, self.ws)

    @cached_property
    def tensor(self) -> Float[Tensor, "n c h w"]:
        """The images in [-1, 1]. Details of photographs that the inversion misses are put back.

        Where pose or light were edited, faces keep their own pixels (`lineament.faces.carrying`).
        """
        images = self._pasted(self.drawn)
        if self.still_ws is None or self.editor.decomposer is None:
            return images
        before = self._pasted(synthesize_edited(self.editor.generator, self.still_ws))
        return carried_edit(self.editor.decomposer, before, images, self.carried)[0]

    def _pasted(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        ws = self.ws if self.inverted_ws is None else self.inverted_ws
        return put_back(self.editor.generator, images, ws, self.photographs)

    @property
    def images(self) -> list[Image.Image]:
        """The images as PIL images at the generator's resolution."""
        return [Image.fromarray(image) for image in to_uint8(self.tensor)]

    @cached_property
    def values(self) -> Values:
        """Every scalar semantic of every face: measured by the decomposer, or predicted from w if there is none.

        Raises:
            ConfigError: the editor has no atlas.
        """
        atlas = self.editor.needed_atlas()
        found = self.editor.face_editor().values(self.ws, self.tensor, atlas.names)
        columns = {name: found[:, i] for i, name in enumerate(atlas.names)}
        return Values(columns, {name: atlas[name].unit for name in atlas.names}, self.names)

    def edit(
        self,
        changes: Mapping[str, int | float | to] | None = None,
        /,
        *,
        hold: str | Iterable[str] = "auto",
        layers: Iterable[int] | None = None,
        plain: bool = False,
        like: str | None = None,
        **named: int | float | to,
    ) -> "Faces":
        """The faces after edits in the atlas's units: ``edit(yaw=+15, light_x=ln.to(0))``.

        Args:
            changes: edits whose names are not Python identifiers, such as ``{"component 0": 2}``.
            hold: semantics to hold fixed: "auto" for all that can be held, "none", or names.
            layers: move w at these layers only; if None, at the layers of each direction.
            plain: take the shortest step in w, v / (v'v), which holds nothing and is not calibrated.
            like: "carried" edits pose and light by the face's own pixels, "linear" by the generator's image alone. If
                None, carried where there is a decomposer, and linear with ``hold``, ``layers`` or ``plain``.
            named: a number is a change, `to` a value to reach.

        Warns:
            ExtrapolationWarning: a value leaves the range seen in the generator's own faces.

        Raises:
            ConfigError: no atlas, no such name, not a finite number, or an edit that contradicts what is held.
        """
        way = like_of(like, latents_alone=hold != "auto" or layers is not None or plain)
        wanted = {**(changes or {}), **named}
        if not wanted:
            raise ConfigError("no edit was given; add one such as yaw=+20")
        relative = {name: finite(name, value) for name, value in wanted.items() if not isinstance(value, to)}
        absolute = {name: finite(name, value.value) for name, value in wanted.items() if isinstance(value, to)}
        names, editor = (*relative, *absolute), self.editor.face_editor(hold, layers, plain)
        for name in names:
            editor.atlas.direction(name)  # an unknown name is refused, with a hint
        present = editor.values(self.ws, self.tensor, names)
        asked = requested_changes(relative, absolute, present)
        step = torch.as_tensor(editor.steps(names, asked), dtype=self.ws.dtype, device=self.ws.device)
        for line in extrapolation_warnings(editor.atlas, names, present + asked, self.names):
            warnings.warn(line, ExtrapolationWarning, stacklevel=2)
        done = [f"{name}={value:+g}" for name, value in relative.items()]
        done += [f"{name}=@{value:g}" for name, value in absolute.items()]
        after = replace(self, ws=self.ws + step, edits=(*self.edits, " ".join(done)))
        moved = [name for name in names if name in SEMANTIC_NAMES]
        if way == "linear" or self.editor.decomposer is None or not moved:
            return after if self.still_ws is None else replace(after, still_ws=self.still_ws + step)
        return replace(after, **self._carrying(editor, names, asked, moved))

    def _carrying(
        self, editor: FaceEditor, names: Sequence[str], asked: Float[np.ndarray, "n m"], moved: Sequence[str]
    ) -> dict[str, Any]:
        """``still_ws`` and ``carried`` after more changes, of which those of ``moved`` are carried."""
        others = [i for i, name in enumerate(names) if name not in moved]
        still = self.ws if self.still_ws is None else self.still_ws
        if others:
            step = editor.steps([names[i] for i in others], asked[:, others])
            still = still + torch.as_tensor(step, dtype=still.dtype, device=still.device)
        added = {name: asked[:, list(names).index(name)] + self.carried.get(name, 0.0) for name in moved}
        return {"still_ws": still, "carried": {**self.carried, **added}}

    def save(self, path: str | Path, *, columns: int | None = None, scale: int = 1) -> None:
        """Write all faces as one picture (.png, .jpg or .webp), side by side.

        Args:
            path: its folder must exist.
            columns: faces per row; if None, at most eight.
            scale: integer factor by which the faces are enlarged.

        Raises:
            ConfigError: the suffix is unknown, a number is out of bounds, or the picture would be too large.
            StorageError: the file cannot be written.
        """
        per_row = min(len(self), 8) if columns is None else columns
        if not 1 <= scale <= MAX_SCALE or per_row < 1:
            raise ConfigError(f"scale is {scale} and columns {per_row}, expected 1 to {MAX_SCALE}, and at least 1")
        side = self.editor.generator.config.resolution * scale
        check_size(side * min(per_row, len(self)), side * -(-len(self) // per_row))
        faces = np.stack([enlarge(image, scale) for image in to_uint8(self.tensor)])
        text = {
            "Software": f"Lineament {__version__}",
            "lineament:faces": ", ".join(self.names),
            "lineament:edits": "; ".join(self.edits),
        }
        save_picture(path, tile(faces, min(per_row, len(faces))), text)


class Editor:
    """A generator with its atlas, decomposer and encoder; made by `open`.

    Attributes:
        generator: draws the faces.
        atlas: its directions; None if none was given.
        decomposer: measures faces; None if there is none that belongs to the atlas.
        pair: shipped networks used for files not given.
    """

    def __init__(
        self,
        generator: Generator,
        atlas: Atlas | None = None,
        decomposer: Decomposer | None = None,
        *,
        path: Path | None = None,
        encoder: Path | None = None,
        pair: Pair = PAIR,
    ) -> None:
        self.generator, self.atlas, self.decomposer = generator, atlas, decomposer
        self.pair: Pair = pair
        self._path, self._encoder_path = path, encoder

    def __repr__(self) -> str:
        size, what = self.generator.config.resolution, "no atlas"
        if self.atlas is not None:
            what = f"{len(self.atlas.names)} semantics, {len(self.atlas.part_names)} parts"
        return f"<Editor: {self.generator.family}, {size} px, {what}>"

    @cached_property
    def encoder(self) -> Encoder | None:
        """Predicts the latents of photographs; None if there is none for this generator."""
        with quietly():
            return find_encoder(self._encoder_path, self.generator, self._path, self.pair)

    def needed_atlas(self) -> Atlas:
        """The atlas.

        Raises:
            ConfigError: there is none.
        """
        if self.atlas is None:
            raise ConfigError("this editor has no atlas; give one to lineament.open, or find one by lineament.discover")
        return self.atlas

    def face_editor(
        self, hold: str | Iterable[str] = "auto", layers: Iterable[int] | None = None, plain: bool = False
    ) -> FaceEditor:
        """The `FaceEditor` with these settings, which are those of `Faces.edit`.

        Raises:
            ConfigError: there is no atlas, or a name to hold or a layer does not exist.
        """
        atlas = self.needed_atlas()
        held = None if hold == "auto" else () if hold == "none" else (hold,) if isinstance(hold, str) else tuple(hold)
        for name in held or ():
            atlas.direction(name)
        chosen = None if layers is None else tuple(layers)
        if chosen is not None and not set(chosen) <= set(range(self.generator.num_ws)):
            raise ConfigError(f"layers are {list(chosen)}, expected some of 0 to {self.generator.num_ws - 1}")
        return FaceEditor(atlas, self.generator, self.decomposer, held, plain, chosen)

    def sample(self, seeds: Iterable[int] = range(8), *, truncation: float | None = None, run_seed: int = 0) -> Faces:
        """The generator's own faces, the same as those of ``lineament edit --seeds``.

        Args:
            seeds: numbers of the faces.
            truncation: psi; if None, that of the atlas, or 0.7 without an atlas.
            run_seed: another number gives other faces for the same seeds.

        Raises:
            ConfigError: no seed or too many, a seed out of bounds, or a truncation out of bounds.
        """
        numbers = list(islice(seeds, MAX_FACES + 1))
        if not 0 < len(numbers) <= MAX_FACES:
            count = "no seeds" if not numbers else f"more than {MAX_FACES:,} seeds"
            raise ConfigError(f"{count} were given, expected 1 to {MAX_FACES:,}; sample more faces in parts")
        psi = truncation if truncation is not None else self.atlas.truncation if self.atlas is not None else 0.7
        if not 0 < psi <= 1:
            raise ConfigError(f"truncation is {psi}, expected above 0 and at most 1")
        found = sampled(self.generator, numbers, run_seed, psi)
        return Faces(self, found.ws, found.names)

    @torch.no_grad()
    def invert(self, pictures: Picture | Sequence[Picture], *, steps: int = 100, align: Align = "none") -> Faces:
        """Photographs as latents, so that they can be edited.

        Args:
            pictures: files, a folder, a zip, PIL images or arrays (h w 3) of bytes; one or several of them.
            steps: number of optimisation steps after the encoder's prediction; twice as many without an encoder.
            align: "none" if the pictures are aligned like the generator's own images. "detect" looks for the face in
                every picture, "auto" in those that are not square; both need the extra ``align``.

        Raises:
            ImageError: a picture cannot be read, or has no face.
            InputError: there is no such file, or the extra ``align`` is not installed.
        """
        listed = [pictures] if isinstance(pictures, str | Path | Image.Image | np.ndarray) else list(pictures)
        cropper = Cropper(self.generator, align)
        crops, names = [], []
        for data, name in (pair for i, one in enumerate(listed) for pair in _encoded(one, i)):
            try:
                crops.append(cropper.crop(data))
            except ImageError as error:
                raise ImageError(f"{name}: {error}") from error
            names.append(name)
        if not crops:
            raise ImageError("there is no picture to invert")
        images = to_tensor(np.stack(crops)).to(self.generator.mapping.w_avg.device)
        features = find_features(None, self.generator, self._path, self.pair)
        inverted = invert_images(self.generator, self.encoder, images, InversionSettings(steps=steps), features)
        return Faces(self, inverted.ws, tuple(names), images, inverted.ws)


def _encoded(picture: Picture, index: int) -> Iterator[tuple[bytes, str]]:
    """Encoded images and their names, from files or from a picture in memory."""
    if isinstance(picture, str | Path):
        if not Path(picture).exists():
            raise InputError(f"{picture} does not exist; check the path")
        source = ImageSource(picture)
        with source.reader() as read:
            for name in source.names:
                try:
                    data = read(name)
                except ImageError as error:
                    raise ImageError(f"{name}: {error}") from error
                yield data, name
        return
    stream = io.BytesIO()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            found = f"an array of {picture.dtype} with shape {picture.shape}"
            raise ImageError(f"picture {index} is {found}, expected bytes of shape (height, width, 3)")
        picture = Image.fromarray(picture)
    picture.save(stream, "PNG")
    yield stream.getvalue(), str(index)
