"""The pinhole camera through which every face is seen."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with a narrow field of view, and the depth interval a face may fill.

    Convention:
        Pixel centres lie at integers; x right, y down, z away from the camera; the principal point is
        ``((W - 1) / 2, (H - 1) / 2)``. The field of view spans the image *width*. A view rotates the face about
        ``(0, 0, center_depth)``.

    Source:
        Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects", CVPR 2020, section 3.2.
    """

    fov_deg: float = 10.0
    center_depth: float = 1.0
    min_depth: float = 0.9
    max_depth: float = 1.1
    border_depth: float = 1.04

    def focal_px(self, width: int) -> float:
        """Focal length in pixels of an image that is ``width`` pixels wide."""
        return (width - 1) / 2 / math.tan(math.radians(self.fov_deg) / 2)
