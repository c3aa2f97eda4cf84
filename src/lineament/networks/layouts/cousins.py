"""Networks of other programs that are not read, recognised by the names of their tensors, so that they can be named."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_CAMERA = "its images depend on a camera; name the checkpoint of a StyleGAN"
_PARENT = "name the StyleGAN2 that it was made from"
_OFFICIAL = "name the original checkpoint of NVIDIA"
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Cousin:
    """A network that is not read.

    Attributes:
        name: as its authors call it.
        signs: patterns; each is found in some tensor's name.
        advice: what to do instead.
        lacks: a pattern that is found in no tensor's name; none if empty.
    """

    name: str
    signs: tuple[str, ...]
    advice: str = "name the checkpoint of a StyleGAN, StyleGAN2 or StyleGAN3"
    lacks: str = ""


LOOKALIKES = (
    Cousin("EG3D", (r"(^|\.)backbone\.synthesis\.", r"(^|\.)(superresolution|decoder)\."), _CAMERA),
    Cousin("StyleGAN-XL", (r"mapping\.embed_proj\.weight$",)),
    Cousin("StyleGAN-XL", (r"synthesis\.L0_", r"mapping\.embed\.weight$"), lacks=r"mapping\.embed\.bias$"),
    Cousin("StyleGAN-T", (r"synthesis\.input\.freqs$", r"\.affine\.proj\.weight$")),
    Cousin("DualStyleGAN", (r"(^|\.)res\.0\.norm\.style\.weight$",), _PARENT),
    Cousin("GPEN", (r"(^|\.)ecd0\.", r"(^|\.)generator\.convs\."), _PARENT),
    Cousin("GFPGAN", (r"(^|\.)stylegan_decoder\.",), _PARENT),
    Cousin("BasicSR's StyleGAN2GeneratorClean", (r"(^|\.)style_mlp\.3\.",), _PARENT, lacks=r"(^|\.)style_mlp\.2\."),
    Cousin("StyleSDF", (r"(^|\.)renderer\.network\.",), _CAMERA),
    Cousin("SWAGAN", (r"(^|\.)to_rgbs\.0\.iwt\.",)),
    Cousin("GANformer", (r"synthesis\.b\d+\.(.*\.)?transformer\.",)),
    Cousin("Hammer's StyleGAN", (r"(^|\.)w_avg$", r"synthesis\.layer0\.const$"), _OFFICIAL, lacks=r"truncation\."),
)
"""Networks with parts that a StyleGAN has, too: they must be recognised first."""

STRANGERS = (
    Cousin("Hammer's StyleGAN3", (r"synthesis\.(early_layer|input)\.frequency$",), _OFFICIAL),
    Cousin("InterFaceGAN's StyleGAN", (r"synthesis\.layer0\.first_layer$",), _OFFICIAL),
    Cousin("FastGAN", (r"(^|\.)feat_8\.", r"(^|\.)init\.init\.0\.")),
    Cousin("a discriminator of Projected GAN", (r"(^|\.)feature_network\.",)),
    Cousin("lucidrains' stylegan2_pytorch", (r"(^|\.)GE?\.initial_block$",)),
    Cousin("lucidrains' lightweight-gan", (r"(^|\.)GE?\.initial_conv\.",)),
    Cousin("StyleNeRF", (r"(^|\.)fg_nerf\.",), _CAMERA),
    Cousin("pi-GAN", (r"(^|\.)siren\.network\.",), _CAMERA),
    Cousin("StyleSwin", (r"(^|\.)layers\.0\.blocks\.0\.norm1\.style\.",)),
    Cousin("MobileStyleGAN", (r"(^|\.)synthesis_network\.",)),
    Cousin("ALAE", (r"(^|\.)decode_block\.0\.",)),
    Cousin("BigGAN", (r"(^|\.)blocks\.0\.0\.bn1\.gain\.weight$",)),
    Cousin("BigGAN", (r"(^|\.)gen_z\.weight",)),
    Cousin("a progressive GAN", (r"(^|/)4x4/Dense/weight$", r"ToRGB_lod0/weight$")),
    Cousin("a progressive GAN", (r"(^|\.)layer0\.weight$", r"(^|\.)output0\.weight$"), lacks="synthesis|mapping"),
    Cousin("HyperStyle, without its decoder", (r"(^|\.)refinement_blocks\.",), _PARENT),
    Cousin("StyleCLIP's mapper", (r"(^|\.)(course|medium|fine)_mapping\.",), _PARENT),
    Cousin("an encoder of pSp or e4e, without its decoder", (r"(^|\.)styles\.0\.convs\.0\.weight$",), _PARENT),
    Cousin("a VQGAN, such as CodeFormer", (r"(^|\.)quantize\.embedding\.weight$",)),
    Cousin("a diffusion model", (r"(diffusion_model|unet|down_blocks|input_blocks|transformer_blocks)\.",)),
)
"""Networks that no layout fits."""


def cousin_of(names: Iterable[str], cousins: Sequence[Cousin]) -> Cousin | None:
    """The first of the cousins to which tensors of these names belong."""
    text = "\n".join(name[:_LONGEST_NAME] for name in names)

    def has(pattern: str) -> bool:
        return re.search(pattern, text, re.MULTILINE) is not None

    for cousin in cousins:
        if all(map(has, cousin.signs)) and not (cousin.lacks and has(cousin.lacks)):
            return cousin
    return None


def rectangle(tensors: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Height and width of the constant that a StyleGAN's synthesis begins with, if they differ."""
    for name, tensor in tensors.items():
        if re.search(r"(^|[./])(const|input\.input)$", name) and tensor.ndim in (3, 4):
            height, width = tensor.shape[-2:]
            if height != width:
                return height, width
    return None
