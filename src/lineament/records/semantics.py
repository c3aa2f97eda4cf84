"""The scalar semantics: the numbers that a decomposer measures on every face, with units and signs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Semantic:
    """One scalar that a decomposer measures.

    Attributes:
        name: the word that the command line and the atlas use.
        unit: the unit of a value, and of a requested change.
        sign: what a positive value does, as seen in the image.
        description: one line for tables and reports.
    """

    name: str
    unit: str
    sign: str
    description: str


SCALAR_SEMANTICS: tuple[Semantic, ...] = (
    Semantic("yaw", "deg", "the nose turns to the image's left", "rotation about the vertical axis"),
    Semantic("pitch", "deg", "the nose turns down", "rotation about the horizontal axis"),
    Semantic("roll", "deg", "the head turns clockwise in the image", "rotation in the image plane"),
    Semantic("translation_x", "% width", "the face moves to the image's right", "horizontal shift"),
    Semantic("translation_y", "% width", "the face moves down", "vertical shift"),
    Semantic("ambient", "fraction", "brighter everywhere", "light that has no direction"),
    Semantic("diffuse", "fraction", "stronger contrast between lit and shaded", "strength of the directed light"),
    Semantic("light_x", "slope", "the light comes from the image's left", "x of the light direction (x, y, 1)"),
    Semantic("light_y", "slope", "the light comes from above", "y of the light direction (x, y, 1)"),
)
"""In the order in which a decomposer reports them."""

POSE_NAMES, LIGHT_NAMES = ("yaw", "pitch", "roll"), ("ambient", "diffuse", "light_x", "light_y")
"""Semantics of pose and of light; shifts belong to neither."""

SEMANTIC_NAMES: tuple[str, ...] = tuple(semantic.name for semantic in SCALAR_SEMANTICS)
