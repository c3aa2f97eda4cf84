"""The networks for balancing a folder, and the faces that they can change."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lineament import __version__
from lineament.checkpoints.growth import atlas_for, for_all_layers
from lineament.checkpoints.ours import network_fingerprint
from lineament.checkpoints.pairs import find_encoder, find_features, load_pair, look_as_in
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.origins import array_signature
from lineament.errors import DataError, ImageError, MismatchError
from lineament.estimators.balancing import Extrapolation
from lineament.faces.inversion import Inverted, invert_images, quality
from lineament.faces.latent_spread import LatentSpread, latent_spread
from lineament.networks.decomposer import Decomposer
from lineament.networks.encoder import Encoder
from lineament.networks.stylegan.generator import Generator
from lineament.ops.pixels import to_tensor
from lineament.ops.ssim import ssim
from lineament.recipes.balance.measures import Meter, Stepper
from lineament.recipes.balance.sources import Originals, Photographs, Samples, SourceFaces
from lineament.records.atlas import Atlas
from lineament.records.inversion_settings import InversionSettings
from lineament.records.inversions import MAX_DISTANCE, MIN_SSIM, Inversions
from lineament.settings.balance import BalanceConfig
from lineament.store.atlas import atlas_fingerprint, load_atlas
from lineament.store.images import ImageSource, ReadingReport, decode_image
from lineament.store.inversions import load_inversions
from lineament.store.tensors import short_fingerprint

INVERTED_TOGETHER = 16
"""Images that are inverted at a time."""


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks and directions that belong together, and objects derived from them."""

    atlas: Atlas
    generator: Generator
    decomposer: Decomposer
    encoder: Encoder | None
    features: nn.Module | None
    inversions: Inversions | None
    meter: Meter
    stepper: Stepper
    spread: LatentSpread
    extrapolation: Extrapolation

    def signatures(self) -> dict[str, str]:
        """Fingerprints of the networks, the atlas and the inversions; empty for those that are not used."""
        features, found = self.features, self.inversions
        return {
            "the generator": self.atlas.generator_fingerprint,
            "the decomposer": self.atlas.decomposer_fingerprint,
            "the atlas": atlas_fingerprint(self.atlas),
            "the encoder": "" if self.encoder is None else network_fingerprint(self.encoder),
            "the features": "" if features is None else network_fingerprint(features, without=("scale",)),
            "the inversions": "" if found is None else array_signature(found.ws, found.photographs),
        }

    def recipe(self) -> dict[str, str]:
        """Text about its making for the file of every picture."""
        return {
            "Software": f"Lineament {__version__}",
            "lineament:generator": self.atlas.generator_fingerprint,
            "lineament:decomposer": self.atlas.decomposer_fingerprint,
            "lineament:held": ",".join(self.stepper.held) or "nothing",
        }

    def decoder(
        self, read: Callable[[str], bytes], report: ReadingReport
    ) -> Callable[[str], UInt8[np.ndarray, "h w 3"]]:
        """A function that decodes images by name, at the generator's resolution."""
        size = self.generator.config.resolution
        return lambda name: decode_image(read(name), size, report)

    def invert(self, images: Float[Tensor, "n 3 h w"], settings: InversionSettings) -> Inverted:
        """Invert images together."""
        return invert_images(self.generator, self.encoder, images, settings, self.features, spread=self.spread)

    @torch.inference_mode()
    def likeness(self, images: Float[Tensor, "n 3 h w"]) -> Float[np.ndarray, " n"] | None:
        """SSIM of images with their reconstructions by encoder and generator; None without an encoder.

        It is low for images without exactly one face. Below 0.17 are 0.1 % of 1,200 photographs of one face each, none
        of 600 renders, about 95 % of pairs of faces side by side, all images of noise, but only a sixth of faces upside
        down.
        """
        if self.encoder is None:
            return None
        ws = for_all_layers(self.encoder(images), self.generator)
        return ssim(self.generator.synthesize(ws).clamp(-1, 1), images).double().cpu().numpy()

    def seconds_per_inversion(
        self, config: BalanceConfig, read: Callable[[str], np.ndarray], names: Sequence[str]
    ) -> float:
        """Seconds per inverted image, measured on some images."""
        images = to_tensor(np.stack([read(name) for name in names])).to(self.generator.mapping.w_avg.device)
        started = time.perf_counter()
        self.invert(images, config.inversion)
        return (time.perf_counter() - started) / len(names)


def open_networks(config: BalanceConfig, names: Sequence[str], device: torch.device) -> Networks:
    """Load the networks that the settings name, or else the shipped ones.

    Raises:
        MismatchError: the files do not belong together.
        ConfigError: the atlas has no such semantic.
    """
    atlas = load_atlas(config.atlas or shipped_path("atlas.safetensors", config.pair))
    generator, decomposer = load_pair(config.generator, config.decomposer, config.pair, device)
    atlas = atlas_for(atlas, generator, config.generator or f"the shipped generator of {config.pair}")
    if network_fingerprint(decomposer) != atlas.decomposer_fingerprint:
        raise MismatchError(
            f"the atlas was made with decomposer {short_fingerprint(atlas.decomposer_fingerprint)}, but "
            f"{config.decomposer or 'the shipped one'} is {short_fingerprint(network_fingerprint(decomposer))}; "
            "name the atlas's own by --decomposer"
        )
    look_as_in(atlas, generator, decomposer)
    meter, stepper = Meter(decomposer, atlas, names), Stepper(atlas, names)
    encoder = features = inversions = None
    if config.source == "photographs" and config.inversions is not None:
        inversions = load_inversions(config.inversions)
        if inversions.generator_fingerprint != atlas.generator_fingerprint:
            raise MismatchError(
                f"{config.inversions} holds latents of {short_fingerprint(inversions.generator_fingerprint)}, "
                f"but the atlas is of {short_fingerprint(atlas.generator_fingerprint)}; invert the images with that one"
            )
    else:
        encoder = find_encoder(config.encoder, generator, config.generator, config.pair)
    if config.source == "photographs" and inversions is None:
        features = find_features(None, generator, config.generator, config.pair)
    return Networks(
        atlas=atlas,
        generator=generator,
        decomposer=decomposer,
        encoder=encoder,
        features=features,
        inversions=inversions,
        meter=meter,
        stepper=stepper,
        spread=latent_spread(generator),
        extrapolation=stepper.extrapolation(atlas, names),
    )


@contextmanager
def reader_of(
    config: BalanceConfig, source: ImageSource, networks: Networks, report: ReadingReport
) -> Iterator[Callable[[str], UInt8[np.ndarray, "h w 3"]]]:
    """A function that reads images by name: the crops that were inverted, or images decoded at the generator's size.

    Raises:
        DataError: an image is neither among the inversions nor among those that could not be inverted.
    """
    found = networks.inversions
    if found is None:
        with source.reader() as read:
            yield networks.decoder(read, report)
        return
    numbers = {name: i for i, name in enumerate(found.names)}
    missing = [name for name in source.names if name not in found.skipped and name not in numbers]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(source)} images are not in {config.inversions} ({missing[0]!r}, …); invert the "
            "same folder again, or leave --inversions out"
        )

    def crop(name: str) -> np.ndarray:
        if name not in numbers:
            raise ImageError(found.skipped[name])
        return found.photographs[numbers[name]]

    yield crop


def open_faces(
    config: BalanceConfig,
    networks: Networks,
    originals: Originals,
    read: Callable[[str], UInt8[np.ndarray, "h w 3"]],
    num_samples: int,
) -> SourceFaces:
    """The faces that can be changed: the generator's samples, or the given images."""
    if config.source == "samples":
        names = networks.meter.names
        count = max(num_samples, 1)
        return Samples(networks.generator, networks.atlas, names, config.seed, config.truncation, count)
    device = networks.generator.mapping.w_avg.device

    def finish(inverted: Inverted, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values, codes = networks.meter.look(inverted.images, identity=True)
        good = (scores["ssim"] >= MIN_SSIM) & (scores["distance"] <= MAX_DISTANCE)
        ws = inverted.ws.float().cpu().numpy()
        kept = {name: scores[name].astype(np.float64) for name in ("ssim", "distance")}
        return {"ws": ws, "values": values, "codes": codes, "good": good, **kept}

    def invert(numbers: np.ndarray) -> dict[str, np.ndarray]:
        images = to_tensor(np.stack([read(originals.names[i]) for i in numbers])).to(device)
        inverted = networks.invert(images, config.inversion)
        return finish(inverted, quality(inverted, images, networks.spread))

    found = networks.inversions
    if found is None:
        return Photographs(invert, originals.names, originals.values, INVERTED_TOGETHER, device)
    place = {name: i for i, name in enumerate(found.names)}
    rows = np.array([place[name] for name in originals.names])

    @torch.inference_mode()
    def look_up(numbers: np.ndarray) -> dict[str, np.ndarray]:
        own = rows[numbers]
        ws = torch.from_numpy(found.ws[own]).to(device)
        inverted = Inverted(ws, networks.generator.synthesize(ws).clamp(-1, 1))
        return finish(inverted, {"ssim": found.ssim[own], "distance": found.distance[own]})

    faces = Photographs(look_up, originals.names, originals.values, INVERTED_TOGETHER, device)
    for number in np.flatnonzero(~found.good()[rows]):
        faces.reasons[int(number)] = "bad inversion"
    return faces
