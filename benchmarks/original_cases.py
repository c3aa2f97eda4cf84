"""The networks that `benchmarks.originals` makes with the original programs."""

from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class OriginalCase:
    """One network of an original program.

    Attributes:
        program: folder of the program, named as its repository.
        network: family and layout, for the table.
        runs: function of `benchmarks.original_torch` that makes it, or "tensorflow".
        resolution: height of the images in pixels.
        aspect: width of the images relative to their height.
        classes: number of classes.
        z_dim: width of z and w.
        paths: folders of the program that it imports from, besides its root.
        module: the program's generator.
        judge_module: the program's discriminator; empty to leave it out.
        generator: settings of the generator besides its sizes.
        judge: settings of the discriminator besides its sizes.
        label_option: what the program calls the number of classes.
        reference: settings of every call that choose the reference implementation.
        mean: whether the file has a mean w.
        mean_per_layer: whether the file repeats the mean w for each layer.
        runner: whether the file is that of the training, not that of the converter.
        cutoff: layers that the program truncates by default; 0 for all.
        image_scale: factor of the weights that make the image. Random weights of a StyleGAN make images far larger than
            those of a trained one, which are in [-1, 1].
        all_layers: value of its option that truncates all layers.
    """

    program: str
    network: str
    runs: str
    resolution: int
    aspect: float = 1.0
    classes: int = 0
    z_dim: int = 64
    paths: tuple[str, ...] = ()
    module: str = ""
    judge_module: str = ""
    generator: Options = field(default_factory=dict)
    judge: Options = field(default_factory=dict)
    label_option: str = "label_size"
    reference: Options = field(default_factory=dict)
    mean: bool = True
    mean_per_layer: bool = False
    runner: bool = False
    cutoff: int = 0
    image_scale: float = 1.0
    all_layers: int | None = None

    @property
    def name(self) -> str:
        """Program, network, size and classes."""
        return f"{self.program}: {self.network}, {self.resolution} px, {self.classes} classes"


SCALE = 0.1
SMALL = {"channel_base": 2048, "channel_max": 64}


def ada(
    resolution: int, classes: int, drawn: str, judged: str, clamp: float | None = None, **options: Any
) -> OriginalCase:
    """StyleGAN2 of the official PyTorch program; half precision is switched on in its settings, as in its presets."""
    half = {"num_fp16_res": 4, "conv_clamp": clamp} if clamp else {}
    widths = {**SMALL, **options}
    return OriginalCase(
        "stylegan2-ada-pytorch",
        f"StyleGAN2, {drawn} / {judged}" + (f", clamp {clamp:g}" if clamp else ""),
        "nvidia",
        resolution,
        classes=classes,
        module="training.networks",
        judge_module="training.networks",
        generator={"synthesis_kwargs": {**widths, **half, "architecture": drawn}, "mapping_kwargs": {"num_layers": 4}},
        judge={**widths, **half, "architecture": judged},
    )


def third(resolution: int, classes: int, letter: str, **options: Any) -> OriginalCase:
    """StyleGAN3-T and StyleGAN3-R of the official program, with its discriminator."""
    rotation = {"conv_kernel": 1, "use_radial_filters": True} if letter == "R" else {}
    return OriginalCase(
        "stylegan3",
        f"StyleGAN3-{letter}" + (", other filters" if options else ""),
        "nvidia",
        resolution,
        classes=classes,
        module="training.networks_stylegan3",
        judge_module="training.networks_stylegan2",
        generator={**SMALL, **rotation, "magnitude_ema_beta": 0.999, **options},
        judge=dict(SMALL),
    )


def of_genforce(
    program: str, family: str, resolution: int, classes: int, *, runner: bool, judge: bool = True, **options: Any
) -> OriginalCase:
    """StyleGAN and StyleGAN2 of genforce and of Hammer."""
    hammer, first = program == "Hammer", family == "StyleGAN"
    latents = ("z_dim", "w_dim") if hammer else ("z_space_dim", "w_space_dim")
    widths = {"fmaps_base": 2048, "fmaps_max": 64}
    noise = {"noise_mode": "const"} if hammer else {"randomize_noise": False}
    module = f"models.{family.lower()}"
    return OriginalCase(
        program,
        family + (", runner" if runner else ", converter"),
        "genforce",
        resolution,
        classes=classes,
        module=f"{module}_generator:{family}Generator",
        judge_module=f"{module}_discriminator:{family}Discriminator" if judge else "",
        generator={**dict.fromkeys((*latents, "mapping_fmaps"), 64), **widths, **options},
        judge=widths,
        label_option="label_dim" if hammer else "label_size",
        reference={"drawing": noise, "both": {"impl": "ref"} if hammer and not first else {}},
        runner=runner,
        cutoff=8 if first else 0,
        image_scale=SCALE if first else 1.0,
    )


def tensorflow(
    program: str, network: str, resolution: int, classes: int, generator: str, judge: str, **options: Any
) -> OriginalCase:
    """A network of the official TensorFlow programs; ``options`` of both networks, or of one by "G" and "D"."""
    widths = {"fmap_base": 1024, "fmap_max": 64}
    first = generator.endswith("G_style")
    common = {name: value for name, value in options.items() if name not in ("G", "D")}
    return OriginalCase(
        program,
        network,
        "tensorflow",
        resolution,
        classes=classes,
        module=f"training.{generator}",
        judge_module=f"training.{judge}",
        generator={**widths, **common, **options.get("G", {})},
        judge={**widths, **common, **options.get("D", {})},
        cutoff=8 if first else 0,
        image_scale=SCALE if first else 1.0,
        all_layers=1000 if first else None,
    )


def human(version: int, resolution: int, **options: Any) -> OriginalCase:
    """StyleGAN-Human's networks, twice as high as wide."""
    module = "training.networks" if version == 2 else "training.networks_stylegan3"
    return OriginalCase(
        "StyleGAN-Human",
        f"StyleGAN{version}, 2:1",
        "nvidia",
        resolution,
        aspect=0.5,
        paths=(f"training_scripts/sg{version}",),
        module=module,
        judge_module="training.networks" if version == 2 else "",
        generator={"square": False, **({"synthesis_kwargs": SMALL} if version == 2 else SMALL), **options},
        judge={"square": False, **SMALL},
    )


TORCH_CASES = (
    ada(64, 0, "skip", "resnet"),
    ada(64, 10, "skip", "resnet"),
    ada(64, 10, "resnet", "skip"),
    ada(32, 0, "orig", "orig"),
    ada(128, 10, "resnet", "skip", clamp=1.5),
    ada(128, 1, "skip", "resnet", clamp=256.0),
    ada(256, 0, "skip", "resnet", channel_base=16384, channel_max=512),
    OriginalCase(
        "stylegan3",
        "StyleGAN2, skip / resnet",
        "nvidia",
        64,
        classes=3,
        module="training.networks_stylegan2",
        judge_module="training.networks_stylegan2",
        generator={**SMALL, "fused_modconv_default": "inference_only"},
        judge=dict(SMALL),
    ),
    *(third(resolution, classes, letter) for letter in "TR" for resolution, classes in ((64, 0), (128, 10), (256, 0))),
    third(64, 0, "T", num_layers=10, margin_size=6, conv_clamp=2.0, output_scale=0.5),
    OriginalCase("stylegan2-pytorch", "StyleGAN2, converted", "rosinality", 64, generator={"channel_multiplier": 1}),
    OriginalCase("stylegan2-pytorch", "StyleGAN2, converted", "rosinality", 128, generator={"channel_multiplier": 2}),
    OriginalCase("stylegan2-pytorch", "StyleGAN2, trained", "rosinality", 32, mean=False, z_dim=512),
    *(
        of_genforce("genforce", "StyleGAN", resolution, classes, runner=runner)
        for resolution, classes, runner in ((32, 0, False), (64, 5, True), (128, 0, True), (256, 10, False))
    ),
    of_genforce("genforce", "StyleGAN2", 64, 0, runner=False),
    of_genforce("genforce", "StyleGAN2", 64, 5, runner=True),
    of_genforce("Hammer", "StyleGAN", 128, 0, runner=True),
    of_genforce("Hammer", "StyleGAN2", 64, 0, runner=True),
    OriginalCase("interfacegan", "StyleGAN", "interfacegan", 128, z_dim=512, cutoff=8, image_scale=SCALE),
    OriginalCase("encoder4editing", "StyleGAN2 in e4e", "encoder", 64, mean_per_layer=True),
    OriginalCase("pixel2style2pixel", "StyleGAN2 in pSp", "encoder", 64, mean_per_layer=True),
    OriginalCase("restyle-encoder", "StyleGAN2 in ReStyle", "encoder", 64),
    OriginalCase("BasicSR", "StyleGAN2", "basicsr", 64, mean=False, generator={"narrow": 0.25}),
    OriginalCase("mmgeneration", "StyleGAN2", "mmgeneration", 64, mean=False),
    human(2, 64),
    human(2, 128),
    human(3, 64),
    OriginalCase(
        "stylegan2ada",
        "StyleGAN2, 4:6",
        "nvidia",
        64,
        aspect=1.5,
        paths=("src",),
        module="training.networks",
        judge_module="training.networks",
        generator={"init_res": [4, 6], "synthesis_kwargs": SMALL},
        judge={"init_res": [4, 6], **SMALL},
    ),
)

OLD, NEW, ADA = "networks_stylegan", "networks_stylegan2", "networks"
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
TENSORFLOW_CASES = (
    *(
        tensorflow("stylegan", "StyleGAN", resolution, classes, f"{OLD}.G_style", f"{OLD}.D_basic")
        for resolution, classes in ((32, 0), (64, 5), (128, 0), (256, 0))
    ),
    *(
        tensorflow(
            "stylegan", f"StyleGAN, fused_scale={fused}", 64, 0, f"{OLD}.G_style", f"{OLD}.D_basic", fused_scale=fused
        )
        for fused in (True, False)
    ),
    tensorflow("stylegan2", "config-a", 128, 0, f"{OLD}.G_style", f"{OLD}.D_basic"),
    *(
        tensorflow("stylegan2", "config-b to -d", size, classes, f"{NEW}.G_main", f"{NEW}.D_stylegan", G=REVISED)
        for size, classes in ((32, 0), (64, 4), (128, 0))
    ),
    *(
        tensorflow(
            "stylegan2",
            f"config-e, {drawn} / {judged}",
            64,
            classes,
            f"{NEW}.G_main",
            f"{NEW}.D_stylegan2",
            G={"architecture": drawn},
            D={"architecture": judged},
        )
        for drawn, judged, classes in (
            ("orig", "orig", 0),
            ("orig", "skip", 0),
            ("skip", "resnet", 0),
            ("skip", "resnet", 4),
            ("resnet", "skip", 4),
            ("resnet", "resnet", 1),
        )
    ),
    tensorflow("stylegan2", "config-f", 128, 0, f"{NEW}.G_main", f"{NEW}.D_stylegan2", fmap_base=4096, fmap_max=256),
    *(
        tensorflow(
            "stylegan2-ada", f"StyleGAN2{words}", size, classes, f"{ADA}.G_main", f"{ADA}.D_main", G=drawn, D=judged
        )
        for words, size, classes, drawn, judged in (
            ("", 64, 0, {}, {}),
            (", mapping_layers 8 / 0", 64, 10, {}, {}),
            (", mapping_layers 8 / 8", 64, 10, {}, {"mapping_layers": 8}),
            (", mapping_layers 2 / 0, group 4", 128, 10, {"mapping_layers": 2}, {"mbstd_group_size": 4}),
            (", clamp 1.5", 64, 0, {"conv_clamp": 1.5}, {"conv_clamp": 1.5}),
            (", resnet / skip", 32, 1, {"architecture": "resnet"}, {"architecture": "skip"}),
            (", orig / orig", 32, 0, {"architecture": "orig"}, {"architecture": "orig"}),
        )
    ),
)
