"""Measure a decomposer's degrees on faces of known pose and light, and correct its readings.

All that is discovered, edited or balanced with the corrected decomposer is then in the corrected units.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lineament.checkpoints.mean_head import load_mean_head
from lineament.checkpoints.opening import open_generator
from lineament.checkpoints.ours import load_decomposer, save_network
from lineament.checkpoints.shipped import shipped_path
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.faces.samples import sample
from lineament.faces.yardstick import apply_scales, place_of, scales_of
from lineament.networks.decomposer import Decomposer
from lineament.records.scale import Scale
from lineament.records.semantics import SCALAR_SEMANTICS
from lineament.settings.calibrate import CalibrateConfig
from lineament.store.images import ImageSources, decode_image
from lineament.store.tensors import read_header
from lineament.store.truth import load_truth

NUM_SEEN = 512
"""Number of the decomposer's own faces from which their place is found."""

TRUNCATION = 0.7


@dataclass(frozen=True)
class CalibrationReport:
    """The lines that were measured, and where the corrected decomposer is."""

    path: Path
    faces: int
    scales: tuple[Scale, ...]

    def renderables(self) -> list[Any]:
        """A table for the terminal."""
        table = Table(title=f"Readings on {self.faces} faces of known truth")
        for heading in ("semantic", "slope", "offset", "correlation", "error", "corrected"):
            table.add_column(heading, justify="left" if heading == "semantic" else "right")
        units = {semantic.name: semantic.unit for semantic in SCALAR_SEMANTICS}
        for one in self.scales:
            after = f"{one.error_after:.2f}" if one.is_used else "no: it says too little"
            numbers = (f"{one.slope:.3f}", f"{one.offset:.2f}", f"{one.correlation:.3f}", f"{one.error:.2f}")
            table.add_row(f"{one.name} ({units[one.name]})", *numbers, after)
        return [table, str(self.path)]


def own_faces(config: CalibrateConfig, decomposer: Decomposer, device: torch.device) -> Tensor:
    """Faces as the decomposer is used to see them: photographs, or samples of a generator."""
    if config.images:
        source, size = ImageSources(config.images), decomposer.config.resolution
        names = source.names[:: max(len(source) // NUM_SEEN, 1)][:NUM_SEEN]
        with source.reader() as read:
            arrays = [torch.from_numpy(decode_image(read(name), size).copy()) for name in names]
        return torch.stack(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    path = config.generator or shipped_path("generator.safetensors", config.pair)
    generator = open_generator(path, device)
    numbers = (range(i, i + 64) for i in range(0, NUM_SEEN, 64))
    return torch.cat([sample(generator, decomposer, config.seed, part, TRUNCATION)[1] for part in numbers])


@writes("out")
def run(config: CalibrateConfig) -> CalibrationReport:
    """Measure, correct and write.

    Raises:
        ImageError, FileFormatError: the truth, the images or a network cannot be used.
        ConfigError: there is no face in the truth or in the images, or the truth lacks view or light.
    """
    device = make_fabric(config.devices).device
    path = config.decomposer or shipped_path("decomposer.safetensors", config.pair)
    decomposer, head = load_decomposer(path, device), load_mean_head()
    wanted = place_of(head, own_faces(config, decomposer, device), "the decomposer's own faces")
    truth = load_truth(str(config.truth), decomposer.config.resolution, config.faces)
    scales = scales_of(decomposer, truth, head, wanted)
    apply_scales(decomposer, scales)
    checked = {"faces": len(truth), "truth": config.truth.name, "scales": [asdict(scale) for scale in scales]}
    provenance = dict(read_header(path).header.get("provenance") or {}) | {"yardstick": checked}
    save_network(config.out, "decomposer", decomposer, decomposer.config.to_dict(), provenance)
    return CalibrationReport(config.out, len(truth), scales)
