"""``python -m benchmarks.sampling``: sampling for the parts as `discover` does it, against the way it was done before.

Before, the view and light networks ran twice on every image, for the values and for the maps, and every batch was added
to the moments of the maps by itself. Both ways are timed in turn on the shipped networks.
"""

import torch

from benchmarks.rows import in_turns
from lineament.checkpoints.pairs import load_pair
from lineament.estimators.folds import add_to_folds
from lineament.faces.maps import images_of_layers, maps_of_images
from lineament.faces.measure import measure
from lineament.faces.samples import CHUNK, MIXED, Discovery, sample_mixed
from lineament.ops.seeding import latents
from lineament.records.part_settings import PartsConfig

BATCH, TRUNCATION, TURNS = 64, 0.5, 3


def main() -> None:
    """Time both ways and print the seconds for `CHUNK` images, their ratio, and the largest difference."""
    generator, decomposer = load_pair(None, None, "faces64", torch.device("cpu"))
    groups = PartsConfig().groups(generator.num_ws)
    group_of = torch.tensor([i for i, group in enumerate(groups) for _ in group])
    kept = {"now": Discovery.empty(parts=True), "before": Discovery.empty(parts=True)}

    def now() -> None:
        for start in range(MIXED, MIXED + CHUNK, BATCH):
            w, y, maps = sample_mixed(generator, decomposer, 0, range(start, start + BATCH), TRUNCATION, groups)
            kept["now"].add_mixed(w.double().numpy(), y, maps)

    @torch.inference_mode()
    def before() -> None:
        for start in range(0, CHUNK, BATCH):
            own = range(MIXED + start * len(groups), MIXED + (start + BATCH) * len(groups))
            z = latents(0, own, generator.config.z_dim)
            w = generator.map(z, TRUNCATION).view(BATCH, len(groups), -1)
            images = images_of_layers(generator, w[:, group_of], decomposer)
            y, maps = measure(decomposer, images), maps_of_images(decomposer, images).numpy()
            found, flat = kept["before"], w.double().numpy().reshape(BATCH, -1)
            add_to_folds(found.folds, found.mixed.count, flat, maps)
            found.mixed.update(flat, y)

    seconds = in_turns({"now": now, "before": before}, TURNS)
    pairs = [(kept["now"].tensors()[name], value) for name, value in kept["before"].tensors().items()]
    apart = max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
        for a, b in pairs
        if a.is_floating_point() and a.numel()
    )
    ratio = seconds["before"] / seconds["now"]
    print(f"{CHUNK} images: before {seconds['before']:.2f} s, now {seconds['now']:.2f} s, ratio {ratio:.3f}")
    print(f"largest relative difference of the moments: {apart:.1e}; {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
